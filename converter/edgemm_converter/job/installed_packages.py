"""The check that the converter's libraries are installed, made before a child process needs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from edgemm.errors import MissingExtraError
from edgemm_converter.job.targets import all_targets

EXTRA = "converter"
PACKAGES = (
    "tensorflow",
    "tf_keras",
    "h5py",
    *(package for target in all_targets() for package in target.packages),
    "PIL",
    "jinja2",
)


def require(packages: Iterable[str] = PACKAGES) -> None:
    """Check that all packages can be imported, without importing them.

    Raises:
        MissingExtraError: one cannot.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(EXTRA, missing=f"the Python package {package}")
