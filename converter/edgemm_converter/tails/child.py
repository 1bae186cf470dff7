"""The child process that looks for a float tail.

It is run as `python -m edgemm_converter.tails.child FOLDER`. It quantizes the float TFLite file but for some layers,
runs the result in the device's engine, and keeps the first that computes all columns. Imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgemm.bundle.manifest import Precision
from edgemm.errors import ConversionError, EngineError
from edgemm_converter.children import childside
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import ExportedVariant, SetKind, TailRequest, TailResult
from edgemm_converter.export.float_file import FloatFile
from edgemm_converter.formats import layers
from edgemm_converter.formats.layers import Layer
from edgemm_converter.judging import assembly
from edgemm_converter.tails import tail_plan

_MADE = Precision.MIXED


class _NotSmallerError(ConversionError):
    """A variant is of no use beside the float one."""


class _Tails:
    """What one request asks for."""

    def __init__(self, request: TailRequest, folder: Path) -> None:
        self._request, self._folder = request, folder
        self._floats = FloatFile(request.floats, folder, request.signature)
        real = next((s for s in request.sets if s.kind is SetKind.CALIBRATION), None)
        self._calibration = self._floats.inputs(real) if real is not None else None

    def candidates(self) -> Iterator[tuple[Layer, ...]]:
        """Yield the layers that stay float."""
        tensors = [t.tensor for t in self._request.floats.outputs if t.name in self._request.outputs]
        known = layers.layers(self._floats.data)
        yield from tail_plan.tails(known, tensors)
        if self._calibration is None:
            return
        try:
            whole = self._floats.quantized(self._request.precision, calibration=self._calibration)
            found = layers.errors(self._floats.data, whole, self._calibration)
        except (ConversionError, RuntimeError, ValueError):  # LiteRT or the quantizer: no ranking
            return
        yield from tail_plan.with_harmful(known, tensors, [e.layer for e in layers.by_harm(found)])

    def names(self, floats: tuple[Layer, ...]) -> tuple[str, ...]:
        """Return what a user calls these layers; the converter gives one at an output no name of its own."""
        ends = {tensor.tensor: tensor.name for tensor in self._request.floats.outputs}
        given = [next((f"output {ends[name]!r}" for name in one.outputs if name in ends), one.name) for one in floats]
        return tuple(dict.fromkeys(given))

    def make(self, floats: tuple[Layer, ...]) -> ExportedVariant:
        """Write the variant in which these layers stay float.

        Raises:
            ConversionError: it cannot be made, is not smaller, or computes something else than the source.
            EngineError: it does not run.
        """
        file = self._floats.quantized(
            self._request.precision, calibration=self._calibration, float_layers=[layer.scope for layer in floats]
        )
        if len(file) >= len(self._floats.data):
            raise _NotSmallerError("it is not smaller than the float file")
        exported = self._floats.described(file, _MADE, float_layers=self.names(floats))
        variant = self._floats.variant(exported, _MADE, file)
        model = self._floats.load(variant, file)
        measured = [self._floats.measured(s, variant, model, self._request.units) for s in self._request.sets]
        assembly.compared([variant], measured)
        (self._folder / exported.file).write_bytes(file)
        return exported


def answer(request: TailRequest, folder: Path, progress: Progress) -> TailResult:
    """Try one float tail after the other."""
    work = _Tails(request, folder)
    tried: list[str] = []
    for floats in work.candidates():
        names = ", ".join(work.names(floats))
        progress(f"converting to {request.floats.id.partition(':')[0]}:{_MADE} with float layers {names}")
        try:
            return TailResult(variant=work.make(floats), tried=tuple(tried))
        except (ConversionError, EngineError) as err:
            tried.append(f"{names}: {str(err).partition('; no bundle was written')[0]}")
            if isinstance(err, _NotSmallerError):  # nor is one with more float layers
                break
    return TailResult(variant=None, tried=tuple(tried))


if __name__ == "__main__":
    childside.serve(TailRequest, answer)
