import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.bundle import container, open_bundle, write_bundle
from edgemm.bundle.bundle_limits import BundleLimits
from edgemm.errors import (
    BundleError,
    BundleLimitError,
    DamagedBundleError,
    DigestMismatchError,
    EnvironmentFailure,
    InputError,
    NewerFormatError,
)
from tests.unit.core.bundles import CONTENT, DIGEST, small_bundle, small_manifest


def test_what_was_packed_comes_out(packed: Path) -> None:
    with open_bundle(packed) as bundle:
        assert bundle.manifest == small_manifest()
        assert {name: bundle.read(DIGEST[name]) for name in CONTENT} == CONTENT


def test_the_identity_is_the_digest_of_the_manifest_file(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive, open_bundle(packed) as bundle:
        assert canonical.sha256(archive.read("manifest.json")) == bundle.digest


def test_any_zip_tool_reads_it_and_writes_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    assert list(entries) == ["manifest.json", *sorted(f"blobs/{d}" for d in DIGEST.values())]
    copy = tmp_path / "copy.zip"
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = 0o100644 << 16, 3
            archive.writestr(info, data)
    assert copy.read_bytes() == packed.read_bytes()


def test_packing_again_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    small_bundle(tmp_path / "again.edgemm")
    assert (tmp_path / "again.edgemm").read_bytes() == packed.read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "found an empty file"),
        (b"TFL3", "found something else"),
        (b"PK\x05\x06" + b"\0" * 18, "found something else"),
        (b"\0" * 5000, "found something else"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "no.edgemm"
    path.write_bytes(content)
    with pytest.raises(DamagedBundleError, match=says):
        open_bundle(path)


def test_a_missing_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_bundle(tmp_path / "none.edgemm")
    with pytest.raises(InputError, match="directory"):
        open_bundle(tmp_path)


def test_every_truncation_is_refused(packed: Path) -> None:
    whole = packed.read_bytes()
    for length in range(len(whole)):
        packed.write_bytes(whole[:length])
        with pytest.raises(BundleError):
            open_bundle(packed)


def test_anything_appended_is_refused(packed: Path) -> None:
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(DamagedBundleError, match=r"expected [\d,]+ bytes, found"):
        open_bundle(packed)


def test_a_changed_blob_names_both_digests(packed: Path) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole.replace(b"content of x", b"content of X"))
    with pytest.raises(DigestMismatchError, match=DIGEST["x"][:12]) as caught:
        open_bundle(packed)
    assert caught.value.expected_digest == DIGEST["x"]
    assert "fetch it again" in str(caught.value)


def test_a_name_that_climbs_out_is_refused(packed: Path) -> None:
    whole = packed.read_bytes()
    climbing = b"../../../etc/passwd".ljust(70, b"x")
    packed.write_bytes(whole.replace(b"blobs/" + DIGEST["x"].encode(), climbing))
    with pytest.raises(DamagedBundleError):
        open_bundle(packed)


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.edgemm"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 10 * 2**30)  # sparse: takes no room on the disk
    with pytest.raises(BundleLimitError, match=r"10,737,418,240, the limit is 4,294,967,295; nothing was read"):
        open_bundle(path)


def test_a_manifest_over_the_limit_is_refused_before_it_is_read(packed: Path) -> None:
    with pytest.raises(BundleLimitError, match="manifest size"):
        open_bundle(packed, limits=BundleLimits(max_manifest_bytes=100))


def test_a_claim_of_ten_gigabytes_is_refused(packed: Path) -> None:
    manifest = small_manifest()
    blobs = dict(manifest.blobs)
    blobs[DIGEST["x"]] = type(blobs[DIGEST["x"]])(size=10 * 2**30, media_type="x")
    packed.write_bytes(_around(small_manifest(blobs=blobs).encode()))
    with pytest.raises(DamagedBundleError, match=r"expected 10,737"):
        open_bundle(packed)


def test_a_claim_of_a_hundred_thousand_blobs_is_refused(packed: Path) -> None:
    encoded = small_manifest().encode()
    entry = b'"%064x":{"media_type":"x","size":1}'
    many = b",".join(entry % number for number in range(100_000))
    packed.write_bytes(_around(encoded.replace(b'"blobs":{', b'"blobs":{' + many + b",")))
    with pytest.raises(BundleError, match="manifest"):
        open_bundle(packed)


def test_a_newer_format_is_refused_by_name(packed: Path) -> None:
    packed.write_bytes(_around(small_manifest().encode().replace(b'"format":"1.0"', b'"format":"2.0"')))
    with pytest.raises(NewerFormatError, match=r"bundle format 2\.0 is newer than 1\.0.*upgrade edgemm"):
        open_bundle(packed)


def test_a_later_minor_format_with_unknown_fields_is_read(packed: Path) -> None:
    encoded = small_manifest().encode()
    later = encoded.replace(b'"format":"1.0"', b'"format":"1.7"').replace(b'"variants":', b'"unheard_of":1,"variants":')
    assert later != encoded
    with open_bundle(packed) as bundle:
        blobs = {digest: bundle.read(digest) for digest in bundle.manifest.blobs}
    packed.write_bytes(_around(later, blobs))
    with open_bundle(packed) as bundle:
        assert bundle.manifest.format == "1.7"
        assert bundle.digest == canonical.sha256(later)


def test_nothing_is_written_when_a_blob_is_missing_or_wrong(tmp_path: Path) -> None:
    path, manifest = tmp_path / "a.edgemm", small_manifest()
    blobs = {DIGEST[name]: data for name, data in CONTENT.items()}
    with pytest.raises(BundleError, match="was not given"):
        write_bundle(path, manifest, {k: v for k, v in blobs.items() if k != DIGEST["x"]})
    with pytest.raises(DigestMismatchError):
        write_bundle(path, manifest, {**blobs, DIGEST["x"]: b"another"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="nothing was changed"):
        small_bundle(tmp_path / "missing" / "b.edgemm")


def test_a_blob_that_the_bundle_does_not_have(packed: Path) -> None:
    with open_bundle(packed) as bundle, pytest.raises(InputError, match="no blob"):
        bundle.read("0" * 64)


def _around(manifest: bytes, blobs: dict[str, bytes] | None = None) -> bytes:
    """Pack bytes that claim to be a manifest, as an attacker would: with every header right."""
    crc = zlib.crc32
    files = {"manifest.json": manifest} | {f"blobs/{d}": data for d, data in sorted((blobs or {}).items())}
    out, entries = b"", []
    for name, data in files.items():
        out += container.local_header(name, size=len(data), crc=crc(data))
        entries.append(container.ContainerEntry(name, len(data), len(out)))
        out += data
    return out + container.trailer(entries, [crc(data) for data in files.values()])


def test_the_size_that_a_header_claims_is_not_believed(packed: Path) -> None:
    whole = bytearray(packed.read_bytes())
    struct.pack_into("<II", whole, 18, 2**31, 2**31)
    packed.write_bytes(whole)
    with pytest.raises(BundleError):
        open_bundle(packed)
