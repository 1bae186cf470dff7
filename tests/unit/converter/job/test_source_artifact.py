import zipfile
from pathlib import Path

import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm.errors import InputError
from edgemm_converter.children.protocol import SourceFormat
from edgemm_converter.job import source_artifact


def keras_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}" * 1000)
        archive.writestr("model.weights.h5", b"w" * 1000)
    return path


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "h5.bin").write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 100)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"pb")
    assert source_artifact.detect(keras_archive(tmp_path / "zip.bin")) is SourceFormat.KERAS
    assert source_artifact.detect(tmp_path / "h5.bin") is SourceFormat.HDF5
    (tmp_path / "lite.bin").write_bytes(b"<\0\0\0TFL3" + b"0" * 20)  # which a page begins with, too
    (tmp_path / "onnx.bin").write_bytes(b"\x08\x08\x12\x07tf2onnx")
    assert source_artifact.detect(tmp_path / "saved") is SourceFormat.SAVED_MODEL
    assert source_artifact.detect(tmp_path / "lite.bin") == Engine.TFLITE
    assert source_artifact.detect(tmp_path / "onnx.bin") == Engine.ONNX


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.keras").write_bytes(b"")
    (tmp_path / "text.keras").write_text("hello")
    (tmp_path / "one.onnx").write_bytes(b"\x08")
    (tmp_path / "folder").mkdir()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "saved_model.pb").touch()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hi")
    whole = keras_archive(tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.keras").write_bytes(whole.replace(b"wwww", b"wwwv", 1))
    for name, message in {
        "empty.keras": "an empty file",
        "text.keras": "none of them",
        "one.onnx": "none of them",
        "folder": "without saved_model.pb",
        "hollow": "found an empty saved_model.pb",
        "other.zip": "without a Keras config.json",
        "cut.keras": "cut short or damaged",
        "flipped.keras": "damaged model.weights.h5",
        "missing.keras": "No such file",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            source_artifact.detect(tmp_path / name)
        assert name in str(caught.value)


def test_a_folders_digest_depends_on_names_and_content_alone(tmp_path: Path) -> None:
    for copy, order in (("one", ("a", "b/c")), ("two", ("b/c", "a"))):
        for name in order:
            path = tmp_path / copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    assert source_artifact.digest(tmp_path / "one") == source_artifact.digest(tmp_path / "two")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "d")
    assert source_artifact.digest(tmp_path / "one") != source_artifact.digest(tmp_path / "two")
