"""A device, or whoever has its token, enrols with escape sequences in its name, labels and platform.

Right: they are shown as harmless text: no escape or other control character, direction mark or line of theirs reaches
the operator's terminal, nor the manager's log; JSON says the same by numbers.
"""

from __future__ import annotations

import json
import signal
import unicodedata
from pathlib import Path

import msgspec
import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm.trust.enrolment import EnrolmentRequest, EnrolmentResponse, parse_token
from edgemm.trust.signing import PayloadType, key_document, seal
from tests.unit.fleet.commands.fleets import Served
from tests.unit.fleet.server.test_process import logged_in, served

pytestmark = pytest.mark.slow
__all__ = ["logged_in", "served"]
EVIL = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\u202e\x9b31m\u200b\u2028\nforged line"


def enrol(fleet: Served) -> str:
    token = parse_token(fleet.admin.json("token", "create")["token"])
    signer = CryptoSigner.generate_ed25519()
    request = EnrolmentRequest(
        secret=token.secret.hex(),
        public_key=key_document(signer.public_key),
        name=EVIL,
        labels={"site": EVIL, "two\nlines": "a\rb"},
        runtime="0.1.0",
        platform=EVIL,
    )
    sealed = seal(request, PayloadType.ENROLMENT, signer)
    response = urllib3.request("POST", f"{fleet.url}/api/v1/enrol", body=sealed)
    return msgspec.json.decode(response.data, type=EnrolmentResponse).device


def steering(text: str) -> list[str]:
    """Return the characters of a text that steer a terminal or hide, but for its line ends."""
    return sorted({c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}})


def test_what_a_device_says_of_itself_steers_no_terminal(logged_in: Served, tmp_path: Path) -> None:
    admin = logged_in.admin
    device = enrol(logged_in)
    for arguments in (("devices", "list"), ("devices", "show", device), ("devices", "label", device, "a=b")):
        done = admin.attempt(*arguments)
        assert done.returncode == 0, done
        assert r"\x1b[31mred" in done.stdout
        assert steering(done.stdout + done.stderr) == []
        assert not [line for line in done.stdout.splitlines() if line.startswith(("forged", "lines"))]
        assert steering(admin.attempt(*arguments, "--json").stdout) == []
    assert admin.json("devices", "show", device)["device"]["name"] == EVIL
    refused = admin.attempt("devices", "show", EVIL)
    assert (refused.returncode, steering(refused.stderr)) == (1, [])
    assert len(refused.stderr.splitlines()) == 1
    wrong = admin.attempt("devices", "label", device, EVIL)
    assert (wrong.returncode, steering(wrong.stderr)) == (2, [])
    headers = {"Authorization": f"Bearer {logged_in.token}", "X-Request-Id": "a\tb"}
    urllib3.request("POST", f"{logged_in.url}/api/v1/rollouts", headers=headers, body=json.dumps({EVIL: 1}))
    logged_in.stop(signal.SIGTERM)
    assert steering("\n".join(logged_in.said)) == []
