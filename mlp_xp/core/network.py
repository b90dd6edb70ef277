"""The network: a tuple of fully connected layers. Initialisation, forward pass and backpropagation.

Notation, for a batch of B samples. The inputs are a_0 = x, shape (B, n_0). Layer l has weights W_l, shape
(n_l, n_{l+1}), and a bias b_l, shape (n_{l+1},):

    z_l = a_l W_l + b_l            a_{l+1} = f(z_l), where f is the activation; the last z are the logits.

The loss L is the mean over the samples of the loss of a `Task`, which has a link. Backpropagation
(Rumelhart, Hinton and Williams, 1986) applies the chain rule from the last layer to the first. The error of layer l is
e_l = dL/dz_l, shape (B, n_{l+1}):

    last layer     e = (link(logits) - targets) / B              (derived in `losses`)
    weights        dL/dW_l = a_l^T e_l        because dz_l[s, j] / dW_l[i, j] = a_l[s, i]
    bias           dL/db_l = sum_s e_l[s]     because dz_l[s, j] / db_l[j] = 1
    layer below    e_{l-1} = (e_l W_l^T) * f'(z_{l-1})           because dz_l[s, j] / da_l[s, i] = W_l[i, j]

With dropout, a_{l+1} = f(z_l) * mask, and so e_{l-1} is multiplied by the mask of a_l too.

All of this is linear in the error: multiplying the last error by a factor multiplies every gradient by it. The
optimisers use this.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Activation, Array


class Layer(NamedTuple):
    """A fully connected layer. Also used for gradients and optimiser state, which have the same shapes."""

    weights: Array
    """(inputs, outputs)."""
    bias: Array
    """(outputs,)."""

    def __repr__(self) -> str:
        """Its shape and dtype, as in `Layer(784 x 64 float64)`: the numbers would fill pages."""
        if not hasattr(self.weights, "dtype"):
            return f"Layer(weights={self.weights!r}, bias={self.bias!r})"
        return f"Layer({' x '.join(map(str, self.weights.shape))} {str(self.weights.dtype).rpartition('.')[2]})"


Network = tuple[Layer, ...]

# From this many samples on, the gradient of a layer with few outputs is computed as the transpose of (e^T a).
MANY_SAMPLES, FEW_OUTPUTS = 128, 32

# Standard deviation of the initial weights, from the number of a layer's inputs and outputs.
INITIALISERS: dict[str, Callable[[int, int], float]] = {
    "notebook": lambda inputs, outputs: 1.0,
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,  # Glorot and Bengio, 2010, eq. 12
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,  # He et al., 2015, eq. 10
}


def count_parameters(sizes: Sequence[int]) -> int:
    """Return the number of weights and biases of a network with layer sizes (n_0, ..., n_L)."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def initial_layers(sizes: Sequence[int], random: np.random.RandomState, init: str = "notebook") -> Network:
    """Return initial layers on the host, float64, for layer sizes (n_0, ..., n_L).

    Weights are normal with the standard deviation that `init` (a key of INITIALISERS) gives, one draw per layer, from
    the first layer on. Biases are zero. `random` is NumPy's legacy generator on every backend: its numbers never
    change, and the notebook used it.
    """
    return tuple(
        Layer(random.standard_normal((inputs, outputs)) * INITIALISERS[init](inputs, outputs), np.zeros(outputs))
        for inputs, outputs in pairwise(sizes)
    )


def forward(network: Sequence[Layer], x: Array, /, *, activation: Activation, xp: Any) -> tuple[Array, ...]:
    """Compute the forward pass for inputs x, shape (B, n_0).

    Returns (x, a_1, ..., a_{L-1}, logits): element l is the input of layer l, the last one is the logits (B, n_L).
    """
    inputs, _, logits = forward_pass(network, x, activation=activation, xp=xp)
    return (*inputs, logits)


def forward_pass(
    network: Sequence[Layer], x: Array, /, *, activation: Activation, masks: Sequence[Array] = (), xp: Any
) -> tuple[list[Array], list[Array], Array]:
    """Compute the forward pass for inputs x, shape (B, n_0), and keep what backpropagation needs.

    Returns the inputs [x, a_1, ..., a_{L-1}] of the layers; for each hidden layer what the derivative of its activation
    takes, which is f(z), or else z; and the logits (B, n_L). masks: what each hidden layer is multiplied by,
    (B, n_{l+1}), for dropout; empty for none.
    """
    inputs, seen = [x], []
    for i, layer in enumerate(network[:-1]):
        z = inputs[-1] @ layer.weights
        z += layer.bias
        y = activation.function(z, xp=xp)
        seen.append(z if activation.of == "input" else y)
        inputs.append(y * masks[i] if masks else y)
    logits = inputs[-1] @ network[-1].weights
    logits += network[-1].bias
    return inputs, seen, logits


def gradient(a: Array, error: Array, ones: Array, /) -> Layer:
    """Return a layer's gradient, Layer(a^T e, 1^T e), from its input a (B, n_l) and its error e (B, n_{l+1}).

    ones: B times 1. With it the sum over the samples is a product too, which NumPy computes in a third of the time.
    """
    samples, outputs = error.shape
    if samples == 1:
        # One sample: nothing to sum, and (n_l, 1) * (1, n_{l+1}) is the outer product. NumPy takes half the time of @.
        return Layer(a.T * error, error[0, ...])
    # PyTorch's BLAS takes up to 30 times as long for a^T e (1024 samples, 2048 inputs, 10 outputs).
    narrow = samples >= MANY_SAMPLES and outputs < FEW_OUTPUTS
    return Layer((error.T @ a).T if narrow else a.T @ error, ones @ error)


def error_below(layer: Layer, seen: Array, error: Array, /, *, activation: Activation, xp: Any) -> Array:
    """Return the error of the layer below, (e W^T) * f'(z), shape (B, n_l).

    seen: of the layer below, see `forward_pass`, shape (B, n_l). error: the layer's error e, shape (B, n_{l+1}).
    """
    below = error @ layer.weights.T
    below *= activation.derivative(seen, xp=xp)
    return below


def backward(
    network: Sequence[Layer],
    inputs: Sequence[Array],
    seen: Sequence[Array],
    error: Array,
    ones: Array,
    /,
    *,
    activation: Activation,
    masks: Sequence[Array] = (),
    xp: Any,
) -> list[Layer]:
    """Return the gradients of all layers, from what `forward_pass` keeps and the error of the last layer (B, n_L).

    ones: as in `gradient`.
    """
    gradients = [gradient(inputs[-1], error, ones)]
    for i in reversed(range(1, len(network))):
        error = error_below(network[i], seen[i - 1], error, activation=activation, xp=xp)
        if masks:
            error = error * masks[i - 1]
        gradients.append(gradient(inputs[i - 1], error, ones))
    return gradients[::-1]
