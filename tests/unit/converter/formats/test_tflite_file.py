"""What a `.tflite` file is: its precision, its operations, and what it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgemm.bundle.manifest import Precision
from edgemm.errors import InputError
from edgemm_converter.formats import tflite_file
from simulators import tflite

KERNEL, BIAS = np.eye(4, 3, dtype=np.float32), np.zeros(3, np.float32)
INT8 = tflite.dense_int8(KERNEL, BIAS, into=tflite.Affine(0.1), out=tflite.Affine(0.1))
FLOAT = tflite.dense_float32(KERNEL, BIAS)
Change = Callable[[Any], None]


def changed(data: bytes, change: Change) -> bytes:
    flat = schema.ModelT.InitFromPackedBuf(data, 0)
    change(flat)
    builder = flatbuffers.Builder()
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def precision_of(data: bytes) -> Precision:
    return tflite_file._precision(schema.ModelT.InitFromPackedBuf(data, 0))


def state_of_16_bits(flat: Any) -> None:
    """Add what an int8 LSTM keeps between steps."""
    quantization = schema.QuantizationParametersT(scale=[0.1], zeroPoint=[0])
    graph = flat.subgraphs[0]
    graph.tensors.append(
        schema.TensorT(shape=[1, 3], type=schema.TensorType.INT16, buffer=0, name="cell", quantization=quantization)
    )
    operation = graph.operators[0]
    operation.inputs = [*map(int, operation.inputs), len(graph.tensors) - 1]


def activations_of_16_bits(flat: Any) -> None:
    for tensor in flat.subgraphs[0].tensors:
        if tensor.name in (tflite.INPUT.encode(), tflite.OUTPUT.encode()):
            tensor.type = schema.TensorType.INT16


def test_one_tensor_of_16_bits_does_not_make_a_file_int16x8() -> None:
    assert precision_of(INT8) is Precision.INT8
    assert precision_of(changed(INT8, state_of_16_bits)) is Precision.INT8
    assert precision_of(changed(FLOAT, state_of_16_bits)) is Precision.FLOAT32
    assert precision_of(changed(INT8, activations_of_16_bits)) is Precision.INT16X8


def test_operations_of_files_from_before_schema_3a_have_their_names() -> None:
    def old(flat: Any) -> None:
        flat.operatorCodes[0].builtinCode = 0

    def new(flat: Any) -> None:
        flat.operatorCodes[0].deprecatedBuiltinCode, flat.operatorCodes[0].builtinCode = (
            127,
            schema.BuiltinOperator.GELU,
        )

    def custom(flat: Any) -> None:
        code = flat.operatorCodes[0]
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "TFLite_Detection_PostProcess"

    expected = {old: "FULLY_CONNECTED", new: "GELU", custom: "TFLite_Detection_PostProcess"}
    for change, kind in expected.items():
        assert [text.split(" at ")[0] for text in tflite_file.float_operations(changed(FLOAT, change))] == [kind]


def test_a_published_file_from_before_schema_3a(shared: Path) -> None:
    file = shared / "models" / "task-library" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    [found] = {text.split(" at ")[0] for text in tflite_file.float_operations(file.read_bytes())}
    assert found == "TFLite_Detection_PostProcess"


def test_a_file_that_was_compiled_for_the_edge_tpu_names_the_one_to_give(tmp_path: Path) -> None:
    def compiled(flat: Any) -> None:
        code = flat.operatorCodes[0]
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "edgetpu-custom-op"

    path = tmp_path / "ssd_edgetpu.tflite"
    with pytest.raises(InputError, match=r"compiled for the Edge TPU .* give ssd.tflite that edgetpu_compiler"):
        tflite_file.read(path, changed(INT8, compiled), signature=None)


def custom(name: str) -> Change:
    def change(flat: Any) -> None:
        code = flat.operatorCodes[0]
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name

    return change


def unknown(flat: Any) -> None:
    flat.operatorCodes[0].deprecatedBuiltinCode, flat.operatorCodes[0].builtinCode = 127, 5000


def later_version(flat: Any) -> None:
    flat.operatorCodes[0].version = 99


def later_schema(flat: Any) -> None:
    flat.version = 99


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (custom("FlexInv"), r"custom operations \(FlexInv\); those that begin with Flex are TensorFlow's own: convert"),
        (custom("My\x1b[31mOp"), r"custom operations \(My.\[31mOp\): convert the model with TFLite's builtin"),
        (unknown, r"needs a newer LiteRT \(operation 5000 is newer than it\): update ai-edge-litert"),
        (later_version, "needs a newer LiteRT"),
        (later_schema, "needs a newer LiteRT"),
    ],
)
def test_what_litert_does_not_have_is_not_called_damaged(change: Change, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        tflite_file.read(tmp_path / "f.tflite", changed(FLOAT, change), signature=None)


def test_a_signature_of_another_graph_is_refused_by_name(tmp_path: Path) -> None:
    def two(flat: Any) -> None:
        flat.subgraphs.append(flat.subgraphs[0])
        flat.signatureDefs = []
        for index, name in enumerate(("alpha", "beta")):
            into, out = (schema.TensorMapT(n, int(i)) for n, [i] in zip("xy", _sides(flat), strict=True))
            flat.signatureDefs.append(schema.SignatureDefT([into], [out], name, index))

    def _sides(flat: Any) -> Any:
        return flat.subgraphs[0].inputs, flat.subgraphs[0].outputs

    file = changed(FLOAT, two)
    assert tflite_file.read(tmp_path / "f.tflite", file, signature="alpha").inputs
    with pytest.raises(InputError, match=r"signature 'beta' is of graph 1 .* \(signature 'alpha'\): convert that"):
        tflite_file.read(tmp_path / "f.tflite", file, signature="beta")
