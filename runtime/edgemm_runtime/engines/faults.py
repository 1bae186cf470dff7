"""The judgement whose fault it is that an engine failed: the model's, or that of a request's sizes or values.

    if (error := faults.of(feeds, err, computes)) is not None: ...

An engine says "index out of range" and "out of tensors" in the same way, in words that differ between engines and
releases. So it is asked: where it then computes what it answered before, and fails on the request again, the request is
at fault. An engine that fails on both, or once and not again, is itself at fault.

These trials have a budget of time, so that no client makes the model compute twice as much: they may take a twentieth
of it, beside a little to begin with. Beyond that the last verdict holds. It is bounded in time by the same budget.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import TypeAlias

import numpy as np

from edgemm.errors import BadRequestError, EngineError, UncomputableSizeError, UncomputableValueError
from edgemm_runtime.tensors.element_types import OBJECT, zeros
from edgemm_runtime.tensors.named_arrays import Array, Arrays

Computes: TypeAlias = Callable[[Arrays], bool]
"""Whether the engine computes these, now."""
BadRequest: TypeAlias = tuple[type[BadRequestError], str]
_SHARE = 0.05
_CREDIT_S = 0.5
_WAIT_S = 5.0
_SHOWN = 40
CONVERT_AGAIN = ": convert the model again"
"""How errors end that are of the file."""

_SAID_BY = re.compile(r"^[\w ]+ failed: ")
"""What stands before the words of `library_errors`."""


class _Fault(Enum):
    """Whose fault a failure is."""

    MODEL = auto()
    SIZE = auto()
    VALUES = auto()


class Faults:
    """What is known of one model's failures; safe to use from many threads.

    `sized` are the inputs with a variable dimension beside the batch, `batched` those with a batch.
    """

    def __init__(
        self, sized: Collection[str], batched: Collection[str], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._sized, self._batched, self._now_s = tuple(sized), frozenset(batched), now_s
        self._good: dict[str, Array] = {}
        self._judging = threading.Lock()
        self._credit_s, self._credited_s = _CREDIT_S, now_s()
        self._last, self._last_named = _Fault.MODEL, ""

    @property
    def good(self) -> Arrays:
        """Inputs that the model answered; empty before it answered any."""
        return self._good

    def answered(self, feeds: Arrays) -> None:
        """Remember the first inputs that the model answers, one row of them: a golden sample, before any request."""
        if not self._good:
            self._good = {name: np.array(a[:1] if name in self._batched else a) for name, a in feeds.items()}

    def of(self, feeds: Arrays, err: EngineError, computes: Computes) -> BadRequest | None:
        """Return which error, with which message, a request gets that is at fault; None where the engine is.

        The engine failed on `feeds` by `err`: the request's inputs, by the signature's names, in the file's dtypes.
        """
        if not self._good or not self._judging.acquire(timeout=_WAIT_S):
            return None
        try:
            fault, named = self._judged(feeds, computes)
        finally:
            self._judging.release()
        if fault is _Fault.MODEL:
            return None
        if fault is _Fault.SIZE:
            return UncomputableSizeError, self._bad_size(feeds, err)
        words = f"the model cannot compute these values: {_words(err)}: send values that it was made for"
        texts = next((array for name, array in feeds.items() if repr(name) == named and array.dtype is OBJECT), None)
        return UncomputableValueError, f"input {named}: {words if texts is None else _unknown(texts)}"

    def _judged(self, feeds: Arrays, computes: Computes) -> tuple[_Fault, str]:
        begun_s = self._now_s()
        self._credit_s = min(_CREDIT_S, self._credit_s + _SHARE * (begun_s - self._credited_s))
        self._credited_s = begun_s
        if self._credit_s > 0:
            self._last = self._try(feeds, computes)
            self._last_named = self._name(feeds, computes) if self._last is _Fault.VALUES else ""
            self._credit_s -= self._now_s() - begun_s
        return self._last, self._last_named

    def _try(self, feeds: Arrays, computes: Computes) -> _Fault:
        if not computes(self._good):
            return _Fault.MODEL
        alike = {name: zeros(self._one(name, a), a.dtype) for name, a in feeds.items()}
        if self._sized and any(a.shape != self._good[name].shape for name, a in alike.items()) and not computes(alike):
            return _Fault.SIZE  # zeros, since a failure that passes, or one that is of the values, is not of the size
        return _Fault.MODEL if computes(feeds) else _Fault.VALUES

    def _name(self, feeds: Arrays, computes: Computes) -> str:
        """Return the inputs at fault: that in whose place good values are computed, all where none is found so."""
        for name, array in feeds.items() if len(feeds) > 1 else ():
            good = self._good[name]
            if good.shape == self._one(name, array) and computes({**feeds, name: np.resize(good, array.shape)}):
                return repr(name)
        return ", ".join(map(repr, feeds))

    def _one(self, name: str, array: Array) -> tuple[int, ...]:
        """Return the shape of a batch of one, where the input has a batch."""
        return (1, *array.shape[1:]) if name in self._batched else array.shape

    def _bad_size(self, feeds: Arrays, err: EngineError) -> str:
        found = ", ".join(f"{name!r} of shape {list(feeds[name].shape)}" for name in self._sized)
        answered = ", ".join(str(list(self._good[name].shape)) for name in self._sized)
        reason = str(err).removesuffix(CONVERT_AGAIN)
        return f"input {found}: the model cannot compute this size, but for example {answered}: {reason}"


def _unknown(texts: Array) -> str:
    """Say that a model refuses a text: one that it was not trained on, as of a category."""
    found = f", found {texts.flat[0][:_SHOWN]!r}" if texts.size == 1 else ""
    return f"expected texts that the model was trained on, such as its categories{found}: it refuses others"


def _words(err: EngineError) -> str:
    """Return what an engine failed at, without its name."""
    return _SAID_BY.sub("", str(err).removesuffix(CONVERT_AGAIN))
