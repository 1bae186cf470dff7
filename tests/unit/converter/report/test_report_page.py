"""The report of a conversion in which every part is used, and its data."""

from __future__ import annotations

import json
import re

import pytest

from edgemm.bundle.manifest import Precision
from edgemm_converter.children.protocol import LayerFacts
from edgemm_converter.report import report_page
from edgemm_converter.report.facts import Facts, Predecessor, Speed
from tests.unit.converter.report.pages import facts, manifest
from tests.unit.core.bundles import small_manifest


def text(of: Facts) -> str:
    return " ".join(report_page.page(of).split())


def test_the_report_names_the_first_layer_that_parts_and_what_was_tried() -> None:
    page = text(facts())
    assert "Parts from float at <strong>conv_1</strong> (30.0 %)" in page
    assert "<strong>conv_1</strong> adds most, 29.80 %" in page
    for said in ("over by 0.2000", "no kernel", "fits", "no ONNX operation for Odd", "45 samples prove little",
                 "0.250 ms", "40.0 MB", "-0.062 to 0.125", "ab" * 32, "2026-01-02T03:04:05Z"):  # fmt: skip
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
    for part in ("Class by class", "<svg", "Since "):
        assert part not in page


def test_variants_stand_in_the_order_in_which_a_device_should_take_them() -> None:
    speeds = {v.id: Speed(9.0 - place, 1) for place, v in enumerate(manifest().variants)}
    expected = [v.id for v in reversed(manifest().variants)]
    assert [row.id for row in report_page.rows(facts(speeds=speeds, max_drop=1.0))] == expected
    page = report_page.page(facts(speeds=speeds, max_drop=1.0))
    assert re.findall(r'<section class="variant[^"]*" id="variant-([^"]+)"', page) == [
        report_page.anchor(name) for name in expected
    ]


def test_every_link_has_its_target_and_no_target_is_there_twice() -> None:
    page = report_page.page(facts())
    targets = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(targets)) == len(targets)
    links = re.findall(r'href="#([^"]+)"', page)
    assert set(links) <= set(targets)
    assert {"variants", "size-and-metric", "changes", "classes", "done", "comparison", "layers"} <= set(links)


def test_classes_are_shown_with_their_figures_and_their_mistakes() -> None:
    page = text(facts())
    assert 'b</td><td class="number">3</td> <td class="number">0.600</td><td class="number">1.000</td>' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|* for b (2)" in page
    assert re.search(r'<td class="right">1</td>\s*<td class="wrong">2</td>', page)


def test_the_bundle_before_is_compared_variant_by_variant() -> None:
    (row,) = [row for row in report_page.changes(facts()) if row.id == "tflite:int8"]
    assert (row.metric_before, row.p50_ms_before, row.p50_ms) == (0.75, 0.5, 0.25)
    assert row.size_before == row.size
    assert "Since 0.9.0" in text(facts())
    unmeasured = Predecessor(small_manifest(version="0.9.0"), "cd" * 32, unmeasured="its inputs or outputs are others")
    assert "was not measured: its inputs or outputs are others" in text(facts(predecessor=unmeasured))


def test_the_data_beside_the_page_say_the_same() -> None:
    found = json.loads(report_page.data(facts()))
    assert found["format"] == report_page.DATA_FORMAT
    assert [row["id"] for row in found["variants"]] == [row.id for row in report_page.rows(facts())]
    assert found["classes"][1]["matrix"] == [[1, 2], [0, 3]]
    assert found["changes"][0].keys() >= {"size_before", "metric_before", "p50_ms_before"}
    assert found["left_out"] == {"onnx:float32": "no ONNX operation for Odd"}


def test_a_precision_of_a_later_version_is_shown_without_a_description() -> None:
    variants = tuple(
        type(v)(**{**{f: getattr(v, f) for f in v.__struct_fields__}, "precision": Precision("int2")})
        for v in manifest().variants
    )
    assert report_page.rows(facts(manifest=manifest(variants=variants)))[0].why == ""
