"""What a program that uses edgemm_runtime may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import edgemm_runtime
from edgemm.errors import BadRequestError, InputError
from simulators.models import VARIANTS, Dense, make_bundle

Inputs: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike]

X = np.array([[0.5, -0.25, 0.125, 1]], np.float32)


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-1.0.0.edgemm"
    make_bundle(path)
    return path


def test_the_public_names_are_these() -> None:
    assert edgemm_runtime.__all__ == ["Model", "load"]
    assert all(hasattr(edgemm_runtime, name) for name in edgemm_runtime.__all__)
    with pytest.raises(AttributeError, match="no attribute 'save'"):
        edgemm_runtime.save  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("variant", ["auto", *VARIANTS])
@pytest.mark.parametrize("x", [X, X.tolist(), {"x": X}, {"x": X.tolist()}, X.astype(np.float64)])
def test_load_and_predict(bundle_path: Path, variant: str, x: Inputs) -> None:
    model = edgemm_runtime.load(str(bundle_path), variant=variant)
    dense = Dense.random(0)
    limit = dense.int8_error if "int8" in variant else 1e-5
    assert np.abs(model.predict(x)["scores"] - dense.predict(X)).max() <= limit
    assert (model.manifest.name, model.variant.id) == ("tiny", VARIANTS[0] if variant == "auto" else variant)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X.astype(np.complex64), "expected float32 values, found complex64"),
        ([["1", "2", "3", "4"]], "expected float32 values, found texts"),
        ([[1, 2], [3]], "expected float32"),
        ([[1e39, 0, 0, 0]], r"1e\+39 is out of the range of float32"),
        ({"y": [[1], [2, 3]]}, "unknown input 'y'"),
        (X[0][:3], r"expected shape \[-1, 4\], found \[1, 3\]"),
        ({"y": X}, "unknown input 'y'"),
        ({}, "'x' is missing"),
    ],
)
def test_bad_inputs_say_what_was_expected(bundle_path: Path, x: Inputs, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        edgemm_runtime.load(bundle_path).predict(x)


def test_an_unknown_variant_is_refused(bundle_path: Path) -> None:
    with pytest.raises(InputError, match="it has tflite:float32, tflite:int8, onnx:float32"):
        edgemm_runtime.load(bundle_path, variant="tflite:int4")
