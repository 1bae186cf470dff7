from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm import times
from edgemm.messages import Desired
from edgemm.messages.generations import of_time
from edgemm_runtime.agent.acceptance import Acceptance, Whom, judge, may_install
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from simulators.device_records import wanted

NOW = TrustedTime(times.from_text("2027-01-05T00:00:00Z"), clock_synced=True)
WHOM = Whom("home", "pi")
CURRENT = Desired(
    fleet="home", device="pi", generation=7, not_before="2027-01-01T00:00:00Z", expires="2027-01-08T00:00:00Z",
    models=(wanted("1.0.0"),),
)  # fmt: skip
OTHER = (wanted("2.0.0"),)


@pytest.mark.parametrize(
    ("story", "changes", "answer"),
    [
        ("the next generation", {"generation": 8, "models": OTHER}, Acceptance.ACCEPTED),
        ("a far later generation", {"generation": 700}, Acceptance.ACCEPTED),
        ("an older generation", {"generation": 6, "models": OTHER}, Acceptance.OLDER),
        (
            "an older generation that never expires",
            {"generation": 6, "expires": "2099-01-01T00:00:00Z"},
            Acceptance.OLDER,
        ),
        ("a generation of its time", {"generation": of_time(NOW.seconds, nonce=5)}, Acceptance.ACCEPTED),
        ("the highest generation that there is", {"generation": 2**53 - 1}, Acceptance.IMPLAUSIBLE),
        ("one that no clock can have made", {"generation": of_time(NOW.seconds + 1e9)}, Acceptance.IMPLAUSIBLE),
        ("the same again", {}, Acceptance.UNCHANGED),
        ("the same with a later expiry", {"expires": "2027-01-15T00:00:00Z"}, Acceptance.RENEWED),
        ("the same with an earlier expiry", {"expires": "2027-01-06T00:00:00Z"}, Acceptance.UNCHANGED),
        ("the same generation with other content", {"models": OTHER}, Acceptance.CONFLICT),
        ("other content and a later expiry", {"models": OTHER, "expires": "2028-01-01T00:00:00Z"}, Acceptance.CONFLICT),
        ("another device's", {"generation": 8, "device": "other"}, Acceptance.FOREIGN),
        ("another fleet's", {"generation": 8, "fleet": "other"}, Acceptance.FOREIGN),
        ("expired", {"generation": 8, "expires": "2027-01-05T00:00:00Z"}, Acceptance.EXPIRED),
        ("not yet valid", {"generation": 8, "not_before": "2027-01-05T00:06:00Z"}, Acceptance.TOO_EARLY),
        ("valid in a moment", {"generation": 8, "not_before": "2027-01-05T00:04:00Z"}, Acceptance.ACCEPTED),
    ],
)
def test_judge(story: str, changes: dict[str, object], answer: Acceptance) -> None:
    assert judge(replace(CURRENT, **changes), CURRENT, whom=WHOM, now=NOW) is answer, story


def test_the_first_one_is_accepted() -> None:
    assert judge(CURRENT, None, whom=WHOM, now=NOW) is Acceptance.ACCEPTED


def test_a_device_without_a_clock_still_obeys() -> None:
    lost = TrustedTime(times.from_text("2026-11-01T00:00:00Z"), clock_synced=False)
    assert judge(CURRENT, None, whom=WHOM, now=lost) is Acceptance.ACCEPTED


def test_expiry_gates_new_installs_only() -> None:
    assert may_install(CURRENT, NOW)
    assert not may_install(CURRENT, TrustedTime(times.from_text("2027-01-08T00:00:00Z"), clock_synced=True))
