"""The evaluation of a model on labelled data (`--eval`, `--metric`): its output, its truth, its score. Pure.

* Classes are integers, or one-hot rows, in the array `labels`. Where a model answers with one class index a sample
  beside its scores, that is the class that counts, as in `predict` of scikit-learn.
* Errors of numbers are against `labels` of the output's shape; without labels, of an output that has an input's
  shape (an autoencoder), against that input.
* The AUC of an autoencoder is that of its reconstruction error as a sign of class 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgemm.bundle.manifest import Drop
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import metrics
from edgemm_converter.judging.metrics import Metric
from edgemm_runtime.tensors import comparison

LABELS = "labels"
_OF_PLACES = (Metric.ACCURACY, Metric.F1, Metric.PRECISION, Metric.RECALL)


@dataclass(frozen=True)
class MetricQuestion:
    """A metric of one output; `reconstructed` is the input that this output should repeat, for an anomaly's AUC."""

    metric: Metric
    output: str
    truth: Array
    path: str
    reconstructed: Array | None = None
    classes: int = 0
    """How many there are where the output is one class index a sample."""

    def score(self, outputs: Mapping[str, Array]) -> float:
        """Return the metric of outputs [samples, …] by name.

        Raises:
            InputError: the labels do not fit.
        """
        try:
            return metrics.score(self.metric, self.answers(outputs), self.truth)
        except InputError as err:
            raise InputError(f"{self.path}: {err}") from err

    def budget(self, share: float) -> float:
        """Return the drop that a share of the whole stands for, in the metric's unit.

        Of the mean squared error the whole is the variance of the wanted numbers, by place: the error of the best
        answer that is always the same. Of the mean absolute error it is their standard deviation.
        """
        if not self.metric.is_error:
            return share
        wanted = self.truth.reshape(len(self.truth), -1).astype(np.float64)
        whole = wanted.var(axis=0) if self.metric is Metric.MSE else wanted.std(axis=0)
        return share * (float(whole.mean()) or 1.0)

    def drop_value(self, source: Mapping[str, Array], variant: Mapping[str, Array]) -> float:
        """Return by how much a variant is worse than its source, without the interval, which takes longer.

        Raises:
            InputError: the labels do not fit.
        """
        return self.metric.worse(self.score(source), self.score(variant))

    def drop(self, source: Mapping[str, Array], variant: Mapping[str, Array]) -> Drop:
        """Return by how much a variant is worse than its source.

        Raises:
            InputError: the labels do not fit.
        """
        try:
            return metrics.drop(self.metric, self.answers(source), self.answers(variant), self.truth)
        except InputError as err:
            raise InputError(f"{self.path}: {err}") from err

    def answers(self, outputs: Mapping[str, Array]) -> Array:
        """Return what is judged of outputs [samples, …]; class indices as scores [samples, classes] of 1 and 0."""
        found = outputs[self.output]
        if self.classes:
            scores: Array = (found.reshape(-1, 1) == np.arange(self.classes)).astype(np.float64)
            return scores
        if self.reconstructed is None:
            return found
        errors = (found.astype(np.float64) - self.reconstructed.astype(np.float64)) ** 2
        mean: Array = errors.reshape(len(errors), -1).mean(axis=1, keepdims=True)
        return mean


def question(
    metric: Metric,
    labels: Array | None,
    *,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    output: str | None,
    path: str,
) -> MetricQuestion:
    """Say what is asked, given the inputs and the source's outputs on them; `output` names one where several fit.

    Raises:
        InputError: there is no such output, several fit, or labels are missing or of another kind.
    """
    name = _output(metric, outputs, labels=labels, inputs=inputs, output=output, path=path)
    twin = _twin(outputs[name], inputs)
    if metric.is_of_numbers:
        if labels is None and twin is None:
            raise InputError(f"{path}: {metric} needs {LABELS!r} of the shape of output {name!r}, found none")
        wanted = twin if labels is None else labels
        assert wanted is not None
        if wanted.dtype.kind not in "biuf" or not np.isfinite(wanted).all():
            raise InputError(
                f"{path}: {metric} needs {LABELS!r} of finite numbers, found NaN, infinity or other values"
            )
        return MetricQuestion(metric, name, wanted, path)
    if labels is None:
        raise InputError(f"{path}: {metric} needs {LABELS!r}: an array, a CSV column or folders of classes")
    truth = as_classes(labels, path=path)
    classes = _classes(outputs, truth) if _are_places(outputs[name]) else 0
    return MetricQuestion(metric, name, truth, path, twin if metric is Metric.AUC else None, classes)


def as_classes(labels: Array, *, path: str) -> Array:
    """Return class indices of labels that are integers [samples], or one-hot [samples, classes].

    Raises:
        InputError: they are neither.
    """
    found = labels
    if found.ndim == 2:
        found = comparison.classes(found) if found.shape[1] > 1 else found.reshape(-1)
    if found.ndim != 1 or found.dtype.kind not in "biuf" or not (found == np.round(found)).all():
        raise InputError(
            f"{path}: expected {LABELS!r} to be integers [samples] or one-hot [samples, classes], "
            f"found {labels.dtype}{list(labels.shape)}; of wanted numbers give --metric mse, mae or r2"
        )
    return found.astype(np.int64)


def _output(
    metric: Metric,
    outputs: Mapping[str, Array],
    *,
    labels: Array | None,
    inputs: Mapping[str, Array],
    output: str | None,
    path: str,
) -> str:
    if output is not None:
        if output not in outputs:
            raise InputError(f"the model has no output {output!r} to evaluate; it has {', '.join(outputs)}")
        return output
    if metric in _OF_PLACES and (own := _own_classes(outputs)) is not None:
        return own
    fitting = [n for n, a in outputs.items() if _fits(metric, a, labels=labels, inputs=inputs)]
    if len(fitting) != 1:
        what = "the shape of the labels" if metric.is_of_numbers else "shape [batch, classes]"
        raise InputError(
            f"{path}: {metric} needs exactly one output of {what}, found {len(fitting)}: "
            f"{', '.join(fitting) or 'none'}; name one with --eval-output, or leave --eval out"
        )
    return fitting[0]


def _fits(metric: Metric, output: Array, *, labels: Array | None, inputs: Mapping[str, Array]) -> bool:
    if output.dtype.kind != "f":
        return False
    if metric.is_of_numbers:
        return labels.size == output.size if labels is not None else _twin(output, inputs) is not None
    return output.ndim == 3


def _are_places(output: Array) -> bool:
    """Tell whether an output is one class index a sample; quantized scores are integers of 8 or 16 bits."""
    return output.dtype in (np.int32, np.int64) and output.size == len(output)


def _own_classes(outputs: Mapping[str, Array]) -> str | None:
    """Return the one output that has the class of each sample."""
    most = _most_classes(outputs)
    found = [n for n, a in outputs.items() if _are_places(a)]
    fitting = [n for n in found if outputs[n].min(initial=0) >= 0 and outputs[n].max(initial=0) < most]
    return fitting[0] if len(found) == len(fitting) == 1 else None


def _most_classes(outputs: Mapping[str, Array]) -> float:
    """Return how many classes the widest scores are of; any number where a model has no scores."""
    return max((a.shape[-1] for a in outputs.values() if a.dtype.kind == "f" and a.ndim == 3), default=np.inf)


def _classes(outputs: Mapping[str, Array], truth: Array) -> int:
    """Return how many classes there are: as many as scores, or as occur."""
    most = _most_classes(outputs)
    found = max(int(a.max(initial=0)) for a in (truth, *(a for a in outputs.values() if _are_places(a))))
    return int(most) if np.isfinite(most) else max(found + 1, 2)


def _twin(output: Array, inputs: Mapping[str, Array]) -> Array | None:
    """Return the one input that an autoencoder's output repeats."""
    alike = [array for array in inputs.values() if array.shape == output.shape and array.dtype.kind == "f"]
    return alike[0] if len(alike) == 1 else None
