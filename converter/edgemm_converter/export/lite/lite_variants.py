"""The TFLite variants of an estimator, made of its ONNX file in single precision, in the child process `export.child`.

Integers and half precision are for what adds and multiplies alone, linear models and perceptrons: a threshold of a tree
that is rounded sends rows another way. Needs LiteRT, for other precisions than float32 the quantizer, no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Signature, TensorSpec, VariantTensor
from edgemm.errors import ConversionError, MissingExtraError
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import ExportedVariant, ExportRequest
from edgemm_converter.job import installed_packages

Quantize = Callable[[bytes, Precision], bytes]


@dataclass
class LiteVariants:
    """The variants that could be made, and why the others could not."""

    made: list[ExportedVariant] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def of(
    request: ExportRequest,
    single: Callable[[], bytes],
    signature: Signature,
    *,
    quantize: Quantize,
    folder: Path,
    progress: Progress,
) -> LiteVariants:
    """Return the TFLite variants that are asked for.

    `single` makes the ONNX file that they are made of, `quantize` a float32 TFLite file one of another precision.

    Raises:
        ConversionError: one that was asked for by name cannot be made.
        MissingExtraError: likewise, for want of LiteRT.
    """
    found, maker = LiteVariants(), _Maker(single, signature, quantize)
    for variant in (one for one in request.variants if one.startswith(f"{Engine.TFLITE}:")):
        progress(f"converting to {variant}")
        try:
            found.made.append(maker.made(variant, folder))
        except (ConversionError, MissingExtraError) as err:
            if variant in request.required:
                raise
            found.left_out[variant] = str(err)
    return found


@dataclass
class _Maker:
    single: Callable[[], bytes]
    signature: Signature
    quantize: Quantize
    floats: bytes = b""
    compares: bool = False

    def made(self, variant: str, folder: Path) -> ExportedVariant:
        """Write the file of one variant.

        Raises:
            ConversionError: it cannot be made.
            MissingExtraError: LiteRT is not installed.
        """
        precision = Precision(variant.partition(":")[2])
        installed_packages.require(installed_packages.LITERT, extra="runtime")
        if not self.floats:
            from edgemm_converter.estimators.lite import lite_file

            written = lite_file.made(self.single())
            self.floats, self.compares = written.data, written.compares
        file = self.floats if precision is Precision.FLOAT32 else self._quantized(precision)
        name = f"{variant.replace(':', '-')}.model"
        (folder / name).write_bytes(file)
        return _described(variant, name, file, self.signature)

    def _quantized(self, precision: Precision) -> bytes:
        if self.compares:
            raise ConversionError(
                f"TFLite {precision}: the model tells rows from one another by comparing numbers, as trees do, and "
                f"{precision} would move these: float32 alone"
            )
        file = self.quantize(self.floats, precision)
        if not file:
            raise ConversionError(f"TFLite {precision}: the quantizer gave an empty file; leave this precision out")
        return file


def _described(variant: str, name: str, file: bytes, signature: Signature) -> ExportedVariant:
    """Describe a file, whose tensors are found by the names of the signature."""
    from ai_edge_litert.interpreter import Interpreter

    from edgemm_converter.formats import tflite_file

    runner = Interpreter(model_content=file).get_signature_runner()

    def side(specs: Sequence[TensorSpec], details: dict[str, dict[str, object]]) -> tuple[VariantTensor, ...]:
        return tuple(tflite_file.tensor(spec.name, details[spec.name]) for spec in specs)

    return ExportedVariant(
        id=variant, file=name, minimum_engine=tflite_file.minimum_engine(file),
        inputs=side(signature.inputs, runner.get_input_details()),
        outputs=side(signature.outputs, runner.get_output_details()),
    )  # fmt: skip
