"""An exported program of PyTorch as a source: what it takes and answers by name, and how it is asked.

Its inputs have the names of the arguments that it was exported with; outputs those of the keys of a dict, else `output`
or `output_0`, `output_1`, … Numbers of double precision are served as float32. Imports PyTorch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._export.serde import schema
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from edgemm import library_errors
from edgemm.bundle.manifest import MOST_INPUTS, NUMBERS, DType, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.children import array_files
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import naming
from edgemm_converter.programs import archive

REFUSALS = (
    ArithmeticError, AssertionError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What PyTorch raises about inputs that a program does not take."""

_FOREIGN = (*REFUSALS, AttributeError, ImportError, EOFError, OSError)
_HALVES = ("float16", "bfloat16")
_TRAINING = {"dropout": 2, "feature_dropout": 2, "alpha_dropout": 2, "feature_alpha_dropout": 2, "batch_norm": 5}
"""Operators that do another thing while a model is trained, and which argument says that it is."""

_RANDOM = (
    "bernoulli", "exponential", "multinomial", "native_dropout", "normal", "normal_functional", "poisson", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "rrelu_with_noise", "uniform",
)  # fmt: skip
_LONGEST_NAME, _MOST_OUTPUTS, _MOST_AXES = 256, 64, 8
_LEAST_BATCH, _USUAL_BATCH = 2, 16
"""PyTorch takes a single row where it says that 2 are the least."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Program:
    """A loaded program; the arguments that were no tensors keep the values of the export."""

    exported: Any
    """As PyTorch loaded it."""

    module: Any
    """The same as a module that is called as the model was."""

    signature: Signature
    arguments: tuple[str | ConstantArgument, ...]
    """What each argument is, in order: an input's name, or a constant."""

    places: tuple[int, ...]
    """Which of the results are the outputs: the others are nothing."""

    dtypes: Mapping[str, Any]
    """The types of inputs as the program takes them."""

    @property
    def input_ids(self) -> dict[str, str]:
        """Name of each input → its name in an ONNX graph."""
        names = [spec.name for spec in self.signature.inputs]
        return dict(zip(names, naming.identifiers(names, prefix="input"), strict=True))

    @property
    def output_ids(self) -> dict[str, str]:
        """Name of each output → its name in an ONNX graph; none is also an input's."""
        taken, names = list(self.input_ids.values()), [spec.name for spec in self.signature.outputs]
        ids = naming.identifiers([*taken, *names], prefix="output")
        return dict(zip(names, ids[len(taken) :], strict=True))

    @property
    def doubles(self) -> bool:
        """Whether some of its tensors are of double precision."""
        held = (*self.dtypes.values(), *(one.dtype for one in self.exported.state_dict.values()))
        return torch.float64 in held

    def call(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs as they are served, of tensors in the order of the signature's inputs."""
        given = dict(zip((spec.name for spec in self.signature.inputs), tensors, strict=True))
        leaves = [given[one].to(self.dtypes[one]) if isinstance(one, str) else one.value for one in self.arguments]
        args, kwargs = pytree.tree_unflatten(leaves, self.exported.call_spec.in_spec)
        results = pytree.tree_leaves(self.module(*args, **kwargs))
        return tuple(results[place].to(_served(results[place].dtype)).contiguous() for place in self.places)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name for inputs by name."""
        tensors = [torch.from_numpy(np.array(inputs[spec.name])) for spec in self.signature.inputs]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.call(tensors)
        return {spec.name: one.detach().numpy() for spec, one in zip(self.signature.outputs, found, strict=True)}


def load(path: Path, folder: Path, *, shapes: Shapes, allow_pickle: bool) -> Program:
    """Open a file; `folder` is the child's own, and `shapes` are those that the user fixed.

    Raises:
        InputError: it does not open, would run code, or is a model that cannot be served.
    """
    copy = archive.copied(
        path, folder, known=schema.SCHEMA_VERSION, installed=torch.__version__, allow_pickle=allow_pickle
    )
    if not allow_pickle:
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # the copy holds no pickle; this is the second bolt
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(str(copy))
            _check(exported, path)
            module = exported.module(check_guards=False)
    except _FOREIGN as err:
        raise InputError(
            f"{path}: PyTorch {torch.__version__} cannot open it: {library_errors.quoted(err)}; it is damaged, or of "
            "another version: export the model again with this PyTorch"
        ) from err
    copy.unlink()
    return _served_program(exported, module, path, shapes)


def calls(exported: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plain name and the node of each operator, those in loops and branches included."""
    for module in exported.graph_module.modules():
        graph = getattr(module, "graph", None)
        for node in graph.nodes if graph is not None else ():
            if node.op == "call_function":
                name = getattr(node.target, "_opname", "") or getattr(node.target, "__name__", str(node.target))
                yield name.split(".")[0], node


def _check(exported: Any, path: Path) -> None:
    """Check that a program is one that answers alike each time, in numbers that devices have."""
    mutated = {OutputKind.BUFFER_MUTATION, getattr(OutputKind, "PARAMETER_MUTATION", OutputKind.BUFFER_MUTATION)}
    state = [s.target for s in exported.graph_signature.output_specs if s.kind in mutated]
    owned = {s.arg.name: s.target for s in exported.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT}
    for name, node in calls(exported):
        plain = name.rstrip("_")
        if plain in _TRAINING and node.args[_TRAINING[plain] : _TRAINING[plain] + 1] == (True,):
            raise InputError(
                f"{path}: it was exported while it is trained ({plain}): call model.eval() before torch.export.export()"
            )
        if plain in _RANDOM:
            raise InputError(
                f"{path}: it draws random numbers ({plain}), so that no device could verify its answers: give them to "
                "it as an input"
            )
        if name.endswith("_") and not name.endswith("__") and node.args and str(node.args[0]) in owned:
            state.append(owned[str(node.args[0])])
    if state:
        raise InputError(
            f"{path}: it keeps state between calls, in {state[0]!r}, and a device serves many clients: call "
            "model.eval() before the export or, if it is no training, make the state an input and an output"
        )
    tensors = [*exported.state_dict.items(), *exported.constants.items()]
    halves = [name for name, one in tensors if isinstance(one, torch.Tensor) and _name(one.dtype) in _HALVES]
    if halves:
        raise InputError(
            f"{path}: it computes in half precision ({halves[0]}), which the engines of devices do not: export "
            "model.float(), and choose --precision float16 for small weights"
        )


def _served_program(exported: Any, module: Any, path: Path, shapes: Shapes) -> Program:
    given = [s for s in exported.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    arguments: list[str | ConstantArgument] = []
    inputs: list[TensorSpec] = []
    for spec in given:
        if isinstance(spec.arg, ConstantArgument):
            arguments.append(spec.arg)
        elif isinstance(spec.arg, TensorArgument) and isinstance(values[spec.arg.name], torch.Tensor):
            arguments.append(spec.arg.name)
            inputs.append(_spec(spec.arg.name, values[spec.arg.name], path))
        else:
            raise InputError(
                f"{path}: its input {spec.arg.name!r} is a number of Python that each call chooses: give it as a tensor"
            )
    results = list(exported.graph.output_node().args[0])[-len(exported.graph_signature.user_outputs) or None :]
    places = tuple(i for i, one in enumerate(results) if isinstance(one, torch.fx.Node))
    names = _names(exported.call_spec.out_spec, len(results))
    for name, one in zip(names, results, strict=True):
        if not isinstance(one, torch.fx.Node) and one is not None:
            raise InputError(f"{path}: its output {name!r} is always {one!r:.40}: return tensors alone")
    outputs = [_spec(names[i], results[i].meta["val"], path) for i in places]
    if not inputs or not outputs:
        raise InputError(f"{path}: expected a model with inputs and outputs, found {len(inputs)} and {len(outputs)}")
    _check_names([names[i] for i in places], path)
    if len(inputs) > MOST_INPUTS:
        raise InputError(f"{path}: it has {len(inputs)} inputs, expected at most {MOST_INPUTS}: join some")
    for spec in inputs:
        if spec.name not in shapes:
            _check_batch(spec, values[spec.name], exported.range_constraints, path)
    signature = Signature(inputs=_fixed(inputs, shapes, path), outputs=tuple(outputs))
    dtypes = {name: values[name].dtype for name in arguments if isinstance(name, str)}
    return Program(exported, module, signature, tuple(arguments), places, dtypes)


def _check_names(outputs: Sequence[str], path: Path) -> None:
    """Check the names of outputs before anything has them."""
    for name in outputs:
        if not 1 <= len(name) <= _LONGEST_NAME or outputs.count(name) > 1:
            raise InputError(
                f"{path}: an output would be called {name[:40]!r}, by the keys of the dict that the model returns: "
                f"expected names of 1 to {_LONGEST_NAME} characters, each once: return others"
            )
    if len(outputs) > _MOST_OUTPUTS:
        raise InputError(f"{path}: it has {len(outputs)} outputs, expected at most {_MOST_OUTPUTS}: join some")


def _check_batch(spec: TensorSpec, value: Any, ranges: Mapping[Any, Any], path: Path) -> None:
    """Check that an open batch may have any size, as clients ask for."""
    limits = ranges.get(value.shape[0].node.expr) if spec.shape[:1] == (-1,) else None
    if limits is not None and (limits.lower > _LEAST_BATCH or limits.upper < _USUAL_BATCH):
        raise InputError(
            f"{path}: input {spec.name!r} takes {limits.lower} to {limits.upper} rows alone, and clients ask for any "
            f'number: export it with torch.export.Dim("batch"), or fix it with --input-shape '
            f"{spec.name}={','.join(map(str, (limits.lower, *spec.shape[1:])))}"
        )


def _fixed(inputs: Sequence[TensorSpec], shapes: Shapes, path: Path) -> tuple[TensorSpec, ...]:
    """Return the inputs with open axes fixed as the user says."""
    known = {spec.name: spec for spec in inputs}
    for name, wanted in shapes.items():
        if name not in known:
            raise InputError(f"{path}: --input-shape {name}: expected one of the inputs {', '.join(known)}")
        has = known[name].shape
        if len(has) != len(wanted) or any(old not in (-1, new) for old, new in zip(has, wanted, strict=True)):
            raise InputError(
                f"{path}: --input-shape {name}={','.join(map(str, wanted))}: the program has it as {list(has)}, of "
                "which only the open axes (-1) can be fixed: export it again with the shape that you need"
            )
        known[name] = TensorSpec(name=name, dtype=known[name].dtype, shape=wanted)
    return tuple(known.values())


def _spec(name: str, value: Any, path: Path) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{path}: its output {name!r} is a number of Python: return it as a tensor")
    dtype = _name(_served(value.dtype))
    if dtype in _HALVES or dtype not in NUMBERS:
        raise InputError(
            f"{path}: tensor {name!r} is of dtype {dtype}; edgemm serves numbers ({', '.join(NUMBERS)}): do this part "
            "of the work outside of the model"
        )
    if len(value.shape) > _MOST_AXES:
        raise InputError(f"{path}: tensor {name!r} has {len(value.shape)} axes, expected at most {_MOST_AXES}")
    for size in value.shape:
        if isinstance(size, torch.SymInt) and any(str(one).startswith("u") for one in size.node.expr.free_symbols):
            raise array_files.depends_on_data(name, "its size is counted while the model runs")
    shape = tuple(-1 if _is_open(size) else int(size) for size in value.shape)
    return TensorSpec(name=name, dtype=DType(dtype), shape=shape)


def _is_open(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and bool(size.node.expr.free_symbols)


def _served(dtype: Any) -> Any:
    return torch.float32 if dtype is torch.float64 else dtype


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _names(spec: Any, count: int) -> list[str]:
    """Return names of results by the keys and places of the tree that they are arranged in."""
    found = ["_".join(path) for path in _paths(spec)]
    if count == 1 and found[:1] in ([""], ["0"]):
        return ["output"]
    return [f"output_{name}" if name[:1].isdigit() else name for name in found]


def _paths(spec: Any) -> Iterator[tuple[str, ...]]:
    children = spec.children() if callable(getattr(spec, "children", None)) else spec.children_specs
    if spec.is_leaf():
        yield ()
        return
    keys = spec.context if spec.type is not tuple and spec.type is not list else range(len(children))
    for key, child in zip(keys, children, strict=True):
        yield from ((str(key), *rest) for rest in _paths(child))
