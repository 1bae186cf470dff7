"""docs/serving.md: its commands are run, and every path that it names is there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import urllib3

from simulators import stateful
from simulators.models import make_bundle
from simulators.tables import make_table
from tests.docs.camera_model import STEPS, write_colour_bundle
from tests.docs.pages import DOCS, blocks, tables
from tests.docs.serving import running, served
from tests.unit.runtime.preprocessing.pictures import encoded

PAGE = DOCS / "serving.md"
ADDRESS = "http://127.0.0.1:8080"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("served") / "tiny-1.0.0.edgemm"
    make_bundle(path)
    with served(path) as url:
        yield url


def commands(marker: str) -> list[str]:
    return [line for block in blocks(PAGE) if block.marker == marker for line in block.text.splitlines()]


@pytest.mark.parametrize("line", commands("served"))
def test_a_curl_line_gets_an_answer(address: str, line: str) -> None:
    words = shlex.split(line)
    body = words[words.index("-d") + 1] if "-d" in words else None
    reply = urllib3.request("POST" if body else "GET", words[2].replace(ADDRESS, address), body=body)
    assert reply.status == 200, reply.data
    assert json.loads(reply.data)


def test_a_table_is_answered_as_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "visits-1.0.0.edgemm"
    make_table(path, member=False)
    table = b"city,age,visits\nGraz,31,2\nLinz,,0\n"
    lines = [shlex.split(line) for line in commands("served-table")]
    with served(path) as url:
        told = []
        for words in lines:
            body = table if "--data-binary" in words else words[words.index("-d") + 1]
            reply = urllib3.request("POST", words[2].replace(ADDRESS, url), body=body)
            assert reply.status == 200, reply.data
            told.append(json.loads(reply.data))
    assert told[0] == told[2]
    assert told[0]["outputs"]["score"][:1] == told[1]["outputs"]["score"] == [told[3]["predictions"][0]["score"]]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the bundles and files that the page's commands name."""
    make_bundle(tmp_path / "tiny-1.0.0.edgemm")
    write_colour_bundle(tmp_path / "camera-1.0.0.edgemm", steps=STEPS)
    (tmp_path / "rows.csv").write_text("a;b;c;d\n,5;1;2;0\n")
    np.save(tmp_path / "rows.npy", np.ones((2, 4), np.float32))
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "cat.jpg", tmp_path / "photos" / "one.png"):
        path.write_bytes(
            encoded(path.suffix[1:].upper().replace("JPG", "JPEG"), np.full((40, 50, 3), (0, 0, 255), np.uint8))
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", commands("predicted"))
def test_a_line_answers_without_a_server(inputs: Path, line: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = line.replace("edgemm predict", f"{sys.executable} -m edgemm predict")
    done = subprocess.run(
        ["bash", "-euc", command], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "blue" in done.stdout if "camera" in line else done.stdout


def test_python_gets_labels(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [block] = [block for block in blocks(PAGE) if block.marker == "loaded"]
    exec(compile(block.text, "page", "exec"), {})
    assert capsys.readouterr().out.startswith("[[Top(label='blue', score=")


def test_a_stateful_model_goes_on_where_its_curl_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "wake-1.0.0.edgemm"
    stateful.make_bundle(path)
    lines = [shlex.split(line) for line in commands("served-stateful")]
    with served(path) as url:
        statuses = []
        for words in [*lines, lines[1]]:
            given = (words[i + 1].split(": ") for i, word in enumerate(words) if word == "-H")
            body, address = words[words.index("-d") + 1], words[2].replace(ADDRESS, url)
            statuses.append(urllib3.request("POST", address, body=body, headers=dict(given)).status)
    assert statuses == [200, 200, 200, 400], "it has ended"


def test_a_label_finds_its_prediction(address: str) -> None:
    asked, labelled = (shlex.split(line.replace(ADDRESS, address)) for line in commands("labelled"))
    header = asked[asked.index("-H") + 1].split(": ")
    assert urllib3.request("POST", asked[2], body=asked[asked.index("-d") + 1], headers=dict([header])).status == 200
    assert "agreed" in urllib3.request("POST", labelled[2], body=labelled[labelled.index("-d") + 1]).json()


def test_every_path_is_there(address: str) -> None:
    named = [
        (method, path)
        for rows in tables(PAGE).values()
        for row in rows
        for method, path in re.findall(r"(GET|POST) (/v[12][^`]*)", row[0])
    ]
    assert len(named) >= 10
    for method, path in named:
        plain = re.sub(r"\[/M.*?\]\]", "/tiny", path)
        plain = re.sub(r"\[.*?\]", "", plain).replace("/models/M", "/models/tiny")
        status = urllib3.request(method, address + plain).status
        assert status == (400 if method == "POST" and not plain.endswith("index") else 200), (method, plain)


def test_the_shadow_runs(tmp_path: Path) -> None:
    for seed, version in enumerate(("1.0.0", "1.1.0")):
        make_bundle(tmp_path / f"tiny-{version}.edgemm", version=version, seed=seed)
    [line] = commands("needs-two-bundles")
    words = [str(tmp_path / word) if word.endswith(".edgemm") else word for word in shlex.split(line)[1:]]
    with running([*words, "--port", "0"], until=r"curl -s (http://[\d.:]+/shadow)") as match:
        assert urllib3.request("GET", match[1]).json()["shadows"]


def test_several_addresses_answer_and_the_page_of_the_line_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "tiny-1.0.0.edgemm")
    [line] = commands("allows-pages")
    words = shlex.split(line)[1:]
    asked = {"Origin": words[words.index("--cors") + 1], "Access-Control-Request-Method": "POST"}
    with running([*words, "--port", "0"], until=r" is served at http://127.0.0.1:(\d+)") as match:
        for host in ("127.0.0.1", "[::1]"):
            told = urllib3.request("OPTIONS", f"http://{host}:{match[1]}/predict", headers=asked)
            assert told.headers["Access-Control-Allow-Origin"] == asked["Origin"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_models_are_managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "tiny-1.0.0.edgemm")
    first, *curls = commands("managed")
    with running([*shlex.split(first)[1:], "--port", "0"], until=r"loaded and unloaded at manage\.sock"):
        assert len(curls) == 2
        for line in curls:
            done = subprocess.run(shlex.split(line), capture_output=True, check=True)
            assert json.loads(done.stdout) == {}
