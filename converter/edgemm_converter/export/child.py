"""The child process that opens a source model.

It is run as `python -m edgemm_converter.export.child FOLDER`. It detects the kind of the source first, since
that decides what must be imported, and how: Keras 2 models need tf-keras in the place of Keras 3, and finished
`.tflite` and `.onnx` files need no TensorFlow at all, and neither do estimators and exported programs of PyTorch.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgemm_converter.children import childside
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import ESTIMATORS, Exported, ExportRequest, SourceFormat
from edgemm_converter.job import keras_version, targets


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Hand the request to the part that opens this kind of source."""
    if targets.is_finished(request.format):
        from edgemm_converter.export import finished

        return finished.export(request, folder, progress)
    if request.format in ESTIMATORS:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # a few rows at a time: more threads wait for one another
        from edgemm_converter.export import estimators

        return estimators.export(request, folder, progress)
    if request.format == SourceFormat.PROGRAM:
        from edgemm_converter.export import programs

        return programs.export(request, folder, progress)
    if keras_version.is_keras_2(Path(request.source), request.format):
        keras_version.choose_keras_2()
    from edgemm_converter.export import export as export_worker

    return export_worker.export(request, folder, progress)


if __name__ == "__main__":
    childside.serve(ExportRequest, export)
