from __future__ import annotations

import pytest

from edgemm.enrolment import BrokerAccess
from edgemm_runtime.agent.link import Link
from edgemm_runtime.agent.options import AgentLimits
from edgemm_runtime.agent.reports import Speaker
from simulators.rude_broker import RudeBroker


def test_a_packet_that_cannot_be_read_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with RudeBroker() as broker:
        access = BrokerAccess(host="127.0.0.1", port=broker.port, tls=False, username="cam-1", password="pw")
        link = Link(
            access,
            Speaker("lab", "cam-1", "0" * 16, 1),
            AgentLimits(backoff_first_s=0.01, backoff_max_s=0.05),
            on_connected=lambda: None,
            on_message=lambda *_: None,
        )
        link.start()
        assert broker.wait_for_connections(3), "the device comes back after each"
        link.stop(60)
    assert "broker_connection_failed" in caplog.text
