"""`edgemm predict` over files that people have: images, CSV, arrays, folders of them, and stdin."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgemm.cli import run
from simulators import stateful
from simulators.models import Dense
from tests.docs.camera_model import STEPS, write_colour_bundle
from tests.unit.runtime.preprocessing.pictures import encoded, png

COLOURS = {"red": (255, 0, 51), "green": (51, 255, 102), "blue": (0, 51, 204)}
X = np.array([[0.5, -0.25, 0.125, 1], [0, 1, 0, -1]], np.float32)
DAMAGED = "the PNG image is damaged, cut short or of a sort that is not decoded: save it anew as JPEG or PNG"
CSV = "a;b;c;d\n,5;-,25;0,125;1\n\n0;1;0;-1\n"


def picture(colour: str, kind: str = "PNG") -> bytes:
    return encoded(kind, np.full((20, 30, 3), COLOURS[colour], np.uint8))


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "camera.edgemm", steps=STEPS)
    return tmp_path / "camera.edgemm"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several kinds in folders of folders, with what is no input beside them."""
    root = tmp_path / "photos"
    (root / "more" / "deep").mkdir(parents=True)
    (root / ".thumbnails").mkdir()
    (root / "a.png").write_bytes(picture("red"))
    (root / "b.JPG").write_bytes(picture("blue", "JPEG"))
    (root / "more" / "deep" / "c.webp").write_bytes(picture("green", "WEBP"))
    (root / "more" / "d.tif").write_bytes(png(np.full((4, 4, 1), 65535, np.uint16)))  # a PNG, by its bytes
    for name in ("notes.txt", ".hidden.png", ".thumbnails/x.png"):
        (root / name).write_bytes(b"nothing")
    return root


def test_an_image_is_answered_by_its_label(camera: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, colour in (("x.png", "red"), ("x", "blue"), ("x.jpeg", "green")):
        (tmp_path / name).write_bytes(picture(colour))
        assert run(["predict", str(camera), str(tmp_path / name)]) == 0
        assert capfd.readouterr().out == f"{colour}  {'0.8000' if colour == 'blue' else '1.0000'}\n"


def test_stdin_may_be_any_of_them(
    camera: Path, bundle_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, X)
    np.savez(archive, x=X)
    frames = io.BytesIO()
    np.save(frames, np.full((20, 30, 3), COLOURS["red"], np.uint8))
    expected = Dense.random(0).predict(X)
    text = base64.encodebytes(picture("red")).decode()
    for bundle, data in (
        (bundle_path, array.getvalue()), (bundle_path, archive.getvalue()), (bundle_path, CSV.encode()),
        (bundle_path, json.dumps(X.tolist()).encode()), (camera, picture("red")), (camera, frames.getvalue()),
        (camera, f"data:image/png;base64,{text}".encode()), (camera, json.dumps({"b64": text}).encode()),
        (camera, json.dumps(text).encode()),
    ):  # fmt: skip
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert run(["predict", str(bundle), "-", "--json"]) == 0
        found = json.loads(capfd.readouterr().out)["outputs"]
        if bundle is camera:
            assert np.allclose(found["colour"], [[1, 0, 0.2]], atol=1e-3)
        else:
            assert np.allclose(found["scores"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.csv", CSV.encode()),
        ("x.CSV", "\ufeffa\tb\tc\td\n.5\t-.25\t0.125\t1\n0\t1\t0\t-1\n".encode("utf-16")),
        ("x.tsv", b"0.5\t-.25\t.125\t1\r\n0\t1\t0\t-1\r\n"),
        ("x.txt", b".5 -.25 .125 1\n0 1 0 -1\n"),
        ("x", b'"a","b","c","d"\n"0.5","-0.25","0.125","1"\n"0","1","0","-1"\n'),
    ],
)
def test_csv_is_a_sample_a_line(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run(["predict", str(bundle_path), str(tmp_path / name), "--json"]) == 0
    assert np.allclose(json.loads(capfd.readouterr().out)["outputs"]["scores"], Dense.random(0).predict(X), atol=1e-5)


def test_pixels_in_numpy_s_files_are_frames(camera: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frames = np.stack([np.full((20, 30, 3), colour, np.uint8) for colour in COLOURS.values()])
    np.save(tmp_path / "frames.npy", frames)
    np.savez(tmp_path / "frames.npz", frame=frames)
    for name in ("frames.npy", "frames.npz"):
        assert run(["predict", str(camera), str(tmp_path / name), "--json"]) == 0
        answer = json.loads(capfd.readouterr().out)
        assert [top["label"] for top in answer["top"]] == list(COLOURS)


def test_a_folder_is_a_line_a_file_in_the_order_of_their_paths(
    camera: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(camera), str(folder)]) == 0
    out, err = capfd.readouterr()
    lines = [line.removeprefix(f"{folder}/").split("  ") for line in out.splitlines()]
    assert [(name, label) for name, label, _ in lines] == [
        ("a.png", "red"), ("b.JPG", "blue"), ("more/d.tif", "red"), ("more/deep/c.webp", "green")
    ]  # fmt: skip
    assert err == ""


def test_a_bad_file_does_not_end_the_run(camera: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "aa.png").write_bytes(picture("red")[:-40])
    (folder / "ab.gif").write_bytes(b"<!DOCTYPE html>")
    assert run(["predict", str(camera), str(folder), str(folder / "none.png"), str(folder / "b.JPG")]) == 2
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 5
    assert err.splitlines() == [
        f"{folder}/aa.png: {DAMAGED}",
        f"{folder}/ab.gif: expected an image (JPEG, PNG, GIF, BMP, WebP or TIFF), found a web page",
        f"cannot read input {folder}/none.png: No such file or directory",
        "error: 3 of 8 inputs could not be answered",
    ]


def test_as_json_a_folder_is_one_list_with_the_errors_in_it(
    camera: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "aa.png").write_bytes(b"nothing")
    assert run(["predict", str(camera), str(folder), "--json"]) == 2
    answers = json.loads(capfd.readouterr().out)
    assert [Path(answer["input"]).name for answer in answers] == ["a.png", "aa.png", "b.JPG", "d.tif", "c.webp"]
    assert [answer["top"][0]["label"] for answer in answers if "top" in answer] == ["red", "blue", "red", "green"]
    assert "expected an image" in answers[1]["error"]
    (only := folder / "only").mkdir()
    (only / "a.png").write_bytes(picture("red"))
    assert run(["predict", str(camera), str(only), "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 1


def test_a_folder_without_inputs_and_an_image_that_is_not_declared_are_said(
    bundle_path: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("1")
    assert run(["predict", str(bundle_path), str(tmp_path / "empty")]) == 2
    assert "expected a folder of .bmp, .csv," in capfd.readouterr().err
    assert run(["predict", str(bundle_path), str(folder / "a.png")]) == 2
    assert f"error: {folder}/a.png: input 'x': expected numbers, found an image" in capfd.readouterr().err


def test_a_name_with_escapes_stays_in_its_line(camera: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = [tmp_path / "a\nb\x1b[31m.png", tmp_path / "c.png"]
    for name in names:
        name.write_bytes(picture("red"))
    assert run(["predict", str(camera), *map(str, names)]) == 0
    out = capfd.readouterr().out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out


def test_a_sequence_ends_at_a_step_that_cannot_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stateful.make_bundle(tmp_path / "wake.edgemm")
    good = [json.dumps(step.tolist()) for step in stateful.steps(3)]
    assert run(["predict", str(tmp_path / "wake.edgemm"), good[0], "[1]", good[1], "--json"]) == 2
    out, err = capfd.readouterr()
    assert len(json.loads(out)) == 2
    assert "1 of 3 inputs could not be answered: a sequence has no gaps, so that it ended there" in err


@pytest.mark.slow
def test_a_terminal_sees_how_far_it_is_while_a_file_gets_the_answers(camera: Path, folder: Path) -> None:
    terminal, child = pty.openpty()
    command = [sys.executable, "-m", "edgemm", "predict", str(camera), str(folder), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, check=True)
    os.close(child)
    said = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError as err:
            assert err.errno == errno.EIO  # noqa: PT017 - the other end is closed: everything was read
            break
        if not piece:
            break
        said += piece
    os.close(terminal)
    assert len(json.loads(done.stdout)) == 4
    assert b"\r1 of 4" in said
    assert b"\r4 of 4" in said


def test_an_empty_name_is_not_the_folder_one_is_in(
    camera: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["predict", str(camera), ""]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
