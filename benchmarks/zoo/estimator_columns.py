"""Pipelines of named columns of mixed kinds, for family H of the zoo: texts, integers, truth values, missing values.

They are fitted on a DataFrame, as people have their tables. Imports no library before a model of it is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Make = Callable[[], Any]
ROWS = 300
NUMBERS = ("age", "income")


def table(seed: int = 0, *, gaps: bool = False) -> Any:
    """Return a DataFrame of seven columns and two targets; with `gaps`, numbers and cities are missing."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS).astype(float),
            "income": rng.lognormal(10, 1, ROWS).round(2),
            "city": rng.choice(["Graz", "Wien", "Linz", "Zürich", "Bad Ischl"], ROWS, p=[0.4, 0.3, 0.2, 0.07, 0.03]),
            "vip": rng.random(ROWS) < 0.3,
            "plan": rng.choice([1, 2, 5], ROWS),
            "rate": rng.choice([0.1, 0.2, 0.7], ROWS),
            "note": rng.choice(
                ["Good product", "bad Service, late", "okay ok", "great great value", "ÄRGER über alles"], ROWS
            ),
        }
    )
    score = (frame.city == "Graz") * 1.0 + frame.age / 40 + frame.vip + rng.normal(0, 0.3, ROWS)
    frame["two"] = np.where(score > score.median(), "yes", "no")
    frame["real"] = score + frame.plan
    if gaps:
        frame.loc[rng.random(ROWS) < 0.1, "age"] = np.nan
        frame.loc[rng.random(ROWS) < 0.1, "city"] = np.nan
    return frame


def _fit(
    model: Any, columns: Sequence[str] | str, target: str | None, *, gaps: bool = False, whole: bool = False
) -> Make:
    def make() -> Any:
        frame = table(gaps=gaps)
        wanted = frame[target] if target is not None else None
        wanted = (wanted == "yes").astype(int) if whole and wanted is not None else wanted
        return model.fit(frame[columns if isinstance(columns, str) else list(columns)], wanted)

    return make


def models() -> dict[str, Make]:
    """Return what fits each model, by key."""
    return {**_encoded(), **_missing(), **_texts(), **_trees()}


def _parts(*more: Any, **options: Any) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer([("numbers", numbers, list(NUMBERS)), *more], **options)


def _encoded() -> dict[str, Make]:
    from sklearn import preprocessing as pre
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    def hot(**options: Any) -> Any:
        return _parts(("city", pre.OneHotEncoder(**options), ["city"]))

    def fit(head: Any, tail: Any, target: str | None = "two", columns: Sequence[str] = (*NUMBERS, "city")) -> Make:
        return _fit(make_pipeline(head, tail), columns, target)

    places = pre.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    some = [
        ("f", pre.FunctionTransformer(np.log1p), ["income"]),
        ("c", hot(handle_unknown="ignore"), [*NUMBERS, "city"]),
    ]
    from sklearn.compose import ColumnTransformer

    return {
        "tab/ignore": fit(hot(handle_unknown="ignore"), LogisticRegression()),
        "tab/error": fit(hot(), LogisticRegression()),
        "tab/drop_first": fit(hot(drop="first", handle_unknown="ignore"), Ridge(), "real"),
        "tab/infrequent": fit(hot(min_frequency=30, handle_unknown="infrequent_if_exist"), SVC()),
        "tab/ordinal": fit(
            _parts(("c", places, ["city", "plan", "rate", "vip"])),
            LogisticRegression(),
            columns=(*NUMBERS, "city", "plan", "rate", "vip"),
        ),
        "tab/target": fit(
            _parts(("c", pre.TargetEncoder(), ["city", "plan"])), Ridge(), "real", (*NUMBERS, "city", "plan")
        ),
        "tab/function": fit(ColumnTransformer(some), LinearRegression(), "real"),
        "tab/clusters": fit(hot(handle_unknown="ignore"), KMeans(3, n_init=2, random_state=0), None),
        "tab/transformer": _fit(
            _parts(
                ("city", pre.OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["city"]),
                ("bins", pre.KBinsDiscretizer(3, encode="ordinal"), ["income"]),
            ),
            (*NUMBERS, "city"),
            None,
        ),
        "tab/one_encoder": _fit(
            make_pipeline(pre.OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), ["city", "vip"], "two"
        ),
    }


def _missing() -> dict[str, Make]:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.impute import KNNImputer, SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    columns = (*NUMBERS, "city")
    hot = OneHotEncoder(handle_unknown="ignore")
    frequent = make_pipeline(SimpleImputer(strategy="most_frequent"), hot)
    constant = make_pipeline(SimpleImputer(strategy="constant", fill_value="unknown", add_indicator=False), hot)
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-2)
    passed = ColumnTransformer([("c", places, ["city"]), ("n", "passthrough", list(NUMBERS))])
    flagged = ColumnTransformer([("n", SimpleImputer(add_indicator=True), list(NUMBERS)), ("c", frequent, ["city"])])
    near = ColumnTransformer([("n", KNNImputer(n_neighbors=3), list(NUMBERS)), ("c", hot, ["city"])])
    return {
        "tab/most_frequent": _fit(
            make_pipeline(_parts(("c", frequent, ["city"])), LogisticRegression()), columns, "two", gaps=True
        ),
        "tab/constant": _fit(
            make_pipeline(_parts(("c", constant, ["city"])), LogisticRegression()), columns, "two", gaps=True
        ),
        "tab/missing_category": _fit(
            make_pipeline(_parts(("c", hot, ["city"])), LogisticRegression()), columns, "two", gaps=True
        ),
        "tab/indicator": _fit(make_pipeline(flagged, LogisticRegression(max_iter=2000)), columns, "two", gaps=True),
        "tab/histograms": _fit(
            make_pipeline(passed, HistGradientBoostingRegressor(max_iter=20)), columns, "real", gaps=True
        ),
        "tab/nearest": _fit(make_pipeline(near, LogisticRegression(max_iter=2000)), columns, "two", gaps=True),
    }


def _texts() -> dict[str, Make]:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    both = _parts(("note", words, "note"), ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]))
    return {
        "tab/text": _fit(make_pipeline(TfidfVectorizer(), LogisticRegression()), "note", "two"),
        "tab/counts": _fit(make_pipeline(CountVectorizer(stop_words=["ok"]), MultinomialNB()), "note", "two"),
        "tab/text_and_columns": _fit(make_pipeline(both, LogisticRegression()), (*NUMBERS, "city", "note"), "two"),
    }


def _trees() -> dict[str, Make]:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    hot = OneHotEncoder(handle_unknown="ignore")
    city = ("c", hot, ["city"])
    columns = (*NUMBERS, "city")
    rest = make_column_transformer((hot, ["city", "vip"]), remainder="passthrough")
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)

    def xgboost() -> Any:
        from xgboost import XGBClassifier

        return _fit(make_pipeline(_parts(city), XGBClassifier(n_estimators=10)), columns, "two", whole=True)()

    def lightgbm() -> Any:
        from lightgbm import LGBMRegressor

        ways = _parts(("c", places, ["city"]))
        return _fit(make_pipeline(ways, LGBMRegressor(n_estimators=10, verbose=-1)), columns, "real")()

    return {
        "tab/forest": _fit(make_pipeline(_parts(city), RandomForestClassifier(20, random_state=0)), columns, "two"),
        "tab/boosting": _fit(
            make_pipeline(rest, GradientBoostingClassifier(n_estimators=15, random_state=0)), (*columns, "vip"), "two"
        ),
        "tab/isolation": _fit(
            make_pipeline(_parts(city), IsolationForest(n_estimators=10, random_state=0)), columns, None
        ),
        "tab/xgboost": xgboost,
        "tab/lightgbm": lightgbm,
    }
