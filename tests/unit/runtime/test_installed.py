"""Two distributions run TFLite files: LiteRT first, else `tflite-runtime`; their versions have one order."""

from __future__ import annotations

import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Variant
from edgemm_runtime import installed
from simulators.models import Dense, make_variant

LITERT, TFLITE_RUNTIME, ONNX = "ai-edge-litert", "tflite-runtime", "onnxruntime"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions that are installed: name → version."""
    found: dict[str, str] = {}

    monkeypatch.setattr("edgemm_runtime.installed._version_of", found.get)
    return found


def variant(minimum_engine: str) -> Variant:
    return make_variant(Dense.random(0), "tflite:float32", blob="0" * 64, minimum_engine=minimum_engine)


@pytest.mark.parametrize(
    ("distributions", "version", "runs_in"),
    [
        ({LITERT: "2.3.0"}, "2.3.0", LITERT),
        ({TFLITE_RUNTIME: "2.14.0"}, "0.2.14.0", TFLITE_RUNTIME),
        ({TFLITE_RUNTIME: "2.14.0", LITERT: "1.0.1"}, "1.0.1", LITERT),
    ],
)
def test_litert_is_preferred_and_older_versions_count_from_zero(
    here: dict[str, str], distributions: dict[str, str], version: str, runs_in: str
) -> None:
    here.update(distributions)
    assert installed.available() == {Engine.TFLITE: version}
    assert installed.entry_of(Engine.TFLITE).distribution == runs_in


def test_without_any_the_preferred_one_is_what_to_install(here: dict[str, str]) -> None:
    assert installed.available() == {}
    reason = installed.unavailable_reason(variant("0.1.5.0"), {})
    assert reason == "needs ai-edge-litert, which is not installed: pip install 'edgemm[runtime]'"
    here[ONNX] = "1.31.0"
    assert installed.available() == {Engine.ONNX: "1.31.0"}


@pytest.mark.parametrize(
    ("minimum", "engine", "reason"),
    [
        ("0.1.5.0", "0.2.14.0", None),
        ("0.2.14.0", "0.2.14.0", None),
        ("0.2.17.0", "1.0.1", None),
        ("0.2.17.0", "2.3.0", None),
        ("2.1.0", "2.3.0", None),
        (
            "0.2.15.0",
            "0.2.14.0",
            "needs tflite-runtime>=2.15.0, found 2.14.0: pip install --upgrade 'tflite-runtime>=2.",
        ),
        (
            "1.0.0",
            "0.2.14.0",
            "needs ai-edge-litert>=1.0.0, found tflite-runtime 2.14.0: pip install 'edgemm[runtime]'",
        ),
        (
            "2.1.0",
            "0.2.14.0",
            "needs ai-edge-litert>=2.1.0, found tflite-runtime 2.14.0: pip install 'edgemm[runtime]'",
        ),
        ("2.1.0", "1.4.0", "needs ai-edge-litert>=2.1.0, found 1.4.0: pip install --upgrade 'ai-edge-litert>=2.1.0'"),
    ],
)
def test_a_variant_runs_in_what_is_new_enough_whoever_counts(minimum: str, engine: str, reason: str | None) -> None:
    found = installed.unavailable_reason(variant(minimum), {Engine.TFLITE: engine})
    assert found is None if reason is None else found is not None and found.startswith(reason)
