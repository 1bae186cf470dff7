"""The device's self-test: a variant must answer the bundle's golden samples as the source model did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgemm.bundle import BlobSource
from edgemm.bundle.manifest import TensorSpec, Tolerance, Variant
from edgemm.errors import BundleError, SelfTestError
from edgemm_runtime.engines.interface import LoadedModel
from edgemm_runtime.tensors import comparison, not_finite
from edgemm_runtime.tensors.inputs import fits
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.npy import read_npy


@dataclass(frozen=True)
class Samples:
    """Golden inputs and outputs by name; sample i of a tensor is `array[i]`."""

    count: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def input(self, index: int) -> dict[str, Array]:
        """Return the inputs of one sample."""
        # `...` makes an array of rank 0 where plain indexing would make a NumPy scalar, which engines do not take.
        return {name: array[index, ...] for name, array in self.inputs.items()}


def read_samples(source: BlobSource) -> Samples:
    """Read the golden samples of a bundle.

    Raises:
        BundleError: a blob is no `.npy` array, or not of the signature's dtype and shape.
    """
    golden, signature = source.manifest.golden, source.manifest.signature
    inputs = {s.name: _read(source, s, golden.inputs[s.name], count=golden.samples) for s in signature.inputs}
    outputs = {s.name: _read(source, s, golden.outputs[s.name], count=golden.samples) for s in signature.outputs}
    return Samples(golden.samples, inputs, outputs)


@dataclass(frozen=True)
class Expectation:
    """What a variant must answer to the golden samples, in memory."""

    variant: Variant
    samples: Samples
    tolerances: Mapping[str, Tolerance]

    def first(self) -> Expectation:
        """Return what it must answer to the first sample, without holding the others."""
        kept = [{n: a[:1, ...].copy() for n, a in of.items()} for of in (self.samples.inputs, self.samples.outputs)]
        return replace(self, samples=replace(self.samples, inputs=kept[0], outputs=kept[1]))

    def check(
        self, model: LoadedModel, *, samples: int | None = None, answered: Callable[[], None] = lambda: None
    ) -> None:
        """Run the first `samples` samples (all by default) and compare the answers; as `golden.check`."""
        golden = self.samples
        disagreeing = dict.fromkeys(self.tolerances, 0)
        for index in range(golden.count if samples is None else min(samples, golden.count)):
            answers = model.run(golden.input(index))
            for name, tolerance in self.tolerances.items():
                expected, found = golden.outputs[name][index, ...], answers[name]
                error = comparison.largest_error(expected, found)
                _check_finite(self.variant, name, expected, found, index=index)
                _check_error(self.variant, repr(name), index=index, error=error, limit=tolerance.max_abs)
                if (beyond := comparison.column_beyond(expected, found, tolerance.columns or ())) is not None:
                    column = beyond.column
                    where = f"{name!r}, axis {column.axis}, {column.start} to {column.stop - 1}"
                    _check_error(self.variant, where, index=index, error=beyond.error, limit=column.max_abs)
                disagreeing[name] += not comparison.same_classes(expected, found).all()
                _check_argmax(self.variant, name, disagreeing[name], tolerance=tolerance, count=golden.count)
            answered()


def expectation(source: BlobSource, variant: Variant) -> Expectation:
    """Read what a bundle says that a variant must answer; raises as `read_samples`."""
    return Expectation(variant, read_samples(source), source.manifest.golden.tolerance[variant.id])


def check(
    source: BlobSource,
    variant: Variant,
    model: LoadedModel,
    *,
    samples: int | None = None,
    answered: Callable[[], None] = lambda: None,
) -> None:
    """Run the first `samples` golden samples (all by default) and compare the answers.

    `answered` is called after each one that came out right.

    Raises:
        SelfTestError: an answer is outside its tolerance; names the sample, output, error and tolerance.
        BundleError: the samples cannot be read.
        EngineError: the engine failed on one.
    """
    expectation(source, variant).check(model, samples=samples, answered=answered)


def _check_finite(variant: Variant, name: str, expected: Array, found: Array, *, index: int) -> None:
    if found.dtype.kind == "f" and np.isfinite(expected).all() and (what := not_finite.described({name: found})):
        raise SelfTestError(
            f"self-test of {variant.id} failed: golden sample {index}, {what}; expected the finite ones of the source: "
            "do not use this bundle; convert the model again"
        )


def _check_error(variant: Variant, where: str, *, index: int, error: float, limit: float) -> None:
    if error > limit:
        raise SelfTestError(
            f"self-test of {variant.id} failed: golden sample {index}, output {where}: expected an error of at most "
            f"{limit:.3g}, found {error:.3g}: do not use this bundle; convert the model again"
        )


def _check_argmax(variant: Variant, name: str, disagreeing: int, *, tolerance: Tolerance, count: int) -> None:
    allowed = comparison.disagreements_allowed(tolerance, samples=count)
    if allowed is not None and disagreeing > allowed:
        raise SelfTestError(
            f"self-test of {variant.id} failed: output {name!r}: expected at most {allowed} of {count} golden samples "
            f"with another largest class, found {disagreeing}: do not use this bundle; convert the model again"
        )


def _read(source: BlobSource, spec: TensorSpec, digest: str, *, count: int) -> Array:
    array = read_npy(source.read(digest), name=f"golden samples of {spec.name!r}")
    expected = (count, *spec.shape)
    if array.dtype != np.dtype(spec.dtype.value) or not fits(expected, array.shape):
        raise BundleError(
            f"golden samples of {spec.name!r}: expected {spec.dtype}{list(expected)}, "
            f"found {array.dtype}{list(array.shape)}: convert the model again"
        )
    return array
