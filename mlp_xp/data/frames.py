"""Data frames of pandas, polars and pyarrow as raw tables."""

from typing import Any

from mlp_xp.data.columns import Table


def table_of(X: Any) -> Table | None:
    """Return a data frame as a `Table`; None for an array, a list, and anything else."""
    return X if isinstance(X, Table) else None
