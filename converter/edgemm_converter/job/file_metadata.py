"""The reader of what a finished model file carries, of whichever engine it is.

    found = reader.read(Path("ssd.tflite"), "tflite")

The file is mapped, not loaded: only what is looked at costs memory.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from edgemm.errors import InputError
from edgemm_converter.job import targets
from edgemm_converter.metadata.carried import Carried
from edgemm_converter.metadata.flatbuffer import MetadataError


def read(path: Path, engine: str) -> Carried | None:
    """Return what a file carries; None where that is nothing, or nothing that is read here.

    Raises:
        InputError: the file cannot be read.
    """
    reader = targets.target_of(engine).metadata_reader()
    if reader is None:
        return None
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return reader(data)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror or err}") from err
    except MetadataError as err:
        return Carried(unread=(f"what {path} says of itself: {err}",))
