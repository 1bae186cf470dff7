from __future__ import annotations

import pytest

from edgemm.topics import Channel, shard, topic
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules, TopicRight

RULES = BrokerRules("lab", lambda username, password: (username, password) in {("cam-1", "pw"), (MANAGER, "secret")})
OWN = "the device's own"


@pytest.mark.parametrize(
    ("client_id", "username", "password", "admitted"),
    [
        ("cam-1", "cam-1", "pw", True),
        ("cam-1", "cam-1", "wrong", False),
        ("cam-2", "cam-1", "pw", False),
        ("cam-1", None, None, False),
        ("cam-1", "cam-1", "", False),
        (None, "cam-1", "pw", False),
        ("anything", MANAGER, "secret", True),
        ("anything", MANAGER, "pw", False),
    ],
)
def test_who_may_connect(client_id: str | None, username: str | None, password: str | None, admitted: bool) -> None:
    assert RULES.admits(client_id, username, password) is admitted


@pytest.mark.parametrize(
    ("channel", "may_publish"),
    [
        (Channel.REPORTED, True),
        (Channel.STATUS, True),
        (Channel.EVENT, True),
        (Channel.TELEMETRY, True),
        (Channel.DESIRED, False),
        (Channel.ACK, False),
    ],
)
def test_each_channel_has_one_direction(channel: Channel, may_publish: bool) -> None:
    own = topic("lab", "cam-1", channel)
    assert RULES.allows("cam-1", TopicRight.PUBLISH, own) is may_publish
    assert RULES.allows("cam-1", TopicRight.SUBSCRIBE, own) is not may_publish
    assert RULES.allows("cam-1", TopicRight.RECEIVE, own) is not may_publish


@pytest.mark.parametrize(
    "text",
    [
        topic("lab", "cam-2", Channel.DESIRED),
        topic("other", "cam-1", Channel.DESIRED),
        f"edgemm/v1/lab/+/cam-1/{Channel.DESIRED}",
        f"edgemm/v1/lab/{shard('cam-1')}/cam-1/#",
        f"edgemm/v1/lab/{shard('cam-2')}/cam-1/{Channel.DESIRED}",
        "#",
        "$SYS/broker/uptime",
        "",
    ],
)
def test_a_device_hears_nothing_but_its_own(text: str) -> None:
    assert not RULES.allows("cam-1", TopicRight.SUBSCRIBE, text)
    assert not RULES.allows("cam-1", TopicRight.PUBLISH, text)


def test_the_manager_has_its_whole_fleet_and_no_other() -> None:
    assert RULES.allows(MANAGER, TopicRight.SUBSCRIBE, "edgemm/v1/lab/+/+/event")
    assert RULES.allows(MANAGER, TopicRight.PUBLISH, topic("lab", "cam-1", Channel.DESIRED))
    assert not RULES.allows(MANAGER, TopicRight.SUBSCRIBE, "edgemm/v1/other/+/+/event")
    assert not RULES.allows(MANAGER, TopicRight.SUBSCRIBE, "#")
