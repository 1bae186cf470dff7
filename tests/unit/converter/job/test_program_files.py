"""Exported programs of PyTorch, told by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.errors import InputError, MissingExtraError
from edgemm_converter.children.protocol import SourceFormat
from edgemm_converter.job import installed_packages, job, source_artifact
from simulators.program_files import write

pytestmark = pytest.mark.converter


def test_a_program_is_told_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras")
    assert source_artifact.detect(path) is SourceFormat.PROGRAM
    (tmp_path / "cut.pt2").write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut short or damaged"):
        source_artifact.detect(tmp_path / "cut.pt2")


def test_a_damaged_member_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt2", {"data/weights/weight_0": b"the weights"})
    path.write_bytes(path.read_bytes().replace(b"the weights", b"the widgets"))
    with pytest.raises(InputError, match=r"expected a whole \.pt2 file, found a damaged model/data/weights/weight_0"):
        source_artifact.detect(path)


def test_its_variants_are_planned_as_those_of_keras(tmp_path: Path) -> None:
    given = job.check(write(tmp_path / "model.pt2"), {"output": tmp_path / "model.edgemm"})
    assert [plan.id for plan in given.plans] == ["tflite:float32", "onnx:float32"]
    assert given.unused == ()


def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_packages, "OF_PROGRAMS", ("a_package_that_there_is_not",))
    with pytest.raises(MissingExtraError, match=r"edgemm\[torch\]"):
        installed_packages.require_for(SourceFormat.PROGRAM)
