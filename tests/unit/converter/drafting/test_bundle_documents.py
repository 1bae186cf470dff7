"""Model card, bill of materials and report of a bundle in which every kind of field is used."""

import json
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_supported_id
from cyclonedx.validation.json import JsonStrictValidator

from edgemm import canonical
from edgemm.bundle.manifest import Manifest, Precision
from edgemm_converter.children.protocol import LayerFacts, TrialFacts
from edgemm_converter.drafting import bundle_documents
from edgemm_converter.judging.assembly import BlobStore
from edgemm_converter.report import report_page
from edgemm_converter.report.report_page import Facts, Speed
from tests.unit.core.bundles import small_manifest

EVIL = "<script>alert(1)</script>|*"


def manifest(**changes: Any) -> Manifest:
    found = small_manifest()
    assert found.evaluation is not None
    drops = dict.fromkeys(found.evaluation.variants, found.evaluation.drops["tflite:int8"])
    return small_manifest(evaluation=msgspec.structs.replace(found.evaluation, drops=drops), **changes)


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


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "manifest": manifest(labels=(EVIL, "b")),
        "digest": "ab" * 32,
        "max_drop": 0.05,
        "warnings": ("45 samples prove little",),
        "left_out": {"onnx:float32": "no ONNX operation for Odd"},
        "trials": (
            TrialFacts(precision=Precision.INT8, float_layers=(), size=2600, drop=0.25, refused=""),
            TrialFacts(precision=Precision.INT16X8, float_layers=(), size=0, drop=None, refused="no kernel"),
            TrialFacts(precision=Precision.MIXED, float_layers=("conv_1",), size=3100, drop=0.01, refused=""),
        ),
        "layers": {
            "tflite:int8": (
                LayerFacts(name="stem", error=0.002, own=0.002),
                LayerFacts(name="conv_1", error=0.3, own=0.298),
                LayerFacts(name="head", error=0.31, own=0.01),
            )
        },
        "speeds": {"tflite:int8": Speed(0.25, 40_000_000)},
        "machine": "a test",
    }
    return Facts(**{**fields, **changes})


def test_the_report_names_the_first_layer_that_parts_and_what_was_tried() -> None:
    page = " ".join(report_page.page(facts()).split())
    assert "Parts from float at <strong>conv_1</strong> (30.0 %)" in page
    assert "<strong>conv_1</strong> adds most, 29.80 %" in page
    for said in ("over by 0.2000", "no kernel", "fits", "no ONNX operation for Odd", "45 samples prove little",
                 "0.250 ms", "40.0 MB", "-0.062 to 0.125", "ab" * 32):  # fmt: skip
        assert said in page, said


def test_the_report_compares_each_output_with_the_sources_own_noise() -> None:
    name = manifest().parity[0].outputs[0].name
    found = report_page.comparisons(facts(noise={name: manifest().parity[0].outputs[0].max_abs / 4}))
    assert [row.noise for row in found if row.output == manifest().parity[0].outputs[0]] == [pytest.approx(4)]
    page = report_page.page(facts())
    assert page.count('data-label="judged"') == sum(len(p.outputs) for p in manifest().parity)
    assert "Comparison with the source" not in report_page.page(
        Facts(manifest=small_manifest(parity=()), digest="ab" * 32)
    )


def test_only_layers_that_part_are_marked() -> None:
    calm = (LayerFacts(name="stem", error=0.002, own=0.002), LayerFacts(name="head", error=0.003, own=0.001))
    assert 'class="guilty"' in report_page.page(facts())
    assert 'class="guilty"' not in report_page.page(facts(layers={"tflite:int8": calm}))


def test_the_models_own_name_is_left_out_of_its_layers() -> None:
    layers = [LayerFacts(name=name, error=0.1, own=0.1) for name in ("net_1/stem", "net_1/head/MatMul", "output (x)")]
    (chart,) = report_page.charts(facts(layers={"tflite:int8": layers}))
    assert [layer.name for layer in chart.layers] == ["stem", "head/MatMul", "output (x)"]


def test_the_report_needs_no_network_and_runs_no_name_as_markup() -> None:
    page = report_page.page(facts())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert all(mark not in page for mark in ("http:", "https:", "src=", "@import", "url("))


def test_a_report_of_a_conversion_without_data() -> None:
    bare = small_manifest(evaluation=None, labels=None, licence=None)
    page = report_page.page(Facts(manifest=bare, digest="cd" * 32))
    assert "What was done" not in page
    assert "not stated" in page
