"""The child process that searches for a precision.

It is run as `python -m edgemm_converter.search.child FOLDER`. It quantizes the float TFLite file, runs each
candidate in the device's engine on the evaluation data, and keeps the file of the one that `search` settles on. Imports
no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgemm.bundle.manifest import Precision, Variant
from edgemm.errors import ConversionError, EngineError
from edgemm_converter.children import childside
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import (
    ExportedVariant,
    SampleSet,
    SearchRequest,
    SearchResult,
    SetKind,
    TrialFacts,
)
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import quantization
from edgemm_converter.export.float_file import FloatFile
from edgemm_converter.formats import layers
from edgemm_converter.formats.layers import LayerError
from edgemm_converter.judging import assembly, search
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.judging.search import PrecisionCandidate, SearchSpace, SearchTrial
from edgemm_runtime.engines import LoadedModel


@dataclass
class _Search:
    """One search: what it is given, and the layers by harm once they are needed."""

    request: SearchRequest
    folder: Path
    floats: FloatFile
    asked: MetricQuestion
    sets: Mapping[SetKind, SampleSet]
    harmful: list[LayerError] = field(default_factory=list)

    @property
    def inputs(self) -> dict[str, Array]:
        """Inputs by their names in the file's signature: calibration data or, without, evaluation data."""
        return self.floats.inputs(self.sets.get(SetKind.CALIBRATION, self.sets[SetKind.EVALUATION]))

    def file(self, candidate: PrecisionCandidate) -> bytes:
        """Return a candidate's file.

        Raises:
            ConversionError: it cannot be made.
        """
        calibrated = SetKind.CALIBRATION in self.sets
        return self.floats.quantized(
            candidate.precision,
            calibration=self.inputs if calibrated else None,
            float_layers=[e.layer.scope for e in self.harmful[: candidate.float_layers]],
        )

    def exported(self, candidate: PrecisionCandidate, file: bytes) -> ExportedVariant:
        """Describe a file by the names of the signature, as the float file is."""
        kept = tuple(e.layer.name for e in self.harmful[: candidate.float_layers])
        return self.floats.described(file, candidate.precision, float_layers=kept)

    def trial(self, candidate: PrecisionCandidate) -> SearchTrial:
        """Make a candidate and evaluate it; its file is kept."""
        try:
            file = self.file(candidate)
            exported = self.exported(candidate, file)
            quantization.check_dtypes(exported, self.request.floats, candidate.precision)
            variant = self.floats.variant(exported, candidate.precision, file)
            drop = self._drop(variant, self.floats.load(variant, file))
        except (ConversionError, EngineError) as err:
            return SearchTrial(candidate, refused=str(err))
        (self.folder / exported.file).write_bytes(file)
        return SearchTrial(candidate, size=len(file), drop=drop)

    def _drop(self, variant: Variant, model: LoadedModel) -> float:
        """Return the metric's drop of a variant that computes about what the source does, column by column."""
        units = self.request.units
        if (calibration := self.sets.get(SetKind.CALIBRATION)) is not None:
            measured = self.floats.measured(calibration, variant, model, units)
            assembly.compared([variant], [measured])
            edges = [self.floats.measured(self.sets[k], variant, model, units) for k in self.sets if k is SetKind.EDGE]
            assembly.judge_edges([variant], [measured, *edges])
        measured = assembly.by_sample(self.floats.measured(self.sets[SetKind.EVALUATION], variant, model, units))
        if calibration is None:
            assembly.check_columns(variant, measured)
        return self.asked.drop_value(measured.source, measured.variants[variant.id])

    def rank(self) -> None:
        """Find out which layers quantization harms most."""
        try:
            precision = Precision.INT8 if SetKind.CALIBRATION in self.sets else Precision.INT8_DYNAMIC
            self.harmful = list(
                layers.by_harm(layers.errors(self.floats.data, self.file(PrecisionCandidate(precision)), self.inputs))
            )
        except (ConversionError, RuntimeError, ValueError):  # LiteRT or the quantizer: no ranking, no mixed precision
            self.harmful = []


def answer(request: SearchRequest, folder: Path, progress: Progress) -> SearchResult:
    """Search, and describe what was found and tried.

    Raises:
        ConversionError: nothing fits; says by how much, and which layer is to blame.
    """
    sets = {s.kind: s for s in request.sets}
    truth = np.load(folder / request.truth, allow_pickle=False)
    again = np.load(folder / request.reconstructed, allow_pickle=False) if request.reconstructed else None
    asked = MetricQuestion(Metric(request.metric), request.output, truth, "evaluation data", again)
    floats = FloatFile(request.floats, folder, request.signature)
    work = _Search(request, folder, floats, asked, sets)
    trials: list[SearchTrial] = []
    while (candidate := search.next_candidate(trials, _space(work))) is not None:
        progress(f"evaluating {_words(candidate)} ({len(trials) + 1} of at most {search.MAX_EVALUATIONS})")
        trials.append(work.trial(candidate))
        if not work.harmful and search.next_candidate(trials, _space(work)) == PrecisionCandidate(Precision.FLOAT16):
            work.rank()
    best = search.best(trials, _space(work))
    if best is None:
        if not work.harmful:
            work.rank()
        raise _nothing(request, trials, work.harmful)
    file = work.file(best.candidate)
    return SearchResult(
        variant=work.exported(best.candidate, file),
        trials=tuple(_facts(t, work.harmful) for t in trials),
        float_layers=tuple(e.layer.name for e in work.harmful[: best.candidate.float_layers]),
    )


def _space(work: _Search) -> SearchSpace:
    calibrated = SetKind.CALIBRATION in work.sets
    return SearchSpace(len(work.floats.data), len(work.harmful), calibrated, work.request.max_drop)


def _nothing(request: SearchRequest, trials: list[SearchTrial], harmful: list[LayerError]) -> ConversionError:
    closest = search.closest(trials)
    if closest is None or closest.drop is None:
        why = "; ".join(f"{_words(t.candidate)}: {t.refused}" for t in trials)[:400]
        return ConversionError(f"precision auto: no candidate smaller than float32 works: {why}")
    guilty = f"; most of the error arises in layer {harmful[0].layer.name}" if harmful else ""
    real = any(s.kind is SetKind.CALIBRATION for s in request.sets)
    data = "give more calibration data" if real else "give --calibration with real inputs"
    tried = ", ".join(f"{_words(t.candidate)} {t.drop:.4g}" for t in trials if t.drop is not None)
    return ConversionError(
        f"precision auto: no variant smaller than float32 keeps {request.metric} within a drop of "
        f"{request.max_drop:g}: {_words(closest.candidate)} comes closest and is {closest.drop - request.max_drop:.4g} "
        f"over{guilty} (drops: {tried}); raise --max-drop, {data}, or use --precision float32"
    )


def _facts(trial: SearchTrial, harmful: list[LayerError]) -> TrialFacts:
    floats = tuple(e.layer.name for e in harmful[: trial.candidate.float_layers])
    return TrialFacts(
        precision=trial.candidate.precision, float_layers=floats, size=trial.size, drop=trial.drop,
        refused=trial.refused,
    )  # fmt: skip


def _words(candidate: PrecisionCandidate) -> str:
    count = candidate.float_layers
    return f"{candidate.precision}" + (f" with {count} float layer{'s' * (count > 1)}" if count else "")


if __name__ == "__main__":
    childside.serve(SearchRequest, answer)
