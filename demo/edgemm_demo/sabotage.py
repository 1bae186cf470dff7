"""A deliberately broken bundle, whose fault shows only when it runs.

It has the golden samples of a good model and the weights of a scrambled one, and every digest is right. Nothing about
the file, its signature or its manifest tells that it is broken: only the self-test on a device can.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgemm.bundle import open_bundle, write_bundle


def swap_weights(good: Path, scrambled: Path, *, output: Path, version: str) -> None:
    """Write `good` as `version`, with the model files of `scrambled` in place of its own."""
    with open_bundle(good) as honest, open_bundle(scrambled) as broken:
        manifest, donor = honest.manifest, broken.manifest
        golden = {*manifest.golden.inputs.values(), *manifest.golden.outputs.values()}
        model_files = {variant.blob for variant in donor.variants}
        changed = msgspec.structs.replace(
            manifest,
            version=version,
            variants=donor.variants,
            reference_profile=None,
            documents={},
            blobs={d: manifest.blobs[d] for d in golden} | {d: donor.blobs[d] for d in model_files},
        )
        blobs = {d: honest.read(d) for d in golden} | {d: broken.read(d) for d in model_files}
    write_bundle(output, changed, blobs)
