"""Real conversions of small Keras models, run in the device's engines."""

from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

import edgemm_converter
from edgemm.bundle import open_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import InputError, SelfTestError
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.tensors.npy import read_npy
from tests.unit.converter.conftest import Convert, Converted, run_convert

pytestmark = pytest.mark.tensorflow


def answers(converted: Converted, variant_id: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with open_bundle(converted.path) as bundle:
        variant = bundle.manifest.variant(variant_id)
        return engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob)).run(inputs)


def scrambled(file: bytes, engine: Engine) -> bytes:
    """Shuffle the largest constant of a model file."""
    rng = np.random.default_rng(4)
    if engine == Engine.ONNX:
        proto = onnx.load_from_string(file)
        largest = max(proto.graph.initializer, key=lambda constant: len(constant.raw_data))
        values = onnx.numpy_helper.to_array(largest)
        shuffled = rng.permutation(values.reshape(-1)).reshape(values.shape)
        largest.CopyFrom(onnx.numpy_helper.from_array(shuffled, largest.name))
        return bytes(proto.SerializeToString())
    flat = schema.ModelT.InitFromPackedBuf(file, 0)
    weights = max((b for b in flat.buffers if b.data is not None), key=lambda b: len(b.data))
    width = 4 if flat.subgraphs[0].tensors[flat.subgraphs[0].inputs[0]].type == schema.TensorType.FLOAT32 else 1
    weights.data = rng.permutation(np.asarray(weights.data).reshape(-1, width)).reshape(-1)
    builder = flatbuffers.Builder()
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def of_everything(models: Path, folder: Path) -> tuple[object, ...]:
    """Return options that give a conversion all that it takes; the labels are written into a folder."""
    labels = folder / "labels.txt"
    labels.write_text("\n".join("0123456789"))
    return (
        "--calibration", models / "images.npz", "--eval", models / "labelled.npz", "--labels", labels,
        "--licence", "CC0-1.0", "--version", "1.2.3", "--name", "digits", "--monitor", "off",
    )  # fmt: skip


@pytest.fixture(scope="session")
def calibrated(converted: Convert, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return converted("cnn.keras", *of_everything(models, tmp_path_factory.mktemp("labels")))


def test_convert_alone_works_with_good_defaults_and_names_the_next_command(models: Path, tmp_path: Path) -> None:
    run = run_convert(models / "cnn.keras", folder=tmp_path)
    assert run.status == 0
    assert run.stdout == "cnn-0.1.0.edgemm\n"
    assert "next: edgemm inspect cnn-0.1.0.edgemm   or   edgemm run cnn-0.1.0.edgemm" in run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cnn-0.1.0.edgemm"]
    with open_bundle(tmp_path / "cnn-0.1.0.edgemm") as bundle:
        assert [v.id for v in bundle.manifest.variants] == ["tflite:float32", "onnx:float32"]
        assert bundle.manifest.signature.inputs == (TensorSpec(name="image", dtype=DType.FLOAT32, shape=(-1, 8, 8, 1)),)
        assert bundle.manifest.signature.outputs == (TensorSpec(name="digit", dtype=DType.FLOAT32, shape=(-1, 10)),)


def test_options_arrive_in_the_manifest(calibrated: Converted) -> None:
    manifest = calibrated.manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("digits", "1.2.3", "CC0-1.0")
    assert manifest.labels == tuple("0123456789")
    assert calibrated.path.name == "digits-1.2.3.edgemm"
    assert calibrated.summary["variants"] == {v.id: manifest.blobs[v.blob].size for v in manifest.variants}
    assert manifest.lineage.source_name == "cnn.keras"
    assert manifest.lineage.calibration_digest is not None
    assert manifest.created is None


def test_the_int8_file_takes_and_gives_int8(calibrated: Converted) -> None:
    variant = calibrated.manifest.variant("tflite:int8")
    assert [t.dtype for t in variant.inputs + variant.outputs] == [DType.INT8, DType.INT8]
    assert all(t.quantization is not None for t in variant.inputs + variant.outputs)
    sizes = calibrated.manifest.blobs
    assert sizes[variant.blob].size < 0.7 * sizes[calibrated.manifest.variant("tflite:float32").blob].size


def test_figures_of_every_variant_are_in_the_manifest(calibrated: Converted) -> None:
    judged = {(p.variant, p.data) for p in calibrated.manifest.parity if p.limit is not None}
    floats = ("random, batch 1", "random, batch 4", "calibration")
    assert judged == {
        *(("tflite:float32", data) for data in floats),
        *(("onnx:float32", data) for data in floats),
        ("tflite:int8", "calibration"),
    }
    assert all(len(p.seeds) >= 3 for p in calibrated.manifest.parity if p.data.startswith("random"))
    worst = max(o.relative for p in calibrated.manifest.parity if "float32" in p.variant for o in p.outputs)
    assert 0 < worst < 1e-5


def test_accuracy_is_measured_for_the_source_and_each_variant(calibrated: Converted) -> None:
    found = calibrated.manifest.evaluation
    assert found is not None
    assert (found.metric, found.samples, found.source) == ("accuracy", 48, 0.75)
    assert found.variants["onnx:float32"] == found.variants["tflite:float32"] == 0.75
    assert found.variants["tflite:int8"] >= 0.65


def test_the_reference_profile_counts_all_of_the_calibration_data(calibrated: Converted, models: Path) -> None:
    profile = calibrated.manifest.reference_profile
    assert profile is not None
    assert profile.confidence is not None
    with open_bundle(calibrated.path) as bundle, np.load(models / "images.npz") as images:
        counts = read_npy(bundle.read(profile.inputs["image"].counts), name="counts")
        assert counts.sum() == images["image"].size
        certain = read_npy(bundle.read(profile.confidence.counts), name="counts")
        assert certain.sum() == 48


def test_every_variant_passes_its_self_test_and_scrambled_weights_do_not(calibrated: Converted) -> None:
    with open_bundle(calibrated.path) as bundle:
        for variant in bundle.manifest.variants:
            file = bundle.read(variant.blob)
            golden.check(bundle, variant, engines.load(variant, bundle.manifest.signature, file))
            broken = engines.load(variant, bundle.manifest.signature, scrambled(file, Engine(variant.engine)))
            with pytest.raises(SelfTestError):
                golden.check(bundle, variant, broken)


@pytest.mark.parametrize("source", ["cnn.h5", "cnn_saved"])
def test_every_kind_of_artifact_computes_the_same(
    source: str, converted: Convert, calibrated: Converted, models: Path
) -> None:
    other = converted(source)
    with np.load(models / "images.npz") as images:
        image = images["image"][:4]
    name = other.manifest.signature.outputs[0].name
    for variant in ("tflite:float32", "onnx:float32"):
        expected = answers(calibrated, variant, {"image": image})["digit"]
        assert np.abs(answers(other, variant, {"image": image})[name] - expected).max() < 1e-5


@pytest.mark.parametrize("source", ["two-dict.keras", "two-list.keras", "two_saved"])
def test_inputs_and_outputs_of_one_shape_are_matched_by_name(source: str, converted: Convert, models: Path) -> None:
    found = converted(source, "--calibration", models / "pairs.npz")
    assert {t.name for t in found.manifest.signature.inputs} == {"left", "right"}
    assert {t.name for t in found.manifest.signature.outputs} == {"alpha", "zeta"}
    ones, noughts = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
    expected = answers(found, "onnx:float32", {"left": ones, "right": noughts})
    turned = answers(found, "onnx:float32", {"left": noughts, "right": ones})
    assert np.abs(expected["zeta"] - turned["zeta"]).max() > 0.1
    assert 0 <= expected["alpha"].min() <= expected["alpha"].max() <= 1
    for variant, limit in (("tflite:float32", 1e-5), ("tflite:int8", 0.15)):
        given = answers(found, variant, {"left": ones, "right": noughts})
        assert all(np.abs(given[name] - expected[name]).max() < limit for name in expected)


def test_names_that_graphs_do_not_keep_are_served_as_they_are(converted: Convert) -> None:
    found = converted("odd-names.keras")
    assert [t.name for t in found.manifest.signature.inputs] == ["x", "X"]
    assert {t.name for t in found.manifest.signature.outputs} == {"x", "logits/main 1"}
    ones, noughts = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    tflite, onnx_ = (answers(found, v.id, {"x": ones, "X": noughts}) for v in found.manifest.variants)
    assert all(np.abs(tflite[name] - onnx_[name]).max() < 1e-5 for name in ("x", "logits/main 1"))


def test_a_lambda_finds_what_custom_objects_names(converted: Convert) -> None:
    found = converted("named-lambda.keras", "--allow-lambda", "--custom-objects", "simulators.keras_models:FACTOR")
    assert [v.id for v in found.manifest.variants] == ["tflite:float32", "onnx:float32"]


def test_indices_of_an_embedding_stay_integers_in_every_variant(converted: Convert, models: Path) -> None:
    found = converted("embedding.keras", "--calibration", models / "words.npy")
    assert found.manifest.signature.inputs[0] == TensorSpec(name="words", dtype=DType.INT32, shape=(-1, 6))
    assert {t.dtype for v in found.manifest.variants for t in v.inputs} == {DType.INT32}
    words = np.full((3, 6), 19, np.int32)
    assert answers(found, "tflite:int8", {"words": words})["topic"].shape == (3, 3)


def test_an_lstm_converts_to_both_engines(converted: Convert) -> None:
    found = converted("lstm.keras")
    assert max(o.relative for p in found.manifest.parity for o in p.outputs) < 1e-5


def test_operations_that_an_engine_lacks_are_written_as_those_that_it_has(converted: Convert) -> None:
    found = converted("rewritten.keras")
    assert [v.id for v in found.manifest.variants] == ["tflite:float32", "onnx:float32"]
    assert max(o.relative for p in found.manifest.parity for o in p.outputs) < 1e-5


def test_a_state_kept_between_calls_becomes_an_input_and_an_output(converted: Convert) -> None:
    found = converted("stateful.keras")
    states = [f"memory_state_{i}" for i in range(2)]
    assert [t.name for t in found.manifest.signature.inputs] == ["steps", *states]
    assert [t.name for t in found.manifest.signature.outputs] == ["next", *(f"next_{s}" for s in states)]
    steps = np.ones((1, 5, 3), np.float32)
    fresh: dict[str, np.ndarray] = {state: np.zeros((1, 4), np.float32) for state in states}
    for variant in found.manifest.variants:
        first = answers(found, variant.id, {"steps": steps, **fresh})
        second = answers(found, variant.id, {"steps": steps, **{s: first[f"next_{s}"] for s in states}})
        assert np.abs(second["next"] - first["next"]).max() > 1e-3


def test_weights_can_be_smaller_without_calibration_data(converted: Convert) -> None:
    found = converted("cnn.keras", "--precision", "float16", "--precision", "int8-dynamic")
    assert [v.id for v in found.manifest.variants] == ["tflite:int8-dynamic", "tflite:float16"]
    assert {t.dtype for v in found.manifest.variants for t in v.inputs + v.outputs} == {DType.FLOAT32}


def test_lambda_and_custom_layers_load_when_they_are_allowed(converted: Convert) -> None:
    converted("lambda.keras", "--allow-lambda", "--target", "tflite")
    converted("custom.keras", "--custom-objects", "simulators.odd_layers:PlainLayer", "--target", "tflite")


def test_a_forked_conversion_writes_what_a_users_does(calibrated: Converted, models: Path, tmp_path: Path) -> None:
    """And so the same input gives the same bytes in any process; see test_determinism.py for every precision."""
    options = of_everything(models, tmp_path)
    run = run_convert(models / "cnn.keras", *options, folder=tmp_path, PYTHONHASHSEED="2")
    assert run.status == 0, run.stderr
    assert calibrated.path.read_bytes() == (tmp_path / calibrated.path.name).read_bytes()
    assert all(f"running {v} in its engine" in run.stderr for v in ("tflite:int8", "tflite:float32", "onnx:float32"))


def test_the_python_api_converts_and_reports_its_stages(models: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    result = edgemm_converter.convert(
        models / "cnn.keras", output=tmp_path / "out.edgemm", targets=["onnx"], labels=list("abcdefghij"),
        progress=stages.append,
    )  # fmt: skip
    assert result.path == tmp_path / "out.edgemm"
    assert result.manifest.labels == tuple("abcdefghij")
    assert stages[0] == "loading the source model"
    with open_bundle(result.path) as bundle:
        assert bundle.manifest == result.manifest


def test_the_python_api_refuses_as_the_command_does(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision int8 needs --calibration"):
        edgemm_converter.convert(models / "cnn.keras", output=tmp_path / "x.edgemm", precisions=["int8"])


def test_layers_that_are_random_in_training_alone_are_converted(converted: Convert) -> None:
    found = converted("dropout.keras", "--target", "tflite")
    assert [v.id for v in found.manifest.variants] == ["tflite:float32"]


def test_large_weights_are_constants_of_an_onnx_file_as_its_operations_want_them(converted: Convert) -> None:
    found = converted("heavy.keras", "--target", "onnx")
    with open_bundle(found.path) as bundle:
        graph = onnx.load_from_string(bundle.read(found.manifest.variants[0].blob)).graph
    large = [c.name for c in graph.initializer if np.prod(c.dims) * 4 >= 2**20]
    assert [value.name for value in graph.input] == ["x"]
    assert len(large) == 3
    takers = [node.op_type for node in graph.node if set(node.input) & set(large)]
    assert sorted(takers) == ["Conv", "MatMul", "MatMul"]


def test_golden_samples_end_with_edge_inputs(calibrated: Converted) -> None:
    with open_bundle(calibrated.path) as bundle:
        inputs = golden.read_samples(bundle).inputs["image"]
    assert len(inputs) == 16
    assert not inputs[12:].std(axis=(1, 2, 3, 4)).all()  # one of them at least is a constant
    assert inputs[:12].std(axis=(1, 2, 3, 4)).all()
