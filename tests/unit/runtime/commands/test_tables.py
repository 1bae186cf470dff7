"""Tables on the command line: `edgemm run`, whose curl line works, `edgemm predict` and `edgemm inspect`."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.cli import run
from edgemm_runtime.commands import announcing
from edgemm_runtime.engines import golden
from simulators.tables import ROWS, answer, make_table
from tests.unit.runtime.commands.test_run import running

TOLD = answer(ROWS)
CSV = "city,member,age,visits\nGraz,true,31,2\nWien,0,,40\nBerlin,false,27.5,0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_table(tmp_path / "visits-1.0.0.edgemm")
    return tmp_path / "visits-1.0.0.edgemm"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_table_is_answered_by_a_process_that_serves_it(path: Path) -> None:
    with running(str(path)) as (_, [address, curl]):
        url = address.rsplit(" ", 1)[1]
        command = shlex.split(curl.removeprefix("try: "))
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert told["outputs"] == answer(ROWS[:1])
        for kind, body in (
            ("text/csv", CSV.encode()),
            ("application/json", json.dumps([row._asdict() for row in ROWS]).encode()),
            ("application/json", json.dumps({"inputs": {key: list(v) for key, v in _columns().items()}}).encode()),
        ):
            asked = Request(f"{url}/predict", data=body, headers={"Content-Type": kind})
            with urlopen(asked) as reply:
                assert json.load(reply)["outputs"] == TOLD


def _columns() -> dict[str, tuple[Any, ...]]:
    return dict(zip(ROWS[0]._fields, zip(*ROWS, strict=True), strict=True))


def test_the_curl_line_is_safe_to_paste_whatever_a_sample_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = "x'; touch stolen; '"
    samples = SimpleNamespace(input=lambda _: {"city": np.array([[strange]], object)})
    monkeypatch.setattr(golden, "read_samples", lambda _: samples)
    server = SimpleNamespace(access=SimpleNamespace(api_key="", tls=False), address="http://127.0.0.1:1")
    with open_bundle(path) as bundle:
        words = shlex.split(announcing.curl_line(server, bundle))  # type: ignore[arg-type]
    assert json.loads(words[-1]) == {"inputs": {"city": [[strange]]}}
    assert words[:-1] == ["curl", "-s", "http://127.0.0.1:1/predict/visits", "-d"]


def test_predict_takes_tables_from_files_and_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = path.parent / "rows"
    folder.mkdir()
    (folder / "a.csv").write_text(CSV)
    (folder / "b.json").write_text(json.dumps([row._asdict() for row in ROWS]))
    inputs: dict[str, Any] = {key: np.array(values) for key, values in _columns().items() if key != "age"}
    np.savez(folder / "c.npz", age=np.array([31, np.nan, 27.5]), **inputs)
    assert run(["predict", str(path), str(folder), "--json"]) == 0
    assert [one["outputs"] for one in json.loads(capsys.readouterr().out)] == [TOLD] * 3
    assert run(["predict", str(path), '{"inputs": {"age": 31, "visits": 2, "city": "Graz", "member": true}}']) == 0
    assert json.loads(capsys.readouterr().out) == answer(ROWS[:1])
    (folder / "a.csv").write_text(CSV.replace("40", "forty"))
    assert run(["predict", str(path), str(folder / "a.csv")]) == 2
    assert "a.csv: line 3, column 'visits': expected an integer, found 'forty'" in capsys.readouterr().err


def test_inspect_shows_strings(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(path)]) == 0
    assert "string" in capsys.readouterr().out
