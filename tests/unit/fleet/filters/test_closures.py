from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm_fleet.filters import DeviceFacts, compiled, parse
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.filters.filter_index import FilterIndex
from tests.unit.fleet.filters.random_filters import NOW, devices, texts

CAM = DeviceFacts(
    id="cam-1",
    online=True,
    seen_at=NOW - 3600,
    values={
        (FactSubject.LABEL, "site"): ("plant-7",),
        (FactSubject.LABEL, "ring"): ("3",),
        (FactSubject.STATE, "digits"): ("committed",),
        (FactSubject.OUTCOME, "digits"): ("failed",),
        (FactSubject.OUTCOME, "gestures"): ("failed",),
        (FactSubject.VERSION, "digits"): ("1.2.0",),
        (FactSubject.ENGINE, "tflite"): ("2.14.0",),
        (FactSubject.RUNTIME, ""): ("0.2.0",),
        (FactSubject.ARCH, ""): ("aarch64",),
    },
)


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("site=plant-7", True),
        ("site=plant-70", False),
        ("site!=plant-7", False),
        ("hall!=3", True),
        ("site^=plant-", True),
        ("label:site not label:canary", True),
        ("ring<10", True),
        ("ring<2", False),
        ("site<9", False),
        ("version<1.10", True),
        ("version=1.2", True),
        ("version>1.2.0-rc.1", True),
        ("version>1.2", False),
        ("model:gestures", False),
        ("model:gestures version<9", False),
        ("state:failed", True),
        ("state:committed", True),
        ("state:rejected", False),
        ("model:digits", True),
        ("model:gestures state:failed", True),
        ("model:gestures not state:rejected", False),
        ("engine:tflite", True),
        ("engine>=tflite@2.1", True),
        ("engine>=tflite@2.15", False),
        ("runtime<0.10", True),
        ("arch:aarch64", True),
        ("os:linux", False),
        ("id^=cam-", True),
        ("id=cam-1", True),
        ("id=cam-10 or id=cam-2", False),
        ("online", True),
        ("seen>30min", True),
        ("seen>1h", False),
        ("seen>=1h", True),
        ("seen<=1h", True),
        ("seen<1h", False),
        ("seen<2h", True),
    ],
)
def test_which_devices_a_filter_means(text: str, is_meant: bool) -> None:
    assert compiled(parse(text, model="digits"))(CAM, NOW) is is_meant
    assert compiled(parse(f"not ({text})", model="digits"))(CAM, NOW) is not is_meant


def test_never_heard_of_is_longer_ago_than_any_time() -> None:
    new = DeviceFacts(id="cam-2")
    assert [text for text in ("seen>1d", "seen>=1d", "seen<1d", "seen<=1d") if compiled(parse(text))(new, NOW)] == [
        "seen>1d",
        "seen>=1d",
    ]


@given(st.lists(texts, max_size=20), devices())
def test_the_index_finds_what_each_filter_alone_would_say(filters: list[str], device: DeviceFacts) -> None:
    read = {number: parse(text, model="digits") for number, text in enumerate(filters)}
    alone = [number for number, expression in read.items() if compiled(expression)(device, NOW)]
    assert sorted(FilterIndex(read).meaning(device, now=NOW)) == alone
