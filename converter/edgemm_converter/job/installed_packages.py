"""The check that the converter's libraries are installed, made before a child process needs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable

from edgemm.bundle.engine_facts import Engine
from edgemm.errors import MissingExtraError
from edgemm_converter.children.protocol import ESTIMATORS, SourceFormat
from edgemm_converter.job.targets import all_targets, target_of
from edgemm_converter.job.variant_plan import FLOATS

EXTRA = "converter"
OF_ESTIMATORS = ("numpy", "onnx", "onnxruntime", "jinja2", "sklearn", "skl2onnx", "joblib", "skops")
LITERT = ("ai_edge_litert",)
"""What writes and runs TFLite files of estimators, beside those."""

BOOSTING = {SourceFormat.XGBOOST: "xgboost", SourceFormat.LIGHTGBM: "lightgbm"}
"""The library of each kind of file that one of the extra `boosting` alone reads."""
OF_PROGRAMS = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime", "jinja2")
"""What exported programs need; without litert-torch there is no TFLite of them, which the conversion says."""

PACKAGES = (
    "tensorflow",
    "tf_keras",
    "h5py",
    *(package for target in all_targets() for package in target.packages),
    "PIL",
    "jinja2",
)


def require_for(source_format: str, wanted: Collection[str] = ()) -> None:
    """Check that what a kind of source needs can be imported, without importing it.

    `wanted` are the variants that were asked for by name: of an estimator, TFLite is left out where LiteRT is not.

    Raises:
        MissingExtraError: something cannot.
    """
    if source_format == SourceFormat.PROGRAM:
        require(OF_PROGRAMS, extra="torch")
    elif source_format not in ESTIMATORS:
        require()
    elif source_format in BOOSTING:
        require((*OF_ESTIMATORS, BOOSTING[SourceFormat(source_format)]), extra="boosting")
    else:
        require(OF_ESTIMATORS, extra="sklearn")
    if source_format in ESTIMATORS:
        lite = [variant for variant in wanted if variant.startswith(f"{Engine.TFLITE}:")]
        require(LITERT if lite else (), extra="runtime")
        require(target_of(Engine.TFLITE).packages if set(lite) - {FLOATS.id} else ())


def require(packages: Iterable[str] = PACKAGES, *, extra: str = EXTRA) -> None:
    """Check that all packages can be imported, without importing them.

    Raises:
        MissingExtraError: one cannot.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(extra, missing=f"the Python package {package}")
