"""What the API shows of a device's windows."""

import json

import msgspec
from securesystemslib.signer import CryptoSigner

from edgemm.messages import SpoolGauges, SystemGauges, Telemetry, encode_telemetry
from edgemm_fleet.api.openapi import document
from edgemm_fleet.api.table import routes
from edgemm_fleet.api.telemetry import window
from edgemm_fleet.client import FleetClient
from edgemm_fleet.records.records import TelemetryRecord
from edgemm_fleet.store.history import windows
from simulators.broker import enrol
from tests.unit.fleet.api.servers import RunningFleet


def _shown(spool: SpoolGauges) -> dict[str, object]:
    sent = Telemetry(
        boot=b"bootboot", sequence=1, floor=1, time_s=1, uptime_s=1, models=(), system=SystemGauges(), spool=spool
    )
    record = TelemetryRecord(id=1, device="pi", telemetry=sent, received_at=1.0)
    shown = json.loads(msgspec.json.encode(window(record)))
    return {name: value for name, value in shown.items() if name.startswith("spool_")}


def test_every_figure_of_a_devices_spool_is_shown() -> None:
    given = SpoolGauges(waiting=1, dropped=3, unwritten=2, written_bytes=4096)
    assert _shown(given) == {f"spool_{name}": value for name, value in msgspec.structs.asdict(given).items()}


def test_what_a_device_does_not_count_is_null() -> None:
    shown = _shown(SpoolGauges(waiting=1, dropped=3))
    assert (shown["spool_unwritten"], shown["spool_written_bytes"]) == (None, None)


def test_the_document_of_the_api_lists_them() -> None:
    properties = document(routes(), fleet="plant")["components"]["schemas"]["TelemetryWindow"]["properties"]
    listed = {name for name in properties if name.startswith("spool_")}
    assert listed == {f"spool_{name}" for name in SpoolGauges.__struct_fields__}


def test_a_devices_hours_come_page_by_page_and_since_a_time(fleet: RunningFleet) -> None:
    now = 1_800_000_000.0
    with fleet.state.store.write() as tx:
        enrol(tx, "pi", CryptoSigner.generate_ed25519(), labels={})
    for hour in range(60):  # of three days, and so in several parts
        sent = Telemetry(
            boot=b"bootboot",
            sequence=hour * 60 + 1,
            floor=1,
            time_s=1,
            uptime_s=3600 * hour,
            system=SystemGauges(temperature_c=40.5, disk_free_bytes=7),
            spool=SpoolGauges(waiting=0, dropped=hour),
        )
        with fleet.state.store.write() as tx:
            windows.add(tx, [windows.Came("pi", sent, encode_telemetry(sent))], now=now + 3600 * hour)
    found, after = [], ""
    while True:
        page = json.loads(fleet.request("GET", f"/api/v1/devices/pi/history?limit=7{after}").data)
        found += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert [one["started_at"] for one in found] == [now + 3600 * hour for hour in reversed(range(60))]
    assert found[0] == {
        "started_at": now + 3600 * 59,
        "boot": b"bootboot".hex(),
        "sequence": 59 * 60 + 1,
        "uptime_s": 3600 * 59,
        "requests": 0,
        "errors": 0,
        "temperature_c": 40.5,
        "memory_available_bytes": None,
        "disk_free_bytes": 7,
        "spool_dropped": 59,
    }
    with FleetClient(fleet.profile("viewer")) as client:
        assert len(list(client.history("pi", since=now + 3600 * 50 + 1800))) == 10
        assert len(list(client.history("pi"))) == 60
    assert fleet.request("GET", "/api/v1/devices/none/history").status == 404
    for wrong in ("soon", "nan", "inf", "-inf", "1e30"):
        assert fleet.request("GET", f"/api/v1/devices/pi/history?since={wrong}").status == 400, wrong
