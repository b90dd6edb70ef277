"""The notebook, retold in plain NumPy: the oracle of the tests and the baseline of the benchmark.

Everything a step computes is computed here as the notebook computes it, operation for operation and in
its order, odd spots included, so that both the numbers and the time of a step are the notebook's own. Only
its global variables have become attributes. Run as a script, with the data folder as the argument, it
prints what the notebook prints.
"""

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Scalar = np.floating[Any]


class Data(NamedTuple):
    """The images as rows of numbers in [0, 1], the labels one-hot."""

    train_images: npt.NDArray[np.float64]
    train_labels: npt.NDArray[np.float64]
    test_images: npt.NDArray[np.float64]
    test_labels: npt.NDArray[np.float64]


class Layers(NamedTuple):
    """What a forward pass returns: the input and the output of both layers."""

    hidden_input: Array
    hidden_output: Array
    output_input: Array
    output: Array


class Report(NamedTuple):
    """One report of the training loop: the loss of that step, and the test accuracy right after it."""

    epoch: int
    sample: int  # the index of the sample, in the order of its epoch
    loss: float
    accuracy: float


class Printed(NamedTuple):
    """What the notebook prints, as numbers."""

    first_output: tuple[float, ...]  # printed by NumPy with nine significant digits
    warm_up: tuple[float, ...]  # printed in full
    reports: tuple[Report, ...]  # losses printed in full, accuracies exact


# The copy of the notebook breaks off within epoch 2; the rest of the five epochs is not known from it.
PRINTED: Final = Printed(
    first_output=(
        2.68663086e-08,
        4.59179373e-02,
        6.77974378e-04,
        2.75506586e-02,
        7.74795216e-01,
        1.94717364e-02,
        7.94041780e-05,
        5.08554970e-04,
        2.98237201e-02,
        1.01174772e-01,
    ),
    warm_up=(
        9.16264812588529,
        7.223333161807007,
        5.830257800794516,
        4.705050411253215,
        3.731189480421831,
        2.895925896543204,
        2.213008228387067,
        1.6775624030332286,
        1.2733157905064107,
        0.9784849978958721,
    ),
    reports=(
        Report(0, 0, 8.21996605027983, 0.0892),
        Report(0, 10000, 1.2390590076281032, 0.7833),
        Report(0, 20000, 0.16352187075209745, 0.8358),
        Report(0, 30000, 0.18625180174804273, 0.8518),
        Report(0, 40000, 0.017464559994938084, 0.8649),
        Report(0, 50000, 2.336440394287572, 0.8795),
        Report(1, 0, 0.03388167125926495, 0.8892),
        Report(1, 10000, 0.0003113355522074509, 0.8915),
        Report(1, 20000, 2.4832208308321015, 0.8934),
        Report(1, 30000, 3.5124014555825642, 0.8997),
        Report(1, 40000, 0.019325449800918094, 0.9031),
        Report(1, 50000, 3.402583545306575, 0.9053),
        Report(2, 0, 0.29551786162378396, 0.9081),
        Report(2, 10000, 0.00176281519735282, 0.9067),
        Report(2, 20000, 0.31044146769123204, 0.9101),
    ),
)


def read(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read one gzipped IDX file of bytes, whatever its number of dimensions."""
    with gzip.open(path, "rb") as file:
        content = file.read()
    (magic,) = struct.unpack_from(">I", content)
    kind, dimensions = divmod(magic, 256)
    if kind != 8:  # 8: unsigned bytes; so 2051 for images, 2049 for labels
        raise ValueError(f"{path}: not an IDX file of bytes (magic number {magic})")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def one_hot(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Turn digits into rows with a single one."""
    rows = np.zeros((labels.size, int(labels.max()) + 1))
    rows[np.arange(labels.size), labels] = 1
    return rows


def flat(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Turn pictures of bytes into rows of numbers in [0, 1]."""
    rows: npt.NDArray[np.float64] = images.reshape(images.shape[0], -1) / 255
    return rows


def load(folder: str | Path) -> Data:
    """Read the four MNIST files in a folder and prepare them as the notebook does."""
    folder = Path(folder)
    return Data(
        flat(read(folder / "train-images-idx3-ubyte.gz")),
        one_hot(read(folder / "train-labels-idx1-ubyte.gz")),
        flat(read(folder / "t10k-images-idx3-ubyte.gz")),
        one_hot(read(folder / "t10k-labels-idx1-ubyte.gz")),
    )


# The small functions below stay functions, though some are one operation: their calls are part of a step's cost.


def sigmoid(x: Array) -> Array:
    """Activate the hidden layer."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    """Activate the output layer."""
    exp_x = np.exp(x - np.max(x, axis=1, keepdims=True))
    out: Array = exp_x / np.sum(exp_x, axis=1, keepdims=True)
    return out


def cross_entropy_loss(y: Array, y_hat: Array) -> Scalar:
    """Return the mean loss of a batch; not a number once any probability is so small that it is stored as zero."""
    loss: Scalar = -np.sum(y * np.log(y_hat)) / y.shape[0]
    return loss


def sigmoid_derivative(x: Array) -> Array:
    """Return the sigmoid's derivative, given the sigmoid's output."""
    return x * (1 - x)


def softmax_and_cross_entropy_derivative(y: Array, y_hat: Array) -> Array:
    """Return the derivative of the loss (summed, not averaged) by the input of the softmax."""
    return y_hat - y


def matrix_derivative(x: Array, delta: Array) -> Array:
    """Return the gradient of a layer's weights from the layer's input and its error."""
    gradient: Array = np.dot(x.T, delta)
    return gradient


class Notebook:
    """The notebook's network: its parameters, and the stream of random numbers it also shuffles from.

    The defaults are the notebook's. With `textbook` the hidden error goes back through the output weights as
    they were in the forward pass; the notebook has updated them by then.
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
        """Draw the weights as the notebook does."""
        # A private stream gives the numbers that np.random.seed and np.random.randn give, without touching
        # anybody else's. It is kept, as the shuffles are drawn from where the weights left it.
        self.random = np.random.RandomState(seed)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.learning_rate = float(learning_rate)  # a Python number: it never widens an array of float32
        self.textbook = textbook
        self.weights_input_hidden: Array = self.random.randn(input_size, hidden_size).astype(self.dtype)
        self.weights_hidden_output: Array = self.random.randn(hidden_size, output_size).astype(self.dtype)
        self.bias_input_hidden: Array = np.zeros(hidden_size, self.dtype)
        self.bias_hidden_output: Array = np.zeros(output_size, self.dtype)

    def forward(self, x: Array) -> Layers:
        """Run a batch of rows, of the network's own dtype, through both layers."""
        hidden_input: Array = np.dot(x, self.weights_input_hidden) + self.bias_input_hidden
        hidden_output = sigmoid(hidden_input)
        output_input: Array = np.dot(hidden_output, self.weights_hidden_output) + self.bias_hidden_output
        output = softmax(output_input)
        return Layers(hidden_input, hidden_output, output_input, output)

    def train_step(self, x: Array, y: Array) -> Scalar:
        """Take one step, changing the parameters in place, and return the loss from before it.

        The notebook only ever takes steps of one row. On more, the gradient is that of the mean loss.
        """
        _, hidden_output, _, output = self.forward(x)
        loss = cross_entropy_loss(y, output)
        single = x.shape[0] == 1
        # The updates below are in place: only a copy still holds the weights of the forward pass afterwards.
        weights_for_error = self.weights_hidden_output.copy() if self.textbook else self.weights_hidden_output

        delta_hidden_output = softmax_and_cross_entropy_derivative(y, output)
        if not single:
            delta_hidden_output = delta_hidden_output / x.shape[0]
        weights_hidden_output_gradient = matrix_derivative(hidden_output, delta_hidden_output)
        self.weights_hidden_output -= self.learning_rate * weights_hidden_output_gradient
        if single:
            # The notebook works out the same difference anew, and its squeeze only fits a single row.
            bias_hidden_output_gradient = softmax_and_cross_entropy_derivative(y, output)
            self.bias_hidden_output -= self.learning_rate * bias_hidden_output_gradient.squeeze()
        else:
            self.bias_hidden_output -= self.learning_rate * delta_hidden_output.sum(axis=0)

        # Unless told otherwise, these are the output weights just updated: so does the notebook.
        delta_input_hidden = np.dot(delta_hidden_output, weights_for_error.T) * sigmoid_derivative(hidden_output)
        weights_input_hidden_gradient = matrix_derivative(x, delta_input_hidden)
        self.weights_input_hidden -= self.learning_rate * weights_input_hidden_gradient
        bias_input_hidden_gradient = delta_input_hidden.sum(axis=0)
        self.bias_input_hidden -= self.learning_rate * bias_input_hidden_gradient
        return loss


def verify(predicted: Array, labels: Array) -> float:
    """Return the share of rows with their largest number in the right place."""
    pred_label = np.argmax(predicted, axis=1)
    verify_label = np.argmax(labels, axis=1)
    return float(np.sum(pred_label == verify_label) / verify_label.size)


def accuracy(network: Notebook, images: Array, labels: Array) -> float:
    """Return the share of images the network gets right, all of them in one batch."""
    return verify(network.forward(images.astype(network.dtype, copy=False)).output, labels)


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
    """Train as the notebook does, and return the losses of the warm-up and those of the steps after it.

    The warm-up is steps on sample 1 alone, whatever the batch size. Then come as many epochs as the steps need,
    each shuffled first; the last batch of an epoch may be short. `on_report` is called with the epoch, the
    index of the batch's first sample, and the loss, right after every step whose index is a multiple of
    `report_every`. The network passed in ends up trained; the data stays as it was.
    """
    images = images.astype(network.dtype, copy=False)
    labels = labels.astype(network.dtype, copy=False)
    count = images.shape[0]
    warm_up_losses = np.empty(warm_up)
    losses = np.empty(steps)

    index = 1
    for step in range(warm_up):
        warm_up_losses[step] = network.train_step(images[index : index + 1], labels[index : index + 1])

    step = epoch = 0
    while step < steps:
        # The order is applied to data already in the order of the epoch before: the orders compose.
        shuffle_index = network.random.permutation(count)
        images = images[shuffle_index]
        labels = labels[shuffle_index]
        for index in range(0, count, batch_size)[: steps - step]:
            loss = network.train_step(images[index : index + batch_size], labels[index : index + batch_size])
            loss = loss.mean()  # changes nothing, but the notebook spends the time
            losses[step] = loss
            step += 1
            if index % report_every == 0 and on_report is not None:
                on_report(epoch, index, float(loss))
        epoch += 1
    return warm_up_losses, losses


def main() -> None:
    """Run all five epochs on the data in the folder given, and print the notebook's lines."""
    data = load(sys.argv[1])
    network = Notebook()
    print(network.forward(data.train_images[0:1]).output)

    def report(epoch: int, index: int, loss: float) -> None:
        print(f"epoch: {epoch}, index: {index}, loss: {loss}")
        print(f"accuracy: {accuracy(network, data.test_images, data.test_labels)}", flush=True)

    # Asked for no steps at all it only warms up; the loop then goes on without a warm-up, so that the lines
    # come in the notebook's order.
    for loss in trajectory(network, data.train_images, data.train_labels, 0)[0]:
        print(loss)
    steps = 5 * data.train_images.shape[0]
    trajectory(network, data.train_images, data.train_labels, steps, warm_up=0, on_report=report)


if __name__ == "__main__":
    main()
