"""The documents in a bundle: a model card in Markdown, and a CycloneDX 1.6 ML-BOM. Pure.

Both say only what the manifest says, in the form that people and auditors read; they change when it changes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from edgemm import canonical, figures
from edgemm.bundle.manifest import Manifest, TensorSpec, Variant
from edgemm_converter.judging.assembly import BlobStore

MODEL_CARD, ML_BOM = "model-card", "ml-bom"
MARKDOWN, CYCLONEDX = "text/markdown", "application/vnd.cyclonedx+json"
SPDX_IDS = frozenset(
    {
        "0BSD", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause",
        "BSL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
        "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-2.0", "ECL-2.0", "EPL-2.0", "EUPL-1.2",
        "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only",
        "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0", "OFL-1.1", "PDDL-1.0",
        "Unlicense", "WTFPL", "Zlib",
    }
)  # fmt: skip
"""Licences that models usually have, by their names at spdx.org; any other is a text to CycloneDX."""


def add(manifest: Manifest, blobs: BlobStore) -> dict[str, str]:
    """Put both documents among the blobs and return their digests by kind."""
    return {
        MODEL_CARD: blobs.add(model_card(manifest).encode(), MARKDOWN),
        ML_BOM: blobs.add(canonical.encode(ml_bom(manifest)), CYCLONEDX),
    }


def model_card(manifest: Manifest) -> str:
    """Return the model card."""
    return "\n".join(_card(manifest)) + "\n"


def ml_bom(manifest: Manifest) -> dict[str, Any]:
    """Return the bill of materials (CycloneDX 1.6, ECMA-424): the model, its variants, data sets and libraries."""
    components = [*_variants(manifest), *_datasets(manifest), *_libraries(manifest)]
    model = _model(manifest)
    metadata: dict[str, Any] = {"component": model}
    if manifest.created:
        metadata["timestamp"] = manifest.created
    identity = f"{manifest.name} {manifest.version} {manifest.lineage.source_digest}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [{"ref": "model", "dependsOn": [c["bom-ref"] for c in components]}],
    }


def _card(manifest: Manifest) -> Iterator[str]:
    lineage = manifest.lineage
    yield f"# {manifest.name} {manifest.version}\n"
    yield f"Licence: {manifest.licence or 'not stated'}  "
    yield f"Source: `{lineage.source_name}` ({lineage.source_format}), sha256 `{lineage.source_digest}`\n"
    yield "## Inputs and outputs\n\n| | name | type | shape |\n|---|---|---|---|"
    for side, tensors in (("input", manifest.signature.inputs), ("output", manifest.signature.outputs)):
        yield from (f"| {side} | {_cell(t.name)} | {t.dtype} | {_shape(t)} |" for t in tensors)
    if manifest.stateful:
        yield "\nStateful: an answer depends on the requests before it, in a sequence of each client's own."
    if manifest.labels:
        yield f"\nClasses: {', '.join(map(_cell, manifest.labels))}"
    yield "\n## Variants\n\n| variant | bytes | largest error ÷ range |\n|---|---|---|"
    yield from (f"| {v.id} | {manifest.blobs[v.blob].size:,} | {_error(manifest, v)} |" for v in manifest.variants)
    for variant in (v for v in manifest.variants if v.float_layers):
        yield f"\nIn {variant.id} these layers stay float: {', '.join(map(_cell, variant.float_layers or ()))}"
    yield "\n## Evaluation\n"
    yield from _evaluation(manifest)
    yield "\n## Data\n"
    yield f"- calibration: {_digest(lineage.calibration_digest)}"
    yield f"- evaluation: {_digest(lineage.evaluation_digest)}"
    yield "\n## Limits\n"
    yield "The figures hold for the data above. What the model was trained on and for, its maker must say."


def _evaluation(manifest: Manifest) -> Iterator[str]:
    found = manifest.evaluation
    if found is None:
        yield "Not measured: no labelled data were given."
        return
    yield f"| {found.metric}, {found.samples} samples | value | drop (95 % interval) |\n|---|---|---|"
    yield f"| source | {figures.score(found.source)} | |"
    for variant, value in found.variants.items():
        drop = found.drops[variant]
        told, low, high = map(figures.score, (drop.value, drop.low, drop.high))
        yield f"| {variant} | {figures.score(value)} | {told} ({low} to {high}) |"


def _model(manifest: Manifest) -> dict[str, Any]:
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": manifest.version,
        "description": f"Converted from {manifest.lineage.source_name}",
        "hashes": [_hash(manifest.lineage.source_digest)],
        "modelCard": {"modelParameters": _parameters(manifest), "quantitativeAnalysis": _analysis(manifest)},
    }
    if manifest.licence:
        kind = "id" if manifest.licence in SPDX_IDS else "name"
        model["licenses"] = [{"license": {kind: manifest.licence}}]
    return model


def _parameters(manifest: Manifest) -> dict[str, Any]:
    return {
        "datasets": [{"ref": c["bom-ref"]} for c in _datasets(manifest)],
        "inputs": [{"format": f"{t.name}: {t.dtype}{_shape(t)}"} for t in manifest.signature.inputs],
        "outputs": [{"format": f"{t.name}: {t.dtype}{_shape(t)}"} for t in manifest.signature.outputs],
    }


def _analysis(manifest: Manifest) -> dict[str, Any]:
    found = manifest.evaluation
    if found is None:
        return {"performanceMetrics": []}
    metrics: list[dict[str, Any]] = [{"type": found.metric, "value": f"{found.source:.6g}", "slice": "source model"}]
    for variant, value in found.variants.items():
        drop = found.drops[variant]
        metrics.append({"type": found.metric, "value": f"{value:.6g}", "slice": variant})
        metrics.append(
            {
                "type": f"drop of {found.metric}",
                "value": f"{drop.value:.6g}",
                "slice": variant,
                "confidenceInterval": {"lowerBound": f"{drop.low:.6g}", "upperBound": f"{drop.high:.6g}"},
            }
        )
    return {"performanceMetrics": metrics}


def _variants(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"variant-{v.id}",
            "name": v.id,
            "version": manifest.version,
            "hashes": [_hash(v.blob)],
        }
        for v in manifest.variants
    ]


def _datasets(manifest: Manifest) -> list[dict[str, Any]]:
    lineage = manifest.lineage
    named = (("calibration", lineage.calibration_digest), ("evaluation", lineage.evaluation_digest))
    return [
        {
            "type": "data",
            "bom-ref": f"data-{name}",
            "name": f"{name} data",
            "hashes": [_hash(digest)],
            "data": [{"type": "dataset", "name": f"{name} data"}],
        }
        for name, digest in named
        if digest
    ]


def _libraries(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(manifest.lineage.libraries.items())
    ]


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _shape(tensor: TensorSpec) -> str:
    return f"[{', '.join('any' if d == -1 else str(d) for d in tensor.shape)}]"


def _error(manifest: Manifest, variant: Variant) -> str:
    found = [o.relative for p in manifest.parity if p.variant == variant.id and p.limit is not None for o in p.outputs]
    return f"{max(found):.1e}" if found else "not compared"


def _digest(digest: str | None) -> str:
    return f"sha256 `{digest}`" if digest else "none given"


def _cell(text: str) -> str:
    """Keep a name from breaking a table or becoming markup."""
    return "".join(f"\\{c}" if c in "\\`*_|<>[]#" else " " if c in "\r\n" else c for c in text)
