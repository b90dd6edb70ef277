"""Operations on inputs that training never has: NaN, infinities, ties, the last index,
thousands of elements.

A run meets none of these, so a library that gets them wrong agrees with NumPy in every
step. `trace.probe` calls `operate` on a traced backend, which compares each result with
NumPy's. The standard specifies what is asked here. It leaves open the order of signed
zeros, `argmax` of NaN, and floats beyond the range of an integer dtype.
"""

import contextlib
import math
import operator

import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.core.backend import Backend

# a prime, so that neither a vector instruction nor a block ends at the last element
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


def operate(backend: Backend) -> None:
    """Call everything that `requirements` lists, and `maximum` and `matmul` if the
    namespace has them.
    """
    xp, dtype, random = backend.xp, backend.dtype, np.random.default_rng(0)
    # not every library has the keyword
    place = {} if backend.device is None else {"device": backend.device}
    # Every pair of special values.
    x, y = (
        backend.asarray(np.resize(each, LENGTH), dtype)
        for each in (SPECIAL, np.repeat(SPECIAL, len(SPECIAL)))
    )
    plain = random.standard_normal((5, LENGTH))
    plain[0, -1] = 9.0
    rows = plain.copy()
    rows[1, -1], rows[2, 0], rows[3, [0, -1]], rows[4] = (
        math.nan,
        math.inf,
        (-math.inf, math.inf),
        1e15,
    )
    # Three values in ten columns: every row has ties.
    levels = backend.asarray(random.integers(0, 3, (LENGTH, 10), np.uint8))
    last = backend.asarray(np.array([LENGTH - 1, 0, LENGTH - 2, LENGTH - 1]))
    plain, rows, few = (
        backend.asarray(each, dtype) for each in (plain, rows, rows[:1, :3])
    )
    one, count = few[:, 0], xp.arange(LENGTH, dtype=xp.int64, **place)

    for name in ELEMENTWISE:
        getattr(xp, name)(x)
    for name in ("iadd", "isub", "imul", "itruediv"):
        getattr(operator, name)(xp.asarray(x, copy=True), y)
    # 0.1 has another value in float32
    _ = x + y, x - y, x * y, x / y, -x, 1 - x, 0.1 * x, x + 0.1, x == y, x > 0.5
    _ = xp.where(x > y, x, y), xp.where(x > one, x, one), xp.where(one > x, one, x)

    below = plain - 100
    for each in (plain, below, rows):
        _ = (
            xp.sum(each, axis=-1, keepdims=True),
            xp.max(each, axis=-1, keepdims=True),
            xp.mean(each, axis=-1),
        )
        _ = (
            xp.sum(each, axis=0),
            xp.max(each, axis=0),
            xp.sum(each),
            each @ each.T,
            each.T @ each[:, :3],
        )
        _ = each[0, ...] @ each.T, each[0, ...] @ each[0, ...]
    # in row 1 it is False at the last index alone, in row 2 at the first
    truth = xp.isfinite(rows)
    _ = (
        xp.all(truth),
        xp.all(truth[0, ...]),
        xp.all(truth[1, ...]),
        xp.all(truth[2, ...]),
    )

    scores = xp.astype(levels, dtype)
    _ = xp.argmax(scores, axis=1), xp.argmax(scores, axis=0)
    _ = xp.argmax(below, axis=1), xp.argmax(rows[2:4, ...], axis=1)
    grid = scores + 1.25
    # a column, a row, a single number
    for each in (grid[:, :1], grid[0, ...], xp.sum(grid[0, ...])):
        _ = grid + each, grid - each, grid * each, grid / each
    for each in (levels, scores, count, x):
        end = xp.take(each, last, axis=0)
        _ = (
            each[LENGTH - 1, ...],
            each[LENGTH - 3 : LENGTH, ...],
            end[..., None],
            xp.concat([each, end], axis=0),
        )
    # up to 1.2e10, beyond int32 and the whole numbers of float32
    large = count * 3_000_000 + 1
    _ = large + count, large == large + 256, large[:-1] == large[1:]
    for kind in (xp.int64, dtype):
        _ = (
            xp.astype(truth, kind),
            xp.astype(count, kind),
            xp.astype(scores + 0.75, kind),
        )
    cube = xp.reshape(scores[: LENGTH - 1, ...], (2, -1, 10))
    _ = cube[:, 1, :], cube[..., 0], cube[:, :-1, -1], xp.reshape(scores.T, (-1,))
    _ = xp.permute_dims(cube, (1, 0, 2)), xp.permute_dims(cube, (0, 2, 1))
    _ = (
        xp.stack([x, y]),
        xp.concat([cube, cube[:, :1, :]], axis=1),
        xp.concat([cube, cube], axis=2),
    )
    # The package uses neither, so a library may lack them, but who tests one wants to
    # know.
    for name, args in ("maximum", (x, y)), ("matmul", (rows, rows.T)):
        with contextlib.suppress(AttributeError, BackendFailure):
            getattr(xp, name)(*args)
