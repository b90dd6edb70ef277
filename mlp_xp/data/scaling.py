"""The mean and the standard deviation of features, and of numbers to predict, over a training set."""

import math
from collections.abc import Callable

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend

PIECE = 4096  # rows that are added up together


def fit_standardization(features: Array, backend: Backend) -> tuple[tuple[Array, Array], np.ndarray]:
    """Return the mean and the standard deviation of each feature, (features,) each, on the device.

    Also which features are constant, bool (...) on the host, in the shape of a row; their deviation is 1. The sums of
    PIECE rows are read from the device and added in float64. In float32, libraries differ by some 1e-6.
    """
    xp, (rows, *shape) = backend.xp, features.shape
    flat = xp.reshape(features, (rows, math.prod(shape)))

    def of_pieces(reduce: Callable[[Array], Array]) -> np.ndarray:
        pieces = (flat[i : min(i + PIECE, rows), ...] for i in range(0, rows, PIECE))
        return np.stack([backend.to_numpy(reduce(xp.astype(piece, backend.dtype))) for piece in pieces])

    least = of_pieces(lambda x: xp.min(x, axis=0)).min(axis=0)
    most = of_pieces(lambda x: xp.max(x, axis=0)).max(axis=0)
    constant = least == most
    # In units of a power of two near the largest number of the column, so that no square over- or underflows.
    largest = np.maximum(np.abs(least), np.abs(most)).astype(np.float64)
    limit = np.finfo(backend.dtype_name).maxexp - 28
    unit = np.exp2(np.clip(np.floor(np.log2(np.where(largest > 0, largest, 1))), -limit, limit))
    inverse = backend.asarray(1 / unit, backend.dtype)

    def mean_from(origin: np.ndarray, power: int) -> np.ndarray:
        """Return the mean of (x / unit - origin) ** power."""
        start = backend.asarray(origin, backend.dtype)
        sums = of_pieces(lambda x: xp.sum((x * inverse - start) ** power, axis=0))
        return sums.astype(np.float64).sum(axis=0) / rows

    # From the least value: of large numbers that differ little, a sum would round away the differences, and that of a
    # constant would not be its mean.
    origin = least.astype(np.float64) / unit
    mean = origin + mean_from(origin, 1)
    variance = mean_from(mean, 2)
    deviation = np.where(constant, 1.0, unit * np.sqrt(variance))
    fitted = backend.asarray(unit * mean, backend.dtype), backend.asarray(deviation, backend.dtype)
    return fitted, constant.reshape(shape)


def fit_targets(labels: np.ndarray, backend: Backend) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of numbers to predict, (outputs,) each, on the device.

    labels: host floats (n, outputs). The deviation of a constant column is 1. The sums are exact, so that all machines
    and libraries have the same ones.
    """
    means, deviations = [], []
    for column in labels.T:
        size = np.abs(column).max()
        unit = float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1)) if size else 1.0  # so that no square overflows
        mean = math.fsum(column / unit) / len(column)
        deviation = math.sqrt(math.fsum((column / unit - mean) ** 2) / len(column)) * unit
        means.append(mean * unit)
        deviations.append(1.0 if column.min() == column.max() else deviation)
    with np.errstate(over="ignore"):  # reported by `checks`
        kind = backend.dtype_name
        return tuple(backend.asarray(np.array(each).astype(kind), backend.dtype) for each in (means, deviations))
