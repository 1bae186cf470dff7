"""The page at `/`: one file that asks nobody but the device, under a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from msgspec.structs import replace

from edgemm.bundle import open_bundle, write_bundle
from edgemm.bundle.manifest import Preprocessing, Resize
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from simulators.device_client import DeviceClient
from simulators.models import make_bundle
from simulators.serving import activate
from tests.docs.camera_model import write_colour_bundle
from tests.unit.runtime.conftest import Connect

KEY = "0123456789abcdef"


def camera_bundle(folder: Path) -> Path:
    """Write the bundle of a model that tells how red, green and blue a photo is."""
    write_colour_bundle(folder / "plain")
    with open_bundle(folder / "plain") as bundle:
        manifest, blobs = bundle.manifest, {digest: bundle.read(digest) for digest in bundle.manifest.blobs}
    steps = Preprocessing(resize=Resize(width=32, height=32), scale=1 / 255)
    write_bundle(folder / "camera", replace(manifest, preprocessing={"frame": steps}), blobs)
    return folder / "camera"


def test_the_page_needs_no_key_and_what_it_shows_does(registry: ModelRegistry, connect: Connect) -> None:
    client = connect(registry, access=Access(api_key=KEY))
    page = client.get("/")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert "tiny" not in page.text.replace("edgemm", "")
    assert client.get("/models").status_code == 401
    assert [one["name"] for one in client.get("/models", headers={"X-API-Key": KEY}).json["models"]] == ["tiny"]


def test_only_its_own_script_and_style_may_run(client: DeviceClient) -> None:
    page = client.get("/")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    for tag in ("script", "style"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_it_names_no_other_server_and_has_no_code_in_attributes(client: DeviceClient) -> None:
    text = client.get("/").text.replace("http://www.w3.org/2000/svg", "").replace("http://DEVICE:8080", "")
    assert not re.search(r"https?://|//[a-z]+\.|@import|\bon\w+=|style=|innerHTML|eval\(|javascript:", text)


def test_models_tell_how_they_are_asked(tmp_path: Path, connect: Connect) -> None:
    make_bundle(tmp_path / "bare-1.0.0.edgemm", name="bare", labels=None)
    registry = ModelRegistry()
    registry.expect("later")
    activate(registry, tmp_path / "bare-1.0.0.edgemm")
    activate(registry, camera_bundle(tmp_path), variant="onnx:float32")
    found = {one["name"]: one for one in connect(registry).get("/models").json["models"]}
    assert (found["later"]["ready"], found["later"]["version"]) == (False, None)
    assert (found["bare"]["image"], found["bare"]["labels"], found["camera"]["image"]) == (False, False, True)
    assert found["bare"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]
