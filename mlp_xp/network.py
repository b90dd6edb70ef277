"""The network: a tuple of fully connected layers. Initialisation, forward pass and backpropagation.

Notation, for a batch of B samples. a_0 = x are the inputs (B, n_0); layer l has weights W_l (n_l, n_{l+1}) and a bias
b_l (n_{l+1},):

    z_l = a_l W_l + b_l            a_{l+1} = f(z_l), f the activation; the last z are the logits.

The loss L is the mean cross-entropy of softmax(logits). Backpropagation (Rumelhart, Hinton and Williams, 1986) is the
chain rule from the last layer down. With the error e_l = dL/dz_l, shape (B, n_{l+1}):

    last layer     e = (softmax(logits) - targets) / B           (`functional.cross_entropy_derivative`)
    weights        dL/dW_l = a_l^T e_l        since dz_l[s, j] / dW_l[i, j] = a_l[s, i]
    bias           dL/db_l = sum_s e_l[s]     since dz_l[s, j] / db_l[j] = 1
    layer below    e_{l-1} = (e_l W_l^T) * f'(z_{l-1})           since dz_l[s, j] / da_l[s, i] = W_l[i, j]

Everything is linear in the error: scaling the error at the output by a factor scales every gradient by it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.functional import Activation
from mlp_xp.loops import Array


class Layer(NamedTuple):
    """A fully connected layer: weights (inputs, outputs) and bias (outputs,). Also holds what has its shape."""

    weights: Array
    bias: Array

    def __repr__(self) -> str:
        """Its shape and dtype, as in `Layer(784 x 64 float64)`: the numbers would fill pages."""
        if not hasattr(self.weights, "dtype"):
            return f"Layer(weights={self.weights!r}, bias={self.bias!r})"
        return f"Layer({' x '.join(map(str, self.weights.shape))} {str(self.weights.dtype).rpartition('.')[2]})"


Network = tuple[Layer, ...]

# The standard deviation of the initial weights of a layer with so many inputs and outputs.
INITIALISERS: dict[str, Callable[[int, int], float]] = {
    "notebook": lambda inputs, outputs: 1.0,
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,  # Glorot and Bengio, 2010, eq. 12
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,  # He et al., 2015, eq. 10
}


def count_parameters(sizes: Sequence[int]) -> int:
    """The weights and biases of a network of layer sizes (n_0, ..., n_L)."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def initial_layers(sizes: Sequence[int], random: np.random.RandomState, init: str = "notebook") -> Network:
    """Layers on the host, float64, for sizes (n_0, ..., n_L): normal weights, one draw a layer in order, zero biases.

    `random` is NumPy's legacy stream, on every backend: its numbers are frozen, and the notebook drew from it.
    """
    return tuple(
        Layer(random.standard_normal((inputs, outputs)) * INITIALISERS[init](inputs, outputs), np.zeros(outputs))
        for inputs, outputs in pairwise(sizes)
    )


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to a backend's device, in its dtype."""
    return tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in network)


def copy_network(network: Network, backend: Backend) -> Network:
    """A copy on the device, which no later step changes."""
    return tuple(Layer(*(backend.xp.asarray(array, copy=True) for array in layer)) for layer in network)


def forward(network: Sequence[Layer], x: Array, /, *, activation: Activation, xp: Any) -> tuple[Array, ...]:
    """Inputs (B, n_0) to what every layer takes and the last gives: (x, a_1, ..., a_{L-1}, logits (B, n_L))."""
    return (x, *forward_above(network, x @ network[0].weights, activation=activation, xp=xp))


def forward_above(network: Sequence[Layer], z: Array, /, *, activation: Activation, xp: Any) -> list[Array]:
    """The forward pass on from the product x W_0 (B, n_1), to which no bias is added yet: [a_1, ..., logits]."""
    outputs = []
    for layer, above in pairwise(network):
        outputs.append(activation.function(z + layer.bias, xp=xp))
        z = outputs[-1] @ above.weights
    outputs.append(z + network[-1].bias)
    return outputs


def backward(
    network: Sequence[Layer], activations: Sequence[Array], error: Array, /, *, activation: Activation, xp: Any
) -> list[Array]:
    """The error of every layer, [e_0 (B, n_1), ..., e_{L-1} (B, n_L)], all at the same weights, as in textbooks.

    activations: (x, a_1, ..., logits), as `forward` returns them. error: e_{L-1} = dL/dlogits (B, n_L). The gradient of
    layer i is `gradient(activations[i], errors[i])`.
    """
    errors = [error]
    for i in reversed(range(1, len(network))):
        errors.append(error_below(network[i], activations[i], errors[-1], activation=activation, xp=xp))
    return errors[::-1]


def error_below(layer: Layer, a: Array, error: Array, /, *, activation: Activation, xp: Any) -> Array:
    """The error of the layer below, (e W^T) * f'(z): from this layer's input a (B, n_l) and its error (B, n_{l+1})."""
    return (error @ layer.weights.T) * activation.derivative(a, xp=xp)


def gradient(a: Array, error: Array, /, *, xp: Any) -> Layer:
    """The gradient of a layer from its input a (B, n_l) and its error (B, n_{l+1}): Layer(a^T e, sum of e)."""
    if error.shape[0] == 1:
        # Nothing to sum over. NumPy takes its slow path in a.T @ error here, and a sum costs more than what follows it.
        return Layer(a.T * error, error[0, ...])
    return Layer(a.T @ error, xp.sum(error, axis=0))
