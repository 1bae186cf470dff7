"""Pack → open gives back what went in; a bundle with any byte changed is refused."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemm import canonical
from edgemm.bundle import open_bundle, write_bundle
from edgemm.bundle.manifest import Blob, Manifest
from edgemm.errors import BundleError
from tests.unit.core.bundles import CONTENT, small_manifest

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def pack(path: Path, extra: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Pack the small bundle with `extra` as the bytes of its int8 variant."""
    plain = small_manifest()
    old, new = canonical.sha256(CONTENT["int8"]), canonical.sha256(extra)
    encoded = plain.encode().replace(old.encode(), new.encode())
    content = {canonical.sha256(data): data for data in CONTENT.values()} | {new: extra}
    blobs = {
        d: Blob(size=len(content[d]), media_type="application/octet-stream")
        for d in {*plain.blobs, new} - {old} | {new}
    }
    raw = json.loads(encoded)
    raw["blobs"] = {d: {"size": b.size, "media_type": b.media_type} for d, b in blobs.items()}
    manifest = msgspec.convert(raw, type(plain))
    write_bundle(path, manifest, content)
    return manifest, content


@settings(max_examples=50, deadline=None)
@given(extra=st.binary(max_size=3000))
def test_pack_then_open(folder: Path, extra: bytes) -> None:
    manifest, content = pack(folder / "a.edgemm", extra)
    with open_bundle(folder / "a.edgemm") as bundle:
        assert bundle.manifest == manifest
        for digest in manifest.blobs:
            assert bundle.read(digest) == content[digest]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / "b.edgemm"
    pack(path, b"weights" * 20)
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(BundleError):
        open_bundle(path)


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=500))
def test_arbitrary_bytes_are_refused_and_nothing_else_is_raised(folder: Path, junk: bytes) -> None:
    path = folder / "c.edgemm"
    path.write_bytes(junk)
    with pytest.raises(BundleError):
        open_bundle(path)
