"""What the API shows of a device's windows."""

import json

import msgspec

from edgemm.messages import SpoolGauges, SystemGauges, Telemetry
from edgemm_fleet.api.openapi import document
from edgemm_fleet.api.table import routes
from edgemm_fleet.api.telemetry import window
from edgemm_fleet.records.records import TelemetryRecord


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
