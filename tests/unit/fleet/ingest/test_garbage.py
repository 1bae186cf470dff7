from __future__ import annotations

from edgemm import topics
from edgemm.topics import Channel
from edgemm_fleet.ingest.garbage import Garbage


def test_a_topic_at_another_shard_is_garbage_and_cleared_once() -> None:
    cleared: list[str] = []
    garbage = Garbage("lab", cleared.append)
    assert garbage.speaker(topics.topic("lab", "cam-1", Channel.STATUS), b"x") == "cam-1"
    for _ in range(3):
        assert garbage.speaker("edgemm/v1/lab/zz/cam-1/status", b"x") is None
    assert cleared == ["edgemm/v1/lab/zz/cam-1/status"]


def test_what_the_broker_sends_back_of_a_clearing_is_known() -> None:
    garbage = Garbage("lab", lambda _: None)
    garbage.speaker("edgemm/v1/lab/zz/cam-1/status", b"x")
    assert garbage.was_ours("edgemm/v1/lab/zz/cam-1/status", b"")
    assert not garbage.was_ours("edgemm/v1/lab/zz/cam-1/status", b"")


def test_so_many_are_cleared_at_a_time() -> None:
    cleared: list[str] = []
    garbage = Garbage("lab", cleared.append)
    for number in range(5000):
        assert garbage.speaker(f"edgemm/v1/lab/{number}/cam-1/status", b"x") is None
    assert len(cleared) == 1000


def test_a_topic_that_nobody_may_publish_to_is_not_cleared() -> None:
    cleared: list[str] = []
    garbage = Garbage("lab", cleared.append)
    below = "edgemm/v1/lab/zz/cam-1"
    lies = (
        "edgemm/v1/lab/+/x/desired",
        "edgemm/#",
        f"{below}/a\0b",
        "",
        f"{below}{'a' * 70_000}",
        f"{below}{'/a' * 200}",
    )
    for topic in (*lies, "edgemm/v1", "edgemm/v1/other/zz/cam-1/status", "$SYS/broker", "homeassistant/status"):
        assert garbage.speaker(topic, b"x") is None
    assert cleared == []
