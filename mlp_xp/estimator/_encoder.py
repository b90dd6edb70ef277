"""TableEncoder: the features of a table, as a transformer of scikit-learn."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from mlp_xp.data.columns import Columns
from mlp_xp.data.frames import as_table, read_as_text, table_of
from mlp_xp.data.table import Table
from mlp_xp.errors import some
from mlp_xp.estimator._devices import to_host


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turn a table of numbers, text, dates and gaps into features.

    `mlp-xp train` and `from_arrays` make the same features. They are fitted to the
    training rows, and not scaled. Columns that count the rows, or have text without a
    frequent value, give an MlpXpWarning.

    X is a data frame of pandas, polars or pyarrow, or an array (n, columns), which may
    hold text and NaN. A data frame must have the columns of the training data, in the
    same order.

    Args:
        text: The names of columns to read as text, even if they are numbers. The
            columns of an array are x0, x1 and so on.

    Attributes:
        columns_: How each column becomes features.
        n_features_in_: The number of columns.
        feature_names_in_: The names of the columns, if X is a data frame.

    Raises:
        ValueError: X has other columns than the training data, or masked values.
        DatasetError: A column mixes numbers, dates and text.

    Examples:
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> X = [["red", 1.0], ["green", 2.0], ["red", 3.0], ["green", 4.0]] * 5
        >>> network = MLPClassifier((5,), tol=0.1, random_state=0)
        >>> pipeline = make_pipeline(TableEncoder(), StandardScaler(), network)
        >>> pipeline.fit(X, [0, 1] * 10).predict(X[:2]).shape
        (2,)
    """

    def __init__(self, text: Sequence[str] = ()) -> None:
        self.text = text

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the training rows how columns become features.

        Args:
            X: The table of the training rows.
            y: Ignored.

        Returns:
            The transformer itself.
        """
        table = read_as_text(self._table(X, reset=True), self.text)
        self.columns_ = Columns.fit(table)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of a table.

        Args:
            X: A table with the columns of the training rows.

        Returns:
            The features, float64 (n, features).
        """
        check_is_fitted(self)
        return self.columns_.features(self._table(X, reset=False))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, such as `sex=female` and `age is missing`.

        Args:
            input_features: The names of the columns, if X was an array.

        Returns:
            The names, an array of objects (features,).
        """
        check_is_fitted(self)
        known = _check_feature_names_in(self, None)
        given = _check_feature_names_in(self, input_features)
        names = dict(zip(known, given, strict=True))
        renamed = []
        for column in self.columns_.columns:
            # Older versions of scikit-learn do not know the names of polars' columns.
            name = names.get(column.name, column.name)
            renamed.append(column._replace(name=str(name)))
        return np.array(Columns(tuple(renamed)).feature_names, object)

    def _table(self, X: Any, *, reset: bool) -> Table:
        """Return X as a table, after scikit-learn's checks of its columns."""
        table = table_of(X)
        if table is None:
            X = to_host(X)
            if isinstance(X, list | tuple):
                # NumPy would write numbers beside text in its own way, such as 1.0.
                X = np.array(X, object)
            X = validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan"
            )
            names = [f"x{i}" for i in range(X.shape[1])]
            if not reset and not {*self.columns_.names}.issubset(names):
                raise ValueError(
                    "an array has no names of columns; give a data frame with the "
                    f"columns {some(self.columns_.names)}"
                )
            return as_table(names, list(X.T))
        validate_data(self, X, reset=reset, skip_check_array=True)
        return table

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
