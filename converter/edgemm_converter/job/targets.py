"""The targets of a conversion: one table of the engines that models are converted for, and how their files are made.

    target_of("tflite").exporter(model, calibration).make(Precision.INT8).data

* What makes, reads or compares files is named and imported when it is used: most of it needs TensorFlow or an engine.
* Another installed package adds a target by an entry point in the group `edgemm.targets`, named after its engine, whose
  value is a `Target`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from edgemm import plugins
from edgemm.bundle.engine_facts import Engine, facts_of
from edgemm.bundle.manifest import Precision, Signature, VariantTensor
from edgemm.errors import ConversionError, InputError

if TYPE_CHECKING:
    from mmap import mmap

    from edgemm_converter.children.samples import InputSet
    from edgemm_converter.data.arrays import Array
    from edgemm_converter.metadata.carried import Carried

GROUP = "edgemm.targets"
HEAD_BYTES = 16
"""How much of a file tells what it is."""
_ONNX_VERSION, _MAX_IR_VERSION = b"\x08", 64


@dataclass(frozen=True)
class MadeFile:
    """A model file, the oldest engine that runs it, and its own tensors under the signature's names."""

    data: bytes
    minimum_engine: str
    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]
    layers: Mapping[str, str] = field(default_factory=dict)
    """The layer of the source of each operation, by the file's name of the operation, where names tell."""


@dataclass(frozen=True)
class FinishedFile:
    """What a finished model file says of itself."""

    precision: Precision
    minimum_engine: str
    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]
    bounded: bool = True
    """Whether integers of its inputs may have to stay in a range that the file does not tell: as indices of a table,
    which not every engine looks at before it reads, or as divisors."""

    state: tuple[str, ...] = ()
    """What in it keeps state between inferences, in words. ONNX has no such thing."""

    guarded: bytes | None = None
    """The file with guards around what would stop a process for some values of its inputs; None where it needs none."""

    notes: tuple[str, ...] = ()
    """What the user should know of it."""

    varying: Mapping[str, str] = field(default_factory=dict)
    """Outputs whose length depends on the data, each with the operation that it comes from."""


class LoadedSource(Protocol):
    """A loaded source model: the `SourceFunction` of `edgemm_converter.sources`, which is above this folder."""

    @property
    def signature(self) -> Signature:
        """What it serves."""


class Exporter(Protocol):
    """Makes the files of one source for one engine."""

    def make(self, precision: Precision) -> MadeFile:
        """Return the file of one variant.

        Raises:
            ConversionError: it cannot be made.
        """


class Reader(Protocol):
    """Reads finished files."""

    def __call__(self, path: Path, data: bytes, *, signature: str | None) -> FinishedFile:
        """Describe the file in `data`, by one of its signatures if it has any.

        Raises:
            InputError: it is damaged, or has no such signature.
        """


LayerValues: TypeAlias = "Callable[[bytes, LoadedSource, Mapping[str, Array]], list[Array]]"
MetadataReader: TypeAlias = "Callable[[bytes | mmap], Carried | None]"


@dataclass(frozen=True)
class Target:
    """How files for one engine are made, told, read and compared; `module:name` where that needs libraries."""

    engine: str
    precisions: tuple[Precision, ...]
    """In the order in which a device should prefer them: the smallest and fastest first."""

    export: str
    """Takes the source and the calibration data, if any, and returns an `Exporter`. Runs beside TensorFlow."""

    layers: str | None = None
    """`LayerValues`: all that a file computes of a source's inputs at batch 1, to find where the two part."""

    read: str | None = None
    """A `Reader`; None where finished files are not taken. Runs without TensorFlow, as all that follows."""

    is_file: Callable[[bytes], bool] | None = None
    """Tells by the first bytes of a file whether it is a finished one."""

    float_operations: str | None = None
    """Takes the file of a variant of integers; returns the operations in it that stay float."""

    operation_layer: str | None = None
    """Takes a file and the position of an operation in it; returns the layer that it comes from, "" where unknown."""

    work: str | None = None
    """Takes a file; returns about how many multiplications an inference takes."""

    metadata: str | None = None
    """Takes a finished file's bytes, mapped; returns what it carries beside its graph, if anything. It trusts nothing
    and runs in the user's process."""

    packages: tuple[str, ...] = ()
    """What must be importable, by the names of the packages."""

    libraries: tuple[str, ...] = ()
    """Distributions whose versions are noted in a bundle, since its bytes follow from them."""

    def exporter(self, model: LoadedSource, calibration: InputSet | None) -> Exporter:
        """Return what makes the files of a source."""
        return cast("Exporter", pkgutil.resolve_name(self.export)(model, calibration))

    def layer_values(self) -> LayerValues:
        """Return what tells all values that a file computes.

        Raises:
            ConversionError: this engine does not tell.
        """
        if self.layers is None:
            raise ConversionError(f"the layers of {self.engine} files cannot be watched")
        return cast("LayerValues", pkgutil.resolve_name(self.layers))

    def reader(self) -> Reader:
        """Return what reads finished files.

        Raises:
            InputError: they are not taken.
        """
        if self.read is None:
            raise InputError(f"finished {self.engine} files are not taken: give the model that it was made from")
        return cast("Reader", pkgutil.resolve_name(self.read))

    def work_of(self, file: bytes) -> int:
        """Return about how many multiplications an inference takes; 0 where this engine's files do not tell."""
        return int(pkgutil.resolve_name(self.work)(file)) if self.work is not None else 0

    def layer_of(self, file: bytes, index: int | None) -> str:
        """Return the layer of the operation at a position of a file; "" where this engine's files do not tell."""
        if self.operation_layer is None or index is None:
            return ""
        return str(pkgutil.resolve_name(self.operation_layer)(file, index))

    def metadata_reader(self) -> MetadataReader | None:
        """Return what reads what finished files carry; None where nothing does."""
        return cast("MetadataReader", pkgutil.resolve_name(self.metadata)) if self.metadata is not None else None

    def floats_in(self, file: bytes) -> tuple[str, ...] | None:
        """Return the operations of a file that stay float; None where this engine's files do not tell."""
        found = self.float_operations and pkgutil.resolve_name(self.float_operations)(file)
        return tuple(found) if found is not None else None


def _is_tflite(head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def _is_onnx(head: bytes) -> bool:
    """ONNX has no mark: its first field is number 1, ir_version, a small integer."""
    return head[:1] == _ONNX_VERSION and 0 < int.from_bytes(head[1:2]) < _MAX_IR_VERSION


_BUILT_IN: Mapping[str, Target] = MappingProxyType(
    {
        Engine.TFLITE: Target(
            engine=Engine.TFLITE,
            precisions=(
                Precision.INT8,
                Precision.INT8_DYNAMIC,
                Precision.INT16X8,
                Precision.INT8_WEIGHTS,
                Precision.INT4_WEIGHTS,
                Precision.FLOAT16,
                Precision.FLOAT32,
            ),
            export="edgemm_converter.export.tflite:TFLiteExporter",
            layers="edgemm_converter.export.tflite:layer_values",
            read="edgemm_converter.formats.tflite_file:read",
            metadata="edgemm_converter.metadata.tflite_metadata:read",
            is_file=_is_tflite,
            float_operations="edgemm_converter.formats.tflite_file:float_operations",
            operation_layer="edgemm_converter.formats.tflite_operations:layer_of",
            work="edgemm_converter.formats.tflite_file:multiplications",
            packages=("ai_edge_quantizer", "ai_edge_litert"),
            libraries=("ai-edge-litert", "ai-edge-quantizer"),
        ),
        Engine.ONNX: Target(
            engine=Engine.ONNX,
            precisions=(Precision.FLOAT32,),
            export="edgemm_converter.export.onnx:OnnxExporter",
            layers="edgemm_converter.export.onnx:layer_values",
            read="edgemm_converter.formats.onnx_file:read",
            metadata="edgemm_converter.metadata.onnx_metadata:read",
            is_file=_is_onnx,
            packages=("tf2onnx", "onnx", "onnxruntime"),
            libraries=("onnx", "onnxruntime", "tf2onnx"),
        ),
    }
)


def all_targets() -> Sequence[Target]:
    """Return all targets, edgemm's own first: in this order devices prefer the variants."""
    added = (plugins.load(GROUP, name) for name in sorted(plugins.registered(GROUP)) if name not in _BUILT_IN)
    return (*_BUILT_IN.values(), *map(_checked, added))


def target_of(engine: str) -> Target:
    """Return the target of an engine.

    Raises:
        InputError: nothing is converted for it here.
    """
    found = next((target for target in all_targets() if target.engine == engine), None)
    if found is None:
        known = ", ".join(target.engine for target in all_targets())
        raise InputError(f"target {engine!r}: expected one of {known}")
    return found


def is_finished(source_format: str) -> bool:
    """Tell whether a kind of source is a model file already: the format is then the engine's id."""
    return any(target.engine == source_format for target in all_targets())


def told_by(head: bytes) -> Target | None:
    """Return the target whose finished file begins so, if any."""
    return next((t for t in all_targets() if t.is_file is not None and t.is_file(head)), None)


def suffixes() -> tuple[str, ...]:
    """Return how finished files are usually called."""
    found = (facts_of(target.engine) for target in all_targets() if target.read is not None)
    return tuple(facts.suffix for facts in found if facts is not None)


def _checked(found: Any) -> Target:
    if not isinstance(found, Target):
        raise InputError(f"an entry of {GROUP} points to {found!r}: expected a Target")
    return found
