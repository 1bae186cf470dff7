"""The public functions of `keras.ops`, layers and activations, listed from Keras itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras


def operations() -> list[list[str]]:
    """Return the names of each public function of `keras.ops`, those of its modules with the module in front."""
    return _by_function(_walk(keras.ops, ""))


def layers() -> list[list[str]]:
    """Return the names of each public class of `keras.layers`."""
    return _by_function((n, v) for n, v in vars(keras.layers).items() if inspect.isclass(v))


def activations() -> list[list[str]]:
    """Return the names of each public function of `keras.activations`."""
    return _by_function((n, v) for n, v in vars(keras.activations).items() if callable(v))


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if inspect.ismodule(value):
            yield from _walk(value, f"{prefix}{name}.")
        elif callable(value):
            yield prefix + name, value


def _by_function(found: Iterable[tuple[str, Any]]) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, value in found:
        if not name.startswith("_"):
            names.setdefault(id(value), []).append(name)
    return sorted(names.values())
