"""Sixteen devices enrol at once, again and again, and the manager writes Mosquitto's password file (4,000 devices).

Right: every device that was answered stands in the file when its answer comes; it can log in.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm.trust.enrolment import ENROL_PATH, EnrolmentRequest, EnrolmentResponse, parse_token
from edgemm.trust.signing import PayloadType, key_document, seal
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.records.records import Device
from edgemm_fleet.store import Store, devices
from simulators.mosquitto import free_port
from tests.e2e.fleets import Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
ENROLLED, BATCHES, AT_ONCE = 4000, 10, 16


def fill(fleet: Fleet) -> None:
    """Give the fleet, which is not served yet, as many devices as make the file long."""
    key = key_document(CryptoSigner.generate_ed25519().public_key)
    store, stored = Store.open(fleet.folder / "fleet.db"), hash_password("pw")
    with store.write() as tx:
        for name in (f"copy-{number:07d}" for number in range(ENROLLED)):
            record = Device(
                id=name, name=name, labels={}, key=key, key_id=f"key {name}", token_id="t", runtime="0.1.0",
                platform="simulated", enrolled_at=0.0,
            )  # fmt: skip
            devices.add(tx, record, bearer_hash=f"bearer {name}", broker_hash=stored)
    store.close()


def enrol(fleet: Fleet, name: str, token: str) -> str:
    """Enrol a device over the API; return its id."""
    key = CryptoSigner.generate_ed25519()
    request = EnrolmentRequest(
        secret=parse_token(token).secret.hex(), public_key=key_document(key.public_key), name=name, labels={},
        runtime="0.1.0", platform="simulated",
    )  # fmt: skip
    body = seal(request, PayloadType.ENROLMENT, key)
    answer = urllib3.request("POST", fleet.url + ENROL_PATH, body=body, headers={"Content-Type": "application/json"})
    assert answer.status < 300, answer.data
    return msgspec.json.decode(answer.data, type=EnrolmentResponse).device


def test_every_device_that_was_answered_is_in_the_password_file(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        files = tmp_path / "mosquitto"
        fleet.broker = f"mqtt://127.0.0.1:{free_port()}"
        fleet.init()
        fill(fleet)
        fleet.serve("--mosquitto", str(files)).login()
        token = fleet.token("--uses", str(BATCHES * AT_ONCE))
        missing = set()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for batch in range(BATCHES):
                names = [f"r{batch}-{number}" for number in range(AT_ONCE)]
                answered = set(pool.map(lambda name: enrol(fleet, name, token), names))
                missing |= answered - {line.split(":")[0] for line in (files / "passwords").read_text().splitlines()}
    assert not missing
