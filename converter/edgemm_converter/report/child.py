"""The child process that compares the layers of variants with those of the float file.

It is run as `python -m edgemm_converter.report.child FOLDER`, and imports no TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from edgemm_converter.children import array_files, childside, samples
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import LayerFacts, LayersRequest, Parted
from edgemm_converter.formats import layers

_CANNOT = (RuntimeError, ValueError)


def answer(request: LayersRequest, folder: Path, progress: Progress) -> Parted:
    """Compare the layers of each variant with the float file's; a variant that LiteRT cannot watch has none."""
    progress("comparing layers")
    floats = (folder / request.floats.file).read_bytes()
    details = Interpreter(model_content=floats).get_signature_runner().get_input_details()
    keys = {str(detail["name"]): key for key, detail in details.items()}
    given = array_files.load(request.set.inputs, folder)
    chosen = samples.golden_runs(request.set.runs)
    inputs = {keys[t.tensor]: given[t.name][chosen] for t in request.floats.inputs}
    found: dict[str, tuple[LayerFacts, ...]] = {}
    for variant, file in request.files.items():
        try:
            errors = layers.errors(floats, (folder / file).read_bytes(), inputs)
        except _CANNOT:
            errors = ()
        found[variant] = tuple(LayerFacts(name=e.layer.name, error=e.error, own=e.own) for e in errors)
    return Parted(layers=found)


if __name__ == "__main__":
    childside.serve(LayersRequest, answer)
