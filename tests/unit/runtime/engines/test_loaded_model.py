"""A loaded variant answers in the signature's names, dtypes and shapes, whatever its file looks like."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import numpy as np
import pytest

from edgemm.bundle.engine_facts import all_engines
from edgemm.bundle.manifest import DType, Signature, TensorSpec, Variant
from edgemm.errors import BadRequestError, EngineError, EngineUnavailableError
from edgemm_runtime import engines, installed
from edgemm_runtime.engines import LoadedModel
from edgemm_runtime.engines.signature_model import SignatureModel
from simulators.models import CLASSES, FEATURES, INPUT, OUTPUT, SIGNATURE, VARIANTS, Dense, make_variant, model_file

DENSE = Dense.random(7)


def skip_what_would_crash(variant_id: str) -> None:
    """`tflite-runtime` does not verify a file, and crashes on a damaged one: a child of the self-test may."""
    if installed.entry_of(make_variant(DENSE, variant_id, blob="0" * 64).engine).distribution == "tflite-runtime":
        pytest.skip("tflite-runtime crashes on damaged files, which the self-test's child is for")


def load(variant_id: str, *, batch: int = -1) -> LoadedModel:
    variant = make_variant(DENSE, variant_id, blob="0" * 64, batch=batch)
    return engines.load(variant, SIGNATURE, model_file(DENSE, variant_id, batch=batch))


def inputs(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, FEATURES)).astype(np.float32)


def limit(variant_id: str) -> float:
    return DENSE.int8_error if "int8" in variant_id else 1e-5


@pytest.mark.parametrize("variant_id", VARIANTS)
@pytest.mark.parametrize("batch", [-1, 1])
def test_answers_are_those_of_numpy_for_any_batch(variant_id: str, batch: int) -> None:
    model = load(variant_id, batch=batch)
    for rows in (1, 5, 2, 5):
        x = inputs(rows, seed=rows)
        y = model.run({INPUT: x})[OUTPUT]
        assert (y.dtype, y.shape) == (np.dtype(np.float32), (rows, CLASSES))
        assert np.abs(y - DENSE.predict(x)).max() <= limit(variant_id)


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_threads_never_see_each_others_tensors(variant_id: str) -> None:
    model, wrong = load(variant_id), []

    def work(seed: int) -> None:
        x = inputs(1 + seed % 3, seed)
        expected = DENSE.predict(x)
        for _ in range(100):
            if np.abs(model.run({INPUT: x})[OUTPUT] - expected).max() > limit(variant_id):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("variant_id", VARIANTS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({INPUT: np.zeros((1, FEATURES))}, "expected float32, found float64"),
        ({INPUT: np.zeros((1, 5), np.float32)}, r"expected shape \[-1, 4\], found \[1, 5\]"),
        ({INPUT: np.zeros((0, FEATURES), np.float32)}, r"found \[0, 4\]"),
        ({INPUT: np.zeros(FEATURES, np.float32)}, r"found \[4\]"),
        ({}, "'x' is missing"),
        ({INPUT: np.zeros((1, 4), np.float32), "y": np.zeros(1)}, "unknown input 'y'"),
    ],
)
def test_wrong_inputs_are_refused_by_name(variant_id: str, given: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        load(variant_id).run(given)


def test_an_int8_variant_saturates_and_refuses_nan() -> None:
    model = load("tflite:int8")
    ones = np.ones((1, FEATURES), np.float32)
    assert np.array_equal(model.run({INPUT: ones * np.float32(np.inf)})[OUTPUT], model.run({INPUT: ones * 9})[OUTPUT])
    with pytest.raises(BadRequestError, match="NaN"):
        model.run({INPUT: ones * np.float32(np.nan)})


@pytest.mark.parametrize("variant_id", VARIANTS)
@pytest.mark.parametrize("damage", ["empty", "eight bytes", "text", "half", "all but one byte"])
def test_a_damaged_file_is_an_engine_error(variant_id: str, damage: str) -> None:
    skip_what_would_crash(variant_id)
    good = model_file(DENSE, variant_id)
    bad = {
        "empty": b"",
        "eight bytes": good[:8],
        "text": b"This is not a model.\n" * 40,
        "half": good[: len(good) // 2],
        "all but one byte": good[:-1] if variant_id.startswith("onnx") else good[: len(good) - 64],
    }[damage]
    with pytest.raises(EngineError, match=variant_id):
        engines.load(make_variant(DENSE, variant_id, blob="0" * 64), SIGNATURE, bad)


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_flipped_bits_never_crash_nor_print_to_stdout(variant_id: str, capfd: pytest.CaptureFixture[str]) -> None:
    skip_what_would_crash(variant_id)
    good, refused = model_file(DENSE, variant_id), 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        bad = bytearray(good)
        bad[random.integers(len(bad))] ^= 1 << int(random.integers(8))
        try:
            model = engines.load(make_variant(DENSE, variant_id, blob="0" * 64), SIGNATURE, bytes(bad))
            model.run({INPUT: inputs(1)})
        except EngineError:
            refused += 1
    assert 0 < refused < 150
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("variant_id", VARIANTS)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_tensors_are_found_by_name_or_not_at_all(variant_id: str, side: str) -> None:
    variant = make_variant(DENSE, variant_id, blob="0" * 64)
    renamed = tuple(msgspec.structs.replace(t, tensor="elsewhere") for t in getattr(variant, side))
    with pytest.raises(EngineError, match="elsewhere"):
        engines.load(msgspec.structs.replace(variant, **{side: renamed}), SIGNATURE, model_file(DENSE, variant_id))


def test_a_missing_engine_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemm_runtime.engines.opening.available", dict)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'edgemm\[onnx\]'"):
        load("onnx:float32")


def test_an_old_engine_names_the_version_that_is_needed() -> None:
    variant: Variant = make_variant(DENSE, "tflite:float32", blob="0" * 64, minimum_engine="99.1")
    with pytest.raises(EngineUnavailableError, match=r"needs ai-edge-litert>=99.1, found (tflite-runtime )?\d"):
        engines.load(variant, SIGNATURE, model_file(DENSE, "tflite:float32"))


def test_available_engines_are_those_that_are_installed() -> None:
    assert set(engines.available()) == {facts.id for facts in all_engines()}


def test_outputs_in_another_dtype_than_the_files_are_converted() -> None:
    double = TensorSpec(name=OUTPUT, dtype=DType.FLOAT64, shape=(-1, CLASSES))
    variant = make_variant(DENSE, "onnx:float32", blob="0" * 64)
    model = engines.load(variant, Signature(inputs=SIGNATURE.inputs, outputs=(double,)), model_file(DENSE, variant.id))
    assert model.run({INPUT: inputs(2)})[OUTPUT].dtype == np.float64


def _may_be_wide() -> tuple[Any, Any]:
    """Return a model of which a lone inference may take several threads, and what decides that."""
    skip_what_would_crash("tflite:float32")
    model: Any = load("tflite:float32")
    model.tune([{INPUT: inputs(1, seed)} for seed in range(2)])
    if model._session._wide is None:
        pytest.skip("this machine has one CPU")
    return model, model._session._wide


def test_a_lone_inference_of_several_threads_that_hangs_is_given_up_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, wide = _may_be_wide()
    reached, leave, found = threading.Event(), threading.Event(), []
    compute = type(model._session)._compute

    def hang(session: object, member: object, feeds: object) -> object:
        if member is wide.member and not reached.is_set():
            reached.set()
            assert leave.wait(30)
        return compute(session, member, feeds)

    monkeypatch.setattr(type(model._session), "_compute", hang)
    monkeypatch.setattr(type(wide.choice), "wide", lambda _choice: True)
    thread = threading.Thread(target=lambda: found.append(model.run({INPUT: inputs(1, 7)})[OUTPUT]))
    thread.start()
    assert reached.wait(30)
    assert np.abs(model.run({INPUT: inputs(1, 8)})[OUTPUT] - DENSE.predict(inputs(1, 8))).max() < 1e-5
    before = model.members
    assert thread.ident is not None
    model.give_up(thread.ident)
    assert model.members == before
    assert np.abs(model.run({INPUT: inputs(1, 9)})[OUTPUT] - DENSE.predict(inputs(1, 9))).max() < 1e-5
    leave.set()
    thread.join(30)
    assert np.abs(found[0] - DENSE.predict(inputs(1, 7))).max() < 1e-5


def test_an_inference_that_fails_leaves_the_machine_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("tflite:float32")
    assert isinstance(model, SignatureModel)
    model.tune([{INPUT: inputs(1, seed)} for seed in range(2)])
    engine: Any = type(model._session)
    compute = engine._compute
    monkeypatch.setattr(engine, "_compute", lambda *_: (_ for _ in ()).throw(EngineError("no")))
    for _ in range(40):
        with pytest.raises(EngineError):
            model.run({INPUT: inputs(1, 7)})
    monkeypatch.setattr(engine, "_compute", compute)
    for seed in range(40):
        found = model.run({INPUT: inputs(1, seed)})[OUTPUT]
        assert np.abs(found - DENSE.predict(inputs(1, seed))).max() < 1e-5


def test_a_lone_inference_of_one_thread_that_hangs_leaves_the_machine_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, wide = _may_be_wide()
    compute = type(model._session)._compute
    hangs: dict[str, threading.Thread] = {}
    where = {name: (threading.Event(), threading.Event()) for name in ("narrow", "wide")}

    def hang(session: object, member: object, feeds: object) -> object:
        name = "wide" if member is wide.member else "narrow"
        reached, leave = where[name]
        if hangs.get(name) is threading.current_thread():
            reached.set()
            assert leave.wait(30)
        elif name == "wide":
            widely.append(threading.current_thread())
        return compute(session, member, feeds)

    def start(name: str) -> threading.Thread:
        monkeypatch.setattr(type(wide.choice), "wide", lambda _choice: name == "wide")
        hangs[name] = threading.Thread(target=lambda: model.run({INPUT: inputs(1, 7)}))
        hangs[name].start()
        assert where[name][0].wait(30)
        return hangs[name]

    widely: list[threading.Thread] = []
    monkeypatch.setattr(type(model._session), "_compute", hang)
    hung = start("narrow")
    assert hung.ident is not None
    model.give_up(hung.ident)
    computing = start("wide")
    where["narrow"][1].set()
    hung.join(30)
    model.run({INPUT: inputs(1, 8)})
    assert widely == [], "what came back took nothing from who has the machine now"
    where["wide"][1].set()
    computing.join(30)
    model.run({INPUT: inputs(1, 9)})
    assert widely == [threading.current_thread()]
