"""scikit-learn estimators for arrays of any library, and a transformer for tables.
Needs the extra `sklearn`.
"""

from mlp_xp.estimator.encoder import TableEncoder
from mlp_xp.estimator.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TableEncoder"]
