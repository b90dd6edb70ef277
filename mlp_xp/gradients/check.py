"""`check_gradients` and `assert_gradients`."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, some
from mlp_xp.gradients._differences import (
    difference,
    moved,
    rounding_error,
)
from mlp_xp.gradients._layers import Twin, find_twin
from mlp_xp.gradients._matching import Parameter, gradients_of, key_of, shown
from mlp_xp.gradients._mistakes import Finding, explain, input_error
from mlp_xp.gradients._program import Code, Outcome, Program
from mlp_xp.gradients._report import GradientCheck, Row

_SAMPLED, _LARGEST = 16, 8  # entries of each array that are compared
_FORWARD = ("forward", "predict", "feedforward", "feed_forward", "forward_propagation")
_BACKWARD = (
    *("backward", "backprop", "backward_propagation", "gradient", "gradients"),
    *("train", "train_step", "update"),
)
_LOSS = ("loss", "compute_loss", "cost", "compute_cost")
_SEED = [*b"check_gradients"]  # none that the code itself may use


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

        |g - D| <= (|S(w) - S(w - h)| + |S(w + h) - S(w)|) / h + eps_f / h

    where D is the central difference and S(w) = f(w + h) - 2 f(w) + f(w - h), or equals
    the gradient of this package's layers. The first term bounds the truncation error,
    also at a kink of relu. The second bounds the rounding error (Nocedal and Wright,
    Numerical Optimization, 2006, section 8.1). eps_f is eps |f| and eight times the
    noise of f, from fifth differences at 16 points (after More and Wild, 2011). 24
    entries of an array are compared, or all of up to 24: those that deviate most from
    this package's layers, and others at random.

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
        functions = _as_code(code, parameters, loss)
        return _Check(functions, x, y, learning_rate).report()


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
    forward, backward = _method(code, _FORWARD), _method(code, _BACKWARD)
    if backward is not None:
        return Code(forward, backward, loss or _method(code, _LOSS), parameters)
    if inspect.isroutine(code):
        return Code(None, code, loss, parameters)
    raise MlpXpError(
        f"is a {type(code).__name__} without methods forward and backward",
        remedy="give two functions, (forward, backward)",
        setting="code",
    )


def _method(code: Any, names: Iterable[str]) -> Any:
    methods = (getattr(code, name, None) for name in names)
    return next(filter(callable, methods), None)


class _Check:
    """A program with its first run, and everything that is compared with it."""

    def __init__(self, code: Code, x: Any, y: Any, rate: float | None) -> None:
        is_layer = y is None
        self.x = np.asarray(x, float if is_layer else None)
        self.targets = None if is_layer else np.asarray(y)
        self.random = np.random.default_rng(_SEED)
        self.program = Program(code, self.x, self.targets, rate)
        self.error = None
        if is_layer:
            shape = np.shape(self.program.run({}, backward=False).output)
            self.targets = self.error = self.random.standard_normal(shape)
        self.first = _first_run(self.program, self.error)
        self.needs_backward = False
        if self.first.loss is not None:
            self.needs_backward = self.program.run({}, backward=False).loss is None
        self.value = self.loss({})
        if not np.isfinite(self.value):
            remedy = "give smaller parameters or inputs"
            raise MlpXpError(f"the loss is {self.value}", remedy=remedy)
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
        # of gradients that are read from an update
        self.rate: float | None = None
        self.update_error = 0.0

    def loss(self, values: Mapping[int, Array]) -> float:
        """Return the loss with other values of some parameters."""
        run = self.program.run(values, backward=self.needs_backward)
        if self.error is not None:
            return float(np.sum(run.output * self.error))
        if run.loss is None:
            return _mean_cross_entropy(run.output, self.targets)
        return float(run.loss)

    def _eps(self) -> float:
        """Return the eps of the dtype that the program computes in."""
        kinds: list[Any] = [np.dtype(float)]
        for each in (self.first.output, self.first.loss):
            kind = np.asarray(each).dtype
            if kind.kind == "f":
                kinds.append(kind)
        return float(max(np.finfo(kind).eps for kind in kinds))

    def _parameters(self) -> list[Parameter]:
        """Return the arrays that the loss depends on."""
        found, program = [], self.program
        for identity, path in program.paths.items():
            value, array = program.originals[identity], program.state[path]
            is_data = np.shares_memory(array, self.x)
            is_data |= np.shares_memory(array, self.targets)
            if value.dtype.kind != "f" or value.ndim not in (1, 2) or is_data:
                continue
            other = value + 0.01 * self.random.standard_normal(value.shape)
            if self.loss({identity: other}) != self.value:
                name, key = shown(path), key_of(path)
                found.append(Parameter(name, key, identity, path, value))
        if self.error is not None:
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
        found, updates = gradients_of(self.first, self.parameters, self.program.rate)
        if updates and self.program.rate:
            self.rate = self.program.rate
            largest = max(np.max(np.abs(each)) for each in self.values.values())
            self.update_error = 2 * self.eps * float(largest) / abs(self.rate)
        if self.error is not None and "x" not in found:
            self.parameters.pop()
        missing = [each.name for each in self.parameters if each.name not in found]
        if missing:
            raise MlpXpError(
                f"no gradient of {some(missing)} is returned or stored",
                remedy=f"call it d{missing[0].rpartition('.')[2]}",
                setting="code",
            )
        twin, package = self._twin(), {}
        if twin:
            package = {**twin.plan.own(twin.gradients), "x": input_error(twin)}
        rows = []
        for each in self.parameters:
            rows.append(self._row(each, found[each.name], package.get(each.name)))
        findings: list[Finding] = []
        if twin and not all(row.is_right for row in rows):
            labels = np.asarray(self.targets)
            findings = explain(twin, found, labels, self.rate, self._same)
        loss = "your loss"
        if self.error is not None:
            loss = "the sum of the outputs times a random error"
        elif self.first.loss is None:
            loss = "the mean cross-entropy of your outputs"
        return GradientCheck(rows, findings, str(twin or ""), loss)

    def _twin(self) -> Twin | None:
        """Return the same network in this package's layers, or None."""
        own = [each for each in self.parameters if each.path]
        points = [({each.identity: each.value for each in own}, self.value)]
        for _ in range(2):
            values = moved(points[0][0], 0.1, self.random)
            points.append((values, self.loss(values)))
        is_layer = self.error is not None
        return find_twin(own, self.x, self.targets, points, self.eps, is_layer=is_layer)

    def _row(self, parameter: Parameter, array: Array, package: Array | None) -> Row:
        """Compare the gradient of one parameter."""
        value, name = parameter.value, parameter.name
        if not _fits(array.shape, value.shape):
            return Row(name, False, f"shape {array.shape}, not {value.shape}")
        array = array.reshape(value.shape)
        rows = []
        for index in self._entries(array, package):

            def loss(number: float, index: tuple[int, ...] = index) -> float:
                changed = value.copy()
                changed[index] = number
                return self.loss({parameter.identity: changed})

            exact, tolerance = difference(
                loss, value[index], self.value, self.eps, self.rounding
            )
            tolerance += self.update_error
            deviation = abs(array[index] - exact)
            is_right = bool(deviation <= tolerance)
            if package is not None:
                is_right |= self._same(array[index], package[index])
            entry = str([int(each) for each in index])
            other = None if package is None else package[index]
            row = Row(name, is_right, entry, array[index], exact, other, tolerance)
            rows.append((not is_right, deviation / tolerance, row))
        _, _, worst = max(rows, key=lambda ranked: ranked[:2])
        return worst._replace(compared=len(rows))

    def _entries(self, array: Array, package: Array | None) -> list[tuple[Any, ...]]:
        """Return the entries to compare: those likely to be wrong, and others."""
        size = array.size
        chosen = set(range(size))
        if size > _SAMPLED + _LARGEST:
            doubt = np.abs(array if package is None else array - package).reshape(-1)
            chosen = {*np.argsort(-doubt)[:_LARGEST].tolist()}
            chosen |= {*self.random.choice(size, _SAMPLED, replace=False).tolist()}
        return [np.unravel_index(each, array.shape) for each in sorted(chosen)]

    def _same(self, array: Array, variant: Array) -> bool:
        """Return whether two gradients are equal but for rounding."""
        if np.shape(array) != np.shape(variant):
            return False
        step = self.eps ** (1 / 3)
        tolerance = self.rounding / step + self.update_error
        tolerance += step * step * np.max(np.abs(variant), initial=0.0)
        return bool(np.all(np.abs(array - variant) <= tolerance))


def _first_run(program: Program, error: Array | None) -> Outcome:
    """Run a program once. If it raises an error, say what would run instead."""
    try:
        return program.run({}, error=error)
    except MlpXpError as raised:
        x, y = program.x, program.y
        others = []
        if y is not None and y.ndim == 1 and y.dtype.kind in "iu":
            others.append(
                ("one-hot labels, np.eye(classes)[y]", x, np.eye(max(y) + 1)[y])
            )
        if y is not None:
            others.append(("a single sample, x[:1] and y[:1]", x[:1], y[:1]))
        for words, x, y in others:
            with suppress(MlpXpError):
                Program(program.code, x, y, program.rate).run({})
                raised.remedy = f"it runs with {words}"
                break
        raise


def _mean_cross_entropy(p: Any, y: Any) -> float:
    """Return the mean cross-entropy of probabilities, in rows or columns."""
    for axis in (1, 0):
        if np.ndim(p) == 2 and np.allclose(np.sum(p, axis=axis), 1, atol=1e-5):
            if y.shape != p.shape:
                y = np.moveaxis(np.eye(p.shape[axis])[y.reshape(-1)], 1, axis)
            return float(-np.sum(y * np.log(p)) / p.shape[1 - axis])
    raise MlpXpError(
        "your outputs are no probabilities of classes",
        remedy="give your own, as in loss=lambda y, y_hat: np.mean((y_hat - y) ** 2)",
        setting="loss",
    )


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether an array can be subtracted from a parameter, entry by entry."""
    with suppress(ValueError):
        same_size = math.prod(shape) == math.prod(wanted)
        return same_size and np.broadcast_shapes(shape, wanted) == wanted
    return False
