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
from ai_edge_litert.interpreter import Interpreter

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm.errors import ConversionError, EngineError
from edgemm_converter.children import array_files, childside
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
from edgemm_converter.formats import layers, tflite_file
from edgemm_converter.formats.layers import LayerError
from edgemm_converter.judging import assembly, search
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.judging.search import PrecisionCandidate, SearchSpace, SearchTrial
from edgemm_runtime import engines

_ENGINE = Engine.TFLITE


@dataclass
class _Search:
    """One search: what it is given, and the layers by harm once they are needed."""

    request: SearchRequest
    folder: Path
    floats: bytes
    asked: MetricQuestion
    sets: Mapping[SetKind, SampleSet]
    harmful: list[LayerError] = field(default_factory=list)

    @property
    def inputs(self) -> dict[str, Array]:
        """Inputs by their names in the file's signature: calibration data or, without, evaluation data."""
        found = self.sets.get(SetKind.CALIBRATION, self.sets[SetKind.EVALUATION])
        ids = self._ids(Interpreter(model_content=self.floats).get_signature_runner().get_input_details(), "inputs")
        return {ids[name]: array for name, array in array_files.load(found.inputs, self.folder).items()}

    def _ids(self, details: Mapping[str, Mapping[str, object]], side: str) -> dict[str, str]:
        """Name of each tensor → its key in the file's signature."""
        keys = {str(detail["name"]): key for key, detail in details.items()}
        return {t.name: keys[t.tensor] for t in getattr(self.request.floats, side)}

    def file(self, candidate: PrecisionCandidate) -> bytes:
        """Return a candidate's file.

        Raises:
            ConversionError: it cannot be made.
        """
        calibrated = SetKind.CALIBRATION in self.sets
        file = quantization.quantize(
            self.floats,
            candidate.precision,
            calibration=self.inputs if calibrated else None,
            float_layers=[e.layer.scope for e in self.harmful[: candidate.float_layers]],
        )
        quantization.check_weights(file, candidate.precision)
        return file

    def exported(self, candidate: PrecisionCandidate, file: bytes) -> ExportedVariant:
        """Describe a file by the names of the signature, as the float file is."""
        ours = Interpreter(model_content=file).get_signature_runner()
        theirs = Interpreter(model_content=self.floats).get_signature_runner()

        def side(name: str) -> tuple[VariantTensor, ...]:
            ids = self._ids(getattr(theirs, f"get_{name[:-1]}_details")(), name)
            details = getattr(ours, f"get_{name[:-1]}_details")()
            return tuple(tflite_file.tensor(tensor, details[key]) for tensor, key in ids.items())

        return ExportedVariant(
            id=f"{_ENGINE}:{candidate.precision}", file=f"auto-{sha256(file)[:16]}.model",
            minimum_engine=tflite_file.minimum_engine(file), inputs=side("inputs"), outputs=side("outputs"),
        )  # fmt: skip

    def trial(self, candidate: PrecisionCandidate) -> SearchTrial:
        """Make a candidate and evaluate it; its file is kept."""
        try:
            file = self.file(candidate)
            exported = self.exported(candidate, file)
            quantization.check_dtypes(exported, self.request.floats, candidate.precision)
            variant = _variant(exported, candidate.precision, file)
            model = engines.load(variant, self.request.signature, file)
            drop = self._drop(variant, model)
        except (ConversionError, EngineError) as err:
            return SearchTrial(candidate, refused=str(err))
        (self.folder / exported.file).write_bytes(file)
        return SearchTrial(candidate, size=len(file), drop=drop)

    def _drop(self, variant: Variant, model: engines.LoadedModel) -> float:
        """Return the metric's drop of a variant that computes about what the source does."""
        if (calibration := self.sets.get(SetKind.CALIBRATION)) is not None:
            measured = self._measured(calibration, variant, model)
            assembly.compared([variant], [measured])
        measured = self._measured(self.sets[SetKind.EVALUATION], variant, model)
        return self.asked.drop_value(measured.source, measured.variants[variant.id])

    def _measured(self, given: SampleSet, variant: Variant, model: engines.LoadedModel) -> Measured:
        inputs = array_files.load(given.inputs, self.folder)
        outputs = array_files.answers(model.run, inputs)
        return Measured(given, inputs, array_files.load(given.outputs, self.folder), {variant.id: outputs})

    def rank(self) -> None:
        """Find out which layers quantization harms most."""
        try:
            precision = Precision.INT8 if SetKind.CALIBRATION in self.sets else Precision.INT8_DYNAMIC
            self.harmful = list(
                layers.by_harm(layers.errors(self.floats, self.file(PrecisionCandidate(precision)), self.inputs))
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
    floats = (folder / request.floats.file).read_bytes()
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
    return SearchSpace(len(work.floats), len(work.harmful), calibrated, work.request.max_drop)


def _nothing(request: SearchRequest, trials: list[SearchTrial], harmful: list[LayerError]) -> ConversionError:
    closest = search.closest(trials)
    if closest is None or closest.drop is None:
        why = "; ".join(f"{_words(t.candidate)}: {t.refused}" for t in trials)[:400]
        return ConversionError(f"precision auto: no candidate smaller than float32 works: {why}")
    guilty = f"; most of the error arises in layer {harmful[0].layer.name}" if harmful else ""
    tried = ", ".join(f"{_words(t.candidate)} {t.drop:.4g}" for t in trials if t.drop is not None)
    return ConversionError(
        f"precision auto: no variant smaller than float32 keeps {request.metric} within a drop of "
        f"{request.max_drop:g}: {_words(closest.candidate)} comes closest and is {closest.drop - request.max_drop:.4g} "
        f"over{guilty} (drops: {tried}); raise --max-drop, give more calibration data, or use --precision float32"
    )


def _variant(exported: ExportedVariant, precision: Precision, file: bytes) -> Variant:
    return Variant(
        id=exported.id, engine=_ENGINE, precision=precision, minimum_engine=exported.minimum_engine,
        blob=sha256(file), inputs=exported.inputs, outputs=exported.outputs,
    )  # fmt: skip


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
