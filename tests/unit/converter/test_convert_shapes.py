"""Models whose shapes are out of the ordinary: converted and served as they are, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle import open_bundle
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.models.registry import ModelRegistry
from simulators.serving import activate
from simulators.v2_client import encode_request
from tests.once import once
from tests.programs import Forked
from tests.unit.converter.conftest import Conversions, Convert, Converted
from tests.unit.runtime.conftest import LIMITS, Connect, connect  # noqa: F401 - a fixture

pytestmark = pytest.mark.tensorflow

X = np.array([[1, 2, 3, 4], [1, 0, 0, 0]], np.float32)
Dims = dict[str, list[str | int]]
VARYING = "its length depends on the data (it comes from"


@pytest.fixture(scope="session")
def shaped(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.shaped_models` filled."""
    return once(tmp_path_factory, "shaped_models", lambda folder: forked.simulator("shaped_models", folder))


def answers(found: Converted, **inputs: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return what each variant answers."""
    with open_bundle(found.path) as bundle:
        signature = bundle.manifest.signature
        return {
            v.id: engines.load(v, signature, bundle.read(v.blob)).run(inputs) for v in bundle.manifest.variants
        }  # fmt: skip


def shapes(found: Converted) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for spec in found.manifest.signature.inputs}


def onnx_file(path: Path, nodes: list[onnx.NodeProto], inputs: Dims, outputs: Dims) -> Path:
    """Write a file of floats, whose constants are `W` and `R` of an RNN and numbers of NonMaxSuppression."""
    constants = {
        "W": np.eye(1, 12, dtype=np.float32).reshape(1, 4, 3), "R": 0.5 * np.eye(4, dtype=np.float32)[np.newaxis],
        "most": np.array(5), "half": np.array(0.5, np.float32), "axis": np.array([0]), "first": np.array(0),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    info, kinds = helper.make_tensor_value_info, {"kept": TensorProto.INT64, "places": TensorProto.INT64}
    graph = helper.make_graph(
        nodes, "shaped",
        [info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [info(name, kinds.get(name, TensorProto.FLOAT), shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_scalar_goes_beside_a_batch_in_every_engine_and_on_every_route(
    shaped: Path,
    converted: Convert,
    connect: Connect,  # noqa: F811 - the fixture
) -> None:
    found = converted(shaped / "scaled")
    assert shapes(found) == {"x": (-1, 4), "gain": ()}
    results = answers(found, x=X, gain=np.array(3, np.float32))
    assert set(results) == {"tflite:float32", "onnx:float32"}
    wanted = results["onnx:float32"]["y"]
    assert np.allclose(results["tflite:float32"]["y"], wanted, atol=1e-5)
    for variant in results:
        registry = ModelRegistry()
        activate(registry, found.path, variant=variant)
        client = connect(registry, limits=LIMITS)
        name = found.manifest.name
        given = {"x": X.tolist(), "gain": 3}
        plain = client.post("/predict", json={"inputs": given})
        assert np.allclose(plain.json["outputs"]["y"], wanted, atol=1e-5)
        served = client.post(f"/v1/models/{name}:predict", json={"inputs": given})
        assert np.allclose(served.json["outputs"], wanted, atol=1e-5)
        refused = client.post(f"/v1/models/{name}:predict", json={"instances": [{"x": X[0].tolist(), "gain": 3}]})
        assert refused.status_code == 400
        assert "send whole tensors as inputs" in refused.json["error"]
        for binary in (False, True):
            body, length = encode_request({"x": X, "gain": np.array(3, np.float32)}, binary=binary)
            headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
            answer = client.post(f"/v2/models/{name}/infer", data=body, headers=headers)
            assert answer.status_code == 200, answer.text


def test_a_scalar_input_of_keras_stays_one(shaped: Path, converted: Convert) -> None:
    found = converted(shaped / "tempered.keras", "--target", "onnx")
    assert shapes(found) == {"x": (-1, 4), "temperature": ()}
    cold, hot = (answers(found, x=X, temperature=np.array(t, np.float32))["onnx:float32"]["y"] for t in (0.1, 100))
    assert (cold.max(axis=1) > hot.max(axis=1)).all()


def test_a_state_of_layers_before_the_batch_is_fixed_at_one_and_told(
    shaped: Path, converted: Convert, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x, state = (rng.normal(size=(30, *shape)).astype(np.float32) for shape in ((3, 3), (2, 1, 4)))
    np.savez(tmp_path / "data.npz", x=x, state=state)
    found = converted(shaped / "recurrent", "--calibration", tmp_path / "data.npz")
    assert shapes(found) == {"x": (1, 3, 3), "state": (2, 1, 4)}
    assert [v.id for v in found.manifest.variants] == ["tflite:int8", "tflite:float32", "onnx:float32"]
    assert "axis 1 of input 'state' is the batch too" in str(found.summary["warnings"])


def test_rows_that_have_a_part_in_each_other_are_never_run_one_by_one(
    shaped: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    found = converted(shaped / "with_mean")
    assert [v.id for v in found.manifest.variants] == ["onnx:float32"]
    assert found.manifest.signature.row_by_row is False
    left_out = dict(found.summary["left_out"])["tflite:float32"]  # type: ignore[call-overload]
    assert "output 'mean' of several rows together is not that of each row alone" in left_out
    assert "--input-shape x=1,4" in left_out
    said = conversions.refused(shaped / "with_mean", "--target", "tflite", folder=tmp_path, status=1)
    assert "the first axis of 'x' is no batch" in said
    fixed = converted(shaped / "with_mean", "--input-shape", "x=1,4", "--target", "tflite")
    assert (shapes(fixed), fixed.manifest.signature.row_by_row) == ({"x": (1, 4)}, True)


def test_samples_of_a_fixed_batch_are_put_together_and_evaluated_one_by_one(
    shaped: Path, converted: Convert, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x, few = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    np.savez(tmp_path / "labelled.npz", x=x, labels=np.arange(20) % 4)
    np.save(tmp_path / "few.npy", few)
    found = converted(shaped / "eight", "--calibration", tmp_path / "few.npy", "--eval", tmp_path / "labelled.npz")
    evaluation = found.manifest.evaluation
    assert evaluation is not None
    assert evaluation.samples == 20
    parts = (x[:8], x[8:16], np.concatenate([x[16:], x[:4]]))
    whole = [answers(found, x=part)["onnx:float32"]["scores"] for part in parts]
    right = np.concatenate(whole)[:20].argmax(axis=1) == np.arange(20) % 4
    assert evaluation.source == right.mean()
    assert "3 calibration samples set the ranges" in str(found.summary["warnings"])


def test_a_state_of_zeros_is_calibration_data(shaped: Path, converted: Convert, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, state=np.zeros((40, 4), np.float32))
    found = converted(shaped / "gru.keras", "--calibration", tmp_path / "data.npz", "--target", "tflite")
    assert "input 'state' is 0 in every calibration sample: tflite:int8 takes -1 to 1 there" in str(found.summary)
    later = answers(found, x=x[:4], state=np.full((4, 4), 0.7, np.float32))
    assert np.abs(later["tflite:int8"]["y"] - later["tflite:float32"]["y"]).max() < 0.1


def test_an_input_of_no_width_is_taken(shaped: Path, converted: Convert) -> None:
    found = converted(shaped / "no_width")
    assert (answers(found, x=X, more=np.zeros((2, 0), np.float32))["onnx:float32"]["y"] == X).all()


def test_a_layer_that_needs_a_dimension_is_named_with_the_option(
    shaped: Path, conversions: Conversions, tmp_path: Path
) -> None:
    said = conversions.refused(shaped / "segmenting.keras", folder=tmp_path)
    assert "layer 'back_up' needs a dimension that is open: input 'image' of shape [any, any, any, 3]" in said
    assert "--input-shape image=1,224,224,3" in said


def test_a_tensor_that_overflows_leaves_out_integers_in_those_words(
    shaped: Path, converted: Convert, tmp_path: Path
) -> None:
    np.save(tmp_path / "data.npy", 100 * np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    found = converted(shaped / "overflowing.keras", "--calibration", tmp_path / "data.npy", "--target", "tflite")
    left_out = dict(found.summary["left_out"])["tflite:int8"]  # type: ignore[call-overload]
    assert "becomes infinite or NaN on the calibration data, so that no integers can stand for it" in left_out


def test_a_length_that_depends_on_the_data_is_refused_with_the_output(
    shaped: Path, conversions: Conversions, tmp_path: Path
) -> None:
    said = conversions.refused(shaped / "suppressed", folder=tmp_path)
    assert f"output 'kept': {VARYING} NonMaxSuppressionV3)" in said
    said = conversions.refused(shaped / "lite_places.tflite", folder=tmp_path)
    assert f"output 'places': {VARYING} WHERE)" in said


@pytest.mark.parametrize(
    ("node", "inputs", "outputs"),
    [
        (
            helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "half"], ["kept"]),
            {"boxes": [1, 20, 4], "scores": [1, 1, 20]}, {"kept": ["n", 3]},
        ),
        (helper.make_node("NonZero", ["x"], ["places"]), {"x": ["batch", 6]}, {"places": [2, "n"]}),
        (helper.make_node("Compress", ["x", "which"], ["hits"]), {"x": [6]}, {"hits": ["n"]}),
    ],
)  # fmt: skip
def test_in_a_finished_onnx_file_it_is_packaged_with_an_open_axis(
    node: onnx.NodeProto, inputs: Dims, outputs: Dims, converted: Convert, tmp_path: Path
) -> None:
    to_bool = helper.make_node("Cast", ["x"], ["which"], to=TensorProto.BOOL)
    path = onnx_file(tmp_path / "m.onnx", [*([to_bool] if "which" in node.input else []), node], inputs, outputs)
    found = converted(path)
    (output,) = found.manifest.signature.outputs
    assert output.shape == tuple(-1 if d == "n" else d for d in next(iter(outputs.values())))
    assert found.manifest.signature.row_by_row == ("batch" not in inputs.get("x", []))
    assert found.manifest.minimum_runtime == "0.2.0"


def test_samples_of_several_lengths_are_verified_and_golden_ones_have_the_most_common(
    converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    node = helper.make_node("NonZero", ["x"], ["places"])
    path = onnx_file(tmp_path / "m.onnx", [node], {"x": ["batch", 4]}, {"places": [2, 4]})
    data = np.tile(np.array([[0, 0, 0, 0], [1, 2, 0, 0], [3, 0, 4, 0], [5, 0, 0, 6], [7, 8, 9, 1]], np.float32), (2, 1))
    np.save(tmp_path / "x.npy", data + np.arange(10, dtype=np.float32)[:, np.newaxis] * (data > 0))
    found = converted(path, "--calibration", tmp_path / "x.npy")
    assert found.manifest.signature.outputs[0].shape == (2, -1)  # whatever length the file says
    with open_bundle(found.path) as bundle:
        samples = golden.read_samples(bundle)
        assert samples.outputs["places"].shape[1:] == (2, 2)
        assert samples.count >= 6
    assert found.manifest.reference_profile is not None
    assert found.manifest.reference_profile.samples == 10
    for length, x in ((0, data[:1]), (4, data[4:5]), (0, data[:1])):
        assert answers(found, x=x)["onnx:float32"]["places"].shape == (2, length)
    np.savez(tmp_path / "eval.npz", x=data, labels=np.zeros(10, int))
    said = conversions.refused(path, "--eval", tmp_path / "eval.npz", folder=tmp_path)
    assert "--eval: output 'places' has shape [2, 0] for one sample and [2, 2] for another" in said


def test_open_axes_of_finished_files_are_fixed_or_the_refusal_says_what_the_file_has(
    shaped: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    found = converted(shaped / "open.tflite", "--input-shape", "x=1,20,24,3")
    assert shapes(found) == {"x": (1, 20, 24, 3)}
    assert answers(found, x=np.ones((1, 20, 24, 3), np.float32))["tflite:float32"]["y"].shape == (1, 20, 24, 2)
    louder = answers(converted(shaped / "louder.tflite"), x=X[:1], gain=np.array(2, np.float32))["tflite:float32"]
    assert (louder["y"] == 2 * X[:1]).all()
    assert (louder["sum"].shape, float(louder["sum"])) == ((), 10.0)
    for option, message in {
        "x=3,4": "the file has it as [1, 4], of which only the open axes can be fixed: export the file again",
        "gain=1": "the file has it as []",
        "z=1": "--input-shape z: expected one of the inputs gain, x",
    }.items():
        assert message in conversions.refused(shaped / "louder.tflite", "--input-shape", option, folder=tmp_path)


def test_a_finished_onnx_file_whose_batch_is_the_second_axis(converted: Convert, tmp_path: Path) -> None:
    steps = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("RNN", ["turned", "W", "R", "", "", "state"], ["", "next"], hidden_size=4),
        helper.make_node("Squeeze", ["next", "axis"], ["last"]),
    ]
    inputs: Dims = {"x": ["batch", 5, 3], "state": [1, "batch", 4]}
    path = onnx_file(tmp_path / "rnn.onnx", steps, inputs, {"last": ["batch", 4], "next": [1, "batch", 4]})
    found = converted(path)
    assert shapes(found) == {"x": (1, 5, 3), "state": (1, 1, 4)}
    assert "axis 1 of input 'state' is the batch too" in str(found.summary["warnings"])
    assert "hardly varies" not in str(found.summary["warnings"])
    wide = converted(path, "--input-shape", "x=2,5,3", "--input-shape", "state=1,2,4")
    ones = {"x": np.ones((2, 5, 3), np.float32), "state": np.zeros((1, 2, 4), np.float32)}
    assert answers(wide, **ones)["onnx:float32"]["last"].shape == (2, 4)


def test_the_steps_of_a_sequence_in_a_finished_onnx_file_are_no_batch(converted: Convert, tmp_path: Path) -> None:
    nodes = [helper.make_node("CumSum", ["x", "first"], ["y"])]
    found = converted(onnx_file(tmp_path / "sums.onnx", nodes, {"x": ["time", 3]}, {"y": ["time", 3]}))
    assert found.manifest.signature.row_by_row is False


def test_nothing_is_said_to_vary_or_not_where_nothing_was_compared(converted: Convert, tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "zero"], ["y"]), helper.make_node("Sub", ["x", "x"], ["zero"])]
    found = converted(onnx_file(tmp_path / "zeros.onnx", nodes[::-1], {"x": ["batch", 3]}, {"y": ["batch", 3]}))
    assert found.summary["warnings"] == []
