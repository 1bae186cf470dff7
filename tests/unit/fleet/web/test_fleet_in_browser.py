"""The fleet's page in a browser: parts of groups, what failed beside what serves, totals, and the server's clock."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import devices, models
from simulators.broker import MODEL, digest_of
from simulators.device import Outcome
from tests.browser import Browser
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import RunningFleet, serving

pytestmark = [pytest.mark.slow, pytest.mark.service]
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
        with local.store.write() as tx:
            devices.set_labels(tx, "cam-001", {"site": EVIL})
            devices.set_labels(tx, "cam-003", {"L" * 64: "v" * 128})
        local.run("1.10.0", Group(count=8, deadline_s=100), Group(percent=100, deadline_s=100))
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
