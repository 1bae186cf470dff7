import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm import topics
from edgemm.errors import MessageError
from edgemm.topics import Channel


def test_a_topic_names_fleet_shard_device_and_channel() -> None:
    expected = f"edgemm/v1/home/{hashlib.sha256(b'pi-1').hexdigest()[:2]}/pi-1/desired"
    assert topics.topic("home", "pi-1", Channel.DESIRED) == expected
    assert topics.parse(expected) == topics.Address("home", "pi-1", Channel.DESIRED)


@pytest.mark.parametrize(
    "text",
    ["", "edgemm/v1/home/00/pi-1/desired", "edgemm/v2/home/ab/pi-1/status", "edgemm/v1/home/+/pi-1/status",
     topics.topic("home", "pi-1", Channel.EVENT) + "/x", topics.topic("home", "pi-1", Channel.EVENT) + "s",
     "edgemm/v1/h/" + topics.shard("p\n") + "/p\n/event"],
)  # fmt: skip
def test_what_is_none_of_our_topics(text: str) -> None:
    with pytest.raises(MessageError, match="FLEET/SHARD/DEVICE/CHANNEL"):
        topics.parse(text)


@given(st.text())
def test_arbitrary_text_raises_nothing_else(text: str) -> None:
    with pytest.raises(MessageError):
        topics.parse(text)


def test_a_manager_hears_all_that_devices_say_and_nothing_that_it_says_itself() -> None:
    channels = {text.rsplit("/", 1)[1] for text in topics.ingest_filters("home")}
    assert channels == {"reported", "status", "telemetry", "event"}
