"""Model card and bill of materials of a bundle in which every kind of field is used."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_supported_id
from cyclonedx.validation.json import JsonStrictValidator

from edgemm import canonical
from edgemm_converter.drafting import bundle_documents
from edgemm_converter.judging.assembly import BlobStore
from tests.unit.converter.report.pages import EVIL, manifest
from tests.unit.core.bundles import small_manifest


def test_the_bill_of_materials_is_valid_cyclonedx() -> None:
    for found in (manifest(), manifest(licence=None, created="2026-01-02T03:04:05Z"), small_manifest(evaluation=None)):
        text = canonical.encode(bundle_documents.ml_bom(found)).decode()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    hashes = {h["content"] for c in json.loads(text)["components"] for h in c.get("hashes", ())}
    assert {v.blob for v in found.variants} <= hashes


@pytest.mark.parametrize(("licence", "kind"), [("MIT", "id"), ("ours alone", "name")])
def test_a_licence_that_spdx_names_is_found_by_scanners(licence: str, kind: str) -> None:
    bom = bundle_documents.ml_bom(manifest(licence=licence))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(canonical.encode(bom).decode()) is None
    assert bom["metadata"]["component"]["licenses"] == [{"license": {kind: licence}}]


def test_every_licence_known_here_is_one_of_spdx() -> None:
    assert all(map(is_supported_id, bundle_documents.SPDX_IDS))


def test_the_documents_are_blobs_under_their_digests() -> None:
    blobs = BlobStore()
    found = bundle_documents.add(manifest(), blobs)
    assert set(found) == {"model-card", "ml-bom"}
    assert blobs.content[found["model-card"]].startswith(b"# digits 1.0.0\n")
    assert blobs.listed[found["ml-bom"]].media_type == "application/vnd.cyclonedx+json"


def test_the_card_says_the_figures_and_no_markup_of_names() -> None:
    card = bundle_documents.model_card(manifest(labels=(EVIL, "b")))
    assert "| tflite:int8 | 0.9062 | 0.0312 (-0.0625 to 0.1250) |" in card
    assert "<script>" not in card
