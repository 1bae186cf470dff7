"""The assembly of golden samples: which runs, in how many bytes, and with which tolerances. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from edgemm.bundle.manifest import GoldenSamples, Variant
from edgemm_converter.children import samples
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units, edges, golden_size, golden_tolerance
from edgemm_converter.judging.assembly import BlobStore, Measured, Outputs
from edgemm_converter.judging.column_units import Span
from edgemm_converter.judging.edge_limits import Ordinary
from edgemm_runtime.engines.golden import at_places
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.npy import deflated, write_npy

ZLIB = "application/zlib"


def golden_samples(
    variants: Iterable[Variant],
    measured: Measured,
    blobs: BlobStore,
    *,
    edge: Measured | None = None,
    otherwise: Measured | None = None,
    sequence: bool = False,
) -> GoldenSamples:
    """Return some runs of a set as the golden samples, some edge inputs last, with tolerances for each variant.

    Where the runs are a `sequence`, they are its beginning. They are of the set `otherwise` where not one of this is
    small enough. Their size is judged by that of the variants' files among the `blobs`.
    """
    found = list(variants)
    budget = golden_size.budget([blobs.listed[v.blob].size for v in found if v.blob in blobs.listed])
    runs, fitted = _fitted(found, measured, edge, budget=budget, sequence=sequence)
    if not fitted.fits and otherwise is not None:
        measured = otherwise
        runs, fitted = _fitted(found, measured, edge, budget=budget, sequence=sequence)
    inputs = {name: array[fitted.runs] for name, array in runs.of(measured.inputs, "inputs").items()}

    def kept(outputs: Outputs) -> dict[str, Array]:
        places = {name: (None, *axes) for name, axes in fitted.places.items()}
        return {name: at_places(array[fitted.runs], places.get(name, ())) for name, array in outputs.items()}

    source = kept(runs.of(measured.source, "source"))
    noise = {name: max(measured.set.noise.get(name, 0.0), measured.least_step(name)) for name in measured.source}
    moved = {name: at_places(measured.rounding(name), fitted.places.get(name, ())) for name in measured.source}
    spans = {name: _spans(measured, name, fitted.places.get(name)) for name in measured.source}
    return GoldenSamples(
        samples=len(fitted.runs),
        inputs={
            name: blobs.add(deflated(write_npy(array)), ZLIB) if name in fitted.deflated else blobs.add_array(array)
            for name, array in inputs.items()
        },
        outputs={name: blobs.add_array(array) for name, array in source.items()},
        tolerance={
            v.id: golden_tolerance.tolerances(
                v, source, kept(runs.of(measured.variants[v.id], v.id)), noise=noise, moved=moved,
                spans=spans,
            )
            for v in found
        },
        sampled=dict(fitted.places) or UNSET,
        deflated=fitted.deflated or UNSET,
    )  # fmt: skip


def _spans(measured: Measured, name: str, places: golden_size.Places | None) -> Sequence[Span]:
    """Return the columns of an output that are all kept."""
    found = column_units.spans(measured.source[name], measured.units.get(name))
    return [span for span in found if places is None or places[span.axis] is None]


@dataclass(frozen=True)
class _GoldenRuns:
    """Runs of an ordinary set, and of edge inputs behind them."""

    ordinary: npt.NDArray[np.int64]
    edge: Measured | None
    extra: Sequence[int]

    def of(self, arrays: Outputs, whose: str) -> dict[str, Array]:
        """Return these runs of some arrays, `whose` are "inputs", "source" or a variant's."""
        chosen = {name: array[self.ordinary] for name, array in arrays.items()}
        if self.edge is not None and self.extra:
            edges_of = {"inputs": self.edge.inputs, "source": self.edge.source, **self.edge.variants}[whose]
            chosen = {name: np.concatenate([array, edges_of[name][list(self.extra)]]) for name, array in chosen.items()}
        return {name: array.astype(np.str_) if array.dtype is OBJECT else array for name, array in chosen.items()}


def _fitted(
    variants: Sequence[Variant], measured: Measured, edge: Measured | None, *, budget: int, sequence: bool
) -> tuple[_GoldenRuns, golden_size.Fitted]:
    runs = _golden_runs(variants, measured, edge, sequence=sequence)
    inputs, outputs = runs.of(measured.inputs, "inputs"), runs.of(measured.source, "source")
    return runs, golden_size.fit(inputs, outputs, budget=budget, sequence=sequence)


def _golden_runs(
    variants: Sequence[Variant], measured: Measured, edge: Measured | None, *, sequence: bool
) -> _GoldenRuns:
    chosen, extra = samples.golden_runs(measured.set.runs), list[int]()
    if sequence:
        return _GoldenRuns(np.arange(len(chosen)), None, extra)
    if edge is not None:
        extra = _golden_edges(variants, measured, edge, chosen.tolist())
        chosen = samples.golden_runs(measured.set.runs, beside=len(extra))
    return _GoldenRuns(chosen, edge, extra)


def _golden_edges(variants: Sequence[Variant], measured: Measured, edge: Measured, chosen: Sequence[int]) -> list[int]:
    if any(array.shape[1:] != measured.inputs[name].shape[1:] for name, array in edge.inputs.items()) or any(
        array.shape[1:] != measured.source[name].shape[1:] for name, array in edge.source.items()
    ):
        return []

    def golden(of: Outputs) -> Outputs:
        return {name: array[chosen] for name, array in of.items()}

    return edges.chosen(
        edge.edge_runs(),
        [edge.variants[v.id] for v in variants],
        ordinary=Ordinary(golden(measured.inputs), golden(measured.source), measured.set.noise),
        answers=[golden(measured.variants[v.id]) for v in variants],
        limit=samples.MAX_GOLDEN_EDGES,
    )
