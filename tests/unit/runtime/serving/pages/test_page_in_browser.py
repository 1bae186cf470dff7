"""The page at `/` in a browser: people try models on it, and so does whoever cannot see it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.server import ModelServer
from simulators import stateful
from simulators.models import make_bundle
from simulators.serving import activate
from tests.browser import Browser
from tests.unit.runtime.serving.pages.test_page import camera_bundle

pytestmark = [pytest.mark.slow, pytest.mark.service]
KEY = "0123456789abcdef"
PHONE, DESK = (390, 844), (1280, 900)
ALL_SHOWN = "document.querySelectorAll('.model').length === 3"
PHOTO, BARE = "document.querySelector('input[type=file]').form", "document.querySelectorAll('form:has(textarea)')[0]"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """Serve a model of photos, one without labels, and one that is still to come."""
    make_bundle(tmp_path / "bare-1.0.0.edgemm", name="bare", labels=None)
    registry = ModelRegistry()
    activate(registry, tmp_path / "bare-1.0.0.edgemm")
    activate(registry, camera_bundle(tmp_path), variant="onnx:float32")
    registry.expect("later")
    return registry


@pytest.fixture
def browser(chromium: Path, tmp_path: Path) -> Iterator[Browser]:
    with Browser(chromium, tmp_path / "profile") as browser:
        yield browser


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, which a package of Python brings with it."""
    from tests.clients.environments import environment

    show = "import axe_core_python, pathlib; print(pathlib.Path(axe_core_python.__file__).parent / 'axe.min.js')"
    found = subprocess.run([str(environment("axe")), "-c", show], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()).read_text()


def send_numbers(browser: Browser, text: str) -> None:
    browser.run(f"{BARE}.querySelector('textarea').value = {text!r}; {BARE}.requestSubmit()")


def send_key(browser: Browser, key: str) -> None:
    browser.run(f"document.getElementById('key').value = '{key}'; document.getElementById('key-form').requestSubmit()")


def answers(browser: Browser, photo: Path) -> None:
    """Ask a model with a photo, and another with numbers that it does not take."""
    browser.until(ALL_SHOWN)
    browser.choose("input[type=file]", photo)
    browser.run(f"{PHOTO}.requestSubmit()")
    browser.until("[...document.querySelectorAll('td')].some(found => found.textContent === 'green')")
    send_numbers(browser, '{"inputs": [[1, 2], [3]]}')
    browser.until("[...document.querySelectorAll('.model .error')].some(found => found.textContent)")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (50, 40), (30, 200, 90)).save(tmp_path / "green.png")
    return tmp_path / "green.png"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_keeps_anybody_from_using_it(
    registry: ModelRegistry, browser: Browser, axe: str, photo: Path, *, size: tuple[int, int], dark: bool
) -> None:
    with ModelServer(registry) as server:
        browser.open(server.address + "/", width=size[0], height=size[1], dark=dark)
        answers(browser, photo)
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        browser.run(axe + "; 0")
        found = browser.run(
            "axe.run({resultTypes: ['violations']}).then(found => found.violations.map(v => [v.id, v.nodes[0].html]))"
        )
        assert found == []
        assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert browser.violations == []


def test_answers_and_the_servers_own_words_are_shown(registry: ModelRegistry, browser: Browser, photo: Path) -> None:
    with ModelServer(registry) as server:
        browser.open(server.address + "/")
        answers(browser, photo)
        told = browser.run("[...document.querySelectorAll('.model .error')].map(one => one.textContent).join('')")
        assert "found lists of 1 and of 2 values" in told
        send_numbers(browser, '{"inputs": [[1, 2, 3, 4]]}')
        assert '"scores"' in browser.until(f"{BARE}.closest('.model').querySelector('pre')?.textContent")
        assert browser.run("document.body.innerText").count("not ready yet") == 1


def test_it_asks_for_the_key_once(registry: ModelRegistry, browser: Browser, photo: Path) -> None:
    with ModelServer(registry, access=Access(api_key=KEY)) as server:
        browser.open(server.address + "/")
        browser.until("!document.getElementById('key-form').hidden")
        send_key(browser, "wrong")
        assert "expected the API key" in browser.until("document.getElementById('error').textContent")
        send_key(browser, KEY)
        answers(browser, photo)
        assert browser.violations == []


def test_a_model_with_a_state_goes_on_until_it_is_begun_anew(browser: Browser, tmp_path: Path) -> None:
    stateful.make_bundle(tmp_path / "wake-1.0.0.edgemm")
    registry, answer = ModelRegistry(), "document.querySelector('.model pre')?.textContent"
    activate(registry, tmp_path / "wake-1.0.0.edgemm")
    told = []
    with ModelServer(registry) as server:
        browser.open(server.address + "/")
        browser.until("document.querySelectorAll('.model').length === 1")
        for anew in (False, False, True):
            if anew:
                browser.run(f"{BARE}.querySelector('button[type=button]').click()")
            browser.run("document.querySelector('.model pre')?.remove()")
            send_numbers(browser, '{"inputs": [[1, 0.5, 1, 0.5]]}')
            told.append(browser.until(answer))
    assert told[0] != told[1]
    assert told[0] == told[2]


FETCH = """
fetch("%s/predict/bare", {method: "POST", headers: {"Content-Type": "%s", "X-API-Key": "%s"}, body: "[[1,2,3,4]]"})
  .then(answer => answer.json().then(found => [answer.status, Object.keys(found)]), failure => "refused")
"""


def test_a_page_of_another_origin_may_ask_where_it_is_named(registry: ModelRegistry, browser: Browser) -> None:
    with ModelServer(registry) as elsewhere:
        allowed = Access(api_key=KEY, origins={elsewhere.address})
        with ModelServer(registry, access=allowed) as named, ModelServer(registry, access=Access(api_key=KEY)) as other:
            browser.open(elsewhere.address + "/healthz")
            found = browser.run(FETCH % (named.address, "application/json", KEY))
            assert found == [200, ["model", "version", "outputs"]]
            assert browser.run(FETCH % (named.address, "application/json", "wrong")) == [401, ["error"]]
            for content_type in ("application/json", "text/plain"):
                assert browser.run(FETCH % (other.address, content_type, KEY)) == "refused"
