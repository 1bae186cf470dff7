"""Corruptions of images [samples, rows, columns, channels] of 0 (black) to 1 (white); lengths follow the image's size.

Noise, blur, light, geometry and broken sensors, after the families of Hendrycks and Dietterich, "Benchmarking neural
network robustness to common corruptions" (2019); severities are real numbers of 0 to 5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.corruptions.warping import affine, blurred, convolved, grid, sampled

Random = np.random.Generator


def _unit(images: Array) -> float:
    """Return the length in pixels of an eighth of the smaller side."""
    return float(min(images.shape[1:3])) / 8.0


def _signs(random: Random, count: int) -> Array:
    return np.asarray(random.choice(np.array([-1.0, 1.0]), count))


def gaussian_noise(images: Array, severity: float, random: Random) -> Array:
    """Noise of an amplifier: the same everywhere."""
    return images + random.normal(0.0, 0.10 * severity, images.shape)


def shot_noise(images: Array, severity: float, random: Random) -> Array:
    """Noise of few photons: more where it is bright."""
    if severity <= 0:
        return images
    photons = 60.0 / severity**1.7
    return np.asarray(random.poisson(np.clip(images, 0.0, 1.0) * photons) / photons)


def impulse_noise(images: Array, severity: float, random: Random) -> Array:
    """Single pixels that are black or white."""
    place, share = random.random(images.shape[:3])[..., None], 0.045 * severity
    return np.where(place < share / 2, 0.0, np.where(place > 1 - share / 2, 1.0, images))


def speckle_noise(images: Array, severity: float, random: Random) -> Array:
    """Noise in proportion to the light."""
    return images * (1 + random.normal(0.0, 0.22 * severity, images.shape))


def defocus(images: Array, severity: float, random: Random) -> Array:
    """A lens out of focus."""
    return blurred(images, 0.26 * severity * _unit(images))


def motion(images: Array, severity: float, random: Random) -> Array:
    """A camera that moves, along rows or columns."""
    length = 1 + 0.6 * severity * _unit(images)
    kernel = np.ones(int(np.ceil(length)))
    kernel[-1] = max(1e-3, length - (len(kernel) - 1))
    return convolved(images, kernel / kernel.sum(), axis=1 + int(random.integers(2)))


def pixelation(images: Array, severity: float, random: Random) -> Array:
    """A smaller image that was enlarged."""
    block = max(2, round(2 * _unit(images)))
    share, coarse = min(1.0, 0.22 * severity), max(0.0, (severity - 3) / 4)
    blocks = (1 - coarse) * _blocks(images, block) + coarse * _blocks(images, 2 * block)
    return (1 - share) * images + share * blocks


def low_contrast(images: Array, severity: float, random: Random) -> Array:
    """Everything nearer to the mean."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(mean + (images - mean) * (1 - 0.145 * severity))


def brightness(images: Array, severity: float, random: Random) -> Array:
    """Light everywhere."""
    return images + 0.085 * severity


def darkness(images: Array, severity: float, random: Random) -> Array:
    """Less light."""
    return images * (1 - 0.165 * severity)


def gamma(images: Array, severity: float, random: Random) -> Array:
    """Another curve of brightness."""
    return np.clip(images, 0.0, 1.0) ** (1 + 0.7 * severity)


def fog(images: Array, severity: float, random: Random) -> Array:
    """Light in clouds."""
    cloud = blurred(random.random((*images.shape[:3], 1)), 2 * _unit(images))
    cloud = cloud - cloud.min(axis=(1, 2), keepdims=True)
    cloud = cloud / (cloud.max(axis=(1, 2), keepdims=True) + 1e-9)
    return np.asarray(images * (1 - 0.07 * severity) + 0.135 * severity * cloud)


def few_levels(images: Array, severity: float, random: Random) -> Array:
    """Brightness in steps."""
    levels = max(1.0, 16.0 / 2.0**severity)
    return np.asarray(np.round(images * levels) / levels)


def rotation(images: Array, severity: float, random: Random) -> Array:
    """A camera that is tilted, to either side."""
    angle = np.deg2rad(5 * severity) * _signs(random, len(images))
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=-1)
    return affine(images, turn.reshape(-1, 2, 2))


def shift(images: Array, severity: float, random: Random) -> Array:
    """A camera that looks beside the thing."""
    sides = np.stack([_signs(random, len(images)), _signs(random, len(images))], axis=-1)
    return affine(images, np.eye(2), moved=sides * 0.15 * severity * _unit(images))


def farther(images: Array, severity: float, random: Random) -> Array:
    """A thing that is farther away."""
    return affine(images, np.eye(2) * (1 + 0.06 * severity))


def nearer(images: Array, severity: float, random: Random) -> Array:
    """A thing that is nearer."""
    return affine(images, np.eye(2) / (1 + 0.07 * severity))


def shear(images: Array, severity: float, random: Random) -> Array:
    """A slanted view."""
    return affine(images, np.array([[1.0, 0.0], [0.10 * severity, 1.0]]))


def waves(images: Array, severity: float, random: Random) -> Array:
    """Glass or water before the lens: every place moved a little."""
    unit, (rows, columns) = _unit(images), grid(images)
    moves = [
        blurred(random.normal(0.0, 1.0, (*images.shape[:3], 1)), 1.3 * unit)[..., 0] * 0.55 * severity * unit**2
        for _ in range(2)
    ]
    return sampled(images, rows + moves[0], columns + moves[1])


def occlusion(images: Array, severity: float, random: Random) -> Array:
    """A dark square before the thing."""
    side = 0.75 * severity * _unit(images)
    whole = int(np.ceil(side))
    if not whole:
        return images
    rows, columns = grid(images)
    top, left = (
        random.integers(0, size + 1 - min(whole, size), len(images))[:, None, None] for size in images.shape[1:3]
    )
    hidden = (rows >= top) & (rows < top + whole) & (columns >= left) & (columns < left + whole)
    return np.where(hidden[..., None], images * (1 - min(1.0, side / whole)), images)


def dead_rows(images: Array, severity: float, random: Random) -> Array:
    """Rows of the sensor that are black."""
    return _lines(images, 0.6 * severity * _unit(images), axis=1, value=0.0, random=random)


def stuck_columns(images: Array, severity: float, random: Random) -> Array:
    """Columns of the sensor that are bright."""
    return _lines(images, 0.5 * severity * _unit(images), axis=2, value=0.8, random=random)


def vignette(images: Array, severity: float, random: Random) -> Array:
    """Dark corners."""
    rows, columns = grid(images)
    height, width = images.shape[1:3]
    away = np.hypot((rows - (height - 1) / 2) / (height / 2), (columns - (width - 1) / 2) / (width / 2)) / 1.24
    return np.asarray(images * np.clip(1 - 0.3 * severity * away[..., None] ** 1.5, 0.0, 1.0))


def side_light(images: Array, severity: float, random: Random) -> Array:
    """Light from one side."""
    return images + 0.115 * severity * np.linspace(0.0, 1.0, images.shape[2])[None, None, :, None]


FAMILIES: dict[str, Callable[[Array, float, Random], Array]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        gaussian_noise, shot_noise, impulse_noise, speckle_noise, defocus, motion, pixelation, low_contrast, brightness,
        darkness, gamma, fog, few_levels, rotation, shift, farther, nearer, shear, waves, occlusion, dead_rows,
        stuck_columns, vignette, side_light,
    )
}  # fmt: skip


def _blocks(images: Array, size: int) -> Array:
    """Return images whose squares of `size` pixels are their mean."""
    count, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)), mode="edge")
    rows, columns = padded.shape[1] // size, padded.shape[2] // size
    means = padded.reshape(count, rows, size, columns, size, channels).mean(axis=(2, 4))
    return np.asarray(means.repeat(size, axis=1).repeat(size, axis=2)[:, :height, :width])


def _lines(images: Array, count: float, *, axis: int, value: float, random: Random) -> Array:
    """Return images of which `count` rows or columns, the same of all, have one value; the last one in part."""
    found, order = images.copy(), random.permutation(images.shape[axis])
    for number, line in enumerate(order[: int(np.ceil(count))]):
        share = min(1.0, count - number)
        places: list[slice | int] = [slice(None)] * 4
        places[axis] = int(line)
        found[tuple(places)] = found[tuple(places)] * (1 - share) + value * share
    return found
