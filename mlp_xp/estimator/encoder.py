"""TableEncoder: what `train` makes of a table of numbers, text, dates and gaps, as a
transformer of scikit-learn.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from mlp_xp.data.columns import Columns
from mlp_xp.data.frames import as_table, table_of
from mlp_xp.data.table import Table


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turn a table of numbers, text, dates and gaps into features, those that `mlp-xp
    train` and `from_arrays` make.

    All of it is fitted to the training rows; see `data.columns.Columns`. Features are
    not scaled:

        make_pipeline(TableEncoder(), StandardScaler(), MLPClassifier()).fit(frame, y)

    X: a data frame of pandas, polars or pyarrow, or an array, (n, columns), which may
        hold text and NaN.

    Attributes: `columns_`, how each column becomes features, and scikit-learn's
    `n_features_in_` and `feature_names_in_`. As everywhere in scikit-learn, a data
    frame must have the columns of the training data in their order. Raises ValueError
    for other columns, and DatasetError for values that are neither numbers, text nor
    dates; gives an MlpXpWarning for columns that differ in every row.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the training rows how columns become features. y is ignored."""
        self.columns_ = Columns.fit(self._table(X, reset=True))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of other rows, float64 (n, features)."""
        check_is_fitted(self)
        return self.columns_.features(self._table(X, reset=False))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, such as `sex=female` and `age is missing`:
        objects, (features,).

        input_features: the names of the columns, where X was an array.
        """
        check_is_fitted(self)
        known, given = (
            _check_feature_names_in(self, names) for names in (None, input_features)
        )
        names = dict(zip(known, given, strict=True))
        # Older versions of scikit-learn do not know the names of polars' columns; they
        # stay as they are.
        columns = (
            each._replace(name=str(names.get(each.name, each.name)))
            for each in self.columns_.columns
        )
        renamed = Columns(tuple(columns))
        return np.array(renamed.feature_names, object)

    def _table(self, X: Any, *, reset: bool) -> Table:
        if (table := table_of(X)) is None:
            X = validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan"
            )
            return as_table([f"x{i}" for i in range(X.shape[1])], [*X.T])
        validate_data(self, X, reset=reset, skip_check_array=True)
        return table

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = (
            tags.input_tags.string
        ) = True
        tags.transformer_tags.preserves_dtype = []
        return tags
