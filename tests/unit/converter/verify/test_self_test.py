"""The self-test of a bundle does not depend on kernels that nobody serves with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgemm.errors import ConversionError, SelfTestError
from edgemm_converter.children.child import ChildLimits
from edgemm_converter.children.protocol import SelfTestPassed, SelfTestRequest
from edgemm_converter.verify import parent, self_test
from simulators.models import make_bundle


def asked(monkeypatch: pytest.MonkeyPatch, *answers: Exception | None) -> list[bool]:
    """Let children end so, one after the other; return whether each was asked for other kernels."""
    told, left = [], list(answers)

    def run_child(_module: str, request: SelfTestRequest, **_options: Any) -> SelfTestPassed:
        told.append(request.others)
        if (error := left.pop(0)) is not None:
            raise error
        return SelfTestPassed()

    monkeypatch.setattr(parent, "run_child", run_child)
    return told


def run() -> object:
    return parent.self_test(Path("b"), Path("f"), limits=ChildLimits(), progress=lambda stage: None)


def test_other_kernels_that_crash_cost_no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asked(monkeypatch, ConversionError("killed by SIGSEGV"), None)
    assert run() is None
    assert told == [True, False]


def test_a_wrong_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asked(monkeypatch, SelfTestError("sample 0"))
    with pytest.raises(ConversionError, match="fails its own self-test"):
        run()
    assert told == [True]


def test_all_variants_are_measured_in_other_kernels(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b.edgemm")
    found = self_test.run(SelfTestRequest(bundle=str(tmp_path / "b.edgemm")), lambda stage: None).other_kernels
    assert found is not None
    assert set(found.tolerance) == {"tflite:int8", "tflite:float32", "onnx:float32"}
    assert set(found.engines) == {"tflite", "onnx"}
    for by_output in found.tolerance.values():
        [held] = by_output.values()
        assert held.min_share == 1.0
