"""The float TFLite file of a conversion, and variants that are made of it where the source is not loaded.

Needs LiteRT and the quantizer, and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from ai_edge_litert.interpreter import Interpreter

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Signature, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm_converter.children import array_files
from edgemm_converter.children.protocol import ExportedVariant, KnownUnits, SampleSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import quantization
from edgemm_converter.formats import tflite_file
from edgemm_converter.judging.assembly import Measured
from edgemm_runtime import engines


class FloatFile:
    """The float file `exported` in `folder`; its tensors go by the names of the served `signature`."""

    def __init__(self, exported: ExportedVariant, folder: Path, signature: Signature) -> None:
        self.data = (folder / exported.file).read_bytes()
        self._exported, self._folder, self._signature = exported, folder, signature

    def inputs(self, given: SampleSet) -> dict[str, Array]:
        """Return the inputs of a set by their names in the file's signature."""
        ids = self._ids(Interpreter(model_content=self.data).get_signature_runner().get_input_details(), "inputs")
        return {ids[name]: array for name, array in array_files.load(given.inputs, self._folder).items()}

    def quantized(
        self, precision: Precision, *, calibration: Mapping[str, Array] | None, float_layers: Collection[str] = ()
    ) -> bytes:
        """Return the file in another precision; see `quantization.quantize`.

        Raises:
            ConversionError: it cannot be made.
        """
        file = quantization.quantize(self.data, precision, calibration=calibration, float_layers=float_layers)
        quantization.check_weights(file, precision)
        return file

    def described(self, file: bytes, precision: Precision, *, float_layers: tuple[str, ...] = ()) -> ExportedVariant:
        """Describe a file that was made of this one by the names of the signature, as this one is."""
        ours = Interpreter(model_content=file).get_signature_runner()
        theirs = Interpreter(model_content=self.data).get_signature_runner()

        def side(name: str) -> tuple[VariantTensor, ...]:
            ids = self._ids(getattr(theirs, f"get_{name[:-1]}_details")(), name)
            details = getattr(ours, f"get_{name[:-1]}_details")()
            return tuple(tflite_file.tensor(tensor, details[key]) for tensor, key in ids.items())

        return ExportedVariant(
            id=f"{Engine.TFLITE}:{precision}", file=f"auto-{sha256(file)[:16]}.model",
            minimum_engine=tflite_file.minimum_engine(file), inputs=side("inputs"), outputs=side("outputs"),
            float_layers=float_layers,
        )  # fmt: skip

    def variant(self, exported: ExportedVariant, precision: Precision, file: bytes) -> Variant:
        """Return a file's entry in a manifest."""
        return Variant(
            id=exported.id, engine=Engine.TFLITE, precision=precision, minimum_engine=exported.minimum_engine,
            blob=sha256(file), inputs=exported.inputs, outputs=exported.outputs,
            float_layers=exported.float_layers or msgspec.UNSET,
        )  # fmt: skip

    def measured(
        self, given: SampleSet, variant: Variant, model: engines.LoadedModel, units: Mapping[str, KnownUnits]
    ) -> Measured:
        """Run a variant on a sample set."""
        inputs = array_files.load(given.inputs, self._folder)
        outputs = array_files.answers(model.run, inputs)
        return Measured(
            given, inputs, array_files.load(given.outputs, self._folder), {variant.id: outputs},
            moved=array_files.load(given.moved, self._folder), units=units,
        )  # fmt: skip

    def load(self, variant: Variant, file: bytes) -> engines.LoadedModel:
        """Load a file in its engine.

        Raises:
            EngineError: it does not run.
        """
        return engines.load(variant, self._signature, file)

    def _ids(self, details: Mapping[str, Mapping[str, object]], side: str) -> dict[str, str]:
        """Name of each tensor → its key in the file's signature."""
        keys = {str(detail["name"]): key for key, detail in details.items()}
        return {t.name: keys[t.tensor] for t in getattr(self._exported, side)}
