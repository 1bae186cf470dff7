"""What runtime a bundle needs."""

from __future__ import annotations

from edgemm_converter.drafting import minimum_runtime
from tests.unit.core.bundles import small_manifest

FEATURES = (
    ("0.10.0", lambda manifest: manifest.licence == "new"),
    ("0.9.0", lambda manifest: manifest.licence is not None),
)


def test_a_bundle_needs_the_newest_runtime_that_one_of_its_features_needs() -> None:
    needed = [minimum_runtime.of(small_manifest(licence=licence), FEATURES) for licence in (None, "old", "new")]
    assert needed == [minimum_runtime.FIRST, "0.9.0", "0.10.0"]
