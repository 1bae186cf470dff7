"""Names of models and bundle files, and of tensors and layers in model files. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from edgemm.errors import InputError
from edgemm_converter.job import targets

_MAX_MODEL_NAME = 63


def model_name(source: Path) -> str:
    """Return a model name made from a file's or folder's name: `My Model.keras` → `my-model`.

    Raises:
        InputError: nothing of it can stand in a model name.
    """
    stem = source.resolve().name
    for suffix in (".keras", ".h5", ".hdf5", *targets.suffixes()):
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


def identifiers(names: Iterable[str], *, prefix: str) -> tuple[str, ...]:
    """Return for each tensor name one that TensorFlow, TFLite and ONNX all keep as it is.

    TensorFlow tells names apart without regard to case, so these differ without it too. A plain name stays itself.
    """
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_]", "_", name)
        base = base if re.match(r"[A-Za-z]", base) else f"{prefix}_{base.lstrip('_')}".rstrip("_")
        found, number = base, 0
        while found.lower() in taken:
            number += 1
            found = f"{base}_{number}"
        taken.add(found.lower())
        result.append(found)
    return tuple(result)


def readable(scope: str) -> str:
    """Return what a user calls a layer: `functional_1/conv2d/Relu;functional_1/conv2d/…` → `conv2d/Relu`."""
    first = scope.split(";", maxsplit=1)[0]
    parts = [p for p in first.split("/") if p and not re.fullmatch(r"(functional|sequential|model)(_\d+)?(_1)?", p)]
    name = "/".join(dict.fromkeys(parts)) or first or "output"
    return f"output ({name})" if "PartitionedCall" in name else name


def layer(tensor: str, *, known: Collection[str]) -> str:
    """Return the layers that a tensor's name stands for, outermost first; the name in short where none is `known`.

    Keras numbers what it traces again: `functional_1/both_1/forward_lstm_1/Tanh:0` → `both/forward_lstm`.
    """
    path = tensor.partition(":")[0]
    named = (next((n for n in (p, re.sub(r"_\d+$", "", p)) if n in known), None) for p in path.split("/"))
    return "/".join(name for name in named if name) or readable(path)
