"""The float TFLite file of a conversion, and the variants of other precisions that are made of it.

Needs LiteRT and the quantizer, and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from ai_edge_litert.interpreter import Interpreter

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Signature, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm.errors import ConversionError
from edgemm_converter.children import array_files
from edgemm_converter.children.protocol import ExportedVariant, KnownUnits, SampleSet
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import quantization
from edgemm_converter.formats import tflite_file
from edgemm_converter.job.targets import MadeFile
from edgemm_converter.judging.assembly import Measured
from edgemm_runtime import engines


@dataclass(frozen=True)
class FileTensors:
    """The inputs and outputs of a model file, by the signature's names."""

    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]


class NamedSource(Protocol):
    """A source whose tensors have names of their own in the signature of a TFLite file, by the served names."""

    @property
    def input_ids(self) -> Mapping[str, str]:
        """Those of inputs."""

    @property
    def output_ids(self) -> Mapping[str, str]:
        """Those of outputs."""


class FloatFileExporter:
    """Makes the files of one source; the float file, which others are made from, is made once."""

    def __init__(self, model: NamedSource, calibration: InputSet | None, convert: Callable[[], bytes]) -> None:
        self._model, self._calibration, self._convert = model, calibration, convert
        self._floats: bytes | None = None

    def make(self, precision: Precision) -> MadeFile:
        """Return the file of one variant; see `targets.Exporter`."""
        self._floats = self._floats or self._convert()
        described = describe(self._floats, self._model)
        file, tensors = self._floats, described
        if precision is not Precision.FLOAT32:
            file = quantization.quantize(self._floats, precision, calibration=self._named())
            if not file:
                raise ConversionError(f"TFLite {precision}: the quantizer gave an empty file; leave this precision out")
            tensors = describe(file, self._model)
            quantization.check_dtypes(tensors, described, precision)
            quantization.check_weights(file, precision)
        return MadeFile(file, tflite_file.minimum_engine(file), tensors.inputs, tensors.outputs)

    def _named(self) -> dict[str, Array] | None:
        """Return the calibration data by the names in the file's signature."""
        if self._calibration is None:
            return None
        return {self._model.input_ids[name]: array for name, array in self._calibration.arrays.items()}


def describe(file: bytes, model: NamedSource) -> FileTensors:
    """Return the file's own tensors, found by the names in its signature.

    Raises:
        ConversionError: its signature has not the source's tensors.
    """
    runner = Interpreter(model_content=file).get_signature_runner()
    return FileTensors(
        _tensors(model.input_ids, runner.get_input_details(), what="inputs"),
        _tensors(model.output_ids, runner.get_output_details(), what="outputs"),
    )


def _tensors(ids: Mapping[str, str], details: Mapping[str, Any], *, what: str) -> tuple[VariantTensor, ...]:
    if set(ids.values()) != set(details):
        raise ConversionError(
            f"TFLite: expected the {what} {sorted(ids.values())}, found {sorted(details)} in the file"
        )
    try:
        return tuple(tflite_file.tensor(name, details[identifier]) for name, identifier in ids.items())
    except ValueError as err:
        raise ConversionError(f"TFLite: the file cannot be served: {err}; leave this precision out") from err


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
