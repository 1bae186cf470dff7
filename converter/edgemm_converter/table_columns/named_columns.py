"""The columns that an estimator takes by name, and of which kind each is: read from what its steps learned. Pure.

A model takes named columns where one of them is of texts, where a ColumnTransformer chooses them by name, or where the
user says so; any other takes one table of numbers. What a column holds is told by the step that it goes to:

| step | column |
|---|---|
| an encoder | its categories': texts, integers, booleans, or floats, of 64 bits where 32 do not hold each |
| an imputer that fills in a text, a vectorizer of texts | texts |
| any other | float32 |

A column that several steps take is of texts where one of them says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgemm.bundle.manifest import DType
from edgemm.errors import InputError

TEXT = "text"
"""The name of the only input of a model of texts."""

VECTORIZERS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_ORDER = (DType.FLOAT32, DType.BOOL, DType.INT64, DType.FLOAT64, DType.STRING)
"""Of two kinds that steps say of one column, the later holds."""

_SOME = 64
_LONGEST_NAME = 256


@dataclass(frozen=True)
class Column:
    """One column: its place among those that the estimator was fitted on, and some values that it usually has."""

    name: str
    place: int
    dtype: DType
    usual: tuple[Any, ...] = ()
    centre: float = 0.0
    spread: float = 1.0
    takes_none: bool = False
    """Whether an encoder learned None for what is missing, which is another category than NaN."""


@dataclass(frozen=True)
class Columns:
    """The columns that an estimator takes; `fitted` is how many it was fitted on, `named` whether by name.

    With `alone`, it takes the texts of the only one as they are, and no table.
    """

    columns: tuple[Column, ...]
    fitted: int
    named: bool
    alone: bool = False

    def of(self, name: str) -> Column:
        """Return the column of a name."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class _Use:
    """What one step says of a column."""

    place: int
    dtype: DType
    usual: tuple[Any, ...] = ()
    centre: float = 0.0
    spread: float = 1.0
    takes_none: bool = False


def of(model: Any, *, declared: Mapping[str, str], path: str) -> Columns | None:
    """Return the columns that a fitted estimator takes by name; None where it takes one table of numbers.

    `declared` are dtypes that the user gives by name.

    Raises:
        InputError: a declared column is none, or its dtype is none of a column.
    """
    first = first_step(model)
    _check_outermost(model, first, path=path)
    if type(first).__name__ in VECTORIZERS:
        _check_declared(declared, (TEXT,), path=path)
        texts = _sentences(first)
        return Columns((Column(TEXT, 0, DType.STRING, texts),), 1, named=False, alone=True)
    given = getattr(model, "feature_names_in_", None)
    if given is None:
        given = getattr(first, "feature_names_in_", None)
    count = getattr(first, "n_features_in_", None) or getattr(model, "n_features_in_", None)
    if not count:
        return None
    names = tuple(map(str, given)) if given is not None else tuple(f"x{i}" for i in range(int(count)))
    _check_declared(declared, names, path=path)
    found: dict[int, _Use] = {}
    for use in _uses(model, range(len(names))):
        known = found.get(use.place)
        if known is None or _rank(use) > _rank(known):
            found[use.place] = use
    any_texts = any(use.dtype is DType.STRING for use in found.values())
    if not (any_texts or declared or (given is not None and _chosen_by_name(first))):
        return None
    _check_names(taken := [names[place] for place in found], path=path)
    if unused := next((name for name in declared if name not in taken), None):
        raise InputError(f"{path}: --column {unused}={declared[unused]}: no step takes this column, leave it out")
    columns = tuple(
        Column(
            names[use.place],
            use.place,
            _told(use, declared.get(names[use.place])),
            use.usual,
            use.centre,
            use.spread,
            use.takes_none,
        )
        for use in sorted(found.values(), key=lambda use: use.place)
    )
    return Columns(columns, len(names), named=given is not None)


def _check_outermost(model: Any, first: Any, *, path: str) -> None:
    """Check that steps which take columns stand before an estimator of numbers, and not inside of it."""
    if first is not model or hasattr(model, "transformers") or hasattr(model, "transformer_list"):
        return
    for part in model.get_params(deep=True).values() if hasattr(model, "get_params") else ():
        if type(part).__name__ in ("ColumnTransformer", *VECTORIZERS):
            raise InputError(
                f"{path}: {type(model).__name__} has the {type(part).__name__} inside of it: put it in front, as "
                f"make_pipeline({type(part).__name__}(…), {type(model).__name__}(…)), and fit that"
            )


def _rank(use: _Use) -> tuple[int, bool, bool]:
    """Return what tells of two uses of a column which says more of it."""
    return _ORDER.index(use.dtype), bool(use.usual), (use.centre, use.spread) != (0.0, 1.0)


def first_step(model: Any) -> Any:
    """Return what of a model takes its rows: the first step that does something, through pipelines in pipelines."""
    steps = getattr(model, "steps", None)
    if steps:
        acting = [step for _, step in steps if step is not None and not isinstance(step, str)]
        return first_step(acting[0]) if acting else model
    return model


def _told(use: _Use, declared: str | None) -> DType:
    return use.dtype if declared is None else DType(declared)


def _check_declared(declared: Mapping[str, str], names: Sequence[str], *, path: str) -> None:
    for name, dtype in declared.items():
        if name not in names:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise InputError(f"{path}: --column {name}={dtype}: expected one of the columns {shown}")
        if dtype not in {one.value for one in _ORDER}:
            known = ", ".join(one.value for one in _ORDER)
            raise InputError(f"{path}: --column {name}={dtype}: expected one of {known}")


def _check_names(names: Sequence[str], *, path: str) -> None:
    for name in names:
        if not 1 <= len(name) <= _LONGEST_NAME or names.count(name) > 1:
            raise InputError(
                f"{path}: a column is called {name[:40]!r}: expected names of 1 to {_LONGEST_NAME} characters, each "
                "once: name the columns of the table anew, and fit the model to it"
            )


def _chosen_by_name(step: Any) -> bool:
    if type(step).__name__ != "ColumnTransformer":
        return False
    # As fitted: what a selector chose, and not the selector.
    return any(isinstance(one, str) for *_, chosen in step.transformers_ for one in _listed(chosen))


def _listed(chosen: Any) -> Sequence[Any]:
    if isinstance(chosen, slice):
        return [chosen.start, chosen.stop]
    return list(chosen) if isinstance(chosen, (list, tuple, np.ndarray)) else [chosen]


def parts_of(step: Any) -> list[tuple[str, Any, list[int]]]:
    """Return the steps that a fitted ColumnTransformer hands columns to, with name and places, in order."""
    places = step._transformer_to_input_indices  # noqa: SLF001 - nothing public has the remainder's
    found = []
    for name, part, _ in step.transformers_:
        chosen = [int(place) for place in places.get(name, ())]
        if chosen and not (isinstance(part, str) and part == "drop"):
            found.append((name, part, chosen))
    return found


def _uses(step: Any, places: Sequence[int]) -> Iterator[_Use]:
    """Yield what a step, and the steps in it, say of the columns at some places."""
    name = type(step).__name__
    if name == "ColumnTransformer":
        for _, part, chosen in parts_of(step):
            yield from _uses(part, [places[i] for i in chosen])
    elif name == "Pipeline":
        yield from _of_pipeline([one for _, one in step.steps], places)
    elif name == "FeatureUnion":
        for _, part in step.transformer_list:
            yield from _uses(part, places)
    else:
        yield from _of_leaf(step, name, places)


def _of_pipeline(steps: Sequence[Any], places: Sequence[int]) -> Iterator[_Use]:
    for step in steps:
        yield from _uses(step, places)
        if not keeps_columns(step):
            return


def keeps_columns(step: Any) -> bool:
    """Tell whether what a step makes has the columns that it was given, each in its place."""
    if step is None or isinstance(step, str):
        return True
    if type(step).__name__ == "SimpleImputer":
        return not step.add_indicator and len(step.statistics_) == len(kept_of(step))
    return type(step).__name__ == "FunctionTransformer" and step.func is None


def kept_of(imputer: Any) -> list[int]:
    """Return the places of the columns that a SimpleImputer keeps: it leaves out those without any value."""
    kept = [i for i, one in enumerate(imputer.statistics_) if not is_missing(one)]
    empty = getattr(imputer, "keep_empty_features", False) or imputer.strategy == "constant"
    return list(range(len(imputer.statistics_))) if empty else kept


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for none: None, NaN, or pandas' NA, which is not equal to itself."""
    if value is None:
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 - that is how NaN is told
    except TypeError:
        return True


def _of_leaf(step: Any, name: str, places: Sequence[int]) -> Iterator[_Use]:
    categories = getattr(step, "categories_", None)
    if name in VECTORIZERS:
        yield _Use(places[0], DType.STRING, _sentences(step))
    elif categories is not None and len(categories) == len(places):
        for place, known in zip(places, categories, strict=True):
            values = np.asarray(known).tolist()
            usual = tuple(one for one in values if not is_missing(one))
            yield _Use(place, _kind_of(known), usual, takes_none=any(one is None for one in values))
    elif name == "SimpleImputer" and np.asarray(step.statistics_).dtype.kind in "OUT":
        for place, filled in zip(places, step.statistics_, strict=False):
            text = isinstance(filled, str)
            yield _Use(place, DType.STRING if text else DType.FLOAT32, (filled,) if text else ())
    else:
        # A function may take positive numbers alone, as a logarithm does.
        centres, spreads = _scales(step, len(places), usual=(3.0, 0.5) if name == "FunctionTransformer" else (0.0, 1.0))
        for place, centre, spread in zip(places, centres, spreads, strict=True):
            yield _Use(place, DType.FLOAT32, (), centre, spread)


def _sentences(vectorizer: Any) -> tuple[str, ...]:
    """Return texts of one to six words that a vectorizer knows."""
    words = sorted(getattr(vectorizer, "vocabulary_", None) or ("text",))
    rng = np.random.default_rng(0)
    return tuple(" ".join(words[i] for i in rng.integers(0, len(words), 1 + n % 6)) for n in range(_SOME))


def _scales(step: Any, count: int, *, usual: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Return about where the values of columns lie, and how far apart, as scalers know."""
    low, high = getattr(step, "data_min_", None), getattr(step, "data_max_", None)
    if low is not None and high is not None and len(low) == count:
        return [float(v) for v in (low + high) / 2], [float(v) for v in np.maximum((high - low) / 4, 1e-6)]
    for centre, spread in (("mean_", "scale_"), ("center_", "scale_")):
        found, scale = getattr(step, centre, None), getattr(step, spread, None)
        if found is not None and scale is not None and np.size(found) == count and np.size(scale) == count:
            return [float(v) for v in found], [float(v) for v in scale]
    return [usual[0]] * count, [usual[1]] * count


def _kind_of(categories: Any) -> DType:
    known = [one for one in np.asarray(categories).tolist() if not is_missing(one)]
    if any(isinstance(one, str) for one in known):
        return DType.STRING
    if known and all(isinstance(one, bool) for one in known):
        return DType.BOOL
    exact = np.array(known, np.float64)
    if known and all(isinstance(one, int) for one in known):
        return DType.INT64
    with np.errstate(over="ignore"):
        return DType.FLOAT32 if (exact.astype(np.float32) == exact).all() else DType.FLOAT64
