"""The build of an engine that is here, told by what it answers; and the tolerances that it is held to.

    build = kernels.build_of("tflite")    # VerifiedEngine(version="2.3.0", machine="x86_64", answers="5f3a…")

Two builds of one version may compute with other kernels: on another CPU, with another delegate, without one. They all
add up the same products in orders of their own, so sums of floats differ in their last bits. A small model of dense
layers is asked with fixed numbers, and the digest of its answers tells the kernels.
"""

from __future__ import annotations

import hashlib
import platform

import numpy as np

from edgemm.bundle.manifest import DType, GoldenSamples, Precision, Variant, VariantTensor
from edgemm.bundle.other_kernels import OtherKernels, VerifiedEngine
from edgemm.errors import EngineError
from edgemm_runtime.engines.drivers import driver_of
from edgemm_runtime.installed import available

_ASKED, _INPUTS, _OUTPUTS = 16, 24, 8


def build_of(engine: str) -> VerifiedEngine | None:
    """Return the build of an engine that is installed here; None where it is not, or does not run."""
    version = available().get(engine)
    if version is None:
        return None
    try:
        return VerifiedEngine(version=version, machine=platform.machine(), answers=_answers(engine))
    except EngineError:
        return None


def tolerances_of(golden: GoldenSamples, variant: Variant) -> OtherKernels | None:
    """Return the tolerances for other kernels where a variant's engine here is not the one that was verified."""
    other = golden.other_kernels
    if not other or variant.id not in other.tolerance:
        return None
    return None if build_of(variant.engine) == other.engines.get(variant.engine) else other


def _answers(engine: str) -> str | None:
    driver = driver_of(engine)
    asked = getattr(driver, "kernels_model", None)
    if asked is None:
        return None
    model = asked()
    [given], [made] = driver.describe(model)
    tensors = [
        VariantTensor(name=one.name, tensor=one.name, dtype=DType.FLOAT32, shape=(1, size))
        for one, size in ((given, _INPUTS), (made, _OUTPUTS))
    ]
    variant = Variant(
        id=f"{engine}:kernels", engine=engine, precision=Precision.FLOAT32, minimum_engine="0", blob="0" * 64,
        inputs=(tensors[0],), outputs=(tensors[1],),
    )  # fmt: skip
    session, told = driver.open_session(variant, model, 1), hashlib.sha256()
    # Fractions that no float32 holds exactly, and that every machine rounds alike.
    numbers = (np.arange(_ASKED * _INPUTS) * 7919 % 1009 / 1009 - 0.5).astype(np.float32)
    for row in numbers.reshape(_ASKED, 1, _INPUTS):
        told.update(np.ascontiguousarray(session.invoke({given.name: row})[made.name], "<f4").tobytes())
    return told.hexdigest()
