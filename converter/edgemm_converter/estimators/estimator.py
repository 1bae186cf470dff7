"""An estimator as a source: what it takes, what it answers by name, and its labels. Imports scikit-learn.

It takes one table of numbers, `input`, or named columns, each of which is an input (`columns`). Rows are float32, as a
device serves them, and the estimator computes of them in double precision, as where it was trained. Its answers are
those that people mean:

| estimator | outputs |
|---|---|
| classifier | `label` (place of the class among the labels), `probabilities`, or `scores` where it has none |
| regressor, ranker, survival model | `value` |
| detector of outliers | `label` (1, or -1 for an outlier), `scores` (negative for an outlier) |
| clustering | `label`, and `distances` or `probabilities` where it has them |
| transformer | `transformed` |
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace as with_fields
from sklearn.pipeline import Pipeline

from edgemm import library_errors
from edgemm.bundle.manifest import MISSING_TEXT, MOST_INPUTS, DType, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_converter.estimators import booster_answers, ensembles, methods
from edgemm_converter.estimators.methods import LABEL, PROBABILITIES, SCORES, Answers
from edgemm_converter.estimators.tree_tables import Ensemble
from edgemm_converter.table_columns import frames, fronts, named_columns
from edgemm_converter.table_columns.named_columns import Columns

__all__ = ["INPUT", "LABEL", "PROBABILITIES", "REFUSALS", "SCORES", "Estimator", "of"]
INPUT = "input"
REFUSALS = (
    ArithmeticError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What code of an estimator raises about rows that it does not take."""

MOST_COLUMNS = 100_000


@dataclass(frozen=True)
class Estimator:
    """A fitted estimator as it is served."""

    model: Any
    """What is converted: the model of the file, or what a search found best."""

    signature: Signature
    labels: tuple[str, ...] | None
    classes: Any
    """The classes of a classifier, in the order of its probabilities; None of any other."""

    answers: Answers
    ensemble: Ensemble | None = None
    """What is converted in place of `model`, or of its last step, where that is nothing but trees."""

    before: Any = None
    """The steps before those trees, where there are some; those behind `front`."""

    columns: Columns | None = None
    """The columns that it takes by name; None where it takes one table of numbers."""

    front: tuple[Any, ...] = ()
    """The steps that make numbers of the columns."""

    rest: Any = None
    """What is converted behind them, and before the trees, if there is something."""

    absent: Mapping[str, object] = field(default_factory=dict)
    """What the estimator takes for a missing text, by column; none where it takes none."""

    zero_is_missing: bool = False
    """Whether those steps give sparse rows to XGBoost, to which what they leave out, a 0, is missing."""

    order: tuple[str, ...] = ()
    """The names of the columns of one table of numbers, where the estimator knows them."""

    @property
    def is_bare(self) -> bool:
        """Whether it is trees alone, which are given the rows as they come."""
        return self.ensemble is not None and self.before is None and self.columns is None

    @property
    def ties_behind_steps(self) -> bool:
        """Whether rows can be made for the thresholds of trees behind steps, which are exact in double precision."""
        return self.ensemble is not None and not self.is_bare and fronts.is_exact(self.front, self.before)

    def rows(self, inputs: Mapping[str, Array]) -> Any:
        """Return what the estimator itself is given for inputs of one batch."""
        if self.columns is None:
            return inputs[INPUT].astype(np.float64)
        return frames.table(self.columns, inputs, missing=self.absent)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the answers to rows [batch, columns], or to columns [batch], by name."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = self.answers(self.rows(inputs))
            return {
                spec.name: _shaped(found[spec.name], spec, self.classes if spec.name == LABEL else None)
                for spec in self.signature.outputs
            }

    def takes(self, inputs: Mapping[str, Array]) -> bool:
        """Tell whether the estimator answers inputs of one batch at all."""
        try:
            self.run(inputs)
        except REFUSALS:
            return False
        return True


def of(found: Any, *, path: str, rows: Array | None = None, declared: Mapping[str, str] | None = None) -> Estimator:
    """Return what was opened as an estimator; `rows` [rows, columns] are some that it takes, where they are known.

    `declared` are dtypes of columns by name, as the user gives them.

    Raises:
        InputError: it is none, or was never fitted, or answers nothing that is served.
    """
    model = getattr(found, "best_estimator_", found)
    library = type(model).__module__.partition(".")[0]
    if type(model).__name__ == "Booster" and library in ("xgboost", "lightgbm"):
        return _of_booster(model, library, None, path=path, rows=rows)
    if not hasattr(model, "fit") or not hasattr(model, "get_params"):
        raise InputError(f"{path}: expected an estimator of scikit-learn, found an object of {type(model).__name__}")
    methods.check_fitted(model, path=path)
    if library in ("xgboost", "lightgbm") and not declared:
        return _of_booster(booster_answers.booster(model, library), library, model, path=path, rows=rows)
    classes = getattr(model, "classes_", None) if methods.kind(model) == "classifier" else None
    if isinstance(classes, list):
        raise methods.several_targets(model, len(classes), path=path)
    answers = methods.answers(model, path=path)
    if (named := named_columns.of(model, declared=declared or {}, path=path)) is not None:
        return _of_columns(model, named, answers, classes, path=path)
    count = getattr(model, "n_features_in_", None)
    if not count:
        raise InputError(
            f"{path}: {type(model).__name__} does not say how many columns it takes: it was fitted on no rows that "
            "edgemm knows, which are tables of numbers, named columns, and texts"
        )
    table, before = _trees(model)
    estimator = Estimator(
        model, _inputs(int(count), path=path), None, classes, answers, table, before,
        rest=model if table is None else before, order=methods.column_names(model),
    )  # fmt: skip
    return _served(estimator, path=path, rows=rows)


def _trees(model: Any) -> tuple[Ensemble | None, Any]:
    """Return the trees that a model is, or that its last step is, and the steps before them."""
    steps = getattr(model, "steps", ())
    if len(steps) > 1 and isinstance(model, Pipeline):
        table = ensembles.of(model[-1])
        return table, model[:-1] if table is not None else None
    return ensembles.of(model), None


def _of_columns(model: Any, named: Columns, answers: Answers, classes: Any, *, path: str) -> Estimator:
    if len(named.columns) > MOST_INPUTS:
        raise InputError(
            f"{path}: it takes {len(named.columns)} named columns, expected at most {MOST_INPUTS}: make one table of "
            "the numbers, with the encoders before the model"
        )
    front, rest = fronts.split(model)
    table, before = _trees(rest) if rest is not None else (None, None)
    inputs = tuple(TensorSpec(name=one.name, dtype=one.dtype, shape=(-1,)) for one in named.columns)
    estimator = Estimator(
        model, Signature(inputs=inputs, outputs=(inputs[0],)), None, classes, answers, table, before,
        columns=named, front=front, rest=rest if table is None else before,
    )  # fmt: skip
    return _served(estimator, path=path, rows=None)


def _of_booster(booster: Any, library: str, model: Any, *, path: str, rows: Array | None) -> Estimator:
    """Return a booster, of a file of its own or out of an estimator, as it answers with its own rounds."""
    ensemble, margins = booster_answers.of(booster, library, model)
    classes = getattr(model, "classes_", None)
    if ensemble.classifies and classes is None:
        classes = np.arange(max(2, ensemble.targets))

    def answers(rows: Any) -> Mapping[str, Any]:
        found = np.asarray(margins(rows))
        if not ensemble.classifies:
            return {"value": found}
        both = np.stack([1 - found, found], axis=1) if found.ndim == 1 else found
        return {PROBABILITIES: both, LABEL: np.asarray(classes)[both.argmax(axis=1)]}

    signature = _inputs(ensemble.features, path=path)
    known = classes if ensemble.classifies else None
    order = methods.column_names(model) or methods.column_names(booster)
    estimator = Estimator(booster, signature, None, known, answers, ensemble, order=order)
    return _served(estimator, path=path, rows=rows)


def _inputs(columns: int, *, path: str) -> Signature:
    """Return the signature of one table of numbers, whose outputs are not known yet."""
    if columns > MOST_COLUMNS:
        raise InputError(f"{path}: it takes {columns:,} columns, expected at most {MOST_COLUMNS:,}")
    given = TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(-1, columns))
    return Signature(inputs=(given,), outputs=(given,))


def _served(known: Estimator, *, path: str, rows: Array | None) -> Estimator:
    """Return an estimator with what only its answers tell: its outputs, and which inputs may be missing."""
    some = _some(known, rows)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = known.answers(known.rows(some))
        except REFUSALS as err:
            if known.columns is not None and not frames.as_fitted(known.columns):
                raise InputError(
                    f"{path}: {type(known.model).__name__} was fitted on a pandas DataFrame and takes nothing else: "
                    "install pandas"
                ) from err
            what = "rows of numbers" if known.columns is None else "rows of its columns"
            raise InputError(
                f"{path}: {type(known.model).__name__} takes no {what}: {library_errors.quoted(err)}; edgemm converts "
                "estimators of one table of numbers and of named columns (if it takes few values alone, give them by "
                "--calibration; of columns whose kind is not known, say it by --column NAME=DTYPE)"
            ) from err
    if LABEL in found and np.ndim(found[LABEL]) > 1:
        raise methods.several_targets(known.model, found[LABEL].shape[1], path=path)
    order = sorted(found, key=lambda name: name != LABEL)
    outputs = tuple(_spec(name, found[name]) for name in order)
    labels = tuple(str(one) for one in known.classes) if known.classes is not None else None
    served = replace(known, signature=with_fields(known.signature, outputs=outputs), labels=labels)
    served = _with_missing(served, some)
    steps = known.model[:-1] if isinstance(known.model, Pipeline) and len(known.model.steps) > 1 else None
    sparse = known.ensemble is not None and known.ensemble.strict and steps is not None
    return replace(served, zero_is_missing=sparse and _is_sparse(steps, served.rows(some)))


def _some(known: Estimator, rows: Array | None) -> dict[str, Array]:
    """Return two rows that an estimator is likely to take."""
    if known.columns is not None:
        return frames.usual(known.columns, 2)
    (spec,) = known.signature.inputs
    fits = rows is not None and rows.shape[1:] == spec.shape[1:]
    return {INPUT: rows[[0, -1]] if rows is not None and fits else np.ones((2, spec.shape[1]))}


def _with_missing(known: Estimator, some: Mapping[str, Array]) -> Estimator:
    """Return an estimator with which of its inputs may be missing: it is asked with rows in which they are."""
    inputs, absent = list[TensorSpec](), dict[str, object]()
    for spec in known.signature.inputs:
        takes = False
        if spec.dtype is DType.STRING and not (known.columns and known.columns.alone):
            texts = {**some, spec.name: np.full(len(some[spec.name]), MISSING_TEXT, object)}
            for value in (None, np.nan) if known.columns and known.columns.of(spec.name).takes_none else (np.nan, None):
                if not takes and replace(known, absent={spec.name: value}).takes(texts):
                    takes, absent[spec.name] = True, value
        elif spec.dtype in (DType.FLOAT32, DType.FLOAT64):
            takes = known.takes({**some, spec.name: np.full_like(some[spec.name], np.nan)})
        inputs.append(with_fields(spec, missing=True if takes else UNSET))
    return replace(known, signature=with_fields(known.signature, inputs=tuple(inputs)), absent=absent)


def _is_sparse(steps: Any, rows: Any) -> bool:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return hasattr(steps.transform(rows), "toarray")


def _spec(name: str, value: Any) -> TensorSpec:
    if name == LABEL:
        return TensorSpec(name=name, dtype=DType.INT64, shape=(-1,))
    shape = value.shape
    width = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    return TensorSpec(name=name, dtype=DType.FLOAT32, shape=(-1, width))


def _shaped(value: Any, spec: TensorSpec, classes: Any) -> Array:
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    if classes is not None:
        places = {one: place for place, one in enumerate(np.asarray(classes).tolist())}
        return np.array([places[one] for one in array.ravel().tolist()], np.int64)
    array = array.astype(spec.dtype.value)
    return array.reshape(-1) if len(spec.shape) == 1 else array.reshape(len(array), -1)
