"""Model files that are none any more, in bundles whose digests match: what a publisher signs who made a mistake.

for name, case in cases().items():
    make_corrupt_bundle(path, case, version="2.0.0")
"""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from edgemm.bundle import write_bundle
from edgemm.bundle.manifest import Blob, Manifest
from edgemm.canonical import sha256
from simulators import models

VARIANTS = ("tflite:float32", "onnx:float32")
_SEED = 1
_FLIPS, _CUTS, _HUGE = 50, 28, 24


@dataclass(frozen=True)
class Case:
    """A file that is given out as the model of a variant; `family` says what was done to it."""

    family: str
    variant: str
    data: bytes


def cases() -> dict[str, Case]:
    """Return all cases by name: the same ones each time."""
    good = {variant: models.model_file(models.Dense.random(_SEED), variant) for variant in VARIANTS}
    found: dict[str, Case] = {}
    for variant, data in good.items():
        other = next(d for v, d in good.items() if v != variant)
        made = [*_cut(data), *_flipped(data), *_huge(data), *_other_things(other)]
        found |= {f"{variant} {name}": Case(family, variant, changed) for family, name, changed in made}
    return found


def make_corrupt_bundle(path: Path, case: Case, *, version: str) -> Manifest:
    """Write a bundle of one variant that is the case."""
    manifest, blobs = models.make_manifest(version=version, seed=_SEED, variants=(case.variant,))
    (variant,) = manifest.variants
    del blobs[variant.blob]
    blobs[digest := sha256(case.data)] = case.data
    sizes = {one: Blob(size=len(content), media_type="application/octet-stream") for one, content in blobs.items()}
    manifest = replace(manifest, variants=(replace(variant, blob=digest),), blobs=sizes)
    write_bundle(path, manifest, blobs)
    return manifest


def _cut(data: bytes) -> list[tuple[str, str, bytes]]:
    lengths = {1, 4, 8, 20, 32, len(data) - 1, *(len(data) * part // _CUTS for part in range(1, _CUTS))}
    return [("truncated", f"cut to {length} bytes", data[:length]) for length in sorted(lengths)]


def _flipped(data: bytes) -> list[tuple[str, str, bytes]]:
    draw, found = random.Random(_SEED), []  # the same flips in every run
    for number in range(_FLIPS):
        # Spread over the file: what describes the graph lies in other places than the weights.
        at = (number * len(data) + draw.randrange(len(data))) // _FLIPS
        bit, changed = draw.randrange(8), bytearray(data)
        changed[at] ^= 1 << bit
        found.append(("flipped", f"bit {bit} of byte {at} flipped", bytes(changed)))
    return found


def _huge(data: bytes) -> list[tuple[str, str, bytes]]:
    """Put numbers that are far too large where lengths, offsets and sizes stand."""
    found = []
    for number in range(_HUGE):
        at = number * (len(data) - 4) // _HUGE // 4 * 4
        value = (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff")[number % 2]
        found.append(("huge", f"{value.hex()} at byte {at}", data[:at] + value + data[at + 4 :]))
    return found


def _other_things(other: bytes) -> list[tuple[str, str, bytes]]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model", bytes(32 * 1024 * 1024))
    things = {
        "another engine's file": other,
        "text": b"this is a shopping list\n" * 20,
        "HTML": b"<!doctype html><title>404 Not Found</title>",
        "a zip of 32 MiB of zeros": zipped.getvalue(),
        "a gzip of 32 MiB of zeros": gzip.compress(bytes(32 * 1024 * 1024), mtime=0),
        "a gzip of a good file": gzip.compress(other, mtime=0),
        "8 zeros": bytes(8),
        "8 bytes of a flatbuffer": b"\x1c\0\0\0TFL3",
        "a flatbuffer whose table lies outside": b"\xff\xff\xff\x7fTFL3" + bytes(64),
        "1 MiB of zeros": bytes(1024 * 1024),
        "1 MiB of ones": b"\xff" * 1024 * 1024,
        "noise": random.Random(_SEED).randbytes(4096),
    }
    return [("another thing", name, data) for name, data in things.items()]
