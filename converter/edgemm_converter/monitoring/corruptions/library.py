"""The families of corruptions by modality, and their use on the inputs of a model.

Images are corrupted between black (0) and white (1), signals and tables in deviations of the reference; both then come
back to the model's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edgemm.monitoring.monitor_document import Modality, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.corruptions import image_corruptions, signal_corruptions, table_corruptions
from edgemm_runtime.monitoring.views import pixels

Corruption: TypeAlias = Callable[[Array, float, np.random.Generator], Array]

MOST_SEVERE = 5.0
_BY_MODALITY: Mapping[Modality, Mapping[str, Corruption]] = {
    Modality.IMAGE: image_corruptions.FAMILIES,
    Modality.SIGNAL: signal_corruptions.FAMILIES,
    Modality.TABLE: table_corruptions.FAMILIES,
}


def families(modality: Modality) -> tuple[str, ...]:
    """Return the names of the families of a modality."""
    return tuple(_BY_MODALITY[modality])


def corrupted(
    view: View,
    inputs: Mapping[str, Array],
    applied: Sequence[tuple[str, float]],
    random: np.random.Generator,
) -> dict[str, Array]:
    """Return inputs [samples, …] by name after corruptions (family, severity), one after the other."""
    if not applied:
        return dict(inputs)
    library = _BY_MODALITY[view.modality]
    found = _taken(view, inputs)
    for family, severity in applied:
        found = library[family](found, severity, random)
        if view.modality is Modality.IMAGE:
            found = np.clip(found, 0.0, 1.0)
    return _given_back(view, inputs, found)


def _taken(view: View, inputs: Mapping[str, Array]) -> Array:
    """Return what is corrupted: [samples, rows, columns, channels], [samples, steps, channels], [samples, features]."""
    if view.modality is Modality.IMAGE:
        return pixels(view, inputs).astype(np.float64)
    centre, scale = _numbers(view.centre), _numbers(view.scale)
    if view.modality is Modality.SIGNAL:
        found = inputs[view.inputs[0]].astype(np.float64)
        return np.asarray(((found[..., None] if found.ndim == 2 else found) - centre) / scale)
    flat = np.concatenate([inputs[name].reshape(len(inputs[name]), -1) for name in view.inputs], axis=1)
    chosen = list(view.features) or slice(None)
    return np.asarray((flat.astype(np.float64)[:, chosen] - centre) / scale)


def _given_back(view: View, inputs: Mapping[str, Array], found: Array) -> dict[str, Array]:
    first = inputs[view.inputs[0]]
    if view.modality is Modality.IMAGE:
        tensor = found * (view.high - view.low) + view.low
        tensor = np.moveaxis(tensor, -1, 1) if view.channels_first else tensor
        return {**inputs, view.inputs[0]: _as(first, tensor.reshape(first.shape))}
    units = found * _numbers(view.scale) + _numbers(view.centre)
    if view.modality is Modality.SIGNAL:
        return {**inputs, view.inputs[0]: _as(first, units.reshape(first.shape))}
    flat = np.concatenate([inputs[name].reshape(len(first), -1) for name in view.inputs], axis=1).astype(np.float64)
    flat[:, list(view.features) or slice(None)] = units
    result, start = dict(inputs), 0
    for name in view.inputs:
        like = inputs[name]
        size = like[0].size
        result[name] = _as_seen(like, flat[:, start : start + size].reshape(like.shape))
        start += size
    return result


def _as(like: Array, values: Array) -> Array:
    """Return values in the dtype of an input; integers are rounded and stay within it."""
    if like.dtype.kind not in "iu":
        return values.astype(like.dtype)
    limits = np.iinfo(like.dtype)
    return np.clip(np.round(values), limits.min, limits.max).astype(like.dtype)


def _as_seen(like: Array, values: Array) -> Array:
    """Return values in the dtype of a table's input; integers stay within what there was: they may be categories."""
    return _as(like, values if like.dtype.kind not in "iu" else np.clip(values, like.min(), like.max()))


def _numbers(data: bytes) -> Array:
    return np.frombuffer(data, "<f4").astype(np.float64)
