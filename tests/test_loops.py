"""One contract for the loops of all backends."""

import functools
import warnings

import jax
import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.backend import Backend, open_backend
from mlp_xp.loops import eager_scan


def step(carry, row):
    """A linear recurrence with a nested carry, of no symmetry: order, carry and rows all show in the result."""
    total, (count, matrix) = carry
    x, y = row
    matrix = matrix * 0.5 + x * y
    total = total - matrix[0, ...] * count
    return (total, (count + 1, matrix)), total * y


def inputs(random: np.random.Generator, length: int = 7) -> tuple:
    carry = (random.normal(size=3), (np.float64(1.0), random.normal(size=(2, 3))))
    return carry, (random.normal(size=(length, 2, 3)), random.normal(size=length))


def to_device(tree, backend: Backend):
    return tuple(to_device(t, backend) for t in tree) if isinstance(tree, tuple) else backend.asarray(tree)


def hand_loop(carry, xs):
    ys = []
    for i in range(len(xs[0])):
        carry, y = step(carry, (xs[0][i], xs[1][i]))
        ys.append(y)
    return carry, np.stack(ys)


def assert_same(actual, expected, backend: Backend) -> None:
    """To rounding: a compiler may contract a product and a sum. A few operations each on values of order 1."""
    (total, (count, matrix)), ys = actual
    (expected_total, (expected_count, expected_matrix)), expected_ys = expected
    rounding = 100 * float(backend.xp.finfo(backend.dtype).eps)
    for a, b in ((total, expected_total), (matrix, expected_matrix), (ys, expected_ys)):
        assert_close(a, b, backend, rtol=rounding, atol=rounding)
    assert float(count) == expected_count


@pytest.mark.parametrize("length", [1, 2, 7])
def test_scan_is_a_loop_by_hand(length, backend, random):
    carry, xs = inputs(random, length)
    actual = backend.scan(step, to_device(carry, backend), to_device(xs, backend))
    assert_same(actual, hand_loop(carry, xs), backend)


def test_a_scan_compiles_where_anything_does(backend, random):
    carry, xs = inputs(random)
    run = backend.jit(functools.partial(backend.scan, step))
    assert_same(run(to_device(carry, backend), to_device(xs, backend)), hand_loop(carry, xs), backend)


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("width", [1, 2])
def test_a_scan_ends_at_its_count(count, width, random):
    """What stands in the rows after it does not matter."""
    backend = open_backend("jax")
    assert backend.counts_steps

    def narrow(carry, row):
        total, (number, matrix) = carry
        carry, y = step((total, (number, matrix)), row)
        return carry, y[None, :]  # an axis of length 1, as in batches of one sample

    carry, xs = inputs(random)
    carry, xs = (carry[0], (carry[1][0], carry[1][1][:width])), (xs[0][:, :width], xs[1])
    expected_carry, expected = hand_loop(carry, tuple(x[:count] for x in xs))
    expected = np.concatenate([expected, np.zeros((7 - count, 3))])
    xs = tuple(np.concatenate([x[:count], np.full_like(x[count:], np.nan)]) for x in xs)
    arrays = to_device(carry, backend), to_device(xs, backend)
    for run in (functools.partial(backend.scan, narrow), backend.jit(functools.partial(backend.scan, narrow))):
        actual, ys = run(*arrays, backend.asarray(np.array(count)))
        assert ys.shape == (7, 1, 3)
        assert_same((actual, ys[:, 0, :]), (expected_carry, expected), backend)


def test_eager_scan_is_that_of_jax(random):
    backend = open_backend("jax")
    carry, xs = inputs(random)
    host = lambda tree: jax.tree.map(backend.to_numpy, tree)  # noqa: E731
    expected = jax.lax.scan(step, to_device(carry, backend), to_device(xs, backend))
    actual = eager_scan(step, to_device(carry, backend), to_device(xs, backend), xp=backend.xp)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert_same(actual, host(expected), backend)


def test_the_carry_is_handed_from_step_to_step_and_never_copied(backend):
    """What a step returns is what the next gets, the very object: that is what lets a step update in place."""
    seen = []

    def recording(carry, row):
        seen.append(carry)
        return [object()], row[0]

    first = [object()]
    last, _ = eager_scan(recording, first, (backend.asarray(np.arange(3.0)),), xp=backend.xp)
    assert seen[0] is first
    assert len(seen) == 3
    assert last is not seen[2]
    following = []

    def keeping(carry, row):
        following.append(carry)
        return carry, row[0]

    assert eager_scan(keeping, first, (backend.asarray(np.arange(3.0)),), xp=backend.xp)[0] is first
    assert all(carry is first for carry in following)


def test_a_step_may_update_its_carry_in_place(backend):
    def adding(carry, row):
        carry += row[0]
        return carry, carry * 1

    total, sums = backend.scan(adding, backend.asarray(np.zeros(())), (backend.asarray(np.array([1.0, 2.0, 4.0])),))
    assert float(total) == 7
    assert backend.to_numpy(sums).tolist() == [1.0, 3.0, 7.0]


def test_a_step_sees_rows_without_the_first_axis(backend):
    shapes = []

    def looking(carry, row):
        shapes.append([x.shape for x in row])
        return carry, row[2]

    xs = tuple(backend.asarray(np.zeros(shape)) for shape in ((4, 2, 3), (4, 5), (4,)))
    _, ys = backend.scan(looking, backend.asarray(np.zeros(1)), xs)
    assert all(row == [(2, 3), (5,), ()] for row in shapes)
    assert ys.shape == (4,)


def test_arrays_of_different_lengths_are_refused(backend):
    xs = tuple(backend.asarray(np.zeros(n)) for n in (3, 4))
    with pytest.raises(ValueError, match=r"argument 2 is longer|leading axis sizes"):
        backend.scan(lambda carry, row: (carry, row[0]), backend.asarray(np.zeros(1)), xs)


def test_overflow_inside_a_loop_warns_nobody(backend):
    """Whoever runs the loop looks at all its losses afterwards; a warning a step would drown what they say then."""

    def squaring(carry, row):
        carry = carry * carry
        return carry, carry - carry + row[0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, ys = backend.scan(squaring, backend.asarray(np.array(1e200)), (backend.asarray(np.ones(3)),))
    assert np.isnan(backend.to_numpy(ys)).any()
