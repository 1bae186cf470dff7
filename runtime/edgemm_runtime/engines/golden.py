"""The device's self-test: a variant must answer the bundle's golden samples as the source model did."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgemm.bundle import BlobSource
from edgemm.bundle.manifest import DType, TensorSpec, Tolerance, Variant
from edgemm.bundle.other_kernels import KernelTolerance, OtherKernels
from edgemm.errors import BundleError, SelfTestError
from edgemm_runtime.engines import kernels
from edgemm_runtime.engines.interface import LoadedModel
from edgemm_runtime.tensors import comparison, kernel_comparison, not_finite
from edgemm_runtime.tensors.element_types import numpy_dtype
from edgemm_runtime.tensors.inputs import fits
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.npy import inflated, read_npy, read_strings

_ROUNDING = 1e-9
"""What a share in a manifest may lack for being rounded."""
_MOST_INFLATED, _HEADER = 2**28, 2**10
"""Bytes of inputs whose size a signature leaves open, and of the head of a `.npy` array."""


@dataclass(frozen=True)
class Samples:
    """Golden inputs and outputs by name; sample i of a tensor is `array[i]`."""

    count: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    sampled: Mapping[str, Sequence[Sequence[int] | None]] = field(default_factory=dict)
    """Of outputs that have golden values at some places alone: these, by axis; None for a whole axis."""

    def input(self, index: int) -> dict[str, Array]:
        """Return the inputs of one sample."""
        # `...` makes an array of rank 0 where plain indexing would make a NumPy scalar, which engines do not take.
        return {name: array[index, ...] for name, array in self.inputs.items()}

    def expected(self, index: int) -> dict[str, Array]:
        """Return the outputs of one sample, at the places that were kept."""
        return {name: array[index, ...] for name, array in self.outputs.items()}

    def kept(self, answers: Mapping[str, Array]) -> dict[str, Array]:
        """Return what an answer has at the places that were kept."""
        return {name: at_places(answers[name], self.sampled.get(name, ())) for name in self.outputs}


def at_places(array: Array, places: Sequence[Sequence[int] | None]) -> Array:
    """Return the values of an array at the indices of each axis, None for all; all where there are no axes.

    What the array does not have is left out, and so differs from every golden value.
    """
    for axis, indices in enumerate(places if array.ndim == len(places) else ()):
        if indices is not None:
            array = array.take([index for index in indices if index < array.shape[axis]], axis=axis)
    return array


def read_samples(source: BlobSource) -> Samples:
    """Read the golden samples of a bundle.

    Raises:
        BundleError: a blob is no `.npy` array, or not of the signature's dtype and shape.
    """
    golden, signature = source.manifest.golden, source.manifest.signature
    sampled = golden.sampled or {}
    inputs = {s.name: _read_input(source, s) for s in signature.inputs}
    outputs = {
        s.name: _read(
            s, source.read(golden.outputs[s.name]), shape=_kept(s.shape, sampled.get(s.name)), count=golden.samples
        )
        for s in signature.outputs
    }
    return Samples(golden.samples, inputs, outputs, sampled)


@dataclass(frozen=True)
class Expectation:
    """What a variant must answer to the golden samples, in memory."""

    variant: Variant
    samples: Samples
    tolerances: Mapping[str, Tolerance]
    other_kernels: OtherKernels | None = None
    """The tolerances to hold it to where the engine here is not the one that was verified."""

    def first(self) -> Expectation:
        """Return what it must answer to the first sample, without holding the others."""
        kept = [{n: a[:1, ...].copy() for n, a in of.items()} for of in (self.samples.inputs, self.samples.outputs)]
        return replace(self, samples=replace(self.samples, inputs=kept[0], outputs=kept[1]))

    def check(
        self, model: LoadedModel, *, samples: int | None = None, answered: Callable[[], None] = lambda: None
    ) -> None:
        """Run the first `samples` samples (all by default) and compare the answers; as `golden.check`."""
        golden, told = self.samples, self._of_other_kernels()
        disagreeing = dict.fromkeys(self.tolerances, 0)
        for index in range(golden.count if samples is None else min(samples, golden.count)):
            answers = golden.kept(model.run(golden.input(index)))
            expected = golden.expected(index)
            for name, tolerance in self.tolerances.items():
                self._check_output(name, expected[name], answers[name], index=index)
                if expected[name].shape[:-1] == answers[name].shape[:-1]:
                    disagreeing[name] += not comparison.same_classes(expected[name], answers[name]).all()
                held = told.get(name, tolerance)
                _check_argmax(self.variant, name, disagreeing[name], tolerance=held, count=golden.count)
            if self.other_kernels is not None:
                self._check_shares(expected, answers, index=index)
            answered()

    def _of_other_kernels(self) -> Mapping[str, KernelTolerance]:
        return self.other_kernels.tolerance.get(self.variant.id, {}) if self.other_kernels is not None else {}

    def _check_output(self, name: str, expected: Array, found: Array, *, index: int) -> None:
        """Check one output value by value; what other kernels are allowed in all is a share, checked beside."""
        tolerance: Tolerance | KernelTolerance = self._of_other_kernels().get(name, self.tolerances[name])
        _check_finite(self.variant, name, expected, found, index=index)
        if isinstance(tolerance, Tolerance):
            error = comparison.largest_error(expected, found)
            _check_error(self.variant, repr(name), index=index, error=error, limit=tolerance.max_abs)
        columns = (tolerance.columns or ()) if expected.shape == found.shape else ()
        if (beyond := comparison.column_beyond(expected, found, columns)) is not None:
            column = beyond.column
            where = f"{name!r}, axis {column.axis}, {column.start} to {column.stop - 1}"
            _check_error(self.variant, where, index=index, error=beyond.error, limit=column.max_abs)

    def _check_shares(self, expected: Mapping[str, Array], answers: Mapping[str, Array], *, index: int) -> None:
        """Check outputs whose values or rows are compared by the share that is alike."""
        told = self._of_other_kernels()
        groups = self.other_kernels.rows.get(self.variant.id, ()) if self.other_kernels is not None else ()
        for group in groups:
            share = kernel_comparison.share_of_rows(expected, answers, {name: told[name].max_abs for name in group})
            least = min(told[name].min_share for name in group)
            _check_share(self.variant, " and ".join(map(repr, group)), index=index, share=share, least=least, of="rows")
        for name in set(told) - {name for group in groups for name in group}:
            share = kernel_comparison.share_of_values(expected[name], answers[name], told[name].max_abs)
            _check_share(self.variant, repr(name), index=index, share=share, least=told[name].min_share, of="values")


def expectation(source: BlobSource, variant: Variant) -> Expectation:
    """Read what a bundle says that a variant must answer; raises as `read_samples`."""
    golden = source.manifest.golden
    return Expectation(
        variant, read_samples(source), golden.tolerance[variant.id], kernels.tolerances_of(golden, variant)
    )


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


def _check_share(variant: Variant, name: str, *, index: int, share: float, least: float, of: str) -> None:
    if share < least - _ROUNDING:
        raise SelfTestError(
            f"self-test of {variant.id} failed: golden sample {index}, output {name}: expected {least:.1%} of the {of} "
            f"to be alike, as with kernels other than those verified, found {share:.1%}: do not use this bundle here; "
            "convert the model again"
        )


def _check_argmax(
    variant: Variant, name: str, disagreeing: int, *, tolerance: Tolerance | KernelTolerance, count: int
) -> None:
    allowed = comparison.disagreements_allowed(tolerance, samples=count)
    if allowed is not None and disagreeing > allowed:
        raise SelfTestError(
            f"self-test of {variant.id} failed: output {name!r}: expected at most {allowed} of {count} golden samples "
            f"with another largest class, found {disagreeing}: do not use this bundle; convert the model again"
        )


def _read_input(source: BlobSource, spec: TensorSpec) -> Array:
    golden = source.manifest.golden
    data = source.read(golden.inputs[spec.name])
    if spec.name in (golden.deflated or ()):
        size = math.prod(spec.shape) * golden.samples * numpy_dtype(spec.dtype).itemsize
        unbounded = -1 in spec.shape or spec.dtype is DType.STRING
        data = inflated(data, most=_MOST_INFLATED if unbounded else size + _HEADER, name=_whose(spec))
    return _read(spec, data, shape=spec.shape, count=golden.samples)


def _kept(shape: tuple[int, ...], places: Sequence[Sequence[int] | None] | None) -> tuple[int, ...]:
    """Return the shape of what was kept of an output."""
    if places is None:
        return shape
    return tuple(side if kept is None else len(kept) for side, kept in zip(shape, places, strict=True))


def _read(spec: TensorSpec, data: bytes, *, shape: tuple[int, ...], count: int) -> Array:
    array = read_strings(data, name=_whose(spec)) if spec.dtype is DType.STRING else read_npy(data, name=_whose(spec))
    expected = (count, *shape)
    if array.dtype != numpy_dtype(spec.dtype) or not fits(expected, array.shape):
        raise BundleError(
            f"{_whose(spec)}: expected {spec.dtype}{list(expected)}, "
            f"found {array.dtype}{list(array.shape)}: convert the model again"
        )
    return array


def _whose(spec: TensorSpec) -> str:
    return f"golden samples of {spec.name!r}"
