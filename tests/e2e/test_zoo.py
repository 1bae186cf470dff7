"""One model of each family of the zoo, by the code of the benchmark: it runs and agrees with the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.zoo.models import DECLARED
from benchmarks.zoo.runner import Limits, attempt

pytestmark = pytest.mark.tensorflow

LIMITS = Limits(timeout_s=240.0)
CHOSEN = (
    "A/MobileNet", "B/ad", "C/bilstm", "D/conformer", "E/yolo_head", "F/mel_spectrogram", "G/keras_int8",
)  # fmt: skip


@pytest.mark.parametrize("key", CHOSEN)
def test_a_model_of_the_zoo_is_converted_to_both_engines(
    key: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key.startswith("B/"):
        folder: Path = request.getfixturevalue("shared")
        monkeypatch.setenv("EDGEMM_SHARED", str(folder))
    found = attempt(key, ["edgemm"], limits=LIMITS)
    assert {r.target: (r.status, r.detail) for r in found} == {"tflite": ("pass", ""), "onnx": ("pass", "")}


def test_what_is_refused_is_refused_with_the_declared_reason() -> None:
    key = "F/string_lookup"
    found = attempt(key, ["edgemm"], limits=LIMITS)
    assert [r.status for r in found] == ["refused as declared"] * 2
    assert all(DECLARED[key] in r.detail for r in found)
