"""`check_gradients` and `assert_gradients`."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, some
from mlp_xp.gradients._differences import (
    Difference,
    Loss,
    difference,
    moved,
    rounding_error,
)
from mlp_xp.gradients._layers import Twin, find_twin
from mlp_xp.gradients._matching import Parameter, gradients_of, key_of, shown
from mlp_xp.gradients._mistakes import explain, input_error
from mlp_xp.gradients._program import Code, Outcome, Program
from mlp_xp.gradients._report import GradientCheck, Row

_SAMPLED, _LARGEST = 16, 8  # entries of each array that are compared
_METHODS = {
    "forward": (
        *("forward", "predict", "feedforward", "feed_forward", "forward_propagation"),
        "forward_pass",
    ),
    "backward": (
        *("backward", "backprop", "backpropagation", "backward_propagation"),
        *("backward_pass", "gradient", "gradients", "train", "train_step", "update"),
    ),
    "loss": ("loss", "compute_loss", "loss_function", "cost", "compute_cost"),
}
_SEED = [*b"check_gradients"]  # none that the code itself may use
_MEAN = "the mean cross-entropy of your outputs"


def check_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> GradientCheck:
    """Check somebody's backpropagation, and say which usual mistake it looks like.

    The code runs on copies, in float64 if it converts nothing itself. Its gradients are
    compared with central differences (f(w + h) - f(w - h)) / 2h of its own loss f, with
    h = eps^(1/3) max(1, |w|) for the eps of its dtype. A right gradient g satisfies

        |g - D(h)| <= |D(2h) - D(h)| + |S(2h) - 4 S(h)| / 2h + eps_f / h

    where D are central differences and S(h) = f(w + h) - 2 f(w) + f(w - h). The first
    two terms bound the truncation error, also at a kink of relu. The last bounds the
    rounding error (Nocedal and Wright, Numerical Optimization, 2006, section 8.1).
    eps_f is eps |f| and eight standard deviations of f with parameters that are changed
    by a relative eps (after More and Wild, 2011). 24 entries of an array are compared,
    or all of up to 24: those that deviate most from this package's layers, and others
    at random.

    A mistake is named only if it leads to the same numbers in this package's layers.

    Args:
        code: Two functions, `(forward, backward)`, or an object with such methods, or a
            function that returns the loss and the gradients. Arguments are recognised
            by their names: `x`, `y`, `W1`, `cache`, `y_hat`, `learning_rate` and
            similar names. Gradients may be returned, with the names of the parameters
            or in their order, or stored on the object, or used for an update.
        x: A batch of inputs, samples as rows or as columns.
        y: The targets as the code takes them, one-hot or integers. Without targets, the
            code is a layer: it gets a random error, and the loss is the sum of its
            outputs times the error.
        parameters: The parameters, if the functions have them as arguments. By default
            they are found in global variables or on the object.
        loss: A function of `y_hat` and `y`, if the code computes no loss. By default,
            the mean cross-entropy if the outputs are probabilities.
        learning_rate: The learning rate, if the code updates its parameters with a rate
            of another name.

    Returns:
        The report, true if all gradients are right. `print` shows the verdict in the
        first line. `rows` and `findings` have the numbers and the mistakes.

    Raises:
        MlpXpError: The code raises an error, or something in it is ambiguous.

    Examples:
        >>> def forward(x, W, b):
        ...     e = np.exp(x @ W + b)
        ...     return e / e.sum(axis=1, keepdims=True)
        >>> def backward(x, y, y_hat):
        ...     dW = x.T @ (y_hat - y)
        ...     db = np.mean(y_hat - y, axis=0)
        ...     return dW, db
        >>> x, y = np.array([[1.0, 0.5], [0.2, 2.0], [0.3, 0.4]]), np.eye(3)
        >>> W, b = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.5]]), np.zeros(3)
        >>> print(check_gradients((forward, backward), x, y, (W, b)))
        wrong: W; right: b
        ...
        W: a sum over the batch that should be a mean
        ...
    """
    with np.errstate(all="ignore"):
        return _Check(code, x, y, parameters, loss, learning_rate).report()


def assert_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> None:
    """Assert that somebody's backpropagation is right.

    Args:
        code: The functions or the object, as for `check_gradients`.
        x: The inputs.
        y: The targets.
        parameters: The parameters.
        loss: The loss.
        learning_rate: The learning rate.

    Raises:
        AssertionError: A gradient is wrong. The words are those of the report.
        MlpXpError: As for `check_gradients`.

    Examples:
        >>> class Layer:
        ...     def __init__(self):
        ...         self.W, self.b = np.eye(2), np.zeros(2)
        ...     def forward(self, x):
        ...         self.x = x
        ...         return x @ self.W + self.b
        ...     def backward(self, dout):
        ...         self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        ...         return dout @ self.W.T
        >>> assert_gradients(Layer(), np.ones((3, 2)))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    report = check_gradients(
        code, x, y, parameters, loss=loss, learning_rate=learning_rate
    )
    if not report:
        raise AssertionError(str(report))


def _as_code(code: Any, parameters: Any, loss: Any) -> Code:
    """Return the functions of a program."""
    if isinstance(code, tuple | list) and len(code) == 2 and all(map(callable, code)):
        return Code(code[0], code[1], loss, parameters)
    found = {}
    for kind, names in _METHODS.items():
        methods = [getattr(code, name, None) for name in names]
        found[kind] = next(filter(callable, methods), None)
    if found["backward"] is not None:
        found["loss"] = loss or found["loss"]
        return Code(**found, parameters=parameters)
    if inspect.isfunction(code) or inspect.ismethod(code):
        return Code(None, code, loss, parameters)
    raise MlpXpError(
        f"is a {type(code).__name__} without methods forward and backward",
        remedy="give two functions, (forward, backward)",
        setting="code",
    )


class _Check:
    """A check: the program, its first run, and the numbers to compare."""

    def __init__(
        self,
        code: Any,
        x: Any,
        y: Any,
        parameters: Any,
        loss: Callable[..., Any] | None,
        rate: float | None,
    ) -> None:
        self.is_layer = y is None
        x = np.asarray(x, float if self.is_layer else None)
        self.x, self.y = x, y if y is None else np.asarray(y)
        functions = _as_code(code, parameters, loss)
        self.program = Program(functions, x, self.y, rate)
        self.rate = self.program.rate
        self.random = np.random.default_rng(_SEED)
        self.error: Array | None = None
        if self.is_layer:
            shape = np.shape(self.program.run({}, backward=False).output)
            self.error = self.random.standard_normal(shape)
        self.first = self._first_run()
        self.loss, self.loss_words = self._loss()
        self.value = self.loss({})
        if not np.isfinite(self.value):
            raise MlpXpError(
                f"the loss is {self.value}", remedy="give smaller parameters or inputs"
            )
        if self.loss({}) != self.value:
            raise MlpXpError(
                "the loss is another one in a second run",
                remedy="switch off dropout, or set the seed in forward",
                setting="code",
            )
        self.parameters = self._parameters()
        self.eps = self._eps()
        self.values = {each.identity: each.value for each in self.parameters}
        self.rounding = rounding_error(self.loss, self.values, self.eps, self.random)

    def _first_run(self) -> Outcome:
        """Run the program once. An error says what would run instead."""
        try:
            return self.program.run({}, error=self.error)
        except MlpXpError as error:
            for words, x, y in self._others():
                other = Program(self.program.code, x, y, self.rate)
                try:
                    other.run({}, error=None if y is not None else self.error)
                except MlpXpError:
                    continue
                error.remedy = f"it runs with {words}"
                break
            raise

    def _others(self) -> Iterable[tuple[str, Array, Array]]:
        """Yield inputs for which a program with an error may run."""
        y = self.y
        if y is None:
            return
        if y.ndim == 1 and y.dtype.kind in "iu":
            yield "one-hot labels, np.eye(classes)[y]", self.x, np.eye(y.max() + 1)[y]
        yield "a single sample, x[:1] and y[:1]", self.x[:1], y[:1]

    def _loss(self) -> tuple[Loss, str]:
        """Return the loss by values of parameters, and its name."""
        run = self.program.run
        if self.error is not None:
            error = self.error
            return (
                lambda values: float(
                    np.sum(run(values, backward=False).output * error)
                ),
                "the sum of outputs times a random error",
            )
        if self.first.loss is not None:
            backward = run({}, backward=False).loss is None
            return (
                lambda values: float(run(values, backward=backward).loss),
                "your loss",
            )
        return partial(self._cross_entropy), _MEAN

    def _cross_entropy(self, values: Any) -> float:
        """Return the mean cross-entropy of probabilities."""
        p = self.program.run(values, backward=False).output
        axis = None
        for each in (1, 0):
            if np.ndim(p) == 2 and np.allclose(np.sum(p, axis=each), 1, atol=1e-5):
                axis = each
        if axis is None or self.y is None:
            raise MlpXpError(
                "your outputs are no probabilities of classes",
                remedy="give your own, as in loss=lambda y, y_hat: "
                "np.mean((y_hat - y) ** 2)",
                setting="loss",
            )
        t = self.y
        if t.shape != p.shape:
            t = np.moveaxis(np.eye(p.shape[axis])[t.reshape(-1)], 1, axis)
        return float(-np.sum(t * np.log(p)) / p.shape[1 - axis])

    def _eps(self) -> float:
        """Return the eps of the dtype that the program computes in."""
        numbers = [np.asarray(each) for each in (self.first.output, self.first.loss)]
        kinds = [each.dtype for each in numbers if each.dtype.kind == "f"]
        return float(max(np.finfo(each).eps for each in [*kinds, np.dtype(float)]))

    def _parameters(self) -> list[Parameter]:
        """Return the arrays that the loss depends on."""
        found = []
        program = self.program
        for identity, path in program.paths.items():
            value = program.originals[identity]
            array = program.state[path]
            is_data = np.shares_memory(array, self.x) or (
                self.y is not None and np.shares_memory(array, self.y)
            )
            if value.dtype.kind != "f" or value.ndim not in (1, 2) or is_data:
                continue
            random = self.random.standard_normal(value.shape)
            if self.loss({identity: value + 0.01 * random}) != self.value:
                found.append(
                    Parameter(shown(path), key_of(path), identity, path, value)
                )
        if self.is_layer:
            found.append(Parameter("x", ("x",), id(self.x), (), self.x))
        if not found:
            raise MlpXpError(
                "the loss depends on no array of floats that the code uses",
                remedy="give the arrays, as in (W1, b1, W2, b2)",
                setting="parameters",
            )
        return found

    def report(self) -> GradientCheck:
        """Compare all gradients."""
        found, updates = gradients_of(self.first, self.parameters, self.rate)
        if self.is_layer and "x" not in found:
            self.parameters.pop()
        missing = [each.name for each in self.parameters if each.name not in found]
        if missing:
            raise MlpXpError(
                f"no gradient of {some(missing)} is returned or stored",
                remedy=f"call it d{missing[0].rpartition('.')[2]}",
                setting="code",
            )
        rate = self.rate if updates else None
        twin = self._twin()
        package = self._package(twin)
        rows = []
        for each in self.parameters:
            array, other = found[each.name], package.get(each.name)
            rows.append(self._row(each, array, other, rate))
        findings = []
        if twin and not all(row.is_right for row in rows):
            same = partial(self._same, rate)
            labels = np.asarray(self.y if self.error is None else self.error)
            findings = explain(twin, found, labels, rate, same)
        network = str(twin) if twin else ""
        return GradientCheck(rows, findings, network, self.loss_words)

    def _twin(self) -> Twin | None:
        """Return the same network in this package's layers, or None."""
        own = [each for each in self.parameters if each.path]
        points = [({each.identity: each.value for each in own}, self.value)]
        for _ in range(2):
            values = moved(points[0][0], 0.2, self.random)
            points.append((values, self.loss(values)))
        targets = self.y if self.error is None else self.error
        return find_twin(own, self.x, targets, points, self.eps, is_layer=self.is_layer)

    def _package(self, twin: Twin | None) -> dict[str, Array]:
        """Return the gradients by this package's layers, by name."""
        if twin is None:
            return {}
        return {**twin.plan.own(twin.gradients), "x": input_error(twin)}

    def _row(
        self,
        parameter: Parameter,
        array: Array,
        package: Array | None,
        rate: float | None,
    ) -> Row:
        """Compare the gradient of one parameter."""
        value = parameter.value
        if not _fits(array.shape, value.shape):
            entry = f"shape {array.shape}, not {value.shape}"
            return Row(parameter.name, False, entry, None, None, None, 0.0, 0)
        array = array.reshape(value.shape)
        rows = []
        for index in self._entries(array, package):
            step = self._difference(parameter, index)
            tolerance = step.tolerance
            if rate is not None:
                tolerance += self._update_error(value[index], rate)
            deviation = abs(array[index] - step.value)
            is_right = bool(deviation <= tolerance)
            other = None if package is None else float(package[index])
            entry = str([int(each) for each in index])
            rank = deviation / tolerance if np.isfinite(deviation) else np.inf
            row = Row(
                parameter.name,
                is_right,
                entry,
                float(array[index]),
                step.value,
                other,
                tolerance,
                0,
            )
            rows.append((rank, row))
        _, worst = max(rows, key=lambda ranked: ranked[0])
        return worst._replace(compared=len(rows))

    def _entries(self, array: Array, package: Array | None) -> list[tuple[Any, ...]]:
        """Return the entries to compare: those likely to be wrong, and others."""
        size = array.size
        doubt = np.abs(array if package is None else array - package).reshape(-1)
        doubt = np.where(np.isnan(doubt), np.inf, doubt)
        chosen = set(range(size))
        if size > _SAMPLED + _LARGEST:
            chosen = {*np.argsort(-doubt)[:_LARGEST].tolist()}
            chosen |= {*self.random.choice(size, _SAMPLED, replace=False).tolist()}
        return [np.unravel_index(each, array.shape) for each in sorted(chosen)]

    def _difference(self, parameter: Parameter, index: tuple[int, ...]) -> Difference:
        return difference(
            self.loss,
            parameter.identity,
            parameter.value,
            index,
            self.eps,
            self.rounding,
        )

    def _update_error(self, value: Any, rate: float) -> float:
        """Return the rounding error of a gradient that is read from an update."""
        return 2 * self.eps * float(np.max(np.abs(value), initial=0.0)) / abs(rate)

    def _same(self, rate: float | None, array: Array, variant: Array) -> bool:
        """Return whether two gradients are equal but for rounding."""
        if np.shape(array) != np.shape(variant) or not np.all(np.isfinite(variant)):
            return False
        step = self.eps ** (1 / 3)
        largest = float(np.max(np.abs(variant), initial=0.0))
        tolerance = self.rounding / step + step * step * largest
        if rate is not None:
            all_values = np.concatenate([each.ravel() for each in self.values.values()])
            tolerance += self._update_error(all_values, rate)
        return bool(np.all(np.abs(array - variant) <= tolerance))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether an array of a shape can be subtracted from one in place."""
    try:
        return np.broadcast_shapes(shape, wanted) == wanted and np.prod(
            shape
        ) == np.prod(wanted)
    except ValueError:
        return False
