"""The loops of all backends have one contract, that of `jax.lax.scan`."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from backends import everywhere
from numerics import assert_close

from mlp_xp.backends.foreign import rebuild
from mlp_xp.core.backend import Backend


@pytest.mark.every_backend
@pytest.mark.parametrize("length", [1, 7])
def test_scan_is_a_loop_by_hand(length, backend, random):
    scan = partial(backend.scan, step)
    carry, xs = inputs(random, length)
    for run in (scan, backend.jit(scan)):
        actual = run(*rebuild((carry, xs), backend.asarray))
        assert_same(actual, loop_by_hand(carry, xs), backend)


@pytest.mark.parametrize(("size", "width"), [(1, 2), everywhere(3, 1), (7, 2), (20, 2)])
def test_blocks_of_any_size_are_the_same_loop(size, width, backend, random):
    """Compiled for any number of steps or for one, or not at all.

    The last block may be shorter, and the only one.
    """
    lengths = []

    def narrow(carry, row):
        carry, y = step(carry, row)
        return carry, y[None, :]  # an axis of length 1, as in batches of one sample

    def blocks(carry, xs):
        lengths.append(xs[0].shape[0])
        return backend.scan_blocks(partial(backend.scan, narrow), carry, xs, size)

    chunk = backend.jit(blocks, most_steps=9)
    for length in (1, 4, 7):
        carry, xs = inputs(random, length, width)
        last, ys = loop_by_hand(carry, xs)
        expected = last, ys[:, None, :]
        for run in (blocks, backend.jit(blocks)):
            actual = run(*rebuild((carry, xs), backend.asarray))
            assert_same(actual, expected, backend)
        # The steps of a chunk are given on the host.
        last, ys = chunk(rebuild(carry, backend.asarray), xs)
        on_device = backend.asarray(backend.to_numpy(ys))
        assert_same((last, on_device), expected, backend)
    # JAX compiles a chunk once for all lengths.
    assert lengths.count(9) == (backend.name == "jax")


def step(carry, row):
    """Take a step of a linear recurrence without any symmetry.

    Order, carry and rows all show in the result.
    """
    total, (count, matrix) = carry
    x, y = row
    matrix = matrix * 0.5 + x * y
    total = total - matrix[0, ...] * count
    return (total, (count + 1, matrix)), total * y


def inputs(random: np.random.Generator, length: int, width: int = 2) -> tuple:
    """Return a nested carry and rows for `step`."""
    carry = random.normal(size=3), (np.ones(1), random.normal(size=(width, 3)))
    rows = random.normal(size=(length, width, 3)), random.normal(size=length)
    return carry, rows


def loop_by_hand(carry, xs):
    ys = []
    for row in zip(*xs, strict=True):
        carry, y = step(carry, row)
        ys.append(y)
    return carry, np.stack(ys)


def assert_same(actual: Any, expected: Any, backend: Backend) -> None:
    """Compare all arrays, to rounding: a compiler may contract a product and a sum.

    Each is the result of a few operations on values of order 1.
    """
    arrays, wanted = [], []
    rebuild(actual, arrays.append)
    rebuild(expected, wanted.append)
    rounding = 100 * float(backend.xp.finfo(backend.dtype).eps)
    for one, other in zip(arrays, wanted, strict=True):
        assert_close(one, other, backend, rtol=rounding, atol=rounding)
