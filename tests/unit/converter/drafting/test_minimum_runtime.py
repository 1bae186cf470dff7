"""What runtime a bundle needs."""

from __future__ import annotations

import msgspec
import pytest

from edgemm.bundle.manifest import Preprocessing, Resize, decode_manifest
from edgemm_converter.drafting import minimum_runtime
from tests.golden.vector import FOLDER
from tests.unit.core.bundles import small_manifest

STRINGS = FOLDER / "bundle" / "columns.json"
FEATURES = (
    ("0.10.0", lambda manifest: manifest.licence == "new"),
    ("0.9.0", lambda manifest: manifest.licence is not None),
)


def test_a_bundle_needs_the_newest_runtime_that_one_of_its_features_needs() -> None:
    needed = [minimum_runtime.of(small_manifest(licence=licence), FEATURES) for licence in (None, "old", "new")]
    assert needed == [minimum_runtime.FIRST, "0.9.0", "0.10.0"]


def test_a_bundle_of_strings_needs_the_version_that_brought_them() -> None:
    assert minimum_runtime.of(decode_manifest(STRINGS.read_bytes(), path="golden")) == "0.3.0"


def test_a_bundle_that_resizes_as_the_first_version_did_needs_no_other() -> None:
    def needed(**words: object) -> str:
        steps = Preprocessing(resize=msgspec.convert({"width": 2, "height": 1, "fit": "pad", **words}, Resize))
        return minimum_runtime.of(small_manifest(preprocessing={"x": steps}))

    assert needed() == minimum_runtime.FIRST
    assert {needed(kernel="bilinear"), needed(pad_colour=[114]), needed(pad_place="top-left")} == {"0.2.0"}


def test_a_table_of_more_columns_than_older_runtimes_take_needs_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert minimum_runtime.of(small_manifest()) == minimum_runtime.FIRST
    monkeypatch.setattr(minimum_runtime, "_MOST_INPUTS_BEFORE", 0)
    assert minimum_runtime.of(small_manifest()) == "0.3.0"
