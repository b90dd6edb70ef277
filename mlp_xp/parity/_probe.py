"""Operations on inputs that training never has.

Training has no NaN, no infinities and no ties, does not use the last index, and sums at
most hundreds of elements. A library may be wrong there, and still agree with NumPy in
every step. `tracing.probe` calls `operate` on a traced backend, where each result is
compared with NumPy's. The standard specifies all of these results. There are none of
the results that it leaves open: the order of signed zeros, `argmax` of NaN, and floats
beyond the range of an integer dtype.
"""

import contextlib
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array

# A prime: neither a vector instruction nor a block ends at the last element.
LENGTH = 4099
SPECIAL = (
    math.nan,
    math.inf,
    -math.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e30,
    -1e30,
    1e-30,
    100.0,
    -100.0,
)
ELEMENTWISE = (
    "abs",
    "exp",
    "isfinite",
    "log",
    "log1p",
    "ones_like",
    "sqrt",
    "tanh",
    "zeros_like",
)
ARITHMETIC: tuple[Callable[..., Any], ...] = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
)
IN_PLACE: tuple[Callable[..., Any], ...] = (
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
)


def operate(backend: Backend) -> None:
    """Call everything in the lists of `_requirements`.

    `maximum` and `matmul` are called too if the namespace has them.
    """
    xp, dtype, random = backend.xp, backend.dtype, np.random.default_rng(0)
    # Every pair of special values.
    x = backend.asarray(np.resize(SPECIAL, LENGTH), dtype)
    pairs = np.resize(np.repeat(SPECIAL, len(SPECIAL)), LENGTH)
    y = backend.asarray(pairs, dtype)

    host_plain = random.standard_normal((5, LENGTH))
    host_plain[0, -1] = 9.0
    host_rows = host_plain.copy()
    host_rows[1, -1] = math.nan
    host_rows[2, 0] = math.inf
    host_rows[3, [0, -1]] = -math.inf, math.inf
    host_rows[4] = 1e15
    # Three values in ten columns: every row has ties.
    levels = backend.asarray(random.integers(0, 3, (LENGTH, 10), np.uint8))
    last = backend.asarray(np.array([LENGTH - 1, 0, LENGTH - 2, LENGTH - 1]))
    plain = backend.asarray(host_plain, dtype)
    rows = backend.asarray(host_rows, dtype)
    single = backend.asarray(host_rows[:1, :3], dtype)[:, 0]
    # Not every library has the keyword.
    place = {} if backend.device is None else {"device": backend.device}
    count = xp.arange(LENGTH, dtype=xp.int64, **place)

    _operate_elementwise(x, y, single, xp=xp)
    below = plain - 100
    for each in (plain, below, rows):
        _sum_and_multiply(each, xp=xp)
    # In row 1, only the last value is False; in row 2, only the first.
    truth = xp.isfinite(rows)
    xp.all(truth)
    for row in range(3):
        xp.all(truth[row, ...])

    scores = xp.astype(levels, dtype)
    xp.argmax(scores, axis=1)
    xp.argmax(scores, axis=0)
    xp.argmax(below, axis=1)
    xp.argmax(rows[2:4, ...], axis=1)
    grid = scores + 1.25
    # a column, a row, a single number
    for each in (grid[:, :1], grid[0, ...], xp.sum(grid[0, ...])):
        for operation in ARITHMETIC:
            operation(grid, each)
    for each in (levels, scores, count, x):
        end = xp.take(each, last, axis=0)
        _ = each[LENGTH - 1, ...], each[LENGTH - 3 : LENGTH, ...], end[..., None]
        xp.concat([each, end], axis=0)
    # up to 1.2e10, beyond int32 and the whole numbers of float32
    large = count * 3_000_000 + 1
    _ = large + count, large == large + 256, large[:-1] == large[1:]
    for kind in (xp.int64, dtype):
        xp.astype(truth, kind)
        xp.astype(count, kind)
        xp.astype(scores + 0.75, kind)

    cube = xp.reshape(scores[: LENGTH - 1, ...], (2, -1, 10))
    _ = cube[:, 1, :], cube[..., 0], cube[:, :-1, -1]
    xp.reshape(scores.T, (-1,))
    xp.permute_dims(cube, (1, 0, 2))
    xp.permute_dims(cube, (0, 2, 1))
    xp.stack([x, y])
    xp.concat([cube, cube[:, :1, :]], axis=1)
    xp.concat([cube, cube], axis=2)
    # Training uses neither, so a library may lack them. A user who tests a library
    # wants to know about both.
    for name, args in (("maximum", (x, y)), ("matmul", (rows, rows.T))):
        with contextlib.suppress(AttributeError, BackendFailure):
            getattr(xp, name)(*args)


def _operate_elementwise(x: Array, y: Array, single: Array, *, xp: Any) -> None:
    """Call elementwise functions and operators on vectors, and on one of length 1."""
    for name in ELEMENTWISE:
        getattr(xp, name)(x)
    for operation in IN_PLACE:
        operation(xp.asarray(x, copy=True), y)
    for operation in ARITHMETIC:
        operation(x, y)
    # 0.1 has another value in float32
    _ = -x, 1 - x, 0.1 * x, x + 0.1, x == y, x > 0.5
    xp.where(x > y, x, y)
    xp.where(x > single, x, single)
    xp.where(single > x, single, x)


def _sum_and_multiply(rows: Array, *, xp: Any) -> None:
    """Call reductions and products of a matrix."""
    xp.sum(rows, axis=-1, keepdims=True)
    xp.max(rows, axis=-1, keepdims=True)
    xp.mean(rows, axis=-1)
    xp.sum(rows, axis=0)
    xp.max(rows, axis=0)
    xp.sum(rows)
    _ = rows @ rows.T, rows.T @ rows[:, :3]
    _ = rows[0, ...] @ rows.T, rows[0, ...] @ rows[0, ...]
