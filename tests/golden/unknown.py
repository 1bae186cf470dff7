"""Bundles as a later version of edgemm may write them: words for engines, precisions and the like that this one lacks.

`python -m tests.golden.unknown` writes the files that are missing. What they hold is made here once, with libraries
whose bytes differ between versions: there is no writer to compare with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgemm import canonical
from edgemm.bundle import open_bundle, unknowns, write_bundle
from edgemm.bundle.manifest import Manifest, decode_manifest
from simulators.models import make_manifest
from tests.golden.vector import FOLDER, Vector

KNOWN = "tflite:float32"
_OTHER = b"a model file of a later version"
_SEED = 5


@dataclass(frozen=True)
class Told:
    """What a reader says of a bundle: its variants, and what of it this version does not know."""

    variants: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    served: bool = True
    images: bool = True
    statistics: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def _variant(raw: dict[str, Any], variant_id: str, *, engine: str, precision: str, dtype: str = "float32") -> None:
    """Put a variant before the others, with a file and tensors of its own."""
    [old] = raw["variants"][-1:]
    digest = canonical.sha256(_OTHER)
    changed = {side: [{**tensor, "dtype": dtype} for tensor in old[side]] for side in ("inputs", "outputs")}
    new = {**old, **changed, "id": variant_id, "engine": engine, "precision": precision, "blob": digest}
    raw["variants"].insert(0, {**new, "minimum_engine": "9.0"})
    raw["golden"]["tolerance"][variant_id] = raw["golden"]["tolerance"][KNOWN]
    raw["blobs"][digest] = {"size": len(_OTHER), "media_type": "application/octet-stream"}


def _engine(raw: dict[str, Any]) -> None:
    _variant(raw, "acme-npu:int8", engine="acme-npu", precision="int8")


def _only_engines(raw: dict[str, Any]) -> None:
    _engine(raw)
    old = raw["variants"].pop()
    del raw["golden"]["tolerance"][KNOWN], raw["blobs"][old["blob"]]


def _precision(raw: dict[str, Any]) -> None:
    _variant(raw, "tflite:ternary", engine="tflite", precision="ternary")


def _dtype(raw: dict[str, Any]) -> None:
    _variant(raw, "tflite:posit", engine="tflite", precision="float16", dtype="posit16")


def _signature(raw: dict[str, Any]) -> None:
    raw["signature"]["inputs"][0]["dtype"] = "posit16"


def _steps(**steps: object) -> Callable[[dict[str, Any]], None]:
    def declare(raw: dict[str, Any]) -> None:
        raw["preprocessing"] = {"x": steps}

    return declare


def _statistic(raw: dict[str, Any]) -> None:
    figures = {"name": "scores", "max_abs": 0.0, "mean_abs": 0.0, "range": 1.0, "relative": 0.0, "cosine": 1.0}
    run = {"variant": KNOWN, "data": "random", "samples": 3, "seeds": [0], "limit": 0.5, "statistic": "median"}
    raw["parity"] = [{**run, "outputs": [{**figures, "argmax_agreement": None}]}]


def _labels(raw: dict[str, Any]) -> None:
    raw["labels_of"] = [{"output": "scores", "kind": "polygons"}]


_SIZE = {"width": 2, "height": 1}
BUNDLES: dict[str, tuple[Callable[[dict[str, Any]], None], Told]] = {
    "engine": (_engine, Told(("acme-npu:int8", KNOWN), skipped=("acme-npu:int8",))),
    "only-engines": (_only_engines, Told(("acme-npu:int8",), skipped=("acme-npu:int8",))),
    "precision": (_precision, Told(("tflite:ternary", KNOWN), skipped=("tflite:ternary",))),
    "dtype": (_dtype, Told(("tflite:posit", KNOWN), skipped=("tflite:posit",))),
    "signature": (_signature, Told((KNOWN,), served=False)),
    "layout": (_steps(layout="planes"), Told((KNOWN,), images=False)),
    "channels": (_steps(channels="cmyk", mean=[1.0, 2.0, 3.0, 4.0]), Told((KNOWN,), images=False)),
    "fit": (_steps(resize={**_SIZE, "fit": "tile"}), Told((KNOWN,), images=False)),
    "kernel": (_steps(resize={**_SIZE, "kernel": "lanczos"}), Told((KNOWN,), images=False)),
    "pad-place": (_steps(resize={**_SIZE, "fit": "pad", "pad_place": "corner"}), Told((KNOWN,), images=False)),
    "label-kind": (_labels, Told((KNOWN,), labels=("polygons",))),
    "statistic": (_statistic, Told((KNOWN,), statistics=("median",))),
}


def path_of(name: str) -> Path:
    """Return where a bundle lies."""
    return FOLDER / "unknown" / f"{name}.edgemm"


def told(manifest: Manifest) -> Told:
    """Say what this version makes of a manifest."""
    return Told(
        variants=tuple(variant.id for variant in manifest.variants),
        skipped=tuple(variant.id for variant in manifest.variants if unknowns.of_variant(variant)),
        served=unknowns.of_signature(manifest.signature) is None,
        images=not any(map(unknowns.of_preprocessing, (manifest.preprocessing or {}).values())),
        statistics=tuple(run.statistic.value for run in manifest.parity if not run.statistic.known),
        labels=tuple(one.kind.value for one in manifest.labels_of or () if not one.kind.known),
    )


def _read(data: bytes) -> Told:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.edgemm"
        path.write_bytes(data)
        with open_bundle(path) as bundle:
            return told(bundle.manifest)


VECTORS = [Vector(f"unknown/{name}.edgemm", meaning, None, _read) for name, (_, meaning) in BUNDLES.items()]


def main() -> None:
    """Write the files that are missing."""
    for name, (change, _) in BUNDLES.items():
        path = path_of(name)
        if not path.exists():
            manifest, blobs = make_manifest(variants=(KNOWN,), seed=_SEED, samples=2)
            raw = msgspec.to_builtins(manifest)
            raw = msgspec.json.decode(msgspec.json.encode(raw))
            change(raw)
            path.parent.mkdir(parents=True, exist_ok=True)
            all_blobs = {**blobs, canonical.sha256(_OTHER): _OTHER}
            write_bundle(path, decode_manifest(canonical.encode(raw), path=name), all_blobs)
            print("wrote", path.name)


if __name__ == "__main__":
    main()
