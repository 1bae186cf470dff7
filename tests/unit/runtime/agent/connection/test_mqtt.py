from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm.transport.backoff import Backoff
from edgemm.trust.enrolment import BrokerAccess
from edgemm_runtime.agent.connection.mqtt import MqttConnection
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.speaker import Speaker
from simulators.mosquitto import free_port
from simulators.rude_broker import RudeBroker
from simulators.waiting import eventually

LIMITS = AgentLimits(backoff_first_s=0.01, backoff_max_s=0.05)


class _Asked(Backoff):
    """A backoff that is quick, and says what it was asked."""

    asked: list[tuple[int, float]]

    def delay_s(self, failures: int, *, draw: float) -> float:
        self.asked.append((failures, draw))
        return super().delay_s(failures, draw=draw)


def _link(port: int) -> MqttConnection:
    access = BrokerAccess(host="127.0.0.1", port=port, tls=False, username="cam-1", password="pw")
    who = Speaker("lab", "cam-1", "0" * 16, 1)
    return MqttConnection(access, who, LIMITS, on_connected=lambda: None, on_message=lambda *_: None)


def _pauses(link: MqttConnection, number: int) -> list[tuple[int, float]]:
    """Run a link until it made some pauses; return after how many failures, and with which draw, each was."""
    backoff = _Asked(LIMITS.backoff_first_s, LIMITS.backoff_max_s)
    object.__setattr__(backoff, "asked", [])
    link._backoff = backoff
    link.start()
    eventually(lambda: len(backoff.asked) >= number, "it tried again and again")
    link.stop(60)
    return backoff.asked[:number]


def test_a_packet_that_cannot_be_read_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    with RudeBroker() as broker:
        link = _link(broker.port)
        link.start()
        assert broker.wait_for_connections(3), "the device comes back after each"
        link.stop(60)
    assert "broker_connection_failed" in caplog.text


def test_each_refusal_lengthens_the_next_pause_and_no_two_draws_are_alike() -> None:
    pauses = _pauses(_link(free_port()), 6)
    assert [failures for failures, _ in pauses] == [1, 2, 3, 4, 5, 6]
    assert len({draw for _, draw in pauses}) == 6


def test_a_broker_that_drops_everybody_at_once_is_called_upon_less_and_less() -> None:
    with RudeBroker() as broker:
        pauses = _pauses(_link(broker.port), 4)
    assert [failures for failures, _ in pauses] == [1, 2, 3, 4]


def test_where_the_first_broker_is_away_the_next_is_tried_and_the_first_again() -> None:
    with RudeBroker() as old:
        link = _link(old.port)
        away = free_port()
        link.use([replace(link._access, port=away), link._access])
        link.start()
        assert old.wait_for_connections(2), "the old one is the fall-back"
        with RudeBroker(away) as new:
            link.use(link._brokers)
            assert new.wait_for_connections(1), "the new one is tried again"
        link.stop(60)
