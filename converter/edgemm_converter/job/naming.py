"""Names of models and bundle files, and of tensors and layers in model files. Pure."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgemm.errors import InputError
from edgemm_converter.job import estimator_files, targets

_MAX_MODEL_NAME = 63
_MAX_TENSOR_NAME = 200
"""Of the 256 characters that a manifest takes: numbers and prefixes come to them."""

_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")
"""What TensorFlow takes for the name of a scope (tf.name_scope), without the backslash, which runs nowhere."""


def model_name(source: Path) -> str:
    """Return a model name made from a file's or folder's name: `My Model.keras` → `my-model`.

    Raises:
        InputError: nothing of it can stand in a model name.
    """
    stem = source.resolve().name
    for suffix in (".keras", ".h5", ".hdf5", *estimator_files.SUFFIXES, *targets.suffixes()):
        stem = stem.removesuffix(suffix)
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-")[:_MAX_MODEL_NAME].rstrip("._-")
    if not name:
        raise InputError(f"{source}: its name holds no letter a-z or digit to name the model by: give --name")
    return name


def bundle_file(name: str, version: str) -> str:
    """Return the usual file name of a bundle."""
    return f"{name}-{version}.edgemm"


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` with `_1`, `_2`, … after later ones that repeat an earlier one."""
    wanted = list(names)
    taken, result = set(wanted), []
    seen: set[str] = set()
    for name in wanted:
        found, number = name, 0
        while found in seen or (number > 0 and found in taken):
            number += 1
            found = f"{name}_{number}"
        seen.add(found)
        result.append(found)
    return tuple(result)


def served(names: Iterable[str], *, prefix: str) -> tuple[str, ...]:
    """Return the names that a signature gives tensors: the source's own, cut where they are too long for a manifest.

    One without a character is called `prefix`; the names differ.
    """
    return unique(name[:_MAX_TENSOR_NAME] or prefix for name in names)


def identifiers(names: Iterable[str], *, prefix: str) -> tuple[str, ...]:
    """Return for each tensor name one that TensorFlow, TFLite and ONNX all keep as it is.

    Letters A-Z and a-z, digits and underscores stay, anything else becomes an underscore, and `prefix` is put before
    what does not begin with a letter or is a word of Python. TensorFlow tells names apart without regard to case, so
    these differ without it too, by `_1`, `_2`, … after them. A plain name stays itself, whatever others become.
    """
    wanted = list(names)
    bases = [_identifier(name, prefix) for name in wanted]
    result: dict[int, str] = {}
    taken: set[str] = set()
    for i in sorted(range(len(wanted)), key=lambda i: bases[i] != wanted[i]):
        found, number = bases[i], 0
        while found.lower() in taken:
            number += 1
            found = f"{bases[i]}_{number}"
        taken.add(found.lower())
        result[i] = found
    return tuple(result[i] for i in range(len(wanted)))


def _identifier(name: str, prefix: str) -> str:
    base = re.sub(r"[^A-Za-z0-9_]", "_", name[:_MAX_TENSOR_NAME])
    if re.match(r"[A-Za-z]", base) and not keyword.iskeyword(base) and base != "self":
        return base
    return f"{prefix}_{base.lstrip('_')}".rstrip("_")


def scopes(layers: Iterable[str]) -> dict[str, str]:
    """Return for each name of a layer the scope that it has in a graph: a name that no scope takes, as an identifier.

    Different names have different scopes, also without regard to case.
    """
    names = dict.fromkeys(layers)
    plain = [name for name in names if _SCOPE.fullmatch(name)]
    odd = [name for name in names if not _SCOPE.fullmatch(name)]
    spelled = identifiers([*plain, *odd], prefix="layer")[len(plain) :]
    return {name: name for name in plain} | dict(zip(odd, spelled, strict=True))


def readable(scope: str) -> str:
    """Return what a user calls a layer: `functional_1/conv2d/Relu;functional_1/conv2d/…` → `conv2d/Relu`."""
    first = scope.split(";", maxsplit=1)[0]
    parts = [p for p in first.split("/") if p and not re.fullmatch(r"(functional|sequential|model)(_\d+)?(_1)?", p)]
    name = "/".join(dict.fromkeys(parts)) or first or "output"
    return f"output ({name})" if "PartitionedCall" in name else name


def layer(tensor: str, *, known: Mapping[str, str]) -> str:
    """Return the layers that a tensor's name stands for, outermost first; the name in short where none is `known`.

    `known` are the names of layers by scope. Keras numbers what it traces again:
    `functional_1/both_1/forward_lstm_1/Tanh:0` → `both/forward_lstm`.
    """
    path = tensor.partition(":")[0]
    named = (next((known[s] for s in (p, re.sub(r"_\d+$", "", p)) if s in known), None) for p in path.split("/"))
    return "/".join(name for name in named if name) or readable(path)
