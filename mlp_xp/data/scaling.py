"""The mean and the standard deviation of features, and of numbers to predict, over a training set."""

import math

import numpy as np

PIECE = 4096  # rows that are added up together, so that no copy of all of them is made


def fit_scaling(values: np.ndarray, dtype: str, *, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each column, float64 (columns,) each.

    values: host numbers (rows, ...); the columns are those of (rows, -1). The sums are computed in the dtype, "float32"
    or "float64"; exact: in float64 and without rounding, which is slower. The deviation of equal values is 0.
    """
    rows = len(values)
    columns = values.reshape(rows, -1)
    piece, dtype = (rows, "float64") if exact else (PIECE, dtype)
    least, most = columns.min(axis=0).astype(np.float64), columns.max(axis=0).astype(np.float64)
    # In units of a power of two near the largest number of the column, so that no square over- or underflows.
    exponents = np.frexp(np.maximum(np.abs(least), np.abs(most)))[1]

    def mean_from(origin: np.ndarray, power: int) -> np.ndarray:
        """Return the mean of (x / unit - origin) ** power."""
        sums = []
        for start in range(0, rows, piece):
            x = np.ldexp(columns[start : start + piece].astype(dtype), -exponents)
            terms = (x - origin.astype(dtype)) ** power
            sums.append([*map(math.fsum, terms.T)] if exact else terms.sum(axis=0))
        return np.stack(sums).astype(np.float64).sum(axis=0) / rows

    # From the least value: of large numbers that differ little, a sum would round away the differences, and that of
    # equal ones would not be their mean.
    origin = np.zeros(len(least)) if exact else np.ldexp(least, -exponents)
    mean = origin + mean_from(origin, 1)
    deviation = np.ldexp(np.sqrt(mean_from(mean, 2)), exponents)
    return np.ldexp(mean, exponents), np.where(least == most, 0.0, deviation)
