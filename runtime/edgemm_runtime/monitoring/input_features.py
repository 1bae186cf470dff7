"""The features of inputs that are watched for drift: at most 64, by the modality. Pure.

* image: mean, contrast, sharpness, saturation, entropy and edge energy of its pixels, and the mean of each channel.
* signal: mean, deviation, largest, smallest, zero crossings and centre of the spectrum, by channel for the first ten.
* table: the features themselves, in deviations of the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgemm.monitoring.monitor_document import Modality, View
from edgemm_runtime.monitoring.views import columns, pixels, steps

Array: TypeAlias = npt.NDArray[Any]

MOST = 64
_OF_IMAGE = ("mean", "contrast", "sharpness", "saturation", "entropy", "edge-energy")
_OF_SIGNAL = ("mean", "deviation", "largest", "smallest", "crossings", "centre")
_MOST_CHANNELS = MOST // len(_OF_SIGNAL)
_LEVELS = 16


def names(view: View, inputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the names of the features of such inputs [rows, …]."""
    if view.modality is Modality.IMAGE:
        channels = min(pixels(view, _first(inputs)).shape[-1], MOST - len(_OF_IMAGE))
        return (*_OF_IMAGE, *(f"channel-{i}" for i in range(channels)))
    if view.modality is Modality.SIGNAL:
        channels = min(steps(view, _first(inputs)).shape[-1], _MOST_CHANNELS)
        return tuple(f"{what}-{i}" for i in range(channels) for what in _OF_SIGNAL)
    each = [(name, place, inputs[name][0].size) for name in view.inputs for place in range(inputs[name][0].size)]
    chosen = view.features or range(len(each))
    return tuple(_name(*each[place]) for place in list(chosen)[:MOST])


def values(view: View, inputs: Mapping[str, Array]) -> Array:
    """Return the features [rows, features] of inputs [rows, …] by name."""
    if view.modality is Modality.IMAGE:
        return _of_images(pixels(view, inputs))
    if view.modality is Modality.SIGNAL:
        return _of_signals(steps(view, inputs)[..., :_MOST_CHANNELS])
    return columns(view, inputs)[:, :MOST]


def _first(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array[:1] for name, array in inputs.items()}


def _name(name: str, place: int, size: int) -> str:
    return name if size == 1 else f"{name}[{place}]"


def _of_images(images: Array) -> Array:
    grey = images.mean(axis=-1, dtype=np.float32)
    across, down = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
    curved = np.abs(np.diff(grey, n=2, axis=2)).mean(axis=(1, 2)) if grey.shape[2] > 2 else np.zeros(len(grey))
    colour = images.max(axis=-1) - images.min(axis=-1)
    means = images.mean(axis=(1, 2))[:, : MOST - len(_OF_IMAGE)]
    return np.column_stack(
        [
            grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), curved, colour.mean(axis=(1, 2)), _entropy(grey),
            across.mean(axis=(1, 2)) + down.mean(axis=(1, 2)), means,
        ]
    ).astype(np.float32)  # fmt: skip


def _entropy(grey: Array) -> Array:
    """Return the entropy in bits of the brightness of each image, in 16 levels."""
    level = np.minimum((grey.reshape(len(grey), -1) * _LEVELS).astype(np.int64), _LEVELS - 1)
    place = level + _LEVELS * np.arange(len(grey))[:, None]
    share = np.bincount(place.reshape(-1), minlength=_LEVELS * len(grey)).reshape(len(grey), _LEVELS) / level.shape[1]
    return np.asarray(-(share * np.log2(np.maximum(share, 1e-12))).sum(axis=1))


def _of_signals(signals: Array) -> Array:
    level = signals - signals.mean(axis=1, keepdims=True)
    crossed = (np.diff(np.signbit(level).astype(np.int8), axis=1) != 0).mean(axis=1)
    power = np.abs(np.fft.rfft(level, axis=1)) ** 2
    place = np.linspace(0.0, 1.0, power.shape[1])[None, :, None]
    centre = (power * place).sum(axis=1) / np.maximum(power.sum(axis=1), 1e-9)
    each = [signals.mean(axis=1), signals.std(axis=1), signals.max(axis=1), signals.min(axis=1), crossed, centre]
    return np.stack(each, axis=-1).reshape(len(signals), -1).astype(np.float32)
