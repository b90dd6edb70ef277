"""The network's gradients against JAX's autograd.

tests/test_trajectories.py compares its first weights.
"""

from functools import cache, partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from backends import everywhere
from numerics import assert_close

from mlp_xp import open_backend
from mlp_xp.backends.foreign import rebuild
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.network import (
    FEW_OUTPUTS,
    MANY_SAMPLES,
    Layer,
    backward,
    count_parameters,
    forward,
    gradient,
)
from mlp_xp.core.task import TASKS


@pytest.mark.parametrize(
    ("task", "activation", "sizes", "batch_size"),
    [
        ("classes", "sigmoid", (6, 5, 4), 7),
        everywhere("classes", "tanh", (6, 5, 3, 5, 4), 1),
        ("classes", "relu", (6, 5, 3, 5, 4), 7),
        everywhere("classes", "gelu", (6, 5, 3, 4), 7),
        ("classes", "identity", (6, 5, 4), 1),
        ("labels", "sigmoid", (6, 5, 4), 7),
        ("regression", "sigmoid", (6, 4), 7),
    ],
)
def test_gradients_are_those_of_autograd(task, activation, sizes, batch_size, backend):
    """For every loss and activation."""
    xp, activations = backend.xp, [ACTIVATIONS[activation]] * (len(sizes) - 2)

    def gradients(network, x, targets):
        logits, tape = forward(network, x, activations, xp=xp)
        error = (TASKS[task].link(logits, xp=xp) - targets) / batch_size
        errors = backward(network, tape, error, activations, xp=xp)
        return tuple(gradient(a, e, xp=xp) for _, a, e in errors)[::-1]

    arrays = rebuild(make_case(sizes, batch_size), backend.asarray)
    compiled = backend.jit(gradients)
    compiled(*arrays)
    found = compiled(*arrays)  # again, because the arrays must be left as they are
    # A few dozen operations a value, on sums of at most seven terms of order 1 to 10.
    rounding = 1000 * float(xp.finfo(backend.dtype).eps)
    expected = autograd(task, activation, sizes, batch_size)
    for layer, other in zip(found, expected, strict=True):
        for one, wanted in zip(layer, other, strict=True):
            assert_close(one, wanted, backend, rtol=rounding, atol=rounding)


@pytest.mark.parametrize(
    ("samples", "outputs"),
    [
        (1, 3),
        (2, 3),
        (MANY_SAMPLES - 1, 31),
        (MANY_SAMPLES, FEW_OUTPUTS - 1),
        (MANY_SAMPLES, FEW_OUTPUTS),
    ],
)
def test_a_gradient_is_a_sum_over_the_samples(samples, outputs, backend, random):
    """For one sample, and where the product is computed the other way round."""
    a, error = random.normal(size=(samples, 5)), random.normal(size=(samples, outputs))
    layer = gradient(*map(backend.asarray, (a, error)), xp=backend.xp)
    # Higham's gamma_n for terms of order 1 to 4.
    close = partial(
        assert_close,
        backend=backend,
        rtol=0.0,
        atol=8 * samples * float(backend.xp.finfo(backend.dtype).eps),
    )
    close(layer.weights, np.einsum("si,sj->ij", a, error))
    close(layer.bias, error.sum(axis=0))


def test_a_bias_is_a_parameter():
    assert count_parameters((784, 64, 10)) == 784 * 64 + 64 + 64 * 10 + 10


def make_case(
    sizes: tuple[int, ...], batch_size: int
) -> tuple[tuple[Layer, ...], np.ndarray, np.ndarray]:
    """Return a network with biases that are not 0, and inputs and one-hot targets."""
    random = np.random.default_rng([len(sizes), batch_size])
    layers = [
        Layer(random.normal(size=shape), random.normal(size=shape[1]))
        for shape in pairwise(sizes)
    ]
    targets = np.eye(sizes[-1])[random.integers(0, sizes[-1], batch_size)]
    return tuple(layers), random.normal(size=(batch_size, sizes[0])), targets


@cache
def autograd(
    task: str, activation: str, sizes: tuple[int, ...], batch_size: int
) -> tuple[Layer, ...]:
    """Return the gradients by JAX, from the mean loss.

    Other tests compare the values of the loss.
    """
    xp, activations = (
        open_backend("jax").xp,
        [ACTIVATIONS[activation]] * (len(sizes) - 2),
    )
    network, x, targets = make_case(sizes, batch_size)

    def loss(network: Any) -> Any:
        logits, _ = forward(network, x, activations, xp=xp)
        return xp.mean(TASKS[task].loss(logits, targets, xp=xp))

    return rebuild(jax.jit(jax.grad(loss))(network), np.asarray)
