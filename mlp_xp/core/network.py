"""The network, a tuple of fully connected layers, with its forward and backward pass.

Notation, for a batch of B samples. The inputs are a_0 = x, shape (B, n_0). Layer l has
weights W_l, shape (n_l, n_{l+1}), and a bias b_l, shape (n_{l+1},). With an activation
f,

    z_l = a_l W_l + b_l
    a_{l+1} = f(z_l)

The last z are the logits.

The loss L is the mean of a task's loss over the samples. Backpropagation (Rumelhart,
Hinton and Williams, 1986) applies the chain rule from the last layer to the first. The
error of layer l is e_l = dL/dz_l, shape (B, n_{l+1}):

    last layer     e = (link(logits) - targets) / B
                   derived in losses.py
    weights        dL/dW_l = a_l^T e_l
                   because dz_l[s, j] / dW_l[i, j] = a_l[s, i]
    bias           dL/db_l = sum_s e_l[s]
                   because dz_l[s, j] / db_l[j] = 1
    layer below    e_{l-1} = (e_l W_l^T) * f'(z_{l-1})
                   because dz_l[s, j] / da_l[s, i] = W_l[i, j]

At given weights, all of this is linear in the error: multiplying the last error by a
factor multiplies every gradient by it. Therefore the learning rate may be multiplied
into the last error.

A stack of K networks is the same tuple with one more axis in front: weights (K, n_l,
n_{l+1}), biases (K, 1, n_{l+1}), and batches (K, B, n_0). The functions of this file
are written once for both. Only `transpose` and `gradient` know how many axes there are.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Activation, Array


class Layer(NamedTuple):
    """A fully connected layer, or arrays of the same shapes.

    Gradients and the state of optimisers have these shapes.
    """

    weights: Array
    """(inputs, outputs), or in a stack (K, inputs, outputs)."""
    bias: Array
    """(outputs,), or in a stack (K, 1, outputs)."""

    def __repr__(self) -> str:
        """Return shape and dtype, as in `Layer(784 x 64 float64)`, without numbers."""
        shape = " x ".join(map(str, self.weights.shape))
        dtype = str(self.weights.dtype).rpartition(".")[-1]
        return f"Layer({shape} {dtype})"


Network = tuple[Layer, ...]
_Tape = list[tuple[Array, Any]]
"""(a_l, saved) for each layer. a_l, (B, n_l), is its input. `saved` is from the
activation that made the input, and None for the first layer.
"""

# For at least MANY_SAMPLES samples and fewer than FEW_OUTPUTS outputs, the gradient of
# the weights is computed as (e^T a)^T.
MANY_SAMPLES, FEW_OUTPUTS = 128, 32

# The standard deviation of a layer's initial weights, from its inputs and outputs.
INITIALISERS: dict[str, Callable[[int, int], float]] = {
    "notebook": lambda inputs, outputs: 1.0,
    # Glorot and Bengio, 2010, eq. 12
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,  # He et al., 2015, eq. 10
}


def count_parameters(sizes: Sequence[int]) -> int:
    """Return the number of weights and biases for layer sizes (n_0, ..., n_L)."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def initial_layers(
    sizes: Sequence[int], random: np.random.RandomState, init: str
) -> Network:
    """Return initial layers on the host, float64, for layer sizes (n_0, ..., n_L).

    Weights are normal, with the standard deviation of `init`, a key of INITIALISERS.
    They are drawn layer by layer, from the first layer on. Biases are zero. `random` is
    NumPy's legacy generator, which the notebook used. Its numbers never change.
    """
    layers = []
    for inputs, outputs in pairwise(sizes):
        deviation = INITIALISERS[init](inputs, outputs)
        weights = random.standard_normal((inputs, outputs)) * deviation
        layers.append(Layer(weights, np.zeros(outputs)))
    return tuple(layers)


def transpose(a: Array, /) -> Array:
    """Return the transpose of a matrix, or of each matrix in a stack."""
    # `T` exists in more libraries than `mT`.
    return a.T if len(a.shape) == 2 else a.mT


def affine(layer: Layer, a: Array, /) -> Array:
    """Return z = a W + b, (B, outputs)."""
    z = a @ layer.weights
    z += layer.bias
    return z


def forward_from(
    z: Array, above: Sequence[Layer], activations: Sequence[Activation], /, *, xp: Any
) -> tuple[Array, _Tape]:
    """Return the logits and the tape of the layers above the first.

    z is z_0 of the first layer, (B, n_1).
    """
    tape = []
    for layer, activation in zip(above, activations, strict=True):
        a, saved = activation.function(z, xp=xp)
        tape.append((a, saved))
        z = affine(layer, a)
    return z, tape


def forward(
    network: Sequence[Layer], x: Array, activations: Sequence[Activation], /, *, xp: Any
) -> tuple[Array, _Tape]:
    """Return the logits (B, n_L) for inputs x (B, n_0), and the tape.

    `activations` has one activation for each hidden layer.
    """
    logits, tape = forward_from(affine(network[0], x), network[1:], activations, xp=xp)
    return logits, [(x, None), *tape]


def backward(
    network: Sequence[Layer],
    tape: _Tape,
    error: Array,
    activations: Sequence[Activation],
    /,
    *,
    xp: Any,
) -> Iterator[tuple[int, Array, Array]]:
    """Yield l, a_l and e_l of each layer, from the last layer to the first.

    `error` is the error of the last layer, (B, n_L). The gradient of a layer is then
    `gradient(a, e)`.

    This generator computes the next error only when it is asked for it, with the
    weights that `network` holds at this moment. If the caller replaces `network[l]` in
    a list as soon as it gets l, this is the notebook's layerwise order. If it collects
    all errors first, this is the order of textbooks.
    """
    for i in reversed(range(len(network))):
        a, saved = tape[i]
        yield i, a, error
        if i > 0:
            below = error @ transpose(network[i].weights)
            error = activations[i - 1].chain(below, saved, xp=xp)


def gradient(a: Array, error: Array, /, *, xp: Any) -> Layer:
    """Return a layer's gradient, Layer(a^T e, 1^T e).

    a is the input of the layer, (B, n_l), and e its error, (B, n_{l+1}).
    """
    is_stack = len(error.shape) == 3
    samples, outputs = error.shape[-2:]
    if samples == 1:
        # There is nothing to sum: (n_l, 1) * (1, n_{l+1}) is the outer product. On
        # NumPy, it takes half the time of @.
        return Layer(transpose(a) * error, error if is_stack else error[0, ...])
    if samples >= MANY_SAMPLES and outputs < FEW_OUTPUTS:
        # PyTorch's BLAS takes up to 30 times as long for a^T e (1024 samples, 2048
        # inputs, 10 outputs).
        weights = transpose(transpose(error) @ a)
    else:
        weights = transpose(a) @ error
    # On NumPy, this product takes a third of the time of a sum over the samples.
    ones = xp.ones_like(error[..., 0])
    return Layer(weights, (ones[:, None, :] if is_stack else ones) @ error)
