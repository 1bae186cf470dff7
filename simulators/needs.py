"""Needs of the programs in `benchmarks/` and `simulators/`: packages, programs, published models.

A program imports what does not come with Python in a block that names the environment it runs in, and asks for the rest
before it measures anything. What is missing ends it with exit status 2 and one line on standard error that says what to
install or to set; whoever imports it, as tests do, gets the usual exception instead:

    from simulators import needs

    with needs.imports(__name__, "runtime"):
        import numpy as np

    needs.program("wrk")
    model = needs.shared_path("models/mlperf-tiny/kws_ref_model.tflite")

The README.md of each folder names the environments. Nothing here needs a package.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

STATUS = 2
"""The exit status of a benchmark that lacks something."""
SHARED = "EDGEMM_SHARED"
"""The variable that names the folder of published models and data."""
GROUP = "benchmarks"
"""The dependency group of what benchmarks need beside edgemm's extras."""


@contextmanager
def imports(module: str, extras: str) -> Iterator[None]:
    """Import in this block what the environment with `extras` has; `module` is the importer's `__name__`."""
    try:
        yield
    except ModuleNotFoundError as err:
        package = (err.name or "").partition(".")[0]
        if module != "__main__" or not package or _is_here(package):
            raise
        _lacks_package(package, extras)


def packages(*names: str, extras: str) -> None:
    """Ask for packages that only the processes import which a benchmark starts."""
    for name in names:
        if not _is_here(name):
            _lacks_package(name, extras)


def program(name: str) -> None:
    """Ask for a program on PATH, which Debian has in a package of the same name."""
    if shutil.which(name) is None:
        _end(f"the program {name}, which is not on PATH: apt-get install {name}")


def shared_folder() -> Path:
    """Return the folder of published models and data: `EDGEMM_SHARED`, or `../shared` beside the checkout."""
    given = os.environ.get(SHARED)
    return Path(given) if given else Path(__file__).parents[2] / "shared"


def shared_path(inside: str, *, folder: Path | None = None) -> Path:
    """Return a file or folder inside of `folder`, by default the shared one, and ask for it."""
    path = (folder or shared_folder()) / inside
    if not path.exists():
        _end(f"{path}, which is not there: set {SHARED} to the folder of published models that has {inside}")
    return path


def _is_here(package: str) -> bool:
    return package in sys.modules or find_spec(package) is not None


def _lacks_package(name: str, extras: str) -> NoReturn:
    edgemm = f"'.[{extras}]'" if extras else "."
    install = f"pip install -c constraints.txt -e {edgemm} --group {GROUP}"
    _end(f"the package {name}, which this Python does not have: {install}")


def _end(lack: str) -> NoReturn:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name
    sys.stderr.write(f"error: {name} needs {lack}\n")
    raise SystemExit(STATUS)
