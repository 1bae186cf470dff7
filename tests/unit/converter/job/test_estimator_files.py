"""Files of estimators: told by their content, and a pickle refused before anything of it runs."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
import lzma
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from edgemm.errors import InputError, MissingExtraError
from edgemm_converter.children.protocol import SourceFormat
from edgemm_converter.job import installed_packages, job, source_artifact
from edgemm_converter.job.options import ConversionOptions

PICKLED = pickle.dumps({"coef": [1.0, 2.0]})
XGBOOST = {"learner": {"attributes": {}, "gradient_booster": {}}, "version": [3, 2, 0]}
FILES: dict[str, tuple[bytes, SourceFormat]] = {
    "plain.pkl": (PICKLED, SourceFormat.PICKLE),
    "old protocol.pkl": (pickle.dumps([1], protocol=2), SourceFormat.PICKLE),
    "zlib.joblib": (zlib.compress(PICKLED), SourceFormat.PICKLE),
    "gzip.joblib": (gzip.compress(PICKLED), SourceFormat.PICKLE),
    "bz2.joblib": (bz2.compress(PICKLED), SourceFormat.PICKLE),
    "xz.joblib": (lzma.compress(PICKLED), SourceFormat.PICKLE),
    "lzma.joblib": (lzma.compress(PICKLED, format=lzma.FORMAT_ALONE), SourceFormat.PICKLE),
    "named like a model of Keras.keras": (PICKLED, SourceFormat.PICKLE),
    "xgboost.json": (json.dumps(XGBOOST).encode(), SourceFormat.XGBOOST),
    "spaced.json": (json.dumps(XGBOOST, indent=2).encode(), SourceFormat.XGBOOST),
    "xgboost.ubj": (b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x0aattributes{", SourceFormat.XGBOOST),
    "lightgbm.txt": (b"tree\nversion=v4\nnum_class=1\n", SourceFormat.LIGHTGBM),
    "windows.model": (b"tree\r\nversion=v3\r\nnum_class=1\r\n", SourceFormat.LIGHTGBM),
}
OTHERS: dict[str, tuple[bytes, str]] = {
    "packed.gz": (gzip.compress(b"anything else"), "a gzip archive"),
    "other.json": (b'{"a": 1}', "a JSON file, which is no model"),
    "old.model": (b"binf" + bytes(100), "an old XGBoost"),
    "cut.joblib": (zlib.compress(PICKLED)[:2], "none of them"),
}


class Runs:
    """What runs as soon as it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("name", FILES)
def test_a_kind_is_told_by_content(name: str, tmp_path: Path) -> None:
    content, kind = FILES[name]
    (tmp_path / name).write_bytes(content)
    assert source_artifact.detect(tmp_path / name) is kind


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_named(name: str, tmp_path: Path) -> None:
    content, words = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        source_artifact.detect(tmp_path / name)


def test_skops_is_an_archive_with_a_schema(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("139828510231216.npy", b"\x93NUMPY")
        archive.writestr("schema.json", "{}")
    assert source_artifact.detect(tmp_path / "model.zip") is SourceFormat.SKOPS
    cut = (tmp_path / "model.zip").read_bytes()[:60]
    (tmp_path / "cut.skops").write_bytes(cut)
    with pytest.raises(InputError, match="cut short or damaged"):
        source_artifact.detect(tmp_path / "cut.skops")


@pytest.mark.parametrize("pack", [bytes, zlib.compress, lzma.compress])
def test_a_pickle_that_runs_code_is_refused_before_it_runs(pack: type[bytes], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "model.joblib").write_bytes(pack(pickle.dumps(Runs(ran))))
    with pytest.raises(InputError) as caught:
        job.check(tmp_path / "model.joblib", {"output": tmp_path / "o.edgemm"})
    line = str(caught.value)
    assert all(word in line for word in ("--allow-pickle", "skops.io.dump", "was not opened"))
    assert not ran.exists()
    pickle.loads(pickle.dumps(Runs(ran)))  # it would have
    assert ran.exists()


ASKED: list[tuple[ConversionOptions, tuple[str, ...], Any]] = [
    ({}, ("onnx:float32", "tflite:float32"), ()),
    ({"targets": ["onnx"]}, ("onnx:float32",), ("onnx:float32",)),
    ({"targets": ["tflite"]}, ("tflite:float32",), ("tflite:float32",)),
    ({"precisions": ["float32", "float16"]}, ("onnx:float32", "tflite:float16", "tflite:float32"), ...),
    ({"precisions": ["float16"]}, ("tflite:float16",), ("tflite:float16",)),
]


@pytest.mark.parametrize(("asked", "made", "required"), ASKED)
def test_an_allowed_pickle_becomes_onnx_and_tflite(
    asked: ConversionOptions, made: tuple[str, ...], required: Any, tmp_path: Path
) -> None:
    (tmp_path / "model.joblib").write_bytes(PICKLED)
    given = job.check(tmp_path / "model.joblib", {"allow_pickle": True, **asked})
    assert (given.name, given.allow_pickle) == ("model", True)
    assert tuple(plan.id for plan in given.plans) == made
    assert given.required == (made if required is ... else required)


def test_nothing_is_searched_for_among_estimators(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(PICKLED)
    (tmp_path / "l.csv").write_text("a,labels\n1,1\n")
    options: ConversionOptions = {"allow_pickle": True, "precisions": ["auto"], "evaluation": tmp_path / "l.csv"}
    with pytest.raises(InputError, match="precision auto was asked for, and estimators become onnx and tflite in"):
        job.check(tmp_path / "model.joblib", options)


def test_tflite_that_is_asked_for_needs_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(package: str) -> object | None:
        return None if package.startswith("ai_edge") else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    installed_packages.require_for(SourceFormat.SKOPS)  # it is left out then
    with pytest.raises(MissingExtraError, match=r"ai_edge_litert.*edgemm\[runtime\]"):
        installed_packages.require_for(SourceFormat.SKOPS, ["tflite:float32"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_quantizer" else object())
    installed_packages.require_for(SourceFormat.SKOPS, ["tflite:float32"])
    with pytest.raises(MissingExtraError, match=r"ai_edge_quantizer.*edgemm\[converter\]"):
        installed_packages.require_for(SourceFormat.SKOPS, ["tflite:int8"])


def test_an_option_without_effect_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(FILES["lightgbm.txt"][0])
    given = job.check(tmp_path / "model.txt", {"allow_pickle": True})
    assert given.unused == ("--allow-pickle has no effect: the source is no pickle, but of kind lightgbm",)
    for option, value in (("signature", "x"), ("allow_lambda", True), ("input_shapes", {"a": [1]})):
        given = job.check(tmp_path / "model.txt", {option: value})  # type: ignore[misc]
        (said,) = given.unused
        assert said.endswith("has no effect on an estimator, which has neither signatures nor layers nor open shapes")


@pytest.mark.parametrize(
    ("kind", "lacks", "extra"),
    [
        (SourceFormat.SKOPS, "skops", "sklearn"),
        (SourceFormat.PICKLE, "skl2onnx", "sklearn"),
        (SourceFormat.XGBOOST, "xgboost", "boosting"),
        (SourceFormat.LIGHTGBM, "lightgbm", "boosting"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    kind: SourceFormat, lacks: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(package: str) -> object | None:
        asked.append(package)
        return None if package == lacks else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(MissingExtraError, match=rf"{lacks}.*edgemm\[{extra}\]"):
        installed_packages.require_for(kind)
    assert "tensorflow" not in asked
