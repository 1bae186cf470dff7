"""The page is our own files alone, and a strict policy keeps it so."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from edgemm_fleet.web import page

FILES = ("/page/page.css", "/page/page.js", "/page/icon.svg")


@pytest.fixture
def browser() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(page("plant"))
    return app.test_client()


def test_the_page_names_the_fleet_and_needs_no_token(browser: FlaskClient) -> None:
    response = browser.get("/")
    assert response.status_code == 200
    assert "<h1>plant</h1>" in response.text


@pytest.mark.parametrize("path", ["/", *FILES])
def test_every_file_is_served_under_a_strict_policy(browser: FlaskClient, path: str) -> None:
    response = browser.get(path)
    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    response.close()


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(browser: FlaskClient) -> None:
    html = browser.get("/").text
    assert set(re.findall(r'(?:src|href)="([^"]+)"', html)) == set(FILES)
    assert "<style" not in html
    assert " style=" not in html
    assert not re.search(r"\son\w+=", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]
    for path in FILES:
        response = browser.get(path)
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        response.close()
        assert "://" not in text, path


def test_the_script_makes_no_html_out_of_text(browser: FlaskClient) -> None:
    response = browser.get("/page/page.js")
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert dangerous not in response.text
    response.close()


def test_a_fleets_name_is_escaped() -> None:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(page("<b>x</b>"))
    assert "<b>x</b>" not in app.test_client().get("/").text


def test_the_script_reads_addresses_that_the_api_has(browser: FlaskClient) -> None:
    from edgemm_fleet.api.table import routes

    response = browser.get("/page/page.js")
    read = set(re.findall(r'read\([`"](/api/v1/[a-z]+)', response.text))
    response.close()
    matches = [re.match(r"/api/v1/[a-z.]+|/.*", route.template) for route in routes() if route.method == "GET"]
    assert all(matches)
    known = {match[0] for match in matches if match}
    assert read == {"/api/v1/me", "/api/v1/overview", "/api/v1/devices", "/api/v1/models", "/api/v1/rollouts"}
    assert read <= known


@pytest.mark.slow
@pytest.mark.service
def test_a_browser_shows_the_fleet(chromium: Path, tmp_path: Path) -> None:
    from tests.unit.fleet.api.servers import serving

    with serving(tmp_path / "fleet", with_page=True) as fleet:
        fleet.request("POST", "/api/v1/tokens", body=json.dumps({}))
        command = [str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
        command += [
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"{fleet.url}/#token={fleet.tokens['viewer']}",
        ]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "viewer-person (viewer)" in shown
    assert "None yet: edgemm fleet publish BUNDLE" in shown
    assert fleet.tokens["viewer"] not in shown
