"""A trained network with its signature: the meaning of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial, update_wrapper
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Activation, Array
from mlp_xp.core.network import Layer, Network, forward
from mlp_xp.core.signature import Preparation, Signature
from mlp_xp.core.stack import joined, size_of
from mlp_xp.core.step import to_device
from mlp_xp.core.task import Evaluation, Units, in_units
from mlp_xp.errors import MlpXpError, check_type, quoted
from mlp_xp.printing import as_html, as_text


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, with everything needed to use it.

    The reports of `mlp_xp.train` contain models, and `mlp_xp.load_run` reads a model
    from the folder of a run.

    Examples:
        >>> model = load_run("runs/digits")
        >>> model.predict(images[:3])
        array(['7', '2', '1'], dtype='<U1')
    """

    network: Network
    """The weights and biases, on the device of the backend. A run of several networks
    has a stack: see `mlp_xp/core/stack.py`. Its outputs are the means of its networks'.
    """
    activation: str | Activation
    signature: Signature
    """The inputs and outputs of the network, and their meaning."""
    backend: Backend
    source: str = "the network"
    """The name of the model in messages: the folder or file it was read from."""
    file: str = ""
    """The absolute path of the file it was read from. Empty for a model in memory."""
    sha256: str = ""
    """The checksum of this file."""

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)

    def __repr__(self) -> str:
        return (
            f"Model({quoted(self.source)}, network={self.network!r}, "
            f"activation={self.activation!r}, {self.signature.in_words()})"
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each output: a class, a label, or a number."""
        return self.signature.outputs

    @cached_property
    def fitted(self) -> tuple[Array, ...]:
        """The arrays of the preparation, on the device."""
        fitted = self.signature.preparation.fitted
        return tuple(self.backend.asarray(x, self.backend.dtype) for x in fitted)

    @cached_property
    def units(self) -> Units | None:
        """The units of the numbers to predict, on the device."""
        units = self.signature.units
        if units is None:
            return None
        return Units(*(self.backend.asarray(x, self.backend.dtype) for x in units))

    def on(self, backend: Backend | str) -> Model:
        """Return this model on another backend, in the dtype of this backend.

        The name of a library stands for its backend in the dtype of the model.
        """
        if isinstance(backend, str):
            backend = self.backend.named(backend)
        remedy = "give a backend, or the name of a library"
        check_type(backend, Backend, "backend", remedy)
        if backend is self.backend:
            return self
        on_host = tuple(
            Layer(*map(self.backend.to_numpy, layer)) for layer in self.network
        )
        return replace(self, network=to_device(on_host, backend), backend=backend)

    def joined(self) -> Model:
        """Return this model with a single network, in place of a stack."""
        return replace(self, network=joined(self.network, self.backend))

    def predict(self, X: Any, /) -> Array:
        """Predict from inputs.

        The computation is on the device of the inputs, in the dtype of the model.

        Args:
            X: Inputs (n, ...) like the inputs of the training: a NumPy array, a list,
                or an array of a library that `open_backend` knows, or with a namespace
                of the standard.

        Returns:
            An array of the library of X, on the device of X. For a list, a NumPy array.
            For classes, the name of each sample's class, (n,). Only NumPy's arrays have
            text, so other libraries return numbers of classes, int64, and
            `class_names[number]` is the name. For labels, 0 or 1, int64 (n, labels).
            For regression, numbers (n, outputs), or (n,) for a single output.

        Raises:
            DatasetError: A shape, dtype or range does not fit, or a value is not
                finite.
            MlpXpError: The outputs are not finite.
            BackendError: The library of X cannot be used.

        Examples:
            >>> load_run("runs/digits").predict(images[:3])
            array(['7', '2', '1'], dtype='<U1')
        """
        model = self.on(self.backend.like(X))
        predictions = model.predictions(model.read(X))
        names, xp = self.class_names, model.backend.xp
        return self.signature.task.decide(predictions, names, xp=xp)

    def predict_proba(self, X: Any, /) -> Array:
        """Return the probabilities of the classes, or of each label.

        Args:
            X: Inputs, as for `predict`.

        Returns:
            Probabilities (n, outputs), in the order of `class_names`.

        Raises:
            MlpXpError: The network predicts numbers. Otherwise as for `predict`.

        Examples:
            >>> load_run("runs/digits").predict_proba(images[:3]).shape
            (3, 10)
        """
        task = self.signature.task
        if task.floats:
            fault = f"a {task.name} has no probabilities"
            raise MlpXpError(f"{fault}; call predict for its numbers")
        model = self.on(self.backend.like(X))
        return model.predictions(model.read(X))

    def read(self, X: Any, /) -> Array:
        """Return X as inputs on the device of the model.

        Args:
            X: Inputs, as for `predict`, or for a network of a table a data frame.

        Raises:
            DatasetError: As for `predict`.
        """
        if self.signature.columns:
            X = self.signature.columns.features(X)
        return self.backend.read(X, self.signature)

    def logits(self, inputs: Array, /) -> Array:
        """Return the outputs of the last layer. For classes, these are the logits.

        A compiled function may call this method, and JAX can differentiate it.
        PyTorch's autograd cannot, because the method works in place.

        Args:
            inputs: Inputs (n, *input_shape) on the device, as from `read`.

        Returns:
            The outputs (n, outputs), on the device.

        Raises:
            DatasetError: The inputs have another dtype or shape, or are on another
                device.
        """
        logits = self.logits_of_each(inputs)
        if size_of(self.network) is None:
            return logits
        return compiled(_mean_of_each, self.backend)(logits)

    def logits_of_each(self, inputs: Array, /) -> Array:
        """Return the logits of each network of a stack, (n, K, outputs).

        Of a single network, return (n, outputs). Inputs and errors are as for `logits`.
        """
        self.backend.check_inputs(inputs, self.signature)
        function = self.signature.preparation.function
        logits = make_logits(self.activation, self.backend, function)
        return logits(self.network, inputs, self.fitted)

    def predictions(self, inputs: Array, /) -> Array:
        """Return predictions (n, outputs) on the device.

        Args:
            inputs: As for `logits`.

        Returns:
            Probabilities of the classes or labels, or numbers in the units of the
            labels.

        Raises:
            DatasetError: As for `logits`.
            MlpXpError: The predictions are not finite.
        """
        link = compiled(self.signature.task.link, self.backend)
        predictions = in_units(link(self.logits(inputs)), self.units)
        if not all_finite([predictions], self.backend):
            raise self.not_finite()
        return predictions

    def evaluate(self, inputs: Array, labels: Array, /) -> Evaluation:
        """Return the loss and the figures of the task.

        The loss of a network that has diverged is not finite.

        Args:
            inputs: As for `logits`.
            labels: As in `Samples`.

        Raises:
            DatasetError: As for `logits`, or the labels do not fit the task.
        """
        signature = self.signature
        logits = self.backend.to_numpy(self.logits(inputs))
        values = self.backend.check_labels(labels, inputs.shape[0], signature)
        return signature.task.evaluate(logits, values, signature.units)

    def evaluate_each(
        self, inputs: Array, labels: Array, /
    ) -> tuple[Evaluation, list[Evaluation]]:
        """Return the result, and the result of each network of a stack.

        Arguments and errors are as for `evaluate`.
        """
        signature = self.signature
        logits = self.backend.to_numpy(self.logits_of_each(inputs))
        values = self.backend.check_labels(labels, inputs.shape[0], signature)

        def evaluate(z: np.ndarray) -> Evaluation:
            return signature.task.evaluate(z, values, signature.units)

        if logits.ndim == 2:
            result = evaluate(logits)
            return result, [result]
        each = [evaluate(logits[:, i]) for i in range(logits.shape[1])]
        return evaluate(logits.mean(axis=1)), each

    def not_finite(self) -> MlpXpError:
        """Return the error for outputs, or a loss, that are not finite."""
        return MlpXpError(
            "its outputs, or its loss, are not finite: an input or label is far "
            "outside the range of the training data, or the training diverged",
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
    """Return the outputs of the last layer, (n, outputs), for inputs (n, ...).

    For a stack of K networks, these are (K, n, outputs).
    """
    first = network[0].weights
    x = prepare.function(inputs, *prepare.fitted, dtype=first.dtype, xp=xp)
    # In the standard, a length is None while it is not known.
    x = xp.reshape(x, (inputs.shape[0] or -1, first.shape[-2]))
    logits, _ = forward(network, x, [activation] * (len(network) - 1), xp=xp)
    return logits


# The most bytes of the widest layer in a forward pass, in float64.
PART_BYTES = 6 * 2**20


@lru_cache(maxsize=8)
def make_logits(
    activation: str | Activation, backend: Backend, prepare: Callable[..., Array]
) -> Callable[..., Array]:
    """Return `logits(network, inputs, fitted)`, (n, outputs), compiled where it can be.

    For a stack of K networks, the logits are (n, K, outputs).
    `prepare` and `fitted` are the fields of a `Preparation`. The inputs go through the
    network in parts of bounded memory.
    """
    xp, function = backend.xp, backend.activation(activation)

    def logits(network: Network, inputs: Array, fitted: tuple[Array, ...]) -> Array:
        preparation = Preparation(prepare, fitted)

        def part(_: Any, rows: tuple[Array, ...]) -> tuple[Any, Array]:
            (inputs,) = rows
            z = logits_of(network, inputs, preparation, function, xp=xp)
            return (), xp.permute_dims(z, (1, 0, 2)) if len(z.shape) == 3 else z

        # The parts are as equal as possible, and only the last may be smaller. So a
        # forward pass is compiled for at most two sizes.
        widest = max(max(layer.weights.shape[-2:]) for layer in network)
        widest *= size_of(network) or 1
        samples = inputs.shape[0]
        parts = math.ceil(samples / max(1, PART_BYTES // (8 * widest)))
        _, outputs = backend.scan_blocks(
            part, (), (inputs,), math.ceil(samples / parts)
        )
        return outputs

    return backend.jit(logits)


@lru_cache(maxsize=64)
def compiled(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """Return a function without its keyword `xp`, compiled where it can be."""
    return backend.jit(update_wrapper(partial(function, xp=backend.xp), function))


def _mean_of_each(logits: Array, /, *, xp: Any) -> Array:
    return xp.mean(logits, axis=1)


def copy_network(network: Network, /, *, xp: Any) -> Network:
    """Copy a network on the device, so that later steps do not change the copy."""
    return tuple(
        Layer(*(xp.asarray(array, copy=True) for array in layer)) for layer in network
    )


def all_finite(arrays: Sequence[Array], backend: Backend) -> bool:
    """Return whether all numbers in some arrays of floats are finite.

    If their sum is finite, only the sum is copied to the host.
    """
    total = backend.to_numpy(compiled(_sum_of_all, backend)(tuple(arrays)))
    return bool(np.isfinite(total)) or all(
        np.isfinite(backend.to_numpy(array)).all() for array in arrays
    )


def _sum_of_all(arrays: tuple[Array, ...], /, *, xp: Any) -> Array:
    return sum(xp.sum(array) for array in arrays)
