"""The network's gradients against JAX's autograd; `test_trajectories.py` compares its
first weights.
"""

from functools import cache
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dropout import Dropout
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

CASES = [
    ("sigmoid", (6, 5, 4), 7),
    ("tanh", (6, 5, 3, 5, 4), 1),
    ("relu", (6, 5, 3, 5, 4), 7),
    ("gelu", (6, 5, 3, 4), 7),
    ("identity", (6, 4), 1),
]


def make_case(
    sizes: tuple[int, ...], batch_size: int
) -> tuple[list[Layer], np.ndarray, np.ndarray, list]:
    """A network with biases that are not 0, a batch, one-hot targets, and masks as of
    dropout.
    """
    random = np.random.default_rng([len(sizes), batch_size])
    layers = [
        Layer(random.normal(size=shape), random.normal(size=shape[1]))
        for shape in pairwise(sizes)
    ]
    targets = np.eye(sizes[-1])[random.integers(0, sizes[-1], batch_size)]
    masks = [random.integers(0, 2, (batch_size, units)) / 0.7 for units in sizes[1:-1]]
    return layers, random.normal(size=(batch_size, sizes[0])), targets, masks


def mean_loss(
    network: Any, x: Any, t: Any, activations: list, task: str, xp: Any
) -> tuple[Any, Any, Any]:
    logits, tape = forward(network, x, activations, xp=xp)
    return xp.mean(TASKS[task].loss(logits, t, xp=xp)), logits, tape


@cache
def autograd(case: int, task: str, dropped: bool) -> list[np.ndarray]:
    """The gradients of the loss, whose values other tests know, by JAX."""
    xp = open_backend("jax").xp
    activation, sizes, batch_size = CASES[case]
    layers, x, targets, masks = make_case(sizes, batch_size)
    activations = activations_of(activation, masks if dropped else [], len(sizes) - 2)
    network, x, t = (
        [Layer(*map(xp.asarray, layer)) for layer in layers],
        xp.asarray(x),
        xp.asarray(targets),
    )
    found = jax.jit(
        jax.grad(lambda network: mean_loss(network, x, t, activations, task, xp)[0])
    )(network)
    return [np.array(array) for layer in found for array in layer]


def activations_of(name: str, masks: list, count: int) -> list:
    return [Dropout(ACTIVATIONS[name], mask) for mask in masks] or [
        ACTIVATIONS[name]
    ] * count


def test_a_bias_is_a_parameter():
    assert count_parameters((784, 64, 10)) == 784 * 64 + 64 + 64 * 10 + 10


@pytest.mark.every_backend
@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_those_of_autograd(task, backend):
    """For every loss and activation, with dropout and without."""
    xp = backend.xp
    for case, (activation, sizes, batch_size) in enumerate(
        CASES[: 5 if task == "classes" else 1]
    ):
        layers, x, targets, masks = make_case(sizes, batch_size)

        def gradients(
            network: Any, x: Any, t: Any, masks: list, activation: str = activation
        ) -> list:
            activations = activations_of(activation, masks, len(network) - 1)
            _, logits, tape = mean_loss(network, x, t, activations, task, xp)
            error = (TASKS[task].link(logits, xp=xp) - t) / x.shape[0]
            return [
                gradient(a, e, xp=xp)
                for _, a, e in backward(network, tape, error, activations, xp=xp)
            ][::-1]

        network = [Layer(*map(backend.asarray, layer)) for layer in layers]
        # used twice: they must be left as they are
        arrays = backend.asarray(x), backend.asarray(targets)
        for used in (masks, []):
            found = backend.jit(gradients)(
                network, *arrays, [*map(backend.asarray, used)]
            )
            actual = [array for layer in found for array in layer]
            # A few dozen operations a value, on sums of at most seven terms of order 1
            # to 10.
            rounding = 1000 * float(xp.finfo(backend.dtype).eps)
            for one, expected in zip(
                actual, autograd(case, task, bool(used)), strict=True
            ):
                assert_close(one, expected, backend, rtol=rounding, atol=rounding)


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
def test_a_gradient_is_a_sum_over_the_samples(samples, outputs, backend):
    """For one sample, and where the product is computed the other way round, as for all
    others.
    """
    random = np.random.default_rng(samples)
    a, error = random.normal(size=(samples, 5)), random.normal(size=(samples, outputs))
    layer = gradient(*map(backend.asarray, (a, error)), xp=backend.xp)
    # Higham's gamma_n for terms of order 1 to 4
    tolerance = 8 * samples * float(backend.xp.finfo(backend.dtype).eps)
    assert_close(
        layer.weights,
        np.einsum("si,sj->ij", a, error),
        backend,
        rtol=0.0,
        atol=tolerance,
    )
    assert_close(layer.bias, error.sum(axis=0), backend, rtol=0.0, atol=tolerance)
