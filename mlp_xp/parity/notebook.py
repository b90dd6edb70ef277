"""The notebook's code in plain NumPy, for `parity --notebook`.

It is also the reference of the tests and the baseline of the benchmark. Every step
performs the notebook's operations, in the notebook's order, oddities included. So both
the numbers and the time of a step are the notebook's. The only change is that the
notebook's global variables are attributes here. A function of a single operation stays
a function, because its call is part of the time of a step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.core.dataset import Samples

Array = npt.NDArray[np.floating[Any]]


class Layers(NamedTuple):
    """The result of a forward pass: the input and output of both layers."""

    hidden_input: Array
    hidden_output: Array
    output_input: Array
    output: Array


def one_hot(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Convert digits to one-hot rows."""
    rows = np.zeros((labels.size, int(labels.max()) + 1))
    rows[np.arange(labels.size), labels] = 1
    return rows


def flat(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Convert images of bytes to rows of numbers in [0, 1]."""
    rows: npt.NDArray[np.float64] = images.reshape(images.shape[0], -1) / 255
    return rows


def prepared(samples: Samples) -> Samples:
    """Return images of bytes as rows in [0, 1], and their labels as one-hot rows."""
    return Samples(flat(samples.inputs), one_hot(samples.labels))


def sigmoid(x: Array) -> Array:
    """Return the activation of the hidden layer."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    """Return the activation of the output layer."""
    exp_x = np.exp(x - np.max(x, axis=1, keepdims=True))
    out: Array = exp_x / np.sum(exp_x, axis=1, keepdims=True)
    return out


def cross_entropy_loss(y: Array, y_hat: Array) -> np.floating[Any]:
    """Return the mean loss of a batch. It is not finite if a probability is zero."""
    loss: np.floating[Any] = -np.sum(y * np.log(y_hat)) / y.shape[0]
    return loss


def sigmoid_derivative(x: Array) -> Array:
    """Return the derivative of the sigmoid, given the output of the sigmoid."""
    return x * (1 - x)


def _softmax_and_cross_entropy_derivative(y: Array, y_hat: Array) -> Array:
    """Return the derivative of the summed loss by the input of the softmax."""
    return y_hat - y


def _matrix_derivative(x: Array, delta: Array) -> Array:
    """Return the gradient of a layer's weights from the layer's input and its error."""
    gradient: Array = np.dot(x.T, delta)
    return gradient


class Notebook:
    """The notebook's network: its parameters, and the generator that also shuffles.

    The defaults are the notebook's. The notebook updates the output weights before it
    computes the hidden error with them. With `textbook`, the hidden error is computed
    with the output weights of the forward pass.
    """

    def __init__(
        self,
        *,
        input_size: int = 28 * 28,
        hidden_size: int = 64,
        output_size: int = 10,
        learning_rate: float = 0.01,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float64,
        textbook: bool = False,
    ) -> None:
        """Draw the weights like the notebook."""
        # These are the numbers of np.random.seed and np.random.randn. The shuffles
        # continue their sequence.
        self.random = np.random.RandomState(seed)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        # a Python number, which does not promote float32 arrays
        self.learning_rate = float(learning_rate)
        self.textbook = textbook
        weights = self.random.randn(input_size, hidden_size)
        self.weights_input_hidden: Array = weights.astype(self.dtype)
        weights = self.random.randn(hidden_size, output_size)
        self.weights_hidden_output: Array = weights.astype(self.dtype)
        self.bias_input_hidden: Array = np.zeros(hidden_size, self.dtype)
        self.bias_hidden_output: Array = np.zeros(output_size, self.dtype)

    def forward(self, x: Array) -> Layers:
        """Run a batch of rows, in the network's dtype, through both layers."""
        hidden_input: Array = (
            np.dot(x, self.weights_input_hidden) + self.bias_input_hidden
        )
        hidden_output = sigmoid(hidden_input)
        output_input: Array = (
            np.dot(hidden_output, self.weights_hidden_output) + self.bias_hidden_output
        )
        return Layers(hidden_input, hidden_output, output_input, softmax(output_input))

    def train_step(self, x: Array, y: Array) -> np.floating[Any]:
        """Take one step in place, and return the loss before the update.

        The notebook only takes steps on one row. For more rows, the step follows the
        gradient of the mean loss.
        """
        _, hidden_output, _, output = self.forward(x)
        loss = cross_entropy_loss(y, output)
        single = x.shape[0] == 1
        weights_for_error = self.weights_hidden_output
        if self.textbook:
            # the weights of the forward pass, because the updates below are in place
            weights_for_error = weights_for_error.copy()

        delta_hidden_output = _softmax_and_cross_entropy_derivative(y, output)
        if not single:
            delta_hidden_output = delta_hidden_output / x.shape[0]
        self.weights_hidden_output -= self.learning_rate * _matrix_derivative(
            hidden_output, delta_hidden_output
        )
        if single:
            # The notebook computes the same difference again, and its squeeze only
            # works for a single row.
            bias_hidden_output_gradient = _softmax_and_cross_entropy_derivative(
                y, output
            )
            self.bias_hidden_output -= (
                self.learning_rate * bias_hidden_output_gradient.squeeze()
            )
        else:
            self.bias_hidden_output -= self.learning_rate * delta_hidden_output.sum(
                axis=0
            )

        # By default these are the updated output weights, as in the notebook.
        delta_input_hidden = np.dot(
            delta_hidden_output, weights_for_error.T
        ) * sigmoid_derivative(hidden_output)
        self.weights_input_hidden -= self.learning_rate * _matrix_derivative(
            x, delta_input_hidden
        )
        self.bias_input_hidden -= self.learning_rate * delta_input_hidden.sum(axis=0)
        return loss


def accuracy(network: Notebook, images: Array, labels: Array) -> float:
    """Return the accuracy of the network on images, computed in one batch."""
    predicted = network.forward(images.astype(network.dtype, copy=False)).output
    return float(np.mean(np.argmax(predicted, axis=1) == np.argmax(labels, axis=1)))


def trajectory(
    network: Notebook,
    images: Array,
    labels: Array,
    steps: int,
    *,
    batch_size: int = 1,
    warm_up: int = 10,
    on_report: Callable[[int, int, float], None] | None = None,
    report_every: int = 10000,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Train like the notebook, and return the losses of warm-up and later steps.

    The warm-up consists of steps on sample 1 only, for any batch size. Epochs follow
    until all steps are done. Each epoch is shuffled first, and its last batch may be
    short. `on_report` is called with the epoch, the index of the batch's first sample,
    and the loss. It is called after a step if this index is a multiple of
    `report_every`.
    """
    images = images.astype(network.dtype, copy=False)
    labels = labels.astype(network.dtype, copy=False)
    warm_up_losses, losses = np.empty(warm_up), np.empty(steps)
    for step in range(warm_up):
        warm_up_losses[step] = network.train_step(images[1:2], labels[1:2])

    count, step, epoch = images.shape[0], 0, 0
    while step < steps:
        # The permutation applies to the order of the previous epoch.
        shuffle_index = network.random.permutation(count)
        images, labels = images[shuffle_index], labels[shuffle_index]
        for index in range(0, count, batch_size)[: steps - step]:
            loss = network.train_step(
                images[index : index + batch_size], labels[index : index + batch_size]
            )
            loss = loss.mean()  # without effect, but part of the notebook's time
            losses[step] = loss
            step += 1
            if index % report_every == 0 and on_report is not None:
                on_report(epoch, index, float(loss))
        epoch += 1
    return warm_up_losses, losses
