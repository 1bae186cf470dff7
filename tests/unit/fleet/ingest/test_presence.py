"""Whether a device is online: status messages in the order in which they came → what the manager holds for true."""

from __future__ import annotations

import pytest

from edgemm.messages import Status
from edgemm_fleet.ingest.presence import observe
from edgemm_fleet.records.records import Presence

A, B = "a" * 16, "b" * 16
ONLINE, OFFLINE = True, False


def status(boot: str, count: int, connection: int, online: bool) -> Status:
    return Status(online=online, boot=boot, boot_count=count, connection=connection)


@pytest.mark.parametrize(
    ("came", "online", "duplicate"),
    [
        ([], False, False),
        ([(A, 1, 1, ONLINE)], True, False),
        ([(A, 1, 1, ONLINE), (A, 1, 1, OFFLINE)], False, False),
        # The will of a connection that was replaced comes late.
        ([(A, 1, 1, ONLINE), (A, 1, 2, ONLINE), (A, 1, 1, OFFLINE)], True, False),
        # … or overtakes the message that it follows.
        ([(A, 1, 1, OFFLINE), (A, 1, 1, ONLINE)], False, False),
        ([(A, 1, 1, ONLINE), (A, 1, 1, OFFLINE), (A, 1, 2, ONLINE)], True, False),
        # A restart: the old boot's will comes after the new boot is there.
        ([(A, 1, 3, ONLINE), (B, 2, 1, ONLINE), (A, 1, 3, OFFLINE)], True, False),
        # A retained message of the old boot is repeated.
        ([(A, 1, 3, ONLINE), (B, 2, 1, ONLINE), (A, 1, 3, ONLINE)], True, False),
        # A cloned card: both count to the same boot, or the older one keeps connecting.
        ([(A, 7, 1, ONLINE), (B, 7, 1, ONLINE)], True, True),
        ([(A, 7, 1, ONLINE), (B, 8, 1, ONLINE), (A, 7, 2, ONLINE)], True, True),
    ],
)
def test_presence(came: list[tuple[str, int, int, bool]], online: bool, duplicate: bool) -> None:
    presence = Presence()
    for message in came:
        presence = observe(presence, status(*message), now=100.0)
    assert presence.online is online
    assert (presence.duplicate_at is not None) is duplicate


def test_a_message_that_says_nothing_new_changes_nothing() -> None:
    before = observe(Presence(), status(A, 1, 1, ONLINE), now=100.0)
    assert observe(before, status(A, 1, 1, ONLINE), now=200.0) is before
