"""`edgemm predict`: every way to give an input, and every way to get it wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgemm.cli import run
from simulators.models import OLDEST_ENGINE, VARIANTS, Dense, make_bundle

DENSE = Dense.random(0)
X = np.array([[0.5, -0.25, 0.125, 1], [0, 1, 0, -1]], np.float32)
LABELS = ("ant", "bee", "cat")


def scores(out: str) -> np.ndarray:
    return np.array(json.loads(out)["outputs"]["scores"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_inline_json(bundle_path: Path, capfd: pytest.CaptureFixture[str], variant: str) -> None:
    assert run(["predict", str(bundle_path), json.dumps(X.tolist()), "--variant", variant, "--json"]) == 0
    limit = DENSE.int8_error if "int8" in variant else 1e-5
    assert np.abs(scores(capfd.readouterr().out) - DENSE.predict(X)).max() <= limit


@pytest.mark.parametrize(
    "kind", ["npy float32", "npy float64", "npy fortran", "npz", "npz named", "json", "json marked"]
)
def test_files(bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    path = tmp_path / f"x.{kind.split(maxsplit=1)[0]}"
    match kind:
        case "npy float32":
            np.save(path, X)
        case "npy float64":
            np.save(path, X.astype(np.float64))
        case "npy fortran":
            np.save(path, np.asfortranarray(X))
        case "npz":
            np.savez(path, X)
        case "npz named":
            np.savez(path, x=X)
        case "json" | "json marked":
            path.write_text(json.dumps({"inputs": X.tolist()}), encoding="utf-8-sig" if "marked" in kind else "utf-8")
    assert run(["predict", str(bundle_path), str(path), "--json"]) == 0
    assert np.allclose(scores(capfd.readouterr().out), DENSE.predict(X), atol=1e-5)


def test_stdin(bundle_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(X.tolist()).encode(encoding))))
        assert run(["predict", str(bundle_path), "-", "--json"]) == 0
        assert np.allclose(scores(capfd.readouterr().out), DENSE.predict(X), atol=1e-5)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(X.tolist()).encode("utf-16"))))
    assert run(["predict", str(bundle_path), "-", "--json"]) == 2
    assert "stdin: expected text in UTF-8, found UTF-16: save it as UTF-8" in capfd.readouterr().err


def test_with_labels_people_see_the_best_one_of_each_sample(
    bundle_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(bundle_path), json.dumps(X.tolist())]) == 0
    expected = DENSE.predict(X)
    lines = [f"{LABELS[row.argmax()]}  {row.max():.4f}" for row in expected]
    assert capfd.readouterr().out.splitlines() == lines


def test_without_labels_people_see_the_outputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(tmp_path / "b.edgemm", labels=None)
    assert run(["predict", str(tmp_path / "b.edgemm"), json.dumps(X.tolist())]) == 0
    assert np.allclose(json.loads(capfd.readouterr().out)["scores"], DENSE.predict(X), atol=1e-5)


def test_several_inputs_are_a_list_of_answers(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [json.dumps(row) for row in X.tolist()]
    assert run(["predict", str(bundle_path), *rows, "--json"]) == 0
    answers = json.loads(capfd.readouterr().out)
    assert np.allclose([a["outputs"]["scores"][0] for a in answers], DENSE.predict(X), atol=1e-5)


def test_the_answer_is_all_that_it_prints(bundle_path: Path) -> None:
    command = [sys.executable, "-m", "edgemm", "predict", str(bundle_path), "[0.5, -0.25, 0.125, 1]"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row = DENSE.predict(X[:1])[0]
    assert done.stdout == f"{LABELS[row.argmax()]}  {row.max():.4f}\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ("[1, 2]", 2, "the given JSON: input 'x': expected shape [-1, 4], found [1, 2]"),
        ("[1, 2", 2, "expected JSON such as"),
        ("missing.npy", 2, "cannot read missing.npy: No such file or directory; expected a .npz or .npy file"),
        ("missing.json", 2, "cannot read input missing.json: No such file or directory"),
        ("text.npy", 2, "expected a .npz or .npy file of numbers"),
        ("objects.npy", 2, "expected a .npz or .npy file of numbers"),
        ("short.npz", 2, "expected a .npz or .npy file of numbers"),
        ("integers.npy", 0, ""),
        ("complex.npy", 2, "expected float32 values, found complex128"),
        ("names.npz", 2, "expected the arrays x float32[-1, 4], found a, b"),
    ],
)
def test_bad_inputs(
    bundle_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    given: str,
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.npy").write_text("hello")
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("names.npz", a=X, b=X)
    Path("short.npz").write_bytes(Path("names.npz").read_bytes()[:100])
    np.save("integers.npy", np.ones((1, 4), np.uint8))
    np.save("complex.npy", np.ones((1, 4), np.complex128))
    assert run(["predict", str(bundle_path), given]) == status
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (status != 0)
    assert all(message in line for line in errors)


@pytest.mark.parametrize(
    ("damage", "status", "message"),
    [
        ("missing", 2, "cannot open bundle"),
        ("empty", 1, "found an empty file"),
        ("flipped", 1, "sha256"),
        ("unknown variant", 2, "has no variant 'tflite:int4'; it has tflite:float32"),
        ("scrambled", 1, "golden sample 0"),
        ("old engine", 1, "needs ai-edge-litert>=99.0, found"),
    ],
)
def test_bad_bundles(tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: str, status: int, message: str) -> None:
    path, variant = tmp_path / "b.edgemm", "auto"
    make_bundle(
        path, scramble=damage == "scrambled", minimum_engine="99.0" if damage == "old engine" else OLDEST_ENGINE
    )
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "unknown variant":
            variant = "tflite:int4"
    assert run(["predict", str(path), "[1, 2, 3, 4]", "--variant", variant]) == status
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("as_json", [True, False])
def test_an_answer_that_is_no_number_is_said_and_never_null(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    np.save(tmp_path / "x.npy", np.array([[0, 0, 0, 0], [np.nan, 0, 0, 0]], np.float32))
    given = ["predict", str(bundle_path), str(tmp_path / "x.npy"), "--variant", "onnx:float32"]
    assert run([*given, "--json"] if as_json else given) == 1
    out, err = capfd.readouterr()
    assert "NaN" in out
    assert "null" not in out + err
    assert "onnx:float32, output 'scores': 3 of 6 values are no finite number, NaN first at [1, 0]" in err
