"""Outputs whose length depends on the data are told from the graph, whatever lengths the samples happen to give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

VARYING = {
    "suppressed": {"kept": "NonMaxSuppressionV3"}, "masked": {"hits": "Where"}, "places": {"places": "Where"},
    "words": {"words": "Unique"}, "counted": {"steps": "Range"}, "ragged": {"parts": "RaggedTensorToTensor"},
    "parted": {"high": "DynamicPartition"},
}  # fmt: skip
STEADY = ("padded", "summed", "positions", "best", "chosen")


def test_each_is_told_with_its_operation_and_no_other(told_by: Callable[[str], dict[str, Any]]) -> None:
    assert told_by("varying_cases") == VARYING | {name: {} for name in STEADY}
