"""`edgemm verify` and `edgemm bench` run every variant whose engine is here, and say which they did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm_runtime.bench.conditions import Conditions, read_conditions, told
from edgemm_runtime.bench.measuring import Measurement, measure_in_child, peak_rss_bytes
from edgemm_runtime.commands import bench
from simulators.models import VARIANTS, Dense, make_bundle, model_file

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
    from edgemm.bundle.engine_facts import Engine

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
    assert run(["bench", str(bundle_path), "--runs", "20", "--threads", "1", "--threads", "2", "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == "", "progress is for a terminal"
    found = json.loads(out)
    assert [(m["variant"], m["threads"]) for m in found["variants"]] == [(v, t) for v in VARIANTS for t in (1, 2)]
    for m in found["variants"]:
        assert 0 < m["p50_ms"] <= m["p99_ms"]
        assert m["load_ms"] > 0
        assert m["per_second"] > 1
        assert 1 <= m["at_once"] <= found["cpus"]
        assert 10e6 < m["pss_bytes"] <= m["peak_rss_bytes"] < 1e9
        assert m["runs"] == 20
    assert found["chosen"] == VARIANTS[0]
    assert found["engines"]["onnx:float32"].startswith("onnxruntime ")
    assert set(found["before"]) == set(found["after"]) == {
        "temperature_c", "frequency_mhz", "throttled", "throttled_since_boot",
    }  # fmt: skip


@pytest.mark.parametrize("cpus", [1, 2, 3, 64])
def test_bench_tries_no_more_threads_than_there_are_cpus_or_than_pay(
    cpus: int, bundle_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(path: Path, variant_id: str, *, runs: int, threads: int, timeout_s: float) -> Measurement:
        assert (path, runs, timeout_s) == (bundle_path, 200, 600)
        return _measurement(variant_id, threads)

    monkeypatch.setattr(bench, "measure_in_child", measured)
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    assert run(["bench", str(bundle_path), "--json"]) == 0
    tried = {m["threads"] for m in json.loads(capfd.readouterr().out)["variants"]}
    assert tried == {1: {1}, 2: {1, 2}, 3: {1, 2}, 64: {1, 2, 4}}[cpus]


@pytest.mark.parametrize("name", ["plain.tflite", "plain.onnx"])
def test_bench_measures_a_plain_file(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    engine = name.rpartition(".")[2]
    (tmp_path / name).write_bytes(model_file(Dense.random(0), f"{engine}:float32"))
    assert run(["bench", str(tmp_path / name), "--runs", "5", "--threads", "1", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["model"], found["version"], found["chosen"]) == (name, None, None)
    (measured,) = found["variants"]
    assert measured["variant"] == engine
    assert measured["file_bytes"] == (tmp_path / name).stat().st_size
    assert measured["per_second"] > 1


@pytest.mark.parametrize("name", ["plain.tflite", "plain.onnx"])
def test_bench_of_a_file_that_is_no_model(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(tmp_path / name)]) == 2
    assert f"{name}: no such file" in capfd.readouterr().err
    (tmp_path / name).write_bytes(b"garbage")
    assert run(["bench", str(tmp_path / name), "--threads", "1"]) == 1
    err = capfd.readouterr().err
    assert f"{name}: " in err
    assert "cannot load the file" in err


def test_bench_tells_people_what_is_best_and_how_the_board_was(
    bundle_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [Conditions(48.0, 1800, (), ("undervoltage",)), Conditions(81.2, 1500, (), ("undervoltage", "throttled"))]
    p50_ms = {("tflite:int8", 2): 0.5, ("onnx:float32", 1): 0.75}
    per_second = {("onnx:float32", 1): 12_345.0}

    def measured(path: Path, variant_id: str, *, runs: int, threads: int, timeout_s: float) -> Measurement:
        case = (variant_id, threads)
        return _measurement(*case, p50_ms=p50_ms.get(case, 1.0), per_second=per_second.get(case, 100.0))

    monkeypatch.setattr(bench, "measure_in_child", measured)
    monkeypatch.setattr(bench, "read_conditions", lambda: looks.pop(0))
    assert run(["bench", str(bundle_path), "--threads", "1", "--threads", "2"]) == 0
    out = capfd.readouterr().out
    assert "quickest: tflite:int8 with 2 threads, 0.500 ms\n" in out
    assert "most a second: onnx:float32 with 1 thread, 12,345, 2 at once\n" in out
    assert f"edgemm run takes {VARIANTS[0]} here" in out
    assert "temperature: 48 °C before, 81 °C after\nfrequency: 1,800 MHz before, 1,500 MHz after\n" in out
    assert "the firmware reports: throttled: it can be faster than that" in out, "the undervoltage was long before"


def test_the_board_is_read_where_it_tells(tmp_path: Path) -> None:
    assert list(told(read_conditions(tmp_path), read_conditions(tmp_path))) == []
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    firmware = tmp_path / "sys/devices/platform/soc/soc:firmware"
    for folder in (zone, firmware):
        folder.mkdir(parents=True)
    (zone / "temp").write_text("61500\n")
    (firmware / "get_throttled").write_text("50005\n")
    found = read_conditions(tmp_path)
    assert found.temperature_c == 61.5
    assert found.throttled == ("undervoltage", "throttled")
    assert list(told(found, found))[-1].startswith("the firmware reports: throttled, undervoltage: ")


def _measurement(variant: str, threads: int, *, p50_ms: float = 1.0, per_second: float = 100.0) -> Measurement:
    return Measurement(
        variant=variant, threads=threads, file_bytes=1000, load_ms=1.0, p50_ms=p50_ms, p99_ms=2.0, at_once=2,
        per_second=per_second, pss_bytes=30_000_000, peak_rss_bytes=50_000_000, runs=5,
    )  # fmt: skip


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
