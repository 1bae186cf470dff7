"""The self-test of a finished bundle in the child process, and the same samples in other kernels of each engine.

A device with another build of an engine is held to what these answer: `judging.kernel_tolerance`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest, Precision, Variant
from edgemm.bundle.other_kernels import KernelTolerance, OtherKernels
from edgemm.errors import BadRequestError, EngineError
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import SelfTestPassed, SelfTestRequest
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import targets
from edgemm_converter.judging import kernel_tolerance
from edgemm_runtime import engines
from edgemm_runtime.engines import golden, kernels
from edgemm_runtime.engines.drivers import KernelDriver, driver_of
from edgemm_runtime.engines.golden import Samples
from edgemm_runtime.engines.signature_model import SignatureModel

_MAX_THREADS = 4
_FLOATS = (Precision.FLOAT32, Precision.FLOAT16)
_MOST_FLOATS, _MOST_INTEGERS = 3_000_000_000, 10_000_000_000
"""Multiplications that a variant's samples may take in kernels that are not made for speed: two seconds."""


def run(request: SelfTestRequest, progress: Progress) -> SelfTestPassed:
    """Do with a bundle what a device does and, with `others`, measure what other kernels answer.

    Raises:
        SelfTestError: an answer is outside its tolerance.
        EngineError: an engine failed.
    """
    tolerance: dict[str, dict[str, KernelTolerance]] = {}
    rows: dict[str, tuple[tuple[str, ...], ...]] = {}
    with open_bundle(Path(request.bundle)) as bundle:
        manifest = bundle.manifest
        for variant in manifest.variants:
            progress(f"self-testing {variant.id}")
            file = bundle.read(variant.blob)
            expected = golden.expectation(bundle, variant)
            model = engines.load(variant, manifest.signature, file, threads=threads(), stateful=bool(manifest.stateful))
            expected.check(model)
            if not request.others:
                continue
            progress(f"running {variant.id} in other kernels")
            samples = expected.samples
            if answers := list(_answers(manifest, variant, file, samples)):
                found = kernel_tolerance.of(samples.outputs, answers, expected.tolerances, samples=samples.count)
                tolerance[variant.id] = dict(found.outputs)
                rows |= {variant.id: found.rows} if found.rows else {}
    builds = {engine: kernels.build_of(engine) for engine in {v.engine for v in manifest.variants if v.id in tolerance}}
    verified = {engine: build for engine, build in builds.items() if build is not None}
    return SelfTestPassed(
        other_kernels=OtherKernels(engines=verified, tolerance=tolerance, rows=rows) if verified else None
    )


def threads() -> int:
    """Return as many as a Raspberry Pi has at most: they share the work of a layer and change none of its sums."""
    return min(len(os.sched_getaffinity(0)), _MAX_THREADS)


def _answers(manifest: Manifest, variant: Variant, file: bytes, samples: Samples) -> Iterator[Mapping[str, Array]]:
    """Yield the answers [samples, …] by name of each other kernel; of few samples where the model is large."""
    driver = driver_of(variant.engine)
    if not hasattr(driver, "open_others"):
        return
    others: KernelDriver = driver  # type: ignore[assignment]
    work = targets.target_of(variant.engine).work_of(file)
    most = _MOST_FLOATS if variant.precision in _FLOATS else _MOST_INTEGERS
    count = min(samples.count, max(1, most // max(work, 1)))
    try:
        for session in others.open_others(variant, file):
            model = SignatureModel(session, variant, manifest.signature)
            found = [samples.kept(model.run(samples.input(i))) for i in range(count)]
            if len({tuple(array.shape for array in one.values()) for one in found}) == 1:
                yield _stacked(found)  # others chose as many boxes of one sample, and fewer of another
            if work > most:
                return  # the quickest of them will do
    except (EngineError, BadRequestError):
        return  # these kernels lack an operation of the model


def _stacked(found: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([one[name] for one in found]) for name in found[0]}
