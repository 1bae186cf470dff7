"""One step of an ONNX graph on its way to builtin operations; its inputs are values, and texts by their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgemm_converter.estimators.lite.flat_graph import FlatGraph, NoBuiltinsError, Shape, Value


@dataclass(frozen=True)
class Texts:
    """Strings of a table of constants, by their places in it: no kernel of a device has strings."""

    table: tuple[str, ...]
    places: Value


@dataclass(frozen=True)
class GraphStep:
    """One node of ONNX with its attributes, and the shapes and dtypes of what it gives."""

    kind: str
    attributes: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def refused(self, why: str = "") -> NoBuiltinsError:
        """Return the refusal of the step, or of what it is asked for."""
        return NoBuiltinsError(f"{self.kind}{f' {why}' if why else ''} has no builtin operations here")


Given = Sequence[Any]
Handler = Callable[[FlatGraph, GraphStep, Given], Any]
