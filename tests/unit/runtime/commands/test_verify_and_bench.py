"""`edgemm verify` and `edgemm bench` run every variant whose engine is here, and say which they did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm_runtime.engines.measuring import measure_in_child, peak_rss_bytes
from simulators.models import VARIANTS, make_bundle

pytestmark = pytest.mark.slow


def test_verify_runs_every_variant(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle_path), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(v["variant"], v["result"]) for v in found["variants"]] == [(v, "passed") for v in VARIANTS]
    assert (found["model"], found["version"], found["samples"]) == ("tiny", "1.0.0", 8)


def test_verify_tells_people_the_digest_and_each_result(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(bundle_path)]) == 0
    digest = capfd.readouterr().out.split("sha256 ")[1].split()[0]
    assert run(["verify", str(bundle_path)]) == 0
    out = capfd.readouterr().out
    assert digest in out
    assert out.count("passed") == 3


def test_verify_fails_on_a_scrambled_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(tmp_path / "b.edgemm", scramble=True, variants=("tflite:float32",))
    assert run(["verify", str(tmp_path / "b.edgemm")]) == 1
    said = capfd.readouterr()
    assert "golden sample 0, output 'scores'" in said.out
    assert "error: " in said.err
    assert "tflite:float32 failed" in said.err


def test_verify_says_what_it_did_not_run(
    bundle_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemm.manifest import Engine

    monkeypatch.setattr("edgemm_runtime.commands.verify.available", lambda: {Engine.TFLITE: "2.3.0"})
    assert run(["verify", str(bundle_path)]) == 0
    assert "onnx:float32    not run  needs onnxruntime, which is not installed" in capfd.readouterr().out
    monkeypatch.setattr("edgemm_runtime.commands.verify.available", dict)
    assert run(["verify", str(bundle_path)]) == 1
    assert "no engine is here" in capfd.readouterr().err


def test_verify_refuses_a_flipped_byte(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(bundle_path.read_bytes())
    data[-1] ^= 1
    bundle_path.write_bytes(data)
    assert run(["verify", str(bundle_path)]) == 1
    assert "fetch it again" in capfd.readouterr().err


def test_bench_measures_each_variant_in_its_own_process(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(bundle_path), "--runs", "20", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [m["variant"] for m in found["variants"]] == list(VARIANTS)
    for m in found["variants"]:
        assert 0 < m["p50_ms"] <= m["p99_ms"]
        assert m["load_ms"] > 0
        assert 10e6 < m["peak_rss_bytes"] < 1e9
        assert m["runs"] == 20


def test_bench_measures_the_model_and_not_its_caller(bundle_path: Path) -> None:
    held = bytearray(b"x") * 600_000_000
    found = measure_in_child(bundle_path, "tflite:float32", runs=1, threads=1, timeout_s=120)
    assert 10e6 < found.peak_rss_bytes < len(held) / 2


@pytest.mark.parametrize(
    ("status", "expected"), [("Name:\tpython\nVmHWM:\t   13524 kB\n", 13524 * 1024), ("Name:\tpython\n", None)]
)
def test_the_peak_is_what_linux_says_of_this_program(tmp_path: Path, status: str, expected: int | None) -> None:
    (tmp_path / "status").write_text(status)
    found = peak_rss_bytes(tmp_path / "status")
    assert found == expected or (expected is None and found > 10e6)
    assert peak_rss_bytes(tmp_path / "none") > 10e6


def test_bench_prints_a_table(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(bundle_path, variants=("tflite:int8",))
    assert run(["bench", str(bundle_path), "--runs", "5"]) == 0
    assert "tflite:int8" in capfd.readouterr().out


def test_bench_without_an_engine_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_bundle(tmp_path / "b.edgemm", minimum_engine="99.0")
    assert run(["bench", str(tmp_path / "b.edgemm")]) == 1
    assert "needs ai-edge-litert>=99.0" in capfd.readouterr().err


def test_bench_reports_a_model_that_does_not_load(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulators.models.model_file", lambda *_, **__: b"no model")
    make_bundle(tmp_path / "b.edgemm", variants=("tflite:float32",))
    assert run(["bench", str(tmp_path / "b.edgemm")]) == 1
    assert "LiteRT cannot load the file" in capfd.readouterr().err
