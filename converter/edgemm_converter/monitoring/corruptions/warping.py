"""Blurring, warping and resampling of images [samples, rows, columns, channels] and signals, in NumPy. Pure."""

from __future__ import annotations

import numpy as np

from edgemm_converter.data.arrays import Array

_LONG_KERNEL = 64
"""Longer ones are multiplied in the spectrum: one step of a long signal would take thousands of sums."""


def blurred(images: Array, deviation: float) -> Array:
    """Return images under a Gaussian of this deviation, in pixels; edges are continued."""
    if deviation <= 0:
        return images
    reach = max(1, int(np.ceil(3 * deviation)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    return convolved(convolved(images, kernel, axis=1), kernel, axis=2)


def convolved(values: Array, kernel: Array, *, axis: int) -> Array:
    """Return values under a kernel along one axis; edges are continued."""
    before = len(kernel) // 2
    pad = [(0, 0)] * values.ndim
    pad[axis] = (before, len(kernel) - 1 - before)
    padded, size = np.pad(values, pad, mode="edge"), values.shape[axis]
    if len(kernel) > _LONG_KERNEL:
        count, shape = padded.shape[axis], [1] * values.ndim
        spectrum = np.fft.rfft(kernel, count).conj()
        shape[axis] = len(spectrum)
        whole = np.fft.irfft(np.fft.rfft(padded, axis=axis) * spectrum.reshape(shape), count, axis=axis)
        return np.asarray(whole.take(range(size), axis=axis))
    found = np.zeros(values.shape)
    for start, weight in enumerate(kernel):
        places = [slice(None)] * values.ndim
        places[axis] = slice(start, start + size)
        found += weight * padded[tuple(places)]
    return found


def grid(images: Array) -> tuple[Array, Array]:
    """Return the row and the column of each pixel [rows, columns]."""
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]].astype(np.float64)
    return rows, columns


def affine(images: Array, matrix: Array, *, moved: Array | None = None) -> Array:
    """Return images seen through a matrix [2, 2], or one each, around their centre, and moved by (rows, columns)."""
    rows, columns = grid(images)
    middle = (images.shape[1] - 1) / 2, (images.shape[2] - 1) / 2
    away = rows - middle[0], columns - middle[1]
    each = np.broadcast_to(matrix, (len(images), 2, 2))[:, :, :, None, None]
    offset = np.zeros((len(images), 2)) if moved is None else moved
    return sampled(
        images,
        each[:, 0, 0] * away[0] + each[:, 0, 1] * away[1] + middle[0] - offset[:, 0, None, None],
        each[:, 1, 0] * away[0] + each[:, 1, 1] * away[1] + middle[1] - offset[:, 1, None, None],
    )


def sampled(images: Array, rows: Array, columns: Array) -> Array:
    """Return images at places [samples, rows, columns] between pixels, by bilinear weights; 0 outside."""
    height, width = images.shape[1:3]
    row, column = np.floor(rows), np.floor(columns)
    sample, found = np.arange(len(images))[:, None, None], np.zeros(images.shape)
    for down in (0, 1):
        for right in (0, 1):
            at = (row + down).astype(np.int64), (column + right).astype(np.int64)
            inside = (at[0] >= 0) & (at[0] < height) & (at[1] >= 0) & (at[1] < width)
            weight = (1 - np.abs(rows - at[0])) * (1 - np.abs(columns - at[1])) * inside
            found += images[sample, at[0].clip(0, height - 1), at[1].clip(0, width - 1)] * weight[..., None]
    return found


def at_times(signals: Array, times: Array) -> Array:
    """Return signals [samples, steps, channels] at times [samples, steps] between steps; the ends are continued."""
    last = signals.shape[1] - 1
    inside = np.clip(times, 0.0, last)
    before = np.minimum(np.floor(inside).astype(np.int64), max(0, last - 1))
    share = (inside - before)[..., None]
    sample = np.arange(len(signals))[:, None]
    return np.asarray(signals[sample, before] * (1 - share) + signals[sample, np.minimum(before + 1, last)] * share)
