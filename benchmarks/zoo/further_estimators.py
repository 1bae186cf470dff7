"""More of family H of the zoo: an estimator of each class that skl2onnx lists and that takes rows of numbers.

Not here: what takes texts or dictionaries (vectorizers, hashers), targets instead of rows (encoders and binarizers of
labels), kernels (centring), or answers with neighbours; and classes of skl2onnx itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.zoo.estimators import Make
from benchmarks.zoo.estimators import _fit as fitted

DECLARED: Mapping[str, str] = {
    "sk/gaussian_process_classifier": "com.microsoft:Solve",
    "sk/imputer_neighbours": "cannot be converted to ONNX",
    "sk/radius": "outside of its table",
    "sk/radius_regressor": "are NaN or infinite",
    "sk/tree_embedding": "sparse outputs",
    "sk/tuned_threshold": "output 'label'",
}
"""As in `estimators`."""


CODED = "sk/coded_"
"""How the keys of models begin whose columns hold `codes` alone."""


def codes(seed: int = 0) -> Any:
    """Return rows [240, 6] of the numbers 0 to 4."""
    return np.random.default_rng(seed).integers(0, 5, (240, 6)).astype(np.float32)


def models() -> dict[str, Make]:
    """Return what fits each model, by key."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # skl2onnx lists some that scikit-learn is about to take out
        return {**_linear(), **_classifiers(), **_regressors(), **_combined(), **_transformers(), **_coded()}


def _linear() -> dict[str, Make]:
    from sklearn import linear_model as lm

    steps: Mapping[str, Any] = {
        "ard": lm.ARDRegression(),
        "bayesian_ridge": lm.BayesianRidge(),
        "elastic_net_cv": lm.ElasticNetCV(cv=3),
        "lars": lm.Lars(),
        "lars_cv": lm.LarsCV(cv=3),
        "lasso": lm.Lasso(0.1),
        "lasso_cv": lm.LassoCV(cv=3),
        "lasso_lars": lm.LassoLars(0.01),
        "lasso_lars_cv": lm.LassoLarsCV(cv=3),
        "lasso_lars_ic": lm.LassoLarsIC(),
        "matching_pursuit": lm.OrthogonalMatchingPursuit(),
        "matching_pursuit_cv": lm.OrthogonalMatchingPursuitCV(cv=3),
        "passive_regressor": lm.PassiveAggressiveRegressor(random_state=0),
        "quantile": lm.QuantileRegressor(quantile=0.7, alpha=0.01),
        "ransac": lm.RANSACRegressor(random_state=0),
        "ridge_cv": lm.RidgeCV(),
        "sgd_regressor": lm.SGDRegressor(random_state=0),
        "theil_sen": lm.TheilSenRegressor(random_state=0, max_subpopulation=200),
    }
    both: Mapping[str, Any] = {
        "multi_task_elastic_net": lm.MultiTaskElasticNet(0.1),
        "multi_task_elastic_net_cv": lm.MultiTaskElasticNetCV(cv=3),
        "multi_task_lasso": lm.MultiTaskLasso(0.1),
        "multi_task_lasso_cv": lm.MultiTaskLassoCV(cv=3),
    }
    return {
        **{f"sk/{key}": fitted(_scaled(model), "real") for key, model in steps.items()},
        **{f"sk/{key}": fitted(_scaled(model), "both") for key, model in both.items()},
        "sk/poisson": fitted(_scaled(lm.PoissonRegressor()), "positive"),
        "sk/gamma": fitted(_scaled(lm.GammaRegressor()), "positive"),
    }


def _classifiers() -> dict[str, Make]:
    from sklearn import discriminant_analysis, gaussian_process, multiclass, neighbors, svm, tree
    from sklearn import linear_model as lm

    return {
        "sk/logistic_cv": fitted(_scaled(lm.LogisticRegressionCV(cv=3, Cs=3)), "names"),
        "sk/passive": fitted(_scaled(lm.PassiveAggressiveClassifier(random_state=0))),
        "sk/ridge_classifier_cv": fitted(lm.RidgeClassifierCV(), "names"),
        "sk/sgd_log_loss": fitted(_scaled(lm.SGDClassifier(loss="log_loss", random_state=0))),
        "sk/sgd_modified_huber": fitted(_scaled(lm.SGDClassifier(loss="modified_huber", random_state=0))),
        "sk/sgd_one_class": fitted(_scaled(lm.SGDOneClassSVM(random_state=0)), "none"),
        "sk/nu_svc": fitted(_scaled(svm.NuSVC(nu=0.2)), "names"),
        "sk/svc_probabilities": fitted(_scaled(svm.SVC(probability=True, random_state=0)), "names"),
        "sk/qda": fitted(discriminant_analysis.QuadraticDiscriminantAnalysis(), "names"),
        "sk/one_against_rest": fitted(multiclass.OneVsRestClassifier(lm.LogisticRegression(max_iter=1000)), "names"),
        "sk/one_against_one": fitted(multiclass.OneVsOneClassifier(lm.LogisticRegression(max_iter=1000)), "names"),
        "sk/gaussian_process_classifier": fitted(_scaled(gaussian_process.GaussianProcessClassifier()), "two"),
        "sk/radius": fitted(_scaled(neighbors.RadiusNeighborsClassifier(20.0, outlier_label=0))),
        "sk/extra_tree": fitted(tree.ExtraTreeClassifier(random_state=0), "names"),
    }


def _regressors() -> dict[str, Make]:
    from sklearn import cross_decomposition, ensemble, neighbors, tree

    return {
        "sk/ada_boost_regressor": fitted(ensemble.AdaBoostRegressor(n_estimators=10, random_state=0), "real"),
        "sk/bagging_regressor": fitted(ensemble.BaggingRegressor(random_state=0), "real"),
        "sk/extra_tree_regressor": fitted(tree.ExtraTreeRegressor(random_state=0), "real"),
        "sk/extra_trees_regressor": fitted(ensemble.ExtraTreesRegressor(20, random_state=0), "real"),
        "sk/pls": fitted(cross_decomposition.PLSRegression(2), "both"),
        "sk/radius_regressor": fitted(_scaled(neighbors.RadiusNeighborsRegressor(20.0)), "real"),
    }


def _combined() -> dict[str, Make]:
    from sklearn import ensemble, feature_selection, model_selection, multioutput, tree
    from sklearn import linear_model as lm

    def logistic() -> Any:
        return lm.LogisticRegression(max_iter=1000)

    pair = [("a", lm.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4, random_state=0))]
    classes = [("a", logistic()), ("b", tree.DecisionTreeClassifier(max_depth=4, random_state=0))]
    return {
        "sk/voting_weights": fitted(ensemble.VotingClassifier(classes, voting="soft", weights=[1, 3]), "names"),
        "sk/voting_hard": fitted(ensemble.VotingClassifier(classes, weights=[1, 3]), "names"),
        "sk/voting_regressor": fitted(ensemble.VotingRegressor(pair, weights=[1, 3]), "real"),
        "sk/stacking_regressor": fitted(ensemble.StackingRegressor(pair, cv=3), "real"),
        "sk/elimination": fitted(feature_selection.RFE(logistic(), n_features_to_select=3)),
        "sk/elimination_cv": fitted(feature_selection.RFECV(logistic(), cv=3)),
        "sk/tuned_threshold": fitted(model_selection.TunedThresholdClassifierCV(logistic(), cv=3), "two"),
        "sk/several_targets": fitted(multioutput.MultiOutputRegressor(lm.Ridge()), "both"),
    }


def _transformers() -> dict[str, Make]:
    from sklearn import cluster, decomposition, ensemble, impute, mixture, neighbors, random_projection
    from sklearn import feature_selection as select
    from sklearn import preprocessing as pre
    from sklearn.linear_model import Lasso, LogisticRegression
    from sklearn.pipeline import FeatureUnion, Pipeline

    def before(step: Any) -> Any:
        return Pipeline([("step", step), ("model", LogisticRegression(max_iter=2000))])

    parts = FeatureUnion([("a", pre.StandardScaler()), ("b", "drop"), ("c", decomposition.PCA(2))])
    parts.set_params(transformer_weights={"a": 2.0})
    return {
        "sk/binarizer": fitted(pre.Binarizer(threshold=0.5), "none"),
        "sk/max_abs": fitted(pre.MaxAbsScaler(), "none"),
        "sk/min_max": fitted(pre.MinMaxScaler(clip=True), "none"),
        "sk/quantiles": fitted(pre.QuantileTransformer(n_quantiles=30), "none"),
        "sk/bins": fitted(pre.KBinsDiscretizer(4, encode="ordinal"), "none"),
        "sk/bins_one_hot": fitted(before(pre.KBinsDiscretizer(4)), "three"),
        "sk/function": fitted(before(pre.FunctionTransformer())),
        "sk/no_step": fitted(Pipeline([("no", "passthrough"), ("model", LogisticRegression(max_iter=2000))])),
        "sk/union_weights": fitted(before(parts)),
        "sk/imputer_neighbours": fitted(before(impute.KNNImputer(n_neighbors=3)), missing=True),
        "sk/incremental_pca": fitted(decomposition.IncrementalPCA(3), "none"),
        "sk/kernel_pca": fitted(_scaled(decomposition.KernelPCA(3, kernel="rbf")), "none"),
        "sk/truncated_svd": fitted(decomposition.TruncatedSVD(3), "none"),
        "sk/random_projection": fitted(random_projection.GaussianRandomProjection(3, random_state=0), "none"),
        "sk/components": fitted(_scaled(neighbors.NeighborhoodComponentsAnalysis(2, random_state=0))),
        "sk/tree_embedding": fitted(before(ensemble.RandomTreesEmbedding(5, random_state=0))),
        "sk/mini_batch_kmeans": fitted(cluster.MiniBatchKMeans(3, n_init=2, random_state=0), "none"),
        "sk/bayesian_mixture": fitted(_scaled(mixture.BayesianGaussianMixture(n_components=3, random_state=0)), "none"),
        "sk/select_generic": fitted(before(select.GenericUnivariateSelect(mode="k_best", param=3))),
        "sk/select_fdr": fitted(before(select.SelectFdr(alpha=0.2))),
        "sk/select_fpr": fitted(before(select.SelectFpr(alpha=0.2))),
        "sk/select_fwe": fitted(before(select.SelectFwe(alpha=0.2))),
        "sk/select_percentile": fitted(before(select.SelectPercentile(percentile=50))),
        "sk/select_model": fitted(before(select.SelectFromModel(Lasso(0.05)))),
        "sk/select_variance": fitted(before(select.VarianceThreshold(0.5))),
    }


def _coded() -> dict[str, Make]:
    """Return models of columns that hold a few whole numbers, which are counts or codes of categories."""
    from sklearn import naive_bayes
    from sklearn import preprocessing as pre
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def counted(model: Any) -> Make:
        def make() -> Any:
            rows = codes().astype(np.float64)
            return model.fit(rows, (rows[:, 0] + rows[:, 1] > rows[:, 2] + 2).astype(int))

        return make

    logistic = LogisticRegression(max_iter=1000)
    return {
        "sk/coded_multinomial_nb": counted(naive_bayes.MultinomialNB()),
        "sk/coded_complement_nb": counted(naive_bayes.ComplementNB()),
        "sk/coded_categorical_nb": counted(naive_bayes.CategoricalNB(min_categories=6)),
        "sk/coded_one_hot": counted(make_pipeline(pre.OneHotEncoder(handle_unknown="ignore"), logistic)),
        "sk/coded_ordinal": counted(
            make_pipeline(pre.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), logistic)
        ),
        "sk/coded_target": counted(make_pipeline(pre.TargetEncoder(random_state=0), logistic)),
    }


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)
