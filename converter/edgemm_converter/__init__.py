"""Trained Keras model → verified bundle, on a workstation."""

from edgemm_converter.child import ChildLimits
from edgemm_converter.conversion import ConversionResult, convert

__all__ = ["ChildLimits", "ConversionResult", "convert"]
