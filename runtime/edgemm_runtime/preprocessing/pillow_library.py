"""Pillow, as this process uses it: loaded with the decoders of six kinds, and silent.

Each damaged file makes Pillow warn, and libtiff write to stderr, in other words than the last one. A client could so
fill a device's journal, and its memory, since Python remembers every warning. What is wrong with a file is told to who
sent it.
"""

from __future__ import annotations

import ctypes
import logging
import re
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

from edgemm.errors import BadRequestError

_MODULES = re.compile(r"PIL\.")
_MAPPED = Path("/proc/self/maps")


def require() -> None:
    """Load Pillow and its decoders of these kinds, not the forty others.

    Raises:
        BadRequestError: it is not installed.
    """
    try:
        from PIL import (  # noqa: F401 - each makes its kind known
            BmpImagePlugin,
            GifImagePlugin,
            Image,
            ImageOps,
            JpegImagePlugin,
            MpoImagePlugin,
            PngImagePlugin,
            TiffImagePlugin,
            WebPImagePlugin,
        )
    except ImportError as err:
        raise BadRequestError(
            "images are decoded by Pillow, which is not installed on this device: pip install 'edgemm[images]', "
            "or send numbers"
        ) from err
    Image.preinit()
    if all(told[0] != "ignore" or told[3] != _MODULES for told in warnings.filters):
        warnings.filterwarnings("ignore", module=_MODULES.pattern)
    _silence()


def load_early() -> None:
    """Load Pillow, if it is there, before the first image comes, which would wait for it."""
    with suppress(BadRequestError):
        require()


@cache
def _silence() -> None:
    """Keep Pillow's log and libtiff, once it is loaded, from writing of damaged files."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with suppress(OSError):
        mapped = {line.split()[-1] for line in _MAPPED.read_text().splitlines() if "libtiff" in line}
        for path in mapped:
            library = ctypes.CDLL(path)
            for setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                with suppress(AttributeError):
                    function = getattr(library, setter)
                    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
                    function(None)
