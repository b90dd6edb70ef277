"""A trained network with all that its numbers mean: how inputs become features, and
what its outputs stand for.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, update_wrapper
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Preparation, described
from mlp_xp.core.functional import Activation, Array
from mlp_xp.core.network import Layer, Network, forward
from mlp_xp.core.task import Evaluation, Scaling, Task, in_units
from mlp_xp.errors import MlpXpError, quoted


class Model(NamedTuple):
    """A trained network and everything that is needed to use it. All arrays are on the
    device of its backend.

    `mlp_xp.train` yields it in its reports, and `mlp_xp.load_run` reads it from the
    folder of a run.
    """

    network: Network
    backend: Backend
    activation: str | Activation
    prepare: Preparation
    task: Task
    scaling: Scaling
    input_shape: tuple[int, ...]
    """The shape of one input."""
    class_names: tuple[str, ...]
    columns: Any = None
    kind: str = "arrays"
    """This, the columns and the names are those of the `Dataset` that it was trained
    on.
    """
    source: str = "the network"
    """What messages call it: the folder or file that it was read from."""
    sha256: str = ""
    """The checksum in the file that it was read from; empty for a model in memory."""

    def __repr__(self) -> str:
        many = f"{len(self.class_names)} {self.task.outputs_name}"
        return (
            f"Model({quoted(self.source)}, network={self.network!r}, activation={self.activation!r}, "
            f"{described(self.input_shape)}, {many})"
        )

    def on(self, backend: Backend) -> "Model":
        """Return this model on another backend, whose dtype its numbers take."""
        if backend is self.backend:
            return self

        def move(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(
                backend.asarray(self.backend.to_numpy(array), backend.dtype)
                for array in arrays
            )

        network = tuple(Layer(*move(layer)) for layer in self.network)
        prepare = self.prepare._replace(fitted=move(self.prepare.fitted))
        return self._replace(
            network=network,
            backend=backend,
            prepare=prepare,
            scaling=move(self.scaling),
        )

    def predict(self, X: Any, /) -> Array:
        """Predict from inputs X, (n, ...) as the network was trained on: NumPy arrays,
        lists, or a library's arrays.

        A library's array must be of one that `open_backend` knows, or have a namespace
        of the standard. The computation is on its device, in the model's dtype, and so
        is the result; all else is read by NumPy, for a NumPy array.

        classes: the name of each sample's class, (n,); for other arrays than NumPy's,
        which have no text, its number, int64: `class_names[number]` is the name.
        labels: 0 or 1, int64 (n, labels). regression: numbers (n, outputs), or (n,) for
        a single output.

        Raises DatasetError for a shape, dtype or range that does not fit, or a value
        that is not finite, MlpXpError for outputs that are not finite, and
        BackendError.
        """
        model = self.on(self.backend.like(X))
        return self.task.decide(
            model.predictions(model.read(X)), self.class_names, xp=model.backend.xp
        )

    def predict_proba(self, X: Any, /) -> Array:
        """Return the probabilities of the classes, or of each label, (n, outputs), in
        the order of `class_names`.

        X: as for `predict`. Raises as `predict` does, and MlpXpError for a regression.
        """
        if self.task.floats:
            raise MlpXpError(
                f"a {self.task.name} has no probabilities; call predict for its numbers"
            )
        model = self.on(self.backend.like(X))
        return model.predictions(model.read(X))

    def read(self, X: Any, /) -> Array:
        """Return X as inputs on the device of the model's backend. Raises DatasetError
        as `predict` does.
        """
        names, X = (
            (self.columns.feature_names, self.columns.features(X))
            if self.columns
            else ((), X)
        )
        return self.backend.read(X, self.input_shape, self.prepare.takes_bytes, names)

    def logits(self, inputs: Array, /) -> Array:
        """Return the outputs of the last layer, (n, outputs) on the device; for classes
        these are the logits.

        inputs: (n, *input_shape) on the device, bytes or what else `prepare` takes. A
        function that a backend compiles may call this, and JAX can differentiate it;
        PyTorch's autograd cannot, because it works in place. Raises DatasetError for
        inputs of another dtype or shape, or not on the backend's device.
        """
        self.backend.check_inputs(inputs, self.input_shape, self.prepare.takes_bytes)
        logits = make_logits(self.activation, self.backend, self.prepare.function)
        return logits(self.network, inputs, self.prepare.fitted)

    def predictions(self, inputs: Array, /) -> Array:
        """Return predictions (n, outputs) on the device: probabilities of the classes
        or labels, or numbers.

        Numbers are in the units of the labels. inputs: as for `logits`. Raises as
        `logits` does, and MlpXpError if the predictions are not finite.
        """
        predictions = in_units(
            compiled(self.task.link, self.backend)(self.logits(inputs)), self.scaling
        )
        if not all_finite([predictions], self.backend):
            raise self.not_finite()
        return predictions

    def evaluate(self, inputs: Array, labels: Array, /) -> Evaluation:
        """Return the loss and the figures of the task on inputs, as for `logits`, with
        labels as in a `Dataset`.

        The loss of a network that has diverged is not finite. Raises as `logits` does,
        and DatasetError for labels that are not the task's.
        """
        backend, to_numpy = self.backend, self.backend.to_numpy
        logits = to_numpy(self.logits(inputs))
        values = backend.check_labels(
            labels, inputs.shape[0], self.task, len(self.class_names)
        )
        return self.task.evaluate(logits, values, tuple(map(to_numpy, self.scaling)))

    def not_finite(self) -> MlpXpError:
        """Return the error for outputs, or a loss, that are not finite."""
        return MlpXpError(
            "its outputs, or its loss, are not finite: an input or label is far outside the range of the training "
            "data, or the training diverged",
            file=self.source,
            remedy="correct the data, or train again with a lower learning rate",
        )


def logits_of(
    network: Network,
    inputs: Array,
    prepare: Preparation,
    activation: Activation,
    /,
    *,
    xp: Any,
) -> Array:
    """Return the outputs of the last layer, (n, outputs), for inputs (n, ...) as
    `prepare` takes them.
    """
    x = prepare.function(inputs, *prepare.fitted, dtype=network[0].weights.dtype, xp=xp)
    # the standard: None if not yet known
    x = xp.reshape(x, (inputs.shape[0] or -1, network[0].weights.shape[0]))
    return forward(network, x, [activation] * (len(network) - 1), xp=xp)[0]


# maximum bytes of the widest layer in a forward pass, in float64
PART_BYTES = 6 * 2**20


@lru_cache(maxsize=8)
def make_logits(
    activation: str | Activation, backend: Backend, prepare: Callable[..., Array]
) -> Callable[..., Array]:
    """Return `logits(network, inputs, fitted)`, (n, outputs), compiled where the
    library compiles.

    prepare, fitted: see `Preparation`. The inputs go through the network in parts of
        bounded memory.
    """
    xp, function = backend.xp, backend.activation(activation)

    def logits(network: Network, inputs: Array, fitted: tuple[Array, ...]) -> Array:
        widest = max(max(layer.weights.shape) for layer in network)

        def part(_: Any, rows: tuple[Array, ...]) -> tuple[Any, Array]:
            return (), logits_of(
                network, rows[0], Preparation(prepare, fitted), function, xp=xp
            )

        # As equal as possible; only the last may be smaller, so that a forward pass is
        # compiled for at most two sizes.
        parts = math.ceil(inputs.shape[0] / max(1, PART_BYTES // (8 * widest)))
        return backend.scan_blocks(
            part, (), (inputs,), math.ceil(inputs.shape[0] / parts)
        )[1]

    return backend.jit(logits)


@lru_cache(maxsize=64)
def compiled(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """Return the function without its keyword xp, compiled where the library compiles."""
    return backend.jit(update_wrapper(partial(function, xp=backend.xp), function))


def copy_network(network: Network, /, *, xp: Any) -> Network:
    """Copy a network on the device. Later steps, which may work in place, do not change
    the copy.
    """
    return tuple(
        Layer(*(xp.asarray(array, copy=True) for array in layer)) for layer in network
    )


def all_finite(arrays: Sequence[Array], backend: Backend) -> bool:
    """Return whether all numbers of some floats are finite. If their sum is, only this
    number is copied to the host.
    """
    total = backend.to_numpy(compiled(_sum_of_all, backend)(tuple(arrays)))
    return bool(np.isfinite(total)) or all(
        np.isfinite(backend.to_numpy(array)).all() for array in arrays
    )


def _sum_of_all(arrays: tuple[Array, ...], /, *, xp: Any) -> Array:
    return sum(xp.sum(array) for array in arrays)
