"""Resized images as products with two matrices, and colours by arithmetic. Imports TensorFlow.

The weights are computed as TensorFlow's kernels compute them (`scale_and_translate_op.cc`, `resize_bicubic_op.cc`), in
single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm_converter.data.arrays import Array
from edgemm_converter.rewrites.elementary import of_float
from edgemm_converter.rewrites.values import Copy, Rules, Value, known

_F = np.float32
_TABLE = 2**10
"""TensorFlow looks the weights of a cubic up in so many steps."""

_LEAST_TOTAL = 1000 * np.finfo(np.float32).tiny


def _cubic(x: Array, a: float) -> Array:
    """R. Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981)."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x <= 1, near, np.where(x < 2, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a, 0))


def _mitchell(x: Array) -> Array:
    near = ((7 * x / 6 - 2) * x) * x + 16 / 18
    return np.where(x < 1, near, np.where(x < 2, ((-7 * x / 18 + 2) * x - 10 / 3) * x + 16 / 9, 0))


def _lanczos(radius: int) -> Callable[[Array], Array]:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)


_Kernel = tuple[float, Callable[[Array], Array]]
_KERNELS: Mapping[bytes, _Kernel] = {
    b"lanczos1": (1, _lanczos(1)),
    b"lanczos3": (3, _lanczos(3)),
    b"lanczos5": (5, _lanczos(5)),
    b"gaussian": (1.5, lambda x: np.where(x < 1.5, np.exp(-x * x / (2 * 0.5 * 0.5)), 0)),
    b"box": (1, lambda x: np.where(x < 0.5, 1.0, np.where(x == 0.5, 0.5, 0.0))),
    b"triangle": (1, lambda x: np.maximum(1 - x, 0)),
    b"keyscubic": (2, lambda x: _cubic(x, -0.5)),
    b"mitchellcubic": (2, _mitchell),
}
"""How far a kernel reaches, and its weight at a distance, by TensorFlow's name."""


def _scaled(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """ScaleAndTranslate, which resizes with a filter, and lets it grow where an image becomes smaller."""
    sizes, scales, shifts = (known(tensor) for tensor in operation.inputs[1:])
    there = operation.inputs[0].shape.as_list()[1:3]
    if sizes is None or scales is None or shifts is None or None in there:
        return None
    kernel = _KERNELS[operation.get_attr("kernel_type")]
    matrices = [
        _filtered(n, int(size), _F(1) / _F(scale), _F(shift), kernel, grows=operation.get_attr("antialias"))
        for n, size, scale, shift in zip(there, sizes, scales, shifts, strict=True)
    ]
    return [_resized(inputs[0], *matrices)]


def _filtered(there: int, wanted: int, step: Any, shift: Any, kernel: _Kernel, *, grows: bool) -> Array:
    """Return the weights [there, wanted] of one side."""
    radius, weigh = kernel
    reach = max(step, _F(1)) if grows else _F(1)
    centres = (np.arange(wanted, dtype=_F) + _F(0.5)) * step - step * shift
    first = np.clip(np.ceil(centres - reach * _F(radius) - _F(0.5)), 0, there - 1)
    last = np.clip(np.floor(centres + reach * _F(radius) - _F(0.5)), 0, there - 1)
    places = np.arange(there, dtype=_F)[:, np.newaxis]
    weights = weigh(np.abs((places + _F(0.5) - centres) / reach).astype(np.float64))
    weights = np.where((places >= first) & (places <= last), weights, 0)
    outside = (centres < 0) | (centres > there)
    return _normal(np.where(outside, 0, weights))


def _bicubic(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    sizes, there = known(operation.inputs[1]), operation.inputs[0].shape.as_list()[1:3]
    if sizes is None or None in there:
        return None
    aligned, halves = operation.get_attr("align_corners"), operation.get_attr("half_pixel_centers")
    matrices = [_looked_up(n, int(size), aligned=aligned, halves=halves) for n, size in zip(there, sizes, strict=True)]
    return [_resized(tf.cast(inputs[0], tf.float32), *matrices)]


def _looked_up(there: int, wanted: int, *, aligned: bool, halves: bool) -> Array:
    """Return the weights [there, wanted] of one side: of four places, of which those outside count as the edge.

    With half pixels, they do not count at all, and the kernel is another.
    """
    scale = _F(there - 1) / _F(wanted - 1) if aligned and wanted > 1 else _F(there) / _F(wanted)
    steps = np.arange(wanted, dtype=_F)
    spots = (steps + _F(0.5)) * scale - _F(0.5) if halves else steps * scale
    base = np.floor(spots)
    offset = np.rint((spots - base) * _TABLE) / _TABLE
    found = np.zeros((there, wanted))
    for place in range(-1, 3):
        weight = _cubic(np.abs(offset - place), -0.5 if halves else -0.75)
        spot = base.astype(int) + place
        inside = np.clip(spot, 0, there - 1)
        np.add.at(found, (inside, np.arange(wanted)), np.where((spot == inside) | (not halves), weight, 0))
    return _normal(found) if halves else found.astype(_F)


def _normal(weights: Array) -> Array:
    """Return weights that sum to 1 for each place that is wanted, where they have a sum."""
    total = weights.sum(axis=0)
    found: Array = np.where(np.abs(total) >= _LEAST_TOTAL, weights / np.where(total == 0, 1, total), weights).astype(_F)
    return found


def _resized(x: Any, rows: Array, columns: Array) -> Any:
    """Multiply images [batch, height, width, channels] by matrices [height, new height] and [width, new width]."""
    tall = tf.matmul(tf.transpose(x, [0, 2, 3, 1]), rows)
    wide = tf.matmul(tf.transpose(tall, [0, 3, 2, 1]), columns)
    return tf.transpose(wide, [0, 1, 3, 2])


def _patches(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """ExtractImagePatches of images of a fixed size: a strided slice for each place in a patch, side by side."""
    x = inputs[0]
    (_, high, wide, _), strides, rates = (operation.get_attr(name) for name in ("ksizes", "strides", "rates"))
    there, wanted = x.shape.as_list()[1:3], operation.outputs[0].shape.as_list()[1:3]
    if None in there or None in wanted:
        return None
    ends = [(size - 1) * stride + 1 for size, stride in zip(wanted, strides[1:3], strict=True)]
    spans = [(k - 1) * rate + end for k, rate, end in zip((high, wide), rates[1:3], ends, strict=True)]
    missing = [max(span - size, 0) for span, size in zip(spans, there, strict=True)]
    x = tf.pad(x, [[0, 0], *([more // 2, more - more // 2] for more in missing), [0, 0]])
    return [
        tf.concat(
            [
                x[
                    :,
                    r * rates[1] : r * rates[1] + ends[0] : strides[1],
                    c * rates[2] : c * rates[2] + ends[1] : strides[2],
                ]
                for r in range(high)
                for c in range(wide)
            ],
            axis=-1,
        )
    ]


def _hue_of(x: Any) -> Any:
    """RGB to HSV, by the largest and the smallest of the three, as TensorFlow's kernel does."""
    red, green, blue = tf.split(x, 3, axis=-1)
    value = tf.reduce_max(x, axis=-1, keepdims=True)
    span = value - tf.reduce_min(x, axis=-1, keepdims=True)
    saturation = tf.where(value >= _TINY, span / tf.maximum(value, _TINY), 0.0)
    part = 1.0 / (6.0 * tf.maximum(span, _TINY))
    turn = tf.where(tf.equal(green, value), part * (blue - red) + 2.0 / 6.0, part * (red - green) + 4.0 / 6.0)
    turn = tf.where(tf.equal(red, value), part * (green - blue), turn)
    hue = tf.where(span >= _TINY, turn, 0.0)
    return tf.concat([tf.where(hue < 0.0, hue + 1.0, hue), saturation, value], axis=-1)


def _colour_of(x: Any) -> Any:
    """HSV to RGB."""
    hue, saturation, value = tf.split(x, 3, axis=-1)
    return (1.0 - saturation + saturation * _full_colour_of(hue)) * value


def _full_colour_of(hue: Any) -> Any:
    turn = 6.0 * hue
    parts = [tf.abs(turn - 3.0) - 1.0, 2.0 - tf.abs(turn - 2.0), 2.0 - tf.abs(turn - 4.0)]
    return tf.concat([tf.clip_by_value(part, 0.0, 1.0) for part in parts], axis=-1)


def _saturated(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """AdjustSaturation: multiply the saturation, within 0 and 1."""
    image, factor = inputs
    if image.dtype != tf.float32:
        return None
    hue, saturation, value = tf.split(_hue_of(image), 3, axis=-1)
    return [_colour_of(tf.concat([hue, tf.clip_by_value(saturation * factor, 0.0, 1.0), value], axis=-1))]


def _turned(_operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """AdjustHue: turn the hue, of which 1 is a whole turn."""
    image, turn = inputs
    if image.dtype != tf.float32:
        return None
    hue = _hue_of(image)[..., :1] + turn
    least, most = (find(image, axis=-1, keepdims=True) for find in (tf.reduce_min, tf.reduce_max))
    return [least + (most - least) * _full_colour_of(hue - tf.floor(hue))]


def _area(operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    """ResizeArea: each place is the mean of the part of the image that it covers (`resize_area_op.cc`)."""
    sizes, there = known(operation.inputs[1]), operation.inputs[0].shape.as_list()[1:3]
    if sizes is None or None in there:
        return None
    aligned = operation.get_attr("align_corners")
    matrices = [_covered(n, int(size), aligned=aligned) for n, size in zip(there, sizes, strict=True)]
    return [_resized(tf.cast(inputs[0], tf.float32), *matrices)]


def _covered(there: int, wanted: int, *, aligned: bool) -> Array:
    """Return the weights [there, wanted] of one side; what a part reaches beyond the image counts as the edge."""
    scale = _F(there - 1) / _F(wanted - 1) if aligned and wanted > 1 else _F(there) / _F(wanted)
    found = np.zeros((there, wanted))
    for place in range(wanted):
        begin, end = _F(place) * scale, (_F(place) + 1) * scale
        for spot in range(int(np.floor(begin)), int(np.ceil(end))):
            share = float(min(end, _F(spot + 1))) - float(max(begin, _F(spot)))
            found[min(spot, there - 1), place] += share / scale
    return found.astype(_F)


_TINY = float(np.finfo(np.float32).tiny)
TFLITE: Rules = {
    "AdjustHue": _turned,
    "AdjustSaturation": _saturated,
    "ExtractImagePatches": _patches,
    "HSVToRGB": of_float(_colour_of),
    "RGBToHSV": of_float(_hue_of),
    "ResizeArea": _area,
    "ResizeBicubic": _bicubic,
    "ScaleAndTranslate": _scaled,
}
ONNX: Rules = TFLITE
