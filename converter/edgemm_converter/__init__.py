"""The converter: turns a trained Keras model into a verified bundle, on a workstation."""

from edgemm_converter.children.child import ChildLimits
from edgemm_converter.conversion import ConversionResult, convert
from edgemm_converter.job.options import ConversionOptions

__all__ = ["ChildLimits", "ConversionOptions", "ConversionResult", "convert"]
