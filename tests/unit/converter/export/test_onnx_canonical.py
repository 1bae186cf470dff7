import random

import numpy as np
import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgemm_converter.export.onnx_canonical import canonicalize

X = np.array([[1.0, -2.0, 3.0]], np.float32)


def model(*, seed: int, deep: int = 0) -> onnx.ModelProto:
    """One graph, with a branch that reads from outside; order and inner names follow the seed."""
    rng = random.Random(seed)
    name = dict(zip(range(100), rng.sample(range(10**6), 100), strict=True))

    def n(key: int) -> str:
        return f"t{name[key]}"

    def constant(key: int, value: object) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, np.float32), n(key))

    branches = [
        helper.make_graph(
            [helper.make_node(op, [n(1), n(3)], [n(key)])], f"branch{rng.random()}", [],
            [helper.make_tensor_value_info(n(key), TensorProto.FLOAT, None)],
        )
        for op, key in (("Add", 10), ("Mul", 11))
    ]  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["x", n(2)], [n(1)]),
        helper.make_node("ReduceSum", [n(1)], [n(4)], keepdims=0),
        helper.make_node("Greater", [n(4), n(5)], [n(6)]),
        helper.make_node("If", [n(6)], [n(7)], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Tanh", [n(7)], ["out"]),
        helper.make_node("Neg", [n(7)], ["second"]),
        helper.make_node("Neg", [n(1)], [n(9)]),
    ]
    chain = [helper.make_node("Neg", [f"c{i}" if i else "x"], [f"c{i + 1}"]) for i in range(deep)]
    if deep:
        nodes[0].input[0] = f"c{deep}"
    constants = [constant(2, [2.0]), constant(3, [0.5]), constant(5, 0.0), constant(8, [9.0])]
    rng.shuffle(constants)
    if not deep:
        rng.shuffle(nodes)
    graph = helper.make_graph(
        [*chain, *nodes], f"g{seed}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["batch", 3]) for o in ("out", "second")],
        constants, doc_string=f"{seed}",
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(proto: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(a) for x in (X, -X) for a in session.run(["out", "second"], {"x": x})]


@given(st.integers(0, 10**6))
def test_order_and_inner_names_leave_no_trace(seed: int) -> None:
    one, two = model(seed=0), model(seed=seed)
    canonicalize(one)
    canonicalize(two)
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_it_still_computes_the_same_with_the_same_inputs_and_outputs() -> None:
    proto = model(seed=5, deep=3000)
    expected = answers(model(seed=5, deep=3000))
    canonicalize(proto)
    onnx.checker.check_model(proto)
    assert [v.name for v in proto.graph.input] == ["x"]
    assert all((a == b).all() for a, b in zip(answers(proto), expected, strict=True))


def test_what_no_output_needs_is_dropped() -> None:
    proto = model(seed=5)
    canonicalize(proto)
    assert [node.op_type for node in proto.graph.node].count("Neg") == 1
    assert len(proto.graph.initializer) == 3


def test_an_input_that_is_called_like_an_inner_name_keeps_it() -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["Neg_1"], ["t"]), helper.make_node("Abs", ["t"], ["Neg_2"])], "g",
        [helper.make_tensor_value_info("Neg_1", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("Neg_2", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    canonicalize(proto)
    assert [list(node.input) + list(node.output) for node in proto.graph.node] == [
        ["Neg_1", "Neg_3"],
        ["Neg_3", "Neg_2"],
    ]
