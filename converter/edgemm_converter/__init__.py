"""The converter: turns a trained model into a verified bundle, on a workstation.

Its names are imported when they are asked for: each child process of a conversion imports this package, and needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemm_converter.children.child import ChildLimits
    from edgemm_converter.conversion import ConversionResult, convert
    from edgemm_converter.job.options import ConversionOptions

__all__ = ["ChildLimits", "ConversionOptions", "ConversionResult", "convert"]
_MODULES = {
    "ChildLimits": "children.child",
    "ConversionOptions": "job.options",
    "ConversionResult": "conversion",
    "convert": "conversion",
}


def __getattr__(name: str) -> object:
    """Return a public name, from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
