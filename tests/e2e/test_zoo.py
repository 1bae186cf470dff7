"""One model of each family of the zoo, by the code of the benchmark: it runs and agrees with the source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.zoo.models import DECLARED
from benchmarks.zoo.runner import Ended, Limits, Run, attempt, last_words
from tests.programs import ROOT, Forked

pytestmark = [pytest.mark.converter, pytest.mark.tensorflow, pytest.mark.exhaustive]

LIMITS = Limits(timeout_s=240.0)
CHOSEN = (
    "A/MobileNet", "B/ad", "C/bilstm", "D/conformer", "E/yolo_head", "F/mel_spectrogram", "G/keras_int8",
)  # fmt: skip


@pytest.fixture
def run(forked: Forked) -> Run:
    """How a process of the zoo is run: forked, since building and converting each import TensorFlow."""

    def run(arguments: Sequence[str], _folder: Path) -> Ended:
        begun = time.monotonic()
        done = forked.run(*arguments[1:], folder=ROOT)
        return Ended(done.returncode, last_words(done.stdout + done.stderr), time.monotonic() - begun, 0)

    return run


@pytest.mark.parametrize("key", CHOSEN)
def test_a_model_of_the_zoo_is_converted_to_both_engines(
    key: str, run: Run, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key.startswith("B/"):
        folder: Path = request.getfixturevalue("shared")
        monkeypatch.setenv("EDGEMM_SHARED", str(folder))
    found = attempt(key, ["edgemm"], limits=LIMITS, run=run)
    assert {r.target: (r.status, r.detail) for r in found} == {"tflite": ("pass", ""), "onnx": ("pass", "")}


def test_what_is_refused_is_refused_with_the_declared_reason() -> None:  # and in processes within limits
    key = "F/string_lookup"
    found = attempt(key, ["edgemm"], limits=LIMITS)
    assert [r.status for r in found] == ["refused as declared"] * 2
    assert all(DECLARED[key] in r.detail for r in found)
