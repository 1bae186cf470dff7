"""One enrolled device reports generation 2⁵³ − 1 in a message that it signed with its own key.

Right: that device may lose its updates, but the others get theirs: a rollout to all goes on, and the manager's log is
not full of the same failure. So it is with every generation, however the device came by it: a stolen director key can
sign a `desired` that it accepts. And so it is where an edgemm of before left a row that nobody can read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import text

from edgemm import times, topics
from edgemm.messages import Desired, Reported, decode_control
from edgemm.states import RolloutState
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType, seal
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import desired
from simulators.broker import FLEET
from simulators.managed import PASSWORD, ManagedFleet
from simulators.metrics import exposed

LARGEST = 2**53 - 1
LIAR, HONEST = "aaa-liar", "honest"
HALF = Group(percent=100, success_threshold=0.5, error_threshold=1, deadline_s=20)


def report(fleet: ManagedFleet, **fields: Any) -> None:
    """Connect as the liar, and publish one report that it signed."""
    signer = fleet.devices[LIAR].device.signer
    facts = {"boot": "a" * 16, "boot_count": 1, "sequence": 1, "clock_synced": True, "runtime": "0.1.0"}
    said = Reported(**{"fleet": FLEET, "device": LIAR, "time": times.to_text(1_800_000_000), **facts, **fields})
    access = fleet.manager.credentials.access(LIAR, PASSWORD)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=LIAR)
    client.username_pw_set(access.username, access.password)
    client.connect(access.host, access.port)
    client.loop_start()
    topic = topics.topic(FLEET, LIAR, Channel.REPORTED)
    client.publish(topic, seal(said, PayloadType.REPORTED, signer), qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def heard(fleet: ManagedFleet) -> int:
    counts = fleet.manager.ingest.counters.snapshot()
    return sum(number for name, number in counts.items() if name in {"received_reported", "refused_implausible"})


@pytest.mark.parametrize("generation", [LARGEST, LARGEST - 1, 2**52, 2**53 - 2**43])
def test_the_honest_device_gets_its_rollout(tmp_path: Path, generation: int, caplog: pytest.LogCaptureFixture) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add(LIAR, HONEST)
        fleet.devices[LIAR].stop()
        before = heard(fleet)
        report(fleet, boot_count=2, generation=generation)
        fleet.wait(lambda: heard(fleet) > before, "the manager heard it")
        rollout = fleet.start("1.0.0", HALF)
        fleet.wait(lambda: fleet.devices[HONEST].device.active, "the honest device got the model")
        assert fleet.rollout(rollout).trouble is None
    assert "Traceback" not in caplog.text
    assert [record.getMessage() for record in caplog.records if record.name == "edgemm_fleet.worker"] == []


def test_a_device_that_obeys_who_stole_the_directors_key_is_alone_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add(LIAR, HONEST)
        first = fleet.start("1.0.0", HALF)
        fleet.wait(lambda: fleet.rollout(first).state is RolloutState.FINISHED, "both run the first version")
        with fleet.store.read() as tx:
            told = desired.of(tx, [LIAR])[LIAR].desired
        robbed = fleet.devices[LIAR]
        robbed.device.old = True
        stolen = seal(replace(told, generation=LARGEST, models=()), PayloadType.DESIRED, fleet.key)
        robbed.publish(robbed.device.receive(topics.topic(FLEET, LIAR, Channel.DESIRED), stolen))
        assert robbed.device.generation == LARGEST
        fleet.start("2.0.0", HALF)
        honest = fleet.devices[HONEST].device
        fleet.wait(lambda: honest.active["digits"].version == "2.0.0", "the honest device got the next one")
    assert "Traceback" not in caplog.text


def test_a_row_of_before_that_nobody_can_read_is_named_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add(LIAR, HONEST)
        first = fleet.start("1.0.0", HALF)
        fleet.wait(lambda: fleet.rollout(first).state is RolloutState.FINISHED, "both run the first version")
        fleet.manager.stop()
        with fleet.store.write() as tx:
            (row,) = tx.execute(text("SELECT desired_json FROM desired WHERE device = :id"), {"id": LIAR}).scalars()
            bad = json.dumps(json.loads(row) | {"generation": LARGEST + 1})
            values = {"id": LIAR, "bad": bad, "generation": LARGEST + 1}
            tx.execute(
                text("UPDATE desired SET desired_json = :bad, generation = :generation, unsent = 1 WHERE device = :id"),
                values,
            )
        fleet.start_again()
        fleet.wait(lambda: readable(fleet), "it is composed anew")
        assert f"row_unreadable device='{LIAR}' part='desired'" in caplog.text
        fleet.start("2.0.0", HALF)
        both = [device.device for device in fleet.devices.values()]
        fleet.wait(lambda: all(one.active["digits"].version == "2.0.0" for one in both), "both get the next version")
        assert "edgemm_fleet_unreadable 0.0" in exposed(fleet.store, fleet=FLEET)
    assert "Traceback" not in caplog.text


def readable(fleet: ManagedFleet) -> bool:
    with fleet.store.read() as tx:
        (row,) = tx.execute(text("SELECT desired_json FROM desired WHERE device = :id"), {"id": LIAR}).scalars()
    return decode_control(row.encode(), Desired).generation <= LARGEST if str(LARGEST + 1) not in row else False


def test_five_hundred_rows_that_cannot_be_read_keep_nobody_else_from_being_told(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add(LIAR, HONEST)
        fleet.manager.stop()
        with fleet.store.write() as tx:
            names = [row[1] for row in tx.execute(text("PRAGMA table_info(devices)"))]
            others = ", ".join(f'"{name}"' for name in names if name not in {"id", "bearer_hash"})
            for number in range(501):
                values = {"id": f"aaa-{number}", "bearer": f"bearer {number}", "like": LIAR, "text": "{"}
                for statement in (
                    (
                        f"INSERT INTO devices(id, bearer_hash, {others}) SELECT :id, :bearer, {others} "
                        "FROM devices WHERE id = :like"
                    ),
                    (
                        "INSERT INTO desired(device, generation, desired_json, expires_at, unsent) "
                        "VALUES(:id, 1, :text, 2e9, 1)"
                    ),
                    "INSERT INTO assignments(device, model, desired_json) VALUES(:id, 'other', :text)",
                ):
                    tx.execute(text(statement), values)
        fleet.start_again()
        fleet.start("1.0.0", HALF)
        fleet.wait(lambda: fleet.devices[HONEST].device.active, "the honest device got the model")
