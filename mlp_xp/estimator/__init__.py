"""scikit-learn estimators for arrays of any library. Needs the extra `sklearn`."""

import re
import sys

from mlp_xp.errors import not_installed

try:
    import sklearn as _sklearn
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    message = f"mlp_xp.estimator: scikit-learn {not_installed('scikit-learn')}"
    raise ModuleNotFoundError(message, name="sklearn") from None
if [*map(int, re.findall("[0-9]+", _sklearn.__version__)[:2])] < [1, 7]:  # as in pyproject.toml
    message = f"mlp_xp.estimator: scikit-learn {_sklearn.__version__} is too old; install a newer one with: "
    raise ImportError(f"{message}{sys.executable} -m pip install 'scikit-learn>=1.7'", name="sklearn")

from mlp_xp.estimator.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
