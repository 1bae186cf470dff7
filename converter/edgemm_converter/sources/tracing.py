"""The refusal of a model that cannot be traced, with the layer where that fails. Imports TensorFlow.

A layer may need a dimension that is open: bilinear upsampling multiplies it, others divide or compare it. What it then
says is about symbolic tensors; the user needs the layer's name, and how to fix the shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import tensorflow as tf

from edgemm import library_errors
from edgemm.bundle.manifest import TensorSpec
from edgemm.errors import InputError

FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
    tf.errors.OpError,
)  # fmt: skip
"""What layers raise when they are called; code of a model may raise whatever it likes."""

_IMAGE, _SEQUENCE = 224, 16


def refusal(err: BaseException, inputs: Sequence[TensorSpec], *, path: Path) -> InputError:
    """Return what to tell of a model that cannot be called with `inputs`."""
    name = _layer(err)
    where = f"layer {name!r}" if name else "the model"
    reason = library_errors.quoted(err)
    opened = [spec for spec in inputs if -1 in spec.shape[1:]] or [spec for spec in inputs if -1 in spec.shape]
    if not opened:
        return InputError(f"{path}: {where} cannot be called with the model's inputs: {reason}")
    which = ", ".join(f"{spec.name!r} of shape {_words(spec.shape)}" for spec in opened)
    fixes = " ".join(f"--input-shape {spec.name}={','.join(map(str, _example(spec.shape)))}" for spec in opened)
    return InputError(
        f"{path}: {where} needs a dimension that is open: input {which}: fix it, such as with {fixes} ({reason})"
    )


def _layer(err: BaseException) -> str:
    """Return the name of the innermost layer of Keras that was being called, "" where there was none."""
    layers = [owner for owner in _owners(err) if any(kind.__name__ == "Layer" for kind in type(owner).__mro__)]
    return str(getattr(layers[-1], "name", "")) if layers else ""


def _owners(err: BaseException) -> Iterator[object]:
    """Yield what the methods on the way to an error belong to, from the outside in."""
    step: TracebackType | None = err.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        if owner is not None:
            yield owner
        step = step.tb_next


def _example(shape: Sequence[int]) -> list[int]:
    usual = _IMAGE if len(shape) >= 4 else _SEQUENCE
    return [d if d != -1 else 1 if axis == 0 else usual for axis, d in enumerate(shape)]


def _words(shape: Sequence[int]) -> str:
    return f"[{', '.join('any' if d == -1 else str(d) for d in shape)}]"
