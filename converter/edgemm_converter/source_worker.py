"""The child process that opens a source model.

It is run as `python -m edgemm_converter.source_worker FOLDER PARENT`. It detects the kind of the source first, since
that decides what must be imported, and how: Keras 2 models need tf-keras in the place of Keras 3, and finished
`.tflite` and `.onnx` files need no TensorFlow at all.
"""

from __future__ import annotations

from pathlib import Path

from edgemm_converter import childside, dialect
from edgemm_converter.child import Progress
from edgemm_converter.protocol import FINISHED, Exported, ExportRequest


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Hand the request to the part that opens this kind of source."""
    if request.format in FINISHED:
        from edgemm_converter import finished

        return finished.export(request, folder, progress)
    if dialect.is_keras_2(Path(request.source), request.format):
        dialect.choose_keras_2()
    from edgemm_converter import export_worker

    return export_worker.export(request, folder, progress)


if __name__ == "__main__":
    childside.serve(ExportRequest, export)
