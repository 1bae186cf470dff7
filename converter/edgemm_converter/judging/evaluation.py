"""The evaluation of a model on labelled data (`--eval`, `--metric`): its output, its truth, its score. Pure.

* Classes are integers, or one-hot rows, in the array `labels`.
* The mean squared error is against `labels` of the output's shape; without labels, of an output that has an input's
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


@dataclass(frozen=True)
class MetricQuestion:
    """A metric of one output; `reconstructed` is the input that this output should repeat, for an anomaly's AUC."""

    metric: Metric
    output: str
    truth: Array
    path: str
    reconstructed: Array | None = None

    def score(self, outputs: Mapping[str, Array]) -> float:
        """Return the metric of outputs [samples, …] by name.

        Raises:
            InputError: the labels do not fit.
        """
        try:
            return metrics.score(self.metric, self._answers(outputs), self.truth)
        except InputError as err:
            raise InputError(f"{self.path}: {err}") from err

    def budget(self, share: float) -> float:
        """Return the drop that a share of the whole stands for, in the metric's unit.

        Of the mean squared error the whole is the variance of the wanted numbers, by place: the error of the best
        answer that is always the same.
        """
        if self.metric is not Metric.MSE:
            return share
        wanted = self.truth.reshape(len(self.truth), -1).astype(np.float64)
        return share * (float(wanted.var(axis=0).mean()) or 1.0)

    def drop_value(self, source: Mapping[str, Array], variant: Mapping[str, Array]) -> float:
        """Return by how much a variant is worse than its source, without the interval, which takes longer.

        Raises:
            InputError: the labels do not fit.
        """
        before, after = self.score(source), self.score(variant)
        return after - before if self.metric is Metric.MSE else before - after

    def drop(self, source: Mapping[str, Array], variant: Mapping[str, Array]) -> Drop:
        """Return by how much a variant is worse than its source.

        Raises:
            InputError: the labels do not fit.
        """
        try:
            return metrics.drop(self.metric, self._answers(source), self._answers(variant), self.truth)
        except InputError as err:
            raise InputError(f"{self.path}: {err}") from err

    def _answers(self, outputs: Mapping[str, Array]) -> Array:
        found = outputs[self.output]
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
    if metric is Metric.MSE:
        if labels is None and twin is None:
            raise InputError(f"{path}: mse needs {LABELS!r} of the shape of output {name!r}, found none")
        wanted = twin if labels is None else labels
        assert wanted is not None
        if wanted.dtype.kind not in "biuf" or not np.isfinite(wanted).all():
            raise InputError(f"{path}: mse needs {LABELS!r} of finite numbers, found NaN, infinity or other values")
        return MetricQuestion(metric, name, wanted, path)
    if labels is None:
        raise InputError(f"{path}: {metric} needs {LABELS!r}: an array, a CSV column or folders of classes")
    truth = as_classes(labels, path=path)
    return MetricQuestion(metric, name, truth, path, twin if metric is Metric.AUC else None)


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
            f"found {labels.dtype}{list(labels.shape)}"
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
    fitting = [n for n, a in outputs.items() if _fits(metric, a, labels=labels, inputs=inputs)]
    if len(fitting) != 1:
        what = "the shape of the labels" if metric is Metric.MSE else "shape [batch, classes]"
        raise InputError(
            f"{path}: {metric} needs exactly one output of {what}, found {len(fitting)}: "
            f"{', '.join(fitting) or 'none'}; name one with --eval-output, or leave --eval out"
        )
    return fitting[0]


def _fits(metric: Metric, output: Array, *, labels: Array | None, inputs: Mapping[str, Array]) -> bool:
    if output.dtype.kind != "f":
        return False
    if metric is Metric.MSE:
        return labels.size == output.size if labels is not None else _twin(output, inputs) is not None
    return output.ndim == 3


def _twin(output: Array, inputs: Mapping[str, Array]) -> Array | None:
    """Return the one input that an autoencoder's output repeats."""
    alike = [array for array in inputs.values() if array.shape == output.shape and array.dtype.kind == "f"]
    return alike[0] if len(alike) == 1 else None
