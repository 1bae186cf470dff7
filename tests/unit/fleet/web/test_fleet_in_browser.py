"""The fleet's page in a browser: parts of groups, what failed beside what serves, totals, and the server's clock."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm_fleet.health.health_facts import BrokerFacts
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import devices, models
from simulators.broker import MODEL, digest_of
from simulators.device import Outcome
from tests.browser import Browser
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import RunningFleet, serving

pytestmark = [pytest.mark.slow, pytest.mark.service]
LONG = "sample 7: " + "expected 0.25, found 0.75; " * 37 + "END"
PHONE, DESK = (390, 844), (1280, 900)
EVIL = "\x1b[31mred\u202e\u200bdlo\n"
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RunningFleet]:
    """Serve a fleet in which a rollout failed on one device, was too late for two, and halted."""
    with serving(tmp_path / "fleet", with_page=True) as served:
        served.clock.ahead_s = 5 * 86_400.0
        local = Populated(served)
        local.add(*(f"cam-{n:03}" for n in range(210)), site="hall")
        local.devices["cam-002"].outcomes[digest_of("2.0.0")] = Outcome.SELFTEST_FAILED
        local.devices["cam-002"].detail = f"output probs: expected 0.25 {EVIL}"
        local.devices["cam-008"].outcomes[digest_of("1.9.0")] = Outcome.SELFTEST_FAILED
        local.devices["cam-008"].detail = LONG
        with local.store.write() as tx:
            devices.set_labels(tx, "cam-001", {"site": EVIL})
            devices.set_labels(tx, "cam-003", {"L" * 64: "v" * 128})
        local.run("1.10.0", Group(count=8, deadline_s=100), Group(percent=100, deadline_s=100))
        local.run("1.9.0", Group(percent=100), selector=Selector(devices=("cam-008",)))
        for name in ("cam-004", "cam-005"):
            local.devices[name].silent = True
        local.devices["cam-006"].outcomes[digest_of("2.0.0")] = Outcome.HANG
        few = Selector(devices=tuple(f"cam-{n:03}" for n in range(8)))
        local.run("2.0.0", Group(percent=100, error_threshold=0.5, success_threshold=0.9, deadline_s=100), selector=few)
        local.wait(200)
        with local.store.write() as tx:
            models.withdraw(tx, MODEL, ["1.10.0"], now=local.now)
        local.store.close()
        yield served


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
def test_the_health_of_the_manager_is_one_line(chromium: Path, tmp_path: Path, width: int, height: int) -> None:
    url = "mqtts://" + "a-host." * 20 + "example:8883"
    with serving(tmp_path / "fleet", with_page=True) as served, Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{served.url}/#token={served.tokens['viewer']}", width=width, height=height)
        line = "document.getElementById('health').textContent"
        browser.until(f"{line} === 'manager healthy'")
        served.state.vitals.hearing = Hearing(broker=lambda: BrokerFacts(url=url, gone_s=185.0))
        browser.until(f"{line} === 'manager not healthy: the broker at {url} has been gone for 3 min'")
        assert browser.run("document.getElementById('health').className") == "bad"
        assert not browser.run(WIDER)
        assert browser.violations == []
        if folder := os.environ.get("EDGEMM_PICTURES"):
            Path(folder, f"health-{width}.png").write_bytes(browser.picture())


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
def test_the_page_shows_the_fleet_as_it_is(
    chromium: Path, tmp_path: Path, fleet: RunningFleet, width: int, height: int
) -> None:
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{fleet.url}/#token={fleet.tokens['viewer']}", width=width, height=height)
        browser.until("document.querySelectorAll('#devices tbody tr').length > 100")
        text = browser.run("document.body.innerText")
        if folder := os.environ.get("EDGEMM_PICTURES"):
            Path(folder, f"fleet-{width}.png").write_bytes(browser.picture())
        assert "210 / 210" in text
        sizes = browser.run(
            "[...document.querySelectorAll('#devices td')].map(one => one.scrollWidth - one.clientWidth)"
        )
        assert max(sizes) <= 0, "a long label is cut"
        assert browser.run("document.querySelector('#devices table').offsetWidth") <= width
        assert "The first 200 of 210" in text
        order = browser.run("[...document.querySelectorAll('#models tbody b')].map(one => one.innerText)")
        assert order == [f"{MODEL} {version}" for version in ("2.0.0", "1.10.0", "1.9.0", "1.0.0")]
        gone = "document.querySelectorAll('#models tbody tr')[1].querySelector('.pill').innerText"
        assert browser.run(gone) == "withdrawn"
        parts = browser.run(
            "[...document.querySelector('.bar').children].map(one => one.className + one.style.flexGrow)"
        )
        assert parts == ["part good4", "part bad1", "part late2", "part wait1"]
        row = browser.run("document.querySelectorAll('#devices tbody tr')[2].innerText")
        assert re.search(
            r"digits 1\.10\.0 · tflite:float32 serving\s*withdrawn\s+digits 2\.0\.0 failed selftest_failed", row
        )
        assert r"\x1b[31mred\u202e\u200bdlo\x0a" in browser.run("document.body.textContent")
        assert not browser.run(r"/[\u202e\u200b\u001b]/.test(document.body.textContent)")
        assert "5 d ago" not in text
        assert browser.run(WIDER) is False
        assert browser.violations == []


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
def test_a_refresh_leaves_alone_what_is_alike(
    chromium: Path, tmp_path: Path, fleet: RunningFleet, width: int, height: int
) -> None:
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{fleet.url}/#token={fleet.tokens['viewer']}", width=width, height=height)
        browser.until("document.querySelectorAll('#devices tbody tr').length > 100")
        shown = browser.run("document.querySelector('#devices details').innerText")
        assert 230 < len(shown) < 260
        assert "…" in shown
        browser.run("document.querySelector('#devices details').open = true, 1")
        whole = browser.run("document.querySelector('#devices details div').innerText")
        assert whole == f"selftest_failed: {LONG}"
        if folder := os.environ.get("EDGEMM_PICTURES"):
            browser.run("document.querySelector('#devices details').scrollIntoView({block: 'center'}), 1")
            Path(folder, f"detail-{width}.png").write_bytes(browser.picture())
        browser.run("document.getElementById('devices').style.width = '200px', 1")
        browser.run("document.querySelector('#devices .scroll').scrollLeft = 40, 1")
        left = browser.run("document.querySelector('#devices .scroll').scrollLeft")
        browser.run("getSelection().selectAllChildren(document.querySelectorAll('#devices tbody b')[3]), 1")
        browser.run("document.querySelectorAll('#devices tbody tr').forEach(one => one.wasThere = true), 1")
        status = browser.run("document.getElementById('status').textContent")
        fleet.clock.ahead_s += 86_400
        browser.until(f"document.getElementById('status').textContent !== {json.dumps(status)}")
        browser.until("document.querySelector('#devices tbody tr td:nth-child(3)').innerText === '1 d ago'")
        assert browser.run("getSelection().toString()") == "cam-003"
        assert browser.run("document.querySelector('#devices .scroll').scrollLeft") == left
        assert left > 0 or width == PHONE[0], "a table that is wider than its place"
        assert browser.run("document.querySelector('#devices details').open") is True
        assert browser.run("[...document.querySelectorAll('#devices tbody tr')].every(one => one.wasThere)") is True
        assert browser.violations == []


BUTTONS = "[...document.querySelectorAll('[data-act]')].map(one => one.innerText)"


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[RunningFleet]:
    """Serve a fleet in which a rollout waits for a person."""
    with serving(tmp_path / "fleet", with_page=True) as served:
        local = Populated(served)
        local.add("cam-0", "cam-1")
        local.run("1.0.0", Group(count=1), Group(percent=100, approve=True))
        local.store.close()
        yield served


def test_an_operator_pauses_resumes_and_starts_the_next_group(
    chromium: Path, tmp_path: Path, waiting: RunningFleet
) -> None:
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{waiting.url}/#token={waiting.tokens['operator']}", width=PHONE[0], height=PHONE[1])
        browser.until(f"{BUTTONS}.length === 2")
        assert browser.run(BUTTONS) == ["start group 2 now", "pause"]
        said = browser.run("document.querySelector('.waiting').innerText")
        assert re.search(
            r"Waits for a person since \d+ s ago: group 1 is through.* halts in 6 d \(nobody_decided\)", said
        )
        for press, then in (("pause", ["resume"]), ("resume", ["start group 2 now", "pause"])):
            browser.run(
                f"[...document.querySelectorAll('[data-act]')].find(one => one.innerText === '{press}').click()"
            )
            browser.until(f"JSON.stringify({BUTTONS}) === '{json.dumps(then, separators=(',', ':'))}'")
        browser.run("document.querySelector('[data-act$=next]').click()")
        browser.until("document.body.innerText.includes('1 prepared')")
        assert browser.run(BUTTONS) == ["pause"]
        assert browser.run(WIDER) is False
        assert browser.violations == []


def test_a_viewer_has_no_buttons(chromium: Path, tmp_path: Path, waiting: RunningFleet) -> None:
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(f"{waiting.url}/#token={waiting.tokens['viewer']}", width=DESK[0], height=DESK[1])
        browser.until("document.querySelector('.waiting')?.innerText")
        assert browser.run(BUTTONS) == []
