"""Bundle files that must not be accepted, made by hand from a good one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgemm.bundle import container
from simulators.models import make_bundle


def empty(path: Path, good: Path) -> None:
    """Write nothing."""
    path.write_bytes(b"")


def text(path: Path, good: Path) -> None:
    """Write a file that is something else."""
    path.write_text("this is a shopping list\n" * 20)


def truncated(path: Path, good: Path) -> None:
    """Cut the last byte off."""
    path.write_bytes(good.read_bytes()[:-1])


def flipped(path: Path, good: Path) -> None:
    """Flip one bit in the weights."""
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def longer(path: Path, good: Path) -> None:
    """Append one byte."""
    path.write_bytes(good.read_bytes() + b"\0")


def traversal(path: Path, good: Path) -> None:
    """Add an entry that would lie outside the folder."""
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("../../outside", b"x")


def traversal_in_the_manifest(path: Path, good: Path) -> None:
    """Name a blob `../../outside` in the manifest."""
    _rewrite(path, good, lambda m: m["blobs"].update({"../../outside": {"size": 1, "media_type": "text/plain"}}))


def traversal_in_the_model_name(path: Path, good: Path) -> None:
    """Call the model `../evil`."""
    _rewrite(path, good, lambda m: m.update(name="../evil"))


def huge_entry(path: Path, good: Path) -> None:
    """Claim 10 GB for a blob in the manifest."""
    _rewrite(path, good, lambda m: next(iter(m["blobs"].values())).update(size=10 * 10**9))


def huge_manifest(path: Path, good: Path) -> None:
    """Claim almost 4 GiB for the manifest in the first header."""
    path.write_bytes(container.local_header(container.MANIFEST_NAME, size=2**32 - 2, crc=0) + b"{}")


def many_entries(path: Path, good: Path) -> None:
    """Add 100,000 entries to the container."""
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as bundle:
        for number in range(100_000):
            bundle.writestr(zipfile.ZipInfo(f"blobs/{number:064x}"), b"")


def many_blobs(path: Path, good: Path) -> None:
    """Claim 100,000 blobs in the manifest."""
    blob = {"size": 0, "media_type": "application/octet-stream"}
    _rewrite(path, good, lambda m: m["blobs"].update({f"{n:064x}": blob for n in range(100_000)}))


def newer(path: Path, good: Path) -> None:
    """Be of the next major format, in which everything else may have changed."""
    _rewrite(path, good, lambda m: m.update(format="2.0", signature="something new"))


def _rewrite(path: Path, good: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with zipfile.ZipFile(good) as bundle:
        manifest = json.loads(bundle.read(container.MANIFEST_NAME))
    change(manifest)
    data = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        new.writestr(_info(container.MANIFEST_NAME), data)
        for name in old.namelist()[1:]:
            new.writestr(_info(name), old.read(name))


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o100644 << 16
    return info


DAMAGES = (
    empty, text, truncated, flipped, longer, traversal, traversal_in_the_manifest, traversal_in_the_model_name,
    huge_entry, huge_manifest, many_entries, many_blobs, newer,
)  # fmt: skip


def good_bundle(folder: Path) -> Path:
    """Write a good bundle into a folder."""
    path = folder / "tiny-1.0.0.edgemm"
    make_bundle(path, seed=1)
    return path
