"""The choice of a committee's view: what the inputs of a model are, and how they are seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgemm.bundle.manifest import Preprocessing, Signature
from edgemm.errors import InputError
from edgemm.monitoring.monitor_document import Modality, Scores, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.accuracy_maps import as_bytes

_CHANNELS = (1, 3, 4)
_LEAST_SIDE, _LEAST_STEPS = 8, 16
_GREY_SIDE, _COLOUR_SIDE, _STEPS, _SIGNAL_NUMBERS = 12, 8, 64, 384
_MOST_FEATURES, _MOST_STEPS = 128, 2**16
_LEAST_SCALE, _FARTHEST = 1e-30, 1e38
"""What deviates less is a constant; float32 has little beyond either."""
_SMOOTH = 0.6
_SQUARE = 4.0
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_LARGEST_PIXEL = 255.0


class UnmonitoredError(InputError):
    """Nothing is known of how to monitor such a model; the message says why."""


def view_of(signature: Signature, inputs: Mapping[str, Array], declared: Mapping[str, Preprocessing]) -> View:
    """Return how a committee sees inputs [rows, …] by name.

    Raises:
        UnmonitoredError: they are none that a corruption is known of.
    """
    named = {spec.name: inputs[spec.name] for spec in signature.inputs}
    if any(steps.one_hot for steps in declared.values()):
        raise UnmonitoredError("its inputs are made of class indices")
    if strange := [name for name, array in named.items() if array.dtype.kind not in "fiu" or not array[0].size]:
        raise UnmonitoredError(f"input {strange[0]!r} is no input of numbers")
    if len(named) > 1:
        return _of_table(named)
    ((name, array),) = named.items()
    shape = array.shape[1:]
    if len(shape) == 3 or name in declared or (len(shape) == 2 and _is_image(shape)):
        return _of_image(name, array, declared.get(name))
    if len(shape) == 2 and min(shape) >= 1 and shape[0] >= _LEAST_STEPS:
        return _of_signal(name, array)
    if array.dtype.kind != "f":
        raise UnmonitoredError(f"input {name!r} is of integers, and no image")
    if len(shape) == 1 and shape[0] >= _LEAST_STEPS and _is_smooth(array):
        return _of_signal(name, array)
    if len(shape) > 2:
        raise UnmonitoredError(f"input {name!r} of shape {list(shape)} is no image, no signal and no table")
    return _of_table(named)


def scores_of(output: Array) -> Scores:
    """Return what an output [rows, classes] says of the classes."""
    flat = output.reshape(len(output), -1).astype(np.float64)
    within = bool((flat >= -1e-4).all() and (flat <= 1 + 1e-4).all())
    if flat.shape[1] == 1:
        if not within:
            raise UnmonitoredError("its output has one number for two classes, and that is no probability")
        return Scores.POSITIVE
    return Scores.PROBABILITIES if within and np.allclose(flat.sum(axis=1), 1.0, atol=0.02) else Scores.LOGITS


def _is_image(shape: tuple[int, ...]) -> bool:
    rows, columns = shape
    return min(shape) >= _LEAST_SIDE and max(rows / columns, columns / rows) <= _SQUARE


def _of_image(name: str, array: Array, declared: Preprocessing | None) -> View:
    shape = array.shape[1:]
    channels_first = len(shape) == 3 and shape[-1] not in _CHANNELS and shape[0] in _CHANNELS
    if len(shape) not in (2, 3):
        raise UnmonitoredError(f"input {name!r} of shape {list(shape)} is no image")
    if len(shape) == 2:
        rows, columns, channels = (*shape, 1)
    else:
        rows, columns, channels = (*shape[1:], shape[0]) if channels_first else shape
    if min(rows, columns) < _LEAST_SIDE:
        raise UnmonitoredError(f"input {name!r} of shape {list(shape)} is too small an image")
    low, high = _range(array, declared)
    side = _GREY_SIDE if channels == 1 else _COLOUR_SIDE
    return View(
        inputs=(name,), modality=Modality.IMAGE, channels_first=channels_first, low=low, high=high,
        rows=min(rows, side), columns=min(columns, side),
    )  # fmt: skip


def _range(array: Array, declared: Preprocessing | None) -> tuple[float, float]:
    """Return what black and white are."""
    if declared is not None and not declared.one_hot:
        mean, std = np.array(declared.mean or (0.0,)), np.array(declared.std or (1.0,))
        return float((-mean / std).min()), float(((_LARGEST_PIXEL * declared.scale - mean) / std).max())
    finite = array[np.isfinite(array)].astype(np.float64)
    least, most = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    found = next(((low, high) for low, high in _RANGES if low <= least and most <= high), None)
    if found is not None and most - least > (found[1] - found[0]) / 4:
        return found
    if not most > least:
        raise UnmonitoredError("its images are all of one colour")
    return least, most


def _of_signal(name: str, array: Array) -> View:
    if array.dtype.kind != "f":
        raise UnmonitoredError(f"input {name!r} is of integers, and no image")
    found = array[..., None] if array.ndim == 2 else array
    steps, channels = found.shape[1:]
    if steps > _MOST_STEPS:
        raise UnmonitoredError(f"input {name!r} has {steps:,} steps, expected at most {_MOST_STEPS:,}")
    known = _known(found).reshape(-1, channels)
    if (empty := np.isnan(known).all(axis=0)).any():
        raise UnmonitoredError(f"channel {int(empty.argmax())} has no number in the labelled data")
    centre, scale = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    rows = max(4, min(_STEPS, steps, _SIGNAL_NUMBERS // channels))
    if channels * rows > _SIGNAL_NUMBERS:
        raise UnmonitoredError(f"input {name!r} has {channels} channels, expected at most {_SIGNAL_NUMBERS // 4}")
    return View(
        inputs=(name,), modality=Modality.SIGNAL, rows=min(rows, steps), centre=as_bytes(centre),
        scale=as_bytes(np.where(scale > _LEAST_SCALE, scale, 1.0)),
    )  # fmt: skip


def _of_table(named: Mapping[str, Array]) -> View:
    flat = np.concatenate([array.reshape(len(array), -1) for array in named.values()], axis=1).astype(np.float64)
    if flat.shape[1] < 2:
        raise UnmonitoredError("its inputs have one number, expected two or more")
    known = _known(flat)
    if (empty := np.isnan(known).all(axis=0)).any():
        raise UnmonitoredError(f"feature {int(empty.argmax())} has no number in the labelled data")
    centre, scale = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    chosen = tuple(map(int, np.sort(np.argsort(-(scale > 0).astype(np.int64), kind="stable")[:_MOST_FEATURES])))
    features = chosen if len(chosen) < flat.shape[1] else ()
    places = list(features) or slice(None)
    return View(
        inputs=tuple(named), modality=Modality.TABLE, features=features, centre=as_bytes(centre[places]),
        scale=as_bytes(np.where(scale > _LEAST_SCALE, scale, 1.0)[places]),
    )  # fmt: skip


def _is_smooth(array: Array) -> bool:
    """Tell whether neighbours are alike, as steps of a signal are and columns of a table are not."""
    known = np.nan_to_num(_known(array))
    level = known - known.mean(axis=1, keepdims=True)
    power = (level**2).sum(axis=1)
    along = (level[:, 1:] * level[:, :-1]).sum(axis=1)
    return bool(np.median(along / np.maximum(power, 1e-12)) >= _SMOOTH)


def _known(numbers: Array) -> Array:
    """Return numbers as far as they are known, NaN elsewhere; none is beyond float32."""
    return np.clip(np.where(np.isfinite(numbers), numbers.astype(np.float64), np.nan), -_FARTHEST, _FARTHEST)
