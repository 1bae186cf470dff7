"""Folders of images as model inputs, made of pixels as devices do it.

Class names are the names of the folders that images lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm.bundle.manifest import Preprocessing
from edgemm.errors import BadRequestError, InputError
from edgemm_converter.data.arrays import Array
from edgemm_runtime.preprocessing import image_kinds
from edgemm_runtime.preprocessing.image import decode
from edgemm_runtime.preprocessing.image_inputs import read_file
from edgemm_runtime.tensors.npy import half_of_memory

_MOST_PIXELS = 178_000_000
"""A workstation has more memory than a device; Pillow refuses what is larger."""


@dataclass(frozen=True)
class Folder:
    """Samples [images, …] in the order of their paths, and the class of each where they lie in folders of classes."""

    samples: Array
    labels: Array | None


def read(path: Path, steps: Preprocessing, *, labels: Sequence[str] | None = None) -> Folder:
    """Read all images below a folder.

    Classes count in the order of `labels`, by default in that of their folders' names.

    Raises:
        InputError: there is none, one is damaged, sizes differ and nothing resizes them, or a folder is no label.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in image_kinds.SUFFIXES and p.is_file())
    if not files:
        raise InputError(f"{path}: expected a folder of images ({', '.join(image_kinds.SUFFIXES)}), found none in it")
    made: list[Array] = []
    for file in files:
        sample = _decode(file, steps)
        if not made:
            _check_size(path, len(files) * sample.nbytes)
        elif sample.shape != made[0].shape:
            raise InputError(
                f"{file}: expected all images of one size, {list(made[0].shape)}, found {list(sample.shape)}: "
                "declare resize in --preprocess"
            )
        made.append(sample)
    return Folder(np.stack(made), _classes(path, files, labels))


def _check_size(path: Path, needed: int) -> None:
    if needed > (most := half_of_memory()):
        raise InputError(
            f"{path}: its images take {needed / 2**30:.1f} GiB of memory as arrays, expected at most "
            f"{most / 2**30:.1f} GiB: give fewer"
        )


def _decode(path: Path, steps: Preprocessing) -> Array:
    try:
        return decode(read_file(path), steps, most_pixels=_MOST_PIXELS)
    except BadRequestError as err:
        raise InputError(f"{path}: {err}") from err


def _classes(path: Path, files: Sequence[Path], labels: Sequence[str] | None) -> Array | None:
    folders = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    if "" in folders:
        return None
    names = list(labels) if labels else sorted(set(folders))
    if unknown := sorted(set(folders) - set(names)):
        raise InputError(f"{path}: folder {unknown[0]!r} is none of the labels: {', '.join(names)}")
    return np.array([names.index(folder) for folder in folders], np.int64)
