"""The options for the owner's broker: no password in a URL, never the fleet's broker, and a service that has them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgemm.cli import run
from edgemm.errors import InputError
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.commands.mqtt_options import enrolled_at, read_mqtt
from edgemm_runtime.mqtt.owner_broker import OwnerBroker, check_prefix, refuse_the_fleets, split_broker_url
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually

SECRET = "a-real-secret"


def read(**given: Any) -> OwnerBroker | None:
    none: dict[str, Any] = {"mqtt": None, "mqtt_topic": None, "mqtt_ca": None, "mqtt_login_file": None}
    return read_mqtt(**{**none, "mqtt_retain": False, "environment": {}, **given})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker.home", ("broker.home", 1883, False)),
        ("mqtts://broker.home/", ("broker.home", 8883, True)),
        ("mqtt://[::1]:1884", ("::1", 1884, False)),
    ],
)
def test_a_url_says_host_port_and_tls(url: str, expected: tuple[str, int, bool]) -> None:
    assert split_broker_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"mqtt://me:{SECRET}@broker", f"mqtt:/me:{SECRET}@broker", f"mqtts://{SECRET}@broker:x", "http://broker",
        "mqtt://", "mqtt://broker:0", "mqtt://broker:99999", "mqtt://broker/home", "mqtt://broker?x=1", "broker:1883",
        "mqtt://[broker", "",
    ],
)  # fmt: skip
def test_any_other_url_is_refused_without_a_password_in_words(url: str) -> None:
    with pytest.raises(InputError, match=r"^--mqtt") as raised:
        split_broker_url(url)
    assert SECRET not in str(raised.value)


def test_a_password_in_a_url_is_not_printed(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", str(bundle_path), "--mqtt", f"mqtt://me:{SECRET}@127.0.0.1"]) == 2
    said = "".join(capfd.readouterr())
    assert SECRET not in said
    assert "--mqtt-login-file" in said


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", "+", "a/#", "$SYS", "a\n", "x" * 300])
def test_a_prefix_is_of_plain_topics(prefix: str) -> None:
    with pytest.raises(InputError, match="--mqtt-topic"):
        check_prefix(prefix)


def test_a_login_is_in_a_file_or_in_the_environment(tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.write_text(f"me\n{SECRET}\n")
    found = read(mqtt="mqtt://broker", mqtt_login_file=login)
    assert found is not None
    assert (found.username, found.password, found.prefix) == ("me", SECRET, "edgemm")
    assert SECRET not in repr(found)
    found = read(mqtt="mqtt://broker", environment={"EDGEMM_MQTT_USER": "u", "EDGEMM_MQTT_PASSWORD": "p"})
    assert found is not None
    assert (found.username, found.password) == ("u", "p")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mqtt_topic": "home"}, "--mqtt-topic needs --mqtt"),
        ({"mqtt_retain": True}, "--mqtt-retain needs --mqtt"),
        ({"mqtt": "mqtt://b", "mqtt_ca": Path(__file__)}, "--mqtt-ca needs mqtts://"),
        ({"mqtt": "mqtts://b", "mqtt_ca": Path(__file__)}, "expected a certificate in PEM"),
        ({"mqtt": "mqtts://b", "mqtt_ca": Path("/nowhere")}, "cannot read the certificate from /nowhere"),
        ({"mqtt": "mqtt://b", "mqtt_login_file": Path("/nowhere")}, "cannot read the login from /nowhere"),
        ({"mqtt": "mqtt://b", "mqtt_login_file": Path(__file__)}, "expected the"),
        ({"mqtt": "mqtt://b", "environment": {"EDGEMM_MQTT_PASSWORD": "p"}}, "needs EDGEMM_MQTT_USER"),
    ],
)
def test_what_can_not_work_is_told(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        read(**given)


@pytest.mark.parametrize(
    ("host", "port", "is_it"),
    [
        ("fleet.example", 8883, True),
        ("FLEET.example.", 8883, True),
        ("fleet.example", 1883, False),
        ("other.example", 8883, False),
    ],
)
def test_the_fleets_broker_is_refused(host: str, port: int, is_it: bool) -> None:
    owners = OwnerBroker(host=host, port=port, tls=True)
    if is_it:
        with pytest.raises(InputError, match="fleet, which carries no predictions"):
            refuse_the_fleets(owners, ("fleet.example", 8883))
    else:
        refuse_the_fleets(owners, ("fleet.example", 8883))


def test_loopback_has_many_names() -> None:
    with pytest.raises(InputError, match="fleet"):
        refuse_the_fleets(OwnerBroker(host="localhost", port=1883, tls=False), ("127.0.0.1", 1883))


def test_where_a_device_is_enrolled_is_found_in_its_state(tmp_path: Path, bundle_path: Path) -> None:
    assert enrolled_at((None, tmp_path)) is None
    (tmp_path / "identity.json").write_text("{")
    assert enrolled_at((tmp_path,)) is None
    (tmp_path / "identity.json").write_text(json.dumps({"v": 1, "broker": {"host": "127.0.0.1", "port": 1883, "x": 1}}))
    assert enrolled_at((None, tmp_path)) == ("127.0.0.1", 1883)
    arguments = [str(bundle_path), "--port", "0", "--state-dir", str(tmp_path), "--mqtt", "mqtt://localhost"]
    assert run(["run", *arguments]) == 2


def test_a_service_has_the_options_with_absolute_paths(
    tmp_path: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("login").write_text("me\npw\n")
    asked = ["service", "show", "--user", str(bundle_path), "--mqtt", "mqtt://broker", "--mqtt-login-file", "login"]
    assert run([*asked, "--mqtt-topic=home/kitchen"]) == 0
    [started] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ExecStart=")]
    assert f"--mqtt mqtt://broker --mqtt-login-file {tmp_path}/login --mqtt-topic home/kitchen" in started
    assert run([*asked[:-1], "missing"]) == 2
    assert run(["service", "show", "--user", str(bundle_path), "--mqtt", f"mqtt://me:{SECRET}@broker"]) == 2
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.service
def test_a_process_asks_its_owners_broker_over_tls_with_a_login(
    mosquitto: Path, tmp_path: Path, bundle_path: Path
) -> None:
    number, certificate, key = free_port(), tmp_path / "ca.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=["127.0.0.1"], now=datetime.now(UTC))
    (tmp_path / "passwords").write_text(f"me:{hash_password(SECRET)}\n")
    (tmp_path / "login").write_text(f"me\n{SECRET}\n")
    plain = free_port()
    (tmp_path / "mosquitto.conf").write_text(
        f"user root\nper_listener_settings true\nlistener {number} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {tmp_path}/passwords\ncertfile {certificate}\nkeyfile {key}\n"
        f"listener {plain} 127.0.0.1\nallow_anonymous true\n"
    )
    if sys.platform != "linux":
        pytest.skip("Linux only")
    command = [sys.executable, "-m", "edgemm", "run", str(bundle_path), "--port", "0", "--mqtt-topic", "home/one"]
    command += ["--mqtt", f"mqtts://127.0.0.1:{number}", "--mqtt-ca", str(certificate)]
    command += ["--mqtt-login-file", str(tmp_path / "login")]
    with MosquittoProcess(mosquitto, tmp_path, port=plain), MqttProbe(plain, client_id="home") as home:
        home.subscribe("home/#")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                eventually(lambda: ("home/one/status", b"online", False) in home.messages, "it is online")
                home.publish("home/one/tiny/predict", b'{"id": 7, "inputs": [[0.5, -0.5, 0.25, 1.0]]}')
                eventually(lambda: home.messages[-1][0] == "home/one/tiny/answer", "it answers")
                assert json.loads(home.messages[-1][1])["id"] == 7
            finally:
                process.terminate()
                said = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        assert SECRET not in said
        eventually(lambda: home.messages[-1][:2] == ("home/one/status", b"offline"), "it said that it went")
