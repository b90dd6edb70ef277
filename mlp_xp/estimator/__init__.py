"""scikit-learn estimators for arrays of any library. Needs the extra `sklearn`."""

from mlp_xp.errors import not_installed

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    message = f"mlp_xp.estimator: scikit-learn {not_installed('scikit-learn')}"
    raise ModuleNotFoundError(message, name="sklearn") from None

from mlp_xp.estimator.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
