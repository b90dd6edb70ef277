"""One contract for the loops of all backends: that of `jax.lax.scan`."""

import functools

import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.core.backend import Backend


def step(carry, row):
    """A linear recurrence with a nested carry, of no symmetry: order, carry and rows
    all show in the result.
    """
    total, (count, matrix) = carry
    x, y = row
    matrix = matrix * 0.5 + x * y
    total = total - matrix[0, ...] * count
    return (total, (count + 1, matrix)), total * y


def inputs(random: np.random.Generator, length: int = 7) -> tuple:
    carry = (random.normal(size=3), (np.float64(1.0), random.normal(size=(2, 3))))
    return carry, (random.normal(size=(length, 2, 3)), random.normal(size=length))


def to_device(tree, backend: Backend):
    return (
        tuple(to_device(t, backend) for t in tree)
        if isinstance(tree, tuple)
        else backend.asarray(tree)
    )


def hand_loop(carry, xs):
    ys = []
    for i in range(len(xs[0])):
        carry, y = step(carry, (xs[0][i], xs[1][i]))
        ys.append(y)
    return carry, np.stack(ys)


def assert_same(actual, expected, backend: Backend) -> None:
    """To rounding: a compiler may contract a product and a sum. A few operations each
    on values of order 1.
    """
    (total, (count, matrix)), ys = actual
    (expected_total, (expected_count, expected_matrix)), expected_ys = expected
    rounding = 100 * float(backend.xp.finfo(backend.dtype).eps)
    for a, b in ((total, expected_total), (matrix, expected_matrix), (ys, expected_ys)):
        assert_close(a, b, backend, rtol=rounding, atol=rounding)
    assert float(count) == expected_count


@pytest.mark.every_backend
def test_scan_is_a_loop_by_hand(backend, random):
    for length in (1, 7):
        carry, xs = inputs(random, length)
        for run in (
            functools.partial(backend.scan, step),
            backend.jit(functools.partial(backend.scan, step)),
        ):
            assert_same(
                run(to_device(carry, backend), to_device(xs, backend)),
                hand_loop(carry, xs),
                backend,
            )


@pytest.mark.every_backend
@pytest.mark.parametrize(("size", "width"), [(1, 2), (3, 1), (7, 2), (20, 2)])
def test_blocks_of_any_size_are_the_same_loop(size, width, backend, random):
    """Compiled for any number of steps or for one, or not at all; the last block may be
    shorter, and the only one.

    What a chunk takes for each step is on the host.
    """

    def narrow(carry, row):
        carry, y = step(carry, row)
        return carry, y[None, :]  # an axis of length 1, as in batches of one sample

    def loop(carry, xs):
        seen.append(xs[0].shape[0])
        return backend.scan_blocks(
            lambda carry, rows: backend.scan(narrow, carry, rows), carry, xs, size
        )

    seen: list[int] = []
    chunk = backend.jit(loop, most_steps=9)
    for length in (1, 4, 7):
        carry, xs = inputs(random, length)
        carry, xs = (
            (carry[0], (carry[1][0], carry[1][1][:width])),
            (xs[0][:, :width], xs[1]),
        )
        expected = hand_loop(carry, xs)
        for run in (loop, backend.jit(loop), chunk):
            actual, ys = run(
                to_device(carry, backend),
                xs if run is chunk else to_device(xs, backend),
            )
            assert ys.shape == (length, 1, 3)
            assert_same(
                (actual, backend.asarray(backend.to_numpy(ys)[:, 0, :])),
                expected,
                backend,
            )
    assert seen.count(9) == (backend.name == "jax"), (
        "JAX compiles a chunk once for all lengths"
    )
