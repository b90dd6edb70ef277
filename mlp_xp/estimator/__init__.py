"""scikit-learn estimators for arrays of any library, and a transformer for tables.

They need the extra `sklearn`.
"""

from mlp_xp.estimator._encoder import TableEncoder
from mlp_xp.estimator._mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TableEncoder"]
