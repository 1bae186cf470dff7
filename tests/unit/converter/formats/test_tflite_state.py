"""What keeps state in a TFLite file, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.formats import tflite_file, tflite_state
from simulators import stateful
from simulators.models import Dense, model_file


def state(data: bytes) -> tuple[str, ...]:
    return tflite_state.of(schema.ModelT.InitFromPackedBuf(data, 0), signature=None)


def test_a_resource_variable_that_is_written_is_state() -> None:
    assert state(stateful.with_resource_variable()) == ("the resource variable 'state'",)


def test_one_that_only_its_initialization_writes_is_a_constant() -> None:
    assert state(stateful.with_resource_variable(written=False)) == ()


def test_a_tensor_that_a_kernel_updates_is_state() -> None:
    assert state(stateful.with_variable_tensor()) == ("the variable tensor 'state' of SVDF",)


def test_what_an_operation_of_another_kind_calls_counts_whatever_it_gives() -> None:
    """Of a composite operation it is not known which of its values an output needs."""
    model = schema.ModelT.InitFromPackedBuf(stateful.with_resource_variable(), 0)
    main, initialization = model.subgraphs
    main.operators[0].builtinOptions.initSubgraphIndex = 2
    code = schema.BuiltinOperator.STABLEHLO_COMPOSITE
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=127, builtinCode=code))
    call = schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1, inputs=[0], outputs=[1],
        builtinOptions2=schema.StableHLOCompositeOptionsT(decompositionSubgraphIndex=1),
    )  # fmt: skip
    tensors = [schema.TensorT(name=name, shape=[1, 4]) for name in (b"x", b"y")]
    caller = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[call])
    model.subgraphs = [caller, main, initialization]
    assert tflite_state.of(model, signature=None) == ("the resource variable 'state'",)


@pytest.mark.parametrize("variant", ["tflite:float32", "tflite:int8"])
def test_weights_are_none(variant: str, tmp_path: Path) -> None:
    data = model_file(Dense.random(0), variant)
    assert state(data) == ()
    assert tflite_file.read(tmp_path / "a.tflite", data, signature=None).state == ()


@pytest.mark.parametrize("name", ["ad01_fp32", "kws_ref_model", "pretrainedResnet_quant", "str_ww_ref_model"])
def test_published_files_keep_none(shared: Path, name: str) -> None:
    assert state((shared / "models" / "mlperf-tiny" / f"{name}.tflite").read_bytes()) == ()
