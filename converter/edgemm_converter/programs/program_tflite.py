"""The float TFLite file of an exported program, by litert-torch, of builtin operations alone. Imports PyTorch."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edgemm import library_errors
from edgemm.bundle.manifest import DType
from edgemm.errors import ConversionError
from edgemm_converter.judging import batch_axis
from edgemm_converter.programs.program import Program

PACKAGE = "litert_torch"
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class LiteNames:
    """The names of a program's tensors in the signature that litert-torch writes."""

    source: Program

    @property
    def input_ids(self) -> Mapping[str, str]:
        """By the names of inputs."""
        return {spec.name: f"args_{i}" for i, spec in enumerate(self.source.signature.inputs)}

    @property
    def output_ids(self) -> Mapping[str, str]:
        """By the names of outputs."""
        return {spec.name: f"output_{i}" for i, spec in enumerate(self.source.signature.outputs)}


def of(source: Program) -> bytes:
    """Return the file; a variable batch becomes 1, which every kernel takes, and the engine loops over it.

    Raises:
        ConversionError: litert-torch is not installed, an axis is open, or an operator has no conversion.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConversionError(
            "TFLite: PyTorch programs are converted by litert-torch, which is missing: pip install 'edgemm[torch]'"
        )
    import litert_torch

    if opened := batch_axis.open_inside(source.signature):
        name, axis = opened[0]
        shape = next(spec.shape for spec in source.signature.inputs if spec.name == name)
        asked = ",".join("N" if size == -1 and i else str(size) for i, size in enumerate(shape))
        raise ConversionError(
            f"TFLite: axis {axis} of input {name!r} is open, and litert-torch takes none but the batch: fix it with "
            f"--input-shape {name}={asked}, or leave TFLite out with --target onnx"
        )
    given = tuple(_zeros(spec) for spec in source.signature.inputs)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            made = litert_torch.convert(_Flat(source), given, enable_x64=not _in_single(source))
            return bytes(made.model_content())
    except _FAILURES as err:
        raise ConversionError(
            f"TFLite: litert-torch cannot convert it: {_missing(err) or library_errors.plain(err)}; write that step in "
            "other operators, or leave TFLite out with --target onnx"
        ) from err


def _in_single(source: Program) -> bool:
    """Tell whether numbers of double precision become single, as TFLite has them; whole numbers would be halved too."""
    wide = {spec.dtype for spec in (*source.signature.inputs, *source.signature.outputs)} & {DType.INT64}
    return source.doubles and not wide


def _zeros(spec: Any) -> Any:
    shape = [1 if size == -1 else size for size in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype.value))


def _missing(err: BaseException) -> str:
    """Return which operator has no lowering, where that is why."""
    found = re.search(r"Lowering not found: ([\w.]+)|failed to legalize operation '([\w.]+)'", str(err))
    return f"no TFLite operation for {found[1] or found[2]}" if found else ""


class _Flat(torch.nn.Module):  # type: ignore[misc]  # no types where PyTorch is not installed
    """The program as a module of its tensors alone, in the order of the signature."""

    def __init__(self, source: Program) -> None:
        super().__init__()
        self.held = source.module
        self._source = source
        self.training = False  # the module of an exported program has no eval()

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """Return the outputs in the order of the signature."""
        return self._source.call(tensors)
