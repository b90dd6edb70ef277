"""scikit-learn estimators for arrays of any library. Needs the extra `sklearn`."""

from mlp_xp.estimator.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
