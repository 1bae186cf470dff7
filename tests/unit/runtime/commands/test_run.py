"""`edgemm run BUNDLE` as a process: what it prints works, and it ends as asked."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.cli import run
from edgemm.errors import InputError
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.commands.serving_bundles import OpenBundles
from edgemm_runtime.engines.golden import read_samples
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.shadow_limits import ShadowLimits
from simulators.models import Dense, make_bundle

COMMAND = [sys.executable, "-m", "edgemm", "run"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start `edgemm run` on a free port; yield the process and the two lines that it prints for each bundle."""
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        bundles = sum(a.endswith(".edgemm") for a in arguments)
        yield process, [process.stdout.readline().strip() for _ in range(2 * bundles)]
    finally:
        process.kill()
        process.communicate()


def test_a_token_that_was_typed_needs_a_fleet(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", str(bundle_path), "--token", "emt1_x"]) == 2
    assert "--token needs --fleet" in capsys.readouterr().err
    monkeypatch.setenv("EDGEMM_TOKEN", "emt1_x")
    assert run(["run", "missing.edgemm"]) == 2
    assert "cannot open bundle missing.edgemm" in capsys.readouterr().err, (
        "one of the environment is none of its business"
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_line_that_it_prints_works(bundle_path: Path) -> None:
    with running(str(bundle_path), "--variant", "onnx:float32") as (_, [address, curl]):
        assert re.fullmatch(r"tiny 1\.0\.0 \(onnx:float32\) is served at http://127\.0\.0\.1:\d+", address)
        command = shlex.split(curl.removeprefix("try: "))
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    sent = json.loads(command[-1])["inputs"]["x"]
    expected = Dense.random(0).predict(np.array(sent, np.float32))
    assert np.allclose(answer["outputs"]["scores"], expected, atol=1e-5)
    assert answer["model"] == "tiny"


def test_the_curl_line_spells_the_golden_sample_as_short_as_it_can(bundle_path: Path) -> None:
    with open_bundle(bundle_path) as bundle:
        golden_input = read_samples(bundle).input(0)["x"]
    with running(str(bundle_path)) as (_, [_, curl]):
        body = shlex.split(curl.removeprefix("try: "))[-1]
    numbers = body.removeprefix('{"inputs":{"x":[[').removesuffix("]]}}").split(",")
    assert [np.float32(number) for number in numbers] == golden_input.ravel().tolist()
    assert max(len(number.lstrip("-")) for number in numbers) <= len("0.123456789"), "a float32 needs 9 digits"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_when_it_is_asked(bundle_path: Path, number: int, status: int) -> None:
    with running(str(bundle_path)) as (process, _):
        process.send_signal(number)
        assert process.wait(60) == status


def test_serving_writes_nothing_but_its_own_log(bundle_path: Path) -> None:
    with subprocess.Popen([*COMMAND, str(bundle_path), "--port", "0"], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert log
    assert all(re.match(r"\d{4}-\d\d-\d\d .* INFO edgemm_runtime\.", line) for line in log.splitlines()), log


def test_two_bundles_are_served_side_by_side(bundle_path: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "other.edgemm", name="other")
    with running(str(bundle_path), str(tmp_path / "other.edgemm")) as (_, lines):
        assert [line.split()[0] for line in lines[::2]] == ["tiny", "other"]


def test_tls_and_the_key_of_the_public_address_are_those_of_the_management_address(
    bundle_path: Path, tmp_path: Path
) -> None:
    certificate, key, secret = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "api.key"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    secret.write_text("0123456789abcdef")
    options = ["--tls-cert", certificate, "--tls-key", key, "--api-key-file", secret, "--manage", "127.0.0.1:0"]
    with running(str(bundle_path), *map(str, options)) as (process, _):
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        connection = http.client.HTTPSConnection(
            address.removeprefix("https://"), timeout=60, context=ssl.create_default_context(cafile=str(certificate))
        )
        for headers, status in (({}, 401), ({"X-API-Key": "0123456789abcdef"}, 200)):
            connection.request("POST", "/v2/repository/models/tiny/unload", headers=headers)
            reply = connection.getresponse()
            reply.read()
            assert reply.status == status
        connection.close()


def test_a_taken_port_ends_with_one_line(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["run", str(bundle_path), "--port", str(port)]) == 1
    assert f"error: port {port} on 127.0.0.1 is taken" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "expected a BUNDLE to serve, or --fleet URL"),
        (["missing.edgemm"], 2, "cannot open bundle missing.edgemm"),
        (["BUNDLE", "BUNDLE"], 2, "a model called tiny is given twice"),
        (["BUNDLE", "--manage", "0.0.0.0:81"], 2, "managed from this machine only"),
        (["--fleet", "https://fleet", "--manage", "x.sock"], 2, "the fleet says what is loaded"),
        (["BUNDLE", "--name", "pi"], 2, "--name needs --fleet"),
        (["BUNDLE", "--label", "a=b"], 2, "--label needs --fleet"),
        (["BUNDLE", "--state-dir", "/dev/null/x"], 1, "state folder /dev/null/x/feedback: Not a directory"),
        (["BUNDLE", "--telemetry-interval", "30s"], 2, "--telemetry-interval needs --fleet"),
        (["BUNDLE", "--sd-write-mib", "5"], 2, "--sd-write-mib needs --fleet"),
        (["--fleet", "https://fleet", "--sd-write-mib", "1"], 2, "1 is not in the range 2<=x<=1048576"),
        (["--fleet", "https://fleet", "--telemetry-interval", "0.5s"], 2, "expected a duration from 1s to 1h"),
        (["--fleet", "https://fleet", "--telemetry-interval", "2h"], 2, "expected a duration from 1s to 1h"),
        (["--fleet", "https://fleet", "--telemetry-interval", "often"], 2, "expected a duration such as 90s"),
        (["BUNDLE", "--fleet", "https://fleet"], 2, "the fleet says which bundles"),
        (["--fleet", "https://fleet", "--variant", "tflite:int8"], 2, "the fleet says which bundles"),
        (["--fleet", "https://fleet", "--label", "room"], 2, "expected KEY=VALUE, found 'room'"),
        (["BUNDLE", "--listen", ""], 2, "--listen: expected an address such as 127.0.0.1, found none"),
        (["BUNDLE", "--listen", "127.0.0.1", "--listen", " "], 2, "--listen: expected an address"),
        (["BUNDLE", "--listen", "127.0.0.1:8080"], 2, "found '127.0.0.1:8080': give the port with --port"),
        (["BUNDLE", "--listen", "[::1]:8080"], 2, "give the port with --port"),
        (["BUNDLE", "--listen", "127.0.0.300"], 2, "expected an IPv4 or IPv6 address or a name"),
        (["BUNDLE", "--cors", "*"], 2, "found '*': any page that somebody in this network opens could ask"),
        (["BUNDLE", "--cors", "panel.example"], 2, "--cors: expected an origin such as https://panel.example"),
        (["BUNDLE", "--cors", "https://panel.example/app"], 2, "without a path"),
        (["--fleet", "https://fleet", "--cors", "null"], 2, "--cors: expected an origin"),
        (["BUNDLE", "--port", "70000"], 2, "70000 is not in the range"),
        (["BUNDLE", "--variant", "tflite:int4"], 2, "has no variant 'tflite:int4'"),
        (["SCRAMBLED", "--port", "0"], 1, "golden sample 0"),
    ],
)
def test_what_can_not_work_ends_with_one_line(
    bundle_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    status: int,
    message: str,
    agent: list[Any],
) -> None:
    make_bundle(tmp_path / "scrambled.edgemm", scramble=True)
    places = {"BUNDLE": str(bundle_path), "SCRAMBLED": str(tmp_path / "scrambled.edgemm")}
    assert run(["run", *[places.get(a, a) for a in arguments]]) == status
    assert message in capfd.readouterr().err
    assert agent == []


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the device agent; returns the options that it was started with."""
    started: list[Any] = []
    main, options = ModuleType("main"), ModuleType("options")
    vars(main).update(run_agent=started.append)
    vars(options).update(AgentOptions=SimpleNamespace, MIB=1024 * 1024)
    monkeypatch.setitem(sys.modules, "edgemm_runtime.agent.main", main)
    monkeypatch.setitem(sys.modules, "edgemm_runtime.agent.state.agent_options", options)
    return started


def test_with_a_fleet_it_is_a_device(agent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEMM_TOKEN", "emt1_secret")
    arguments = ["--label", "room=hall", "--label", "os=pi=5", "--state-dir", str(tmp_path), "--port", "9000"]
    assert run(["run", "--fleet", "https://fleet:8443", "--name", "pi", *arguments]) == 0
    [options] = agent
    assert (options.fleet_url, options.token, options.name) == ("https://fleet:8443", "emt1_secret", "pi")
    assert (options.labels, options.state_dir) == ({"room": "hall", "os": "pi=5"}, tmp_path)
    assert (options.listen, options.port) == (("127.0.0.1",), 9000)


def test_several_addresses_and_pages_are_given_one_by_one(agent: list[Any]) -> None:
    given = ["--listen", "::1", "--listen", "[::1]", "--listen", "127.0.0.1", "--cors", "HTTPS://Panel.example/"]
    assert run(["run", "--fleet", "https://fleet", *given, "--cors", "http://192.0.2.7:3000"]) == 0
    [options] = agent
    assert options.listen == ("::1", "127.0.0.1")
    assert options.access.origins == {"https://panel.example", "http://192.0.2.7:3000"}


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("1", 1.0), ("5min", 300.0), ("1h", 3600.0)])
def test_how_often_a_device_tells_its_counters_is_an_option(agent: list[Any], text: str, seconds: float) -> None:
    assert run(["run", "--fleet", "https://fleet", "--telemetry-interval", text]) == 0
    assert agent[0].limits.telemetry_interval_s == seconds


def test_what_a_device_writes_to_its_card_in_a_day_is_an_option(agent: list[Any]) -> None:
    assert run(["run", "--fleet", "https://fleet", "--sd-write-mib", "5"]) == 0
    assert agent[0].limits == AgentLimits(sd_write_bytes_per_day=5 * 1024 * 1024)


def test_the_limits_of_a_file_hold_and_an_option_is_stronger(agent: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "edgemm.toml"
    path.write_text(
        "[serving]\nmax_body_bytes = 1000\n[agent]\ntelemetry_interval_s = 300\nspool_bytes = 2000000\n"
        "[shadow]\nmax_crashes = 1\n"
    )
    assert run(["run", "--fleet", "https://fleet", "--config", str(path), "--telemetry-interval", "30s"]) == 0
    [options] = agent
    assert (options.serving, options.shadow) == (ServingLimits(max_body_bytes=1000), ShadowLimits(max_crashes=1))
    assert options.limits == AgentLimits(telemetry_interval_s=30, spool_bytes=2_000_000)


def test_a_server_holds_the_limits_of_its_file(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "edgemm.toml"
    path.write_text("[serving]\nmax_body_bytes = 1000\n")
    with running(str(bundle_path), "--port", "0", "--config", str(path)) as (_, lines):
        found = re.search(r"http://([\d.:]+)", "".join(lines))
        assert found
        for size, status in ((1001, 413), (10, 400)):
            connection = http.client.HTTPConnection(found[1], timeout=60)
            connection.request("POST", "/predict", b"x" * size)
            assert connection.getresponse().status == status
            connection.close()


def test_a_mistake_in_the_file_ends_before_anything_is_served(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "edgemm.toml"
    path.write_text("[serving]\nmax_body_byte = 1000\n")
    assert run(["run", str(bundle_path), "--config", str(path)]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (f"error: {path}: serving: there is no limit 'max_body_byte'; did you mean max_body_bytes?\n")


def test_a_device_keeps_its_state_in_the_users_state_folder(
    agent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run(["run", "--fleet", "https://fleet"]) == 0
    assert agent[0].state_dir == tmp_path / "edgemm"


def loaded_modules(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_none_of_the_heavy_libraries() -> None:
    loaded = loaded_modules("from edgemm.cli import run\nrun(['--help'])")
    assert not loaded & {"flask", "numpy", "tensorflow", "onnxruntime", "ai_edge_litert", "edgemm_runtime"}


def test_serving_and_predicting_load_no_tensorflow(bundle_path: Path) -> None:
    loaded = loaded_modules(
        "import edgemm_runtime.commands.run, edgemm_runtime.commands.verify, edgemm_runtime.commands.bench\n"
        "import edgemm_runtime\n"
        f"edgemm_runtime.load({str(bundle_path)!r}).predict([[1, 2, 3, 4]])\n"
        f"edgemm_runtime.load({str(bundle_path)!r}, variant='onnx:float32').predict([[1, 2, 3, 4]])"
    )
    litert = {"ai_edge_litert.interpreter", "tflite_runtime.interpreter"} & loaded
    assert len(litert) == 1
    assert {"onnxruntime", "flask"} <= loaded
    assert not {m.split(".")[0] for m in loaded} & {"tensorflow", "keras", "tf_keras", "onnx", "tf2onnx", "jax"}


@pytest.mark.parametrize(
    ("command", "missing"),
    [("run", "flask"), ("run", "httptools"), ("predict", "numpy"), ("verify", "numpy"), ("bench", "numpy")],
)
def test_a_missing_extra_ends_with_what_to_install(tmp_path: Path, command: str, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgemm", command, "b.edgemm", "[1]"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(
        f"this needs the Python package {missing}, which is not installed: pip install 'edgemm[runtime]'"
    )


def test_a_file_that_was_replaced_again_is_told_each_time_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "tiny.edgemm"
    make_bundle(path)
    with ExitStack() as stack:
        files = OpenBundles([], {"tiny": path}, stack)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(InputError, match="load it again"):
                files.bundle_of(ServedKey("tiny", "1.0.0", "0" * 64, "tflite:float32"))
        assert len(os.listdir("/proc/self/fd")) == before
