"""Models with several inputs and outputs of one shape: matched by name, whatever the order in the file."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import DType, Precision, Signature, TensorSpec, Variant, VariantTensor
from edgemm.errors import BadRequestError, EngineError
from edgemm_runtime import engines
from simulators import tflite

KERNELS = {n: np.random.default_rng(i).normal(size=(3, 3)).astype(np.float32) for i, n in enumerate("abc")}
X = {n: np.random.default_rng(9 + i).normal(size=(2, 3)).astype(np.float32) for i, n in enumerate("abc")}


def onnx_heads() -> bytes:
    """Return the same layers as `tflite.dense_heads`."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"in_{n}", f"kernel_{n}"], [f"out_{n}"]) for n in KERNELS],
        "heads",
        [info(f"in_{n}", TensorProto.FLOAT, ["batch", 3]) for n in KERNELS],
        [info(f"out_{n}", TensorProto.FLOAT, ["batch", 3]) for n in reversed(KERNELS)],
        [numpy_helper.from_array(kernel, f"kernel_{n}") for n, kernel in KERNELS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def tensors(side: str, names: str) -> tuple[VariantTensor, ...]:
    return tuple(VariantTensor(name=n, tensor=f"{side}_{n}", dtype=DType.FLOAT32, shape=(-1, 3)) for n in names)


def specs(names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=n, dtype=DType.FLOAT32, shape=(-1, 3)) for n in names)


def load(engine: Engine, *, inputs: str, outputs: str, signature: str = "abc") -> engines.LoadedModel:
    variant = Variant(
        id=f"{engine}:float32",
        engine=engine,
        precision=Precision.FLOAT32,
        minimum_engine="0.1.5.0",
        blob="0" * 64,
        inputs=tensors("in", inputs),
        outputs=tensors("out", outputs),
    )
    file = tflite.dense_heads(KERNELS) if engine == Engine.TFLITE else onnx_heads()
    return engines.load(variant, Signature(inputs=specs(inputs), outputs=specs(signature)), file)


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("abc")])
def test_any_order_gives_each_output_its_own_values(engine: Engine, order: str) -> None:
    model = load(engine, inputs=order, outputs=order[::-1])
    found = model.run(dict(reversed(X.items())))
    assert list(found) == ["a", "b", "c"]
    for name, values in found.items():
        assert np.allclose(values, X[name] @ KERNELS[name], atol=1e-5), name


@pytest.mark.parametrize("engine", list(Engine))
def test_an_input_that_the_manifest_does_not_feed_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="in_c"):
        load(engine, inputs="ab", outputs="abc")


@pytest.mark.parametrize("engine", list(Engine))
def test_inputs_of_different_batches_end_in_an_error_and_the_next_request_is_answered(engine: Engine) -> None:
    model = load(engine, inputs="abc", outputs="abc")
    with pytest.raises(BadRequestError, match="'c'"):
        model.run({**X, "c": X["c"][:, :2]})
    with pytest.raises(BadRequestError, match=r"expected one length .* found {'a': 2, 'b': 2, 'c': 1}"):
        model.run({**X, "c": X["c"][:1]})
    found = model.run(X)
    assert all(np.allclose(found[name], X[name] @ KERNELS[name], atol=1e-5) for name in X)
