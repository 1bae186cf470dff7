"""Inference engines behind one Protocol: load a variant's model file, run it in the served signature.

    model = engines.load(variant, manifest.signature, source.read(variant.blob))
    outputs = model.run({"image": image})

Whatever the file's own tensors are, a `LoadedModel` takes and returns the names, dtypes and shapes of the signature.
"""

from edgemm_runtime.engines.interface import LoadedModel
from edgemm_runtime.engines.opening import load
from edgemm_runtime.installed import available

__all__ = ["LoadedModel", "available", "load"]
