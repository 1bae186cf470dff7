"""Family H of the zoo: estimators of scikit-learn, XGBoost and LightGBM, fitted on small made-up tables.

`benchmarks.zoo.estimator_table` converts them. Imports no library before a model of it is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.zoo import estimator_columns

ROWS, COLUMNS = 240, 6
Make = Callable[[], Any]

DECLARED: Mapping[str, str] = {
    "sk/kernel_ridge": "KernelRidge",
    "sk/nearest_centroid": "NearestCentroid",
    "sk/spline": "SplineTransformer",
    "sk/knn_regressor": "the max error on random data",
    "sk/power": "'all missing'",
    "tab/nearest": "KNNImputer cannot be converted as a step of some columns",
}
"""Key → what edgemm says of it: skl2onnx has no conversion of these, or one that answers something else."""


def tables(seed: int = 0) -> dict[str, Any]:
    """Return the rows [240, 6], and what to learn of them: two and three classes, names, real and positive numbers."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((ROWS, COLUMNS)) * [1, 5, 0.1, 1, 20, 1] + [0, 3, 0, 1, -10, 0]
    rows = rows.astype(np.float32)
    score = rows[:, 0] + 0.3 * rows[:, 1] - 2 * rows[:, 2] + 0.5 * rows[:, 3] ** 2 + rng.normal(0, 0.4, ROWS)
    three = np.digitize(score, np.quantile(score, [0.4, 0.75]))
    return {
        "rows": rows,
        "two": (score > np.median(score)).astype(int),
        "three": three,
        "names": np.array(["low", "middle", "high"])[three],
        "real": score,
        "positive": np.exp(0.3 * score),
        "both": np.stack([score, rows[:, 1] - score], axis=1),
    }


def models() -> dict[str, Make]:
    """Return what fits each model, by key."""
    others = {**_others(), **_transformers(), **_xgboost(), **_lightgbm()}
    return {**_linear(), **_trees(), **others, **estimator_columns.models()}


def _fit(estimator: Any, target: str = "three", *, missing: bool = False) -> Make:
    def make() -> Any:
        data = tables()
        rows = data["rows"].astype(np.float64)
        if missing:
            rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
        return estimator.fit(rows, data.get(target))

    return make


def _linear() -> dict[str, Make]:
    from sklearn import linear_model as lm
    from sklearn import svm
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "sk/linear_regression": _fit(lm.LinearRegression(), "real"),
        "sk/linear_two_targets": _fit(lm.LinearRegression(), "both"),
        "sk/ridge": _fit(lm.Ridge(), "real"),
        "sk/elastic_net": _fit(lm.ElasticNet(0.1), "real"),
        "sk/tweedie": _fit(lm.TweedieRegressor(power=1, max_iter=1000), "positive"),
        "sk/huber": _fit(make_pipeline(StandardScaler(), lm.HuberRegressor()), "real"),
        "sk/logistic": _fit(lm.LogisticRegression(max_iter=1000)),
        "sk/logistic_two": _fit(lm.LogisticRegression(max_iter=1000), "two"),
        "sk/logistic_names": _fit(make_pipeline(StandardScaler(), lm.LogisticRegression()), "names"),
        "sk/ridge_classifier": _fit(lm.RidgeClassifier()),
        "sk/ridge_classifier_two": _fit(lm.RidgeClassifier(), "two"),
        "sk/sgd_hinge": _fit(make_pipeline(StandardScaler(), lm.SGDClassifier(random_state=0))),
        "sk/perceptron": _fit(lm.Perceptron(random_state=0), "two"),
        "sk/linear_svc": _fit(svm.LinearSVC(random_state=0)),
        "sk/linear_svc_two": _fit(svm.LinearSVC(random_state=0), "two"),
        "sk/lda": _fit(LinearDiscriminantAnalysis()),
    }


def _trees() -> dict[str, Make]:
    from sklearn import ensemble as en
    from sklearn import tree
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    forest = en.RandomForestClassifier
    return {
        "sk/tree": _fit(tree.DecisionTreeClassifier(random_state=0), "names"),
        "sk/tree_missing": _fit(tree.DecisionTreeClassifier(random_state=0, max_depth=6), missing=True),
        "sk/tree_regressor": _fit(tree.DecisionTreeRegressor(random_state=0), "real"),
        "sk/forest": _fit(forest(30, random_state=0), "names"),
        "sk/forest_even": _fit(forest(10, max_depth=3, random_state=0), "two"),
        "sk/forest_scaled": _fit(make_pipeline(StandardScaler(), forest(20, random_state=0))),
        "sk/forest_missing": _fit(forest(20, random_state=0), missing=True),
        "sk/forest_regressor": _fit(en.RandomForestRegressor(30, random_state=0), "real"),
        "sk/forest_two_targets": _fit(en.RandomForestRegressor(10, random_state=0), "both"),
        "sk/extra_trees": _fit(en.ExtraTreesClassifier(30, random_state=0)),
        "sk/boosting": _fit(en.GradientBoostingClassifier(n_estimators=30, random_state=0)),
        "sk/boosting_two": _fit(en.GradientBoostingClassifier(n_estimators=30, random_state=0), "two"),
        "sk/boosting_regressor": _fit(en.GradientBoostingRegressor(n_estimators=60, random_state=0), "real"),
        "sk/histograms": _fit(en.HistGradientBoostingClassifier(max_iter=20), "names", missing=True),
        "sk/histograms_two": _fit(en.HistGradientBoostingClassifier(max_iter=20), "two"),
        "sk/histograms_poisson": _fit(en.HistGradientBoostingRegressor(loss="poisson", max_iter=20), "positive"),
        "sk/histograms_scaled": _fit(make_pipeline(StandardScaler(), en.HistGradientBoostingClassifier(max_iter=10))),
        "sk/ada_boost": _fit(en.AdaBoostClassifier(n_estimators=15, random_state=0)),
        "sk/bagging": _fit(en.BaggingClassifier(random_state=0)),
        "sk/isolation_forest": _fit(en.IsolationForest(n_estimators=20, random_state=0), "none"),
    }


def _others() -> dict[str, Make]:
    from sklearn import cluster, gaussian_process, kernel_ridge, mixture, naive_bayes, neighbors, neural_network, svm
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scaled(estimator: Any) -> Any:
        return make_pipeline(StandardScaler(), estimator)

    pair = [("a", LogisticRegression(max_iter=1000)), ("b", RandomForestClassifier(5, random_state=0))]
    return {
        "sk/mlp": _fit(
            scaled(neural_network.MLPClassifier(hidden_layer_sizes=(16,), max_iter=300, random_state=0)), "names"
        ),
        "sk/mlp_regressor": _fit(
            scaled(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, random_state=0)), "real"
        ),
        "sk/svc": _fit(scaled(svm.SVC())),
        "sk/svc_two": _fit(scaled(svm.SVC()), "two"),
        "sk/nu_svr": _fit(scaled(svm.NuSVR()), "real"),
        "sk/one_class_svm": _fit(scaled(svm.OneClassSVM(nu=0.1)), "none"),
        "sk/gaussian_nb": _fit(naive_bayes.GaussianNB()),
        "sk/bernoulli_nb": _fit(naive_bayes.BernoulliNB()),
        "sk/knn": _fit(scaled(neighbors.KNeighborsClassifier(5)), "names"),
        "sk/knn_regressor": _fit(neighbors.KNeighborsRegressor(5, weights="distance"), "real"),
        "sk/local_outliers": _fit(neighbors.LocalOutlierFactor(novelty=True), "none"),
        "sk/gaussian_process": _fit(scaled(gaussian_process.GaussianProcessRegressor(alpha=0.1)), "real"),
        "sk/kmeans": _fit(cluster.KMeans(4, random_state=0, n_init=2), "none"),
        "sk/mixture": _fit(mixture.GaussianMixture(3, random_state=0), "none"),
        "sk/calibrated": _fit(CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=3)),
        "sk/voting": _fit(VotingClassifier(pair, voting="soft"), "names"),
        "sk/stacking": _fit(StackingClassifier(pair, cv=3), "names"),
        "sk/grid_search": _fit(GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, cv=3), "names"),
        "sk/multi_output": _fit(MultiOutputRegressor(svm.LinearSVR(random_state=0)), "both"),
        "sk/kernel_ridge": _fit(kernel_ridge.KernelRidge(), "real"),
        "sk/nearest_centroid": _fit(neighbors.NearestCentroid()),
    }


def _transformers() -> dict[str, Make]:
    from sklearn import compose, decomposition, feature_selection, impute
    from sklearn import preprocessing as pre
    from sklearn.pipeline import make_pipeline, make_union

    columns = compose.ColumnTransformer([("a", pre.StandardScaler(), [0, 1]), ("b", pre.MinMaxScaler(), [2, 3])])
    return {
        "sk/standard_scaler": _fit(pre.StandardScaler(), "none"),
        "sk/robust_scaler": _fit(pre.RobustScaler(), "none"),
        "sk/power": _fit(pre.PowerTransformer(), "none"),
        "sk/polynomial": _fit(pre.PolynomialFeatures(2), "none"),
        "sk/normalizer": _fit(pre.Normalizer(), "none"),
        "sk/pca": _fit(make_pipeline(pre.StandardScaler(), decomposition.PCA(3)), "none"),
        "sk/select_best": _fit(feature_selection.SelectKBest(k=3)),
        "sk/imputer": _fit(make_pipeline(impute.SimpleImputer(), pre.StandardScaler()), "none", missing=True),
        "sk/columns": _fit(columns, "none"),
        "sk/union": _fit(make_union(pre.StandardScaler(), decomposition.PCA(2)), "none"),
        "sk/spline": _fit(pre.SplineTransformer(), "none"),
    }


_XGB_OBJECTIVES = {
    "reg:squarederror": "real", "reg:squaredlogerror": "positive", "reg:logistic": "two",
    "reg:pseudohubererror": "real", "reg:absoluteerror": "real", "reg:gamma": "positive", "reg:tweedie": "positive",
    "binary:logistic": "two", "binary:logitraw": "two", "binary:hinge": "two", "count:poisson": "positive",
    "survival:cox": "positive", "survival:aft": "positive", "multi:softmax": "three", "multi:softprob": "three",
    "rank:pairwise": "three", "rank:ndcg": "three", "reg:quantileerror": "real",
}  # fmt: skip
_LGBM_OBJECTIVES = {
    "regression": "real", "regression_l1": "real", "huber": "real", "fair": "real", "poisson": "positive",
    "quantile": "real", "mape": "positive", "gamma": "positive", "tweedie": "positive", "binary": "two",
    "multiclass": "three", "multiclassova": "three", "cross_entropy": "two", "cross_entropy_lambda": "two",
    "lambdarank": "three", "rank_xendcg": "three",
}  # fmt: skip


def _xgboost() -> dict[str, Make]:
    def train(objective: str, target: str, **more: Any) -> Make:
        def make() -> Any:
            import xgboost

            data = tables()
            rows = data["rows"].copy()
            rows[np.random.default_rng(1).random(rows.shape) < 0.05] = np.nan
            matrix = xgboost.DMatrix(rows, data[target])
            if objective.startswith("rank"):
                matrix.set_group([ROWS // 4] * 4)
            if objective == "survival:aft":
                matrix.set_float_info("label_lower_bound", data[target])
                matrix.set_float_info("label_upper_bound", data[target])
            extra: dict[str, float] = {"num_class": 3} if objective.startswith("multi") else {}
            extra |= {"quantile_alpha": 0.7} if "quantile" in objective else {}
            return xgboost.train({"objective": objective, "max_depth": 4, **extra, **more}, matrix, 12)

        return make

    made = {f"xgb/{objective}": train(objective, target) for objective, target in _XGB_OBJECTIVES.items()}
    return {**made, "xgb/dart": train("binary:logistic", "two", booster="dart", rate_drop=0.3, seed=0)}


def _lightgbm() -> dict[str, Make]:
    def train(objective: str, target: str, **more: Any) -> Make:
        def make() -> Any:
            import lightgbm

            data = tables()
            rows = data["rows"].astype(np.float64)
            rows[np.random.default_rng(1).random(rows.shape) < 0.05] = np.nan
            group = [ROWS // 4] * 4 if "rank" in objective else None
            extra = {"num_class": 3} if objective.startswith("multiclass") else {}
            settings = {"objective": objective, "verbose": -1, "num_leaves": 7, "min_data_in_leaf": 5, **extra, **more}
            return lightgbm.train(settings, lightgbm.Dataset(rows, data[target], group=group), 12)

        return make

    made = {f"lgbm/{objective}": train(objective, target) for objective, target in _LGBM_OBJECTIVES.items()}
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
    return {
        **made,
        "lgbm/forest": train("binary", "two", **forest),
        "lgbm/sqrt": train("regression", "positive", reg_sqrt=True),
    }
