from __future__ import annotations

import pytest

from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_connection import BrokerConnection
from simulators.rude_broker import RudeBroker


def test_a_packet_that_cannot_be_read_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with RudeBroker() as broker:
        access = BrokerAccess(host="127.0.0.1", port=broker.port, tls=False, username="m", password="pw")
        link = BrokerConnection(access, fleet="lab", client_id="m", receive=lambda *_: None)
        link.start()
        assert broker.wait_for_connections(3), "the manager comes back after each"
        link.stop()
    assert "broker_connection_failed" in caplog.text
