"""The network against plain NumPy, and its gradients against central differences and two autograds."""

import functools
from itertools import pairwise

import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.backend import Backend, installed, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.network import (
    FEW_OUTPUTS,
    INITIALISERS,
    MANY_SAMPLES,
    Layer,
    count_parameters,
    error_below,
    forward,
    gradient,
    initial_layers,
)
from mlp_xp.steps import State, make_step

PLAIN = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: 0.5 * z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3))),
    "identity": lambda z: z,
}
SIZES = {0: (6, 4), 1: (6, 5, 4), 3: (6, 5, 3, 5, 4)}  # by the number of hidden layers

every_network = [
    pytest.mark.parametrize("activation", ACTIVATIONS),
    pytest.mark.parametrize("hidden", SIZES),
    pytest.mark.parametrize("batch_size", [1, 7]),
]


def for_every_network(test):
    return functools.reduce(lambda test, mark: mark(test), every_network, test)


def make_case(hidden: int, batch_size: int) -> tuple[list[Layer], np.ndarray, np.ndarray]:
    """A network with biases that are not 0, and a batch; no unit happens to be at the bend of relu."""
    random = np.random.default_rng([hidden, batch_size])
    layers = [Layer(random.normal(size=shape), random.normal(size=shape[1])) for shape in pairwise(SIZES[hidden])]
    x = random.normal(size=(batch_size, SIZES[hidden][0]))
    targets = np.eye(SIZES[hidden][-1])[random.integers(0, SIZES[hidden][-1], batch_size)]
    return layers, x, targets


def plain_loss(layers: list[Layer], x: np.ndarray, targets: np.ndarray, activation: str) -> np.longdouble:
    """The mean cross-entropy, in NumPy's widest numbers: differences of it are then good to float64's last digits."""
    a = x.astype(np.longdouble)
    for layer, _ in pairwise(layers):
        a = PLAIN[activation](a @ layer.weights + layer.bias)
    z = a @ layers[-1].weights + layers[-1].bias
    z = z - z.max(axis=1, keepdims=True)
    return -np.sum(targets * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))) / len(x)


def gradients(layers, x, targets, activation: str, backend) -> list[Layer]:
    """What a training step computes: a Layer of gradients for each layer, on the device.

    After one step from 0 the velocity of momentum is the gradient itself.
    """
    config = TrainConfig(
        batch_size=len(x), activation=activation, optimizer="momentum", update_order="simultaneous", hidden=()
    )
    state = State(device_layers(layers, backend), tuple((layer,) for layer in device_layers(layers, backend, 0.0)))
    batch = (*map(backend.asarray, (x, np.ones(len(x)), targets)), 1 / len(x), 1.0)
    state, _ = make_step(config, xp=backend.xp)(state, batch)
    return [velocity for (velocity,) in state.slots]


def device_layers(layers: list[Layer], backend: Backend, factor: float = 1.0) -> tuple[Layer, ...]:
    return tuple(Layer(*(backend.asarray(array * factor) for array in layer)) for layer in layers)


def rounding(backend) -> float:
    """A few dozen operations a value, on sums of at most seven terms of order 1 to 10."""
    return 1000 * float(backend.xp.finfo(backend.dtype).eps)


@for_every_network
def test_forward_is_plain_numpy(activation, hidden, batch_size, backend):
    layers, x, _ = make_case(hidden, batch_size)
    network = tuple(Layer(*(backend.asarray(array) for array in layer)) for layer in layers)
    outputs = forward(network, backend.asarray(x), activation=ACTIVATIONS[activation], xp=backend.xp)
    assert len(outputs) == len(layers) + 1
    a = x
    for i, (layer, output) in enumerate(zip(layers, outputs[1:], strict=True)):
        assert_close(outputs[i], a, backend, rtol=rounding(backend), atol=rounding(backend))
        a = a @ layer.weights + layer.bias
        if i < len(layers) - 1:
            a = PLAIN[activation](a)
        assert_close(output, a, backend, rtol=rounding(backend), atol=rounding(backend))


@for_every_network
def test_backward_is_the_slope_of_the_loss(activation, hidden, batch_size, backend):
    layers, x, targets = make_case(hidden, batch_size)
    # In longdouble (eps 1e-19 on x86, at worst float64's): truncation, step^2, and rounding, eps / step, are equal.
    eps = float(np.finfo(np.longdouble).eps)
    step = np.longdouble(eps ** (1 / 3))
    for layer_index, actual in enumerate(gradients(layers, x, targets, activation, backend)):
        for field in Layer._fields:
            parameter = getattr(layers[layer_index], field)
            expected = np.empty_like(parameter)
            for i in np.ndindex(parameter.shape):
                losses = []
                for sign in (1, -1):
                    moved = parameter.astype(np.longdouble)
                    moved[i] += sign * step
                    changed = list(layers)
                    changed[layer_index] = layers[layer_index]._replace(**{field: moved})
                    losses.append(plain_loss(changed, x, targets, activation))
                expected[i] = (losses[0] - losses[1]) / (2 * step)
            # 100: third derivatives of a loss of order 10 through up to four layers of weights of order 1.
            atol = rounding(backend) + 100 * float(step) ** 2
            assert_close(getattr(actual, field), expected, backend, rtol=rounding(backend), atol=atol)


@for_every_network
def test_backward_is_the_autograd_of_jax(activation, hidden, batch_size):
    import jax

    layers, x, targets = make_case(hidden, batch_size)
    backend = open_backend("jax")
    functions = {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jax.numpy.tanh,
        "relu": jax.nn.relu,
        "gelu": jax.nn.gelu,
        "identity": lambda z: z,
    }

    def loss(network):
        a = x
        for layer, _ in pairwise(network):
            a = functions[activation](a @ layer.weights + layer.bias)
        logits = a @ network[-1].weights + network[-1].bias
        return -(targets * jax.nn.log_softmax(logits)).sum(axis=1).mean()

    expected = jax.grad(loss)(layers)
    for actual, layer in zip(gradients(layers, x, targets, activation, backend), expected, strict=True):
        for field in Layer._fields:
            reference = backend.to_numpy(getattr(layer, field))
            assert_close(getattr(actual, field), reference, backend, rtol=rounding(backend), atol=rounding(backend))


@for_every_network
def test_backward_is_the_autograd_of_pytorch(activation, hidden, batch_size):
    if not installed("torch"):
        pytest.skip("torch is not installed")
    import torch

    layers, x, targets = make_case(hidden, batch_size)
    backend = open_backend("torch")
    modules = {
        "sigmoid": torch.nn.Sigmoid,
        "tanh": torch.nn.Tanh,
        "relu": torch.nn.ReLU,
        "gelu": functools.partial(torch.nn.GELU, "tanh"),
        "identity": torch.nn.Identity,
    }
    stack = []
    for layer in layers:
        linear = torch.nn.Linear(*layer.weights.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weights.T))
            linear.bias.copy_(torch.tensor(layer.bias))
        stack += [linear, modules[activation]()]
    logits = torch.nn.Sequential(*stack[:-1])(torch.tensor(x))
    torch.nn.functional.cross_entropy(logits, torch.tensor(targets.argmax(axis=1))).backward()
    for actual, linear in zip(gradients(layers, x, targets, activation, backend), stack[::2], strict=True):
        for field, reference in (("weights", linear.weight.grad.T), ("bias", linear.bias.grad)):
            assert_close(
                getattr(actual, field), reference.numpy(), backend, rtol=rounding(backend), atol=rounding(backend)
            )


def test_backward_leaves_the_network_as_it_was(backend):
    """Training updates in place, but the gradient itself is a pure function."""
    layers, x, _ = make_case(1, 7)
    network = [Layer(*(backend.asarray(array) for array in layer)) for layer in layers]
    device_x = backend.asarray(x)
    outputs = forward(network, device_x, activation=ACTIVATIONS["sigmoid"], xp=backend.xp)
    kept = [backend.to_numpy(output) for output in outputs]
    below = error_below(network[1], outputs[1], outputs[2], activation=ACTIVATIONS["sigmoid"], xp=backend.xp)
    for a, error in zip(outputs[:-1], (below, outputs[2]), strict=True):
        gradient(a, error, backend.xp.ones_like(error[:, 0]))
    for layer, original in zip(network, layers, strict=True):
        for array, expected in zip(layer, original, strict=True):
            assert_close(array, expected, backend, rtol=0.0)
    for output, expected in zip(outputs, kept, strict=True):
        assert_close(output, expected, backend, rtol=0.0)


@pytest.mark.parametrize(
    ("samples", "outputs"),
    [(1, 3), (2, 3), (MANY_SAMPLES - 1, 31), (MANY_SAMPLES, FEW_OUTPUTS - 1), (MANY_SAMPLES, FEW_OUTPUTS)],
)
def test_a_gradient_is_a_sum_over_the_samples(samples, outputs, backend):
    """For one sample, and where the product is computed the other way round, as for all others."""
    random = np.random.default_rng(samples)
    a, error = random.normal(size=(samples, 5)), random.normal(size=(samples, outputs))
    layer = gradient(*map(backend.asarray, (a, error, np.ones(samples))))
    assert tuple(layer.weights.shape) == (5, outputs)
    tolerance = 8 * samples * float(backend.xp.finfo(backend.dtype).eps)  # Higham's gamma_n for terms of order 1 to 4
    assert_close(layer.weights, np.einsum("si,sj->ij", a, error), backend, rtol=0.0, atol=tolerance)
    assert_close(layer.bias, error.sum(axis=0), backend, rtol=0.0, atol=tolerance)


def test_initial_layers_are_the_notebooks_stream():
    """np.random.seed(0), then randn for each layer in turn: written here with the global functions it used."""
    state = np.random.get_state()
    try:
        np.random.seed(0)
        first, second, after = np.random.randn(784, 64), np.random.randn(64, 10), np.random.permutation(100)
    finally:
        np.random.set_state(state)
    stream = np.random.RandomState(0)
    layers = initial_layers((784, 64, 10), stream)
    np.testing.assert_array_equal(layers[0].weights, first)
    np.testing.assert_array_equal(layers[1].weights, second)
    np.testing.assert_array_equal(stream.permutation(100), after)
    assert [layer.bias.tolist() for layer in layers] == [[0.0] * 64, [0.0] * 10]
    assert all(array.dtype == np.float64 for layer in layers for array in layer)


@pytest.mark.parametrize("init", INITIALISERS)
def test_initial_layers_have_the_published_spread(init):
    plain = initial_layers((784, 64, 10), np.random.RandomState(3))
    layers = initial_layers((784, 64, 10), np.random.RandomState(3), init)
    for layer, unit in zip(layers, plain, strict=True):
        inputs, outputs = layer.weights.shape
        variance = {"notebook": 1, "glorot": 2 / (inputs + outputs), "he": 2 / inputs}[init]
        # To rounding: a product with the square root.
        np.testing.assert_allclose(layer.weights**2, variance * unit.weights**2, rtol=8 * np.finfo(float).eps)
        assert (np.sign(layer.weights) == np.sign(unit.weights)).all()


def test_initial_layers_differ_by_seed():
    first, second = (initial_layers((3, 2), np.random.RandomState(seed))[0].weights for seed in (0, 1))
    assert (first != second).all()


@pytest.mark.parametrize("sizes", [(784, 64, 10), *SIZES.values()])
def test_parameters_are_counted(sizes):
    layers = initial_layers(sizes, np.random.RandomState(0))
    assert count_parameters(sizes) == sum(array.size for layer in layers for array in layer)
