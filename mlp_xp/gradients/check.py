"""`check_gradients` and `assert_gradients`."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, check_type, kind_of
from mlp_xp.gradients._comparison import Comparison
from mlp_xp.gradients._matching import is_only_parameter
from mlp_xp.gradients._mistakes import Finding
from mlp_xp.gradients._program import Code, holder_of, named, takes_inputs
from mlp_xp.gradients._report import GradientCheck
from mlp_xp.gradients._subject import Subject, silence

_FORWARD = (
    "forward",
    "predict",
    "feedforward",
    "feed_forward",
    "forward_propagation",
    "query",
)
_BACKWARD = (
    "backward",
    "backprop",
    "backward_propagation",
    "gradient",
    "gradients",
    "train",
    "train_step",
    "update",
)
_LOSS = ("loss", "compute_loss", "cost", "compute_cost")
_STALE = (
    "right here, wrong for other samples or parameters (variables of an earlier run?)"
)


def check_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> GradientCheck:
    """Check a backpropagation written in NumPy, and name its usual mistakes.

    The code runs on copies, in float64 if it converts nothing itself. Its gradients are
    compared with central differences (f(w + h) - f(w - h)) / 2h of its own loss f, with
    h = eps^(1/3) max(1, |w|) for the eps of its dtype. A right gradient g satisfies

        |g - D| <= (|S(w) - S(w - h)| + |S(w + h) - S(w)|) / h + eps_f / h

    where D is the central difference and S(w) = f(w + h) - 2 f(w) + f(w - h), or equals
    this package's gradient of the same f. The first term bounds the truncation error,
    also at a kink of relu. If it is large, the code is checked at parameters moved at
    random by about 1 % instead, unless it is large there too. The second bounds the
    rounding error (Nocedal and Wright, Numerical Optimization, 2006, section 8.1).
    eps_f is eps |f| and eight times the noise of f, from fifth differences at 16 points
    (after More and Wild, 2011). Of each array, 24 entries are compared. Eight are the
    largest deviations from this package's layers, or the largest gradients without such
    layers. The others are random. Without such layers, all entries of a larger array
    are also compared along a random direction.

    If all gradients are right, they are checked again at parameters moved by 1 %, with
    a sample in place of another. Gradients from variables of an earlier run are wrong
    there.

    A mistake is named only if it gives the same numbers in this package's layers.

    Args:
        code: Two functions, `(forward, backward)`, or an object with these methods, or
            a function returning the loss and the gradients. Arguments are recognised by
            their names, such as `x`, `y`, `W1`, `cache`, `y_hat` and `learning_rate`.
            Gradients may be returned, with the names of the parameters or in their
            order, or stored on the object, or used for an update.
        x: A batch of inputs, with samples as rows or as columns.
        y: The targets, in the form the code takes, one-hot or integers. Without
            targets, the code is a layer. It gets a random error, and the loss is the
            sum of its outputs times the error.
        parameters: The parameters, if they are arguments of the functions. By default
            they are found in global variables or on the object. They are arrays of
            floats of any shape. A number is checked if it is given here as `W` or `b`.
            Others are not checked, and the report says so.
        loss: A function of `y_hat` and `y`, if the code computes no loss. The default
            is the mean cross-entropy, if the outputs are probabilities that sum to 1.
        learning_rate: The learning rate, if the code updates its parameters with a rate
            of an unusual name.

    Returns:
        The report, true if all gradients are checked and right. `print` shows the
        verdict in the first line. `rows` holds the numbers, `findings` the mistakes.

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
    check_type(loss, Callable | None, "loss", "give a function of y_hat and y")
    check_type(learning_rate, Real | None, "learning_rate", "give a number")
    if learning_rate == 0:
        remedy = "give the learning rate of the update"
        raise MlpXpError("is 0", remedy=remedy, setting="learning_rate")
    with np.errstate(all="ignore"):
        functions = _as_code(code, parameters, loss)
        state = np.random.get_state()
        try:
            subject = Subject(functions, x, y, learning_rate, {})
            comparison = _best_comparison(subject)
            report = comparison.report()
            elsewhere = _elsewhere(comparison)
            return report if elsewhere is None else elsewhere
        finally:
            np.random.set_state(state)


def assert_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> None:
    """Raise an AssertionError unless a backpropagation is right.

    Args:
        code: The functions or the object, as for `check_gradients`.
        x: The inputs.
        y: The targets.
        parameters: The parameters.
        loss: The loss.
        learning_rate: The learning rate.

    Raises:
        AssertionError: A gradient is wrong or not checked. The message is the report.
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
    forward, backward = _method(code, _FORWARD), _method(code, _BACKWARD)
    if isinstance(code, tuple | list) and len(code) == 2 and all(map(callable, code)):
        forward, backward = code
    elif inspect.isroutine(code):
        backward = code
    elif inspect.isclass(code):
        raise MlpXpError(
            "is a class", remedy=f"give an object, {code.__name__}(...)", setting="code"
        )
    elif backward is None or isinstance(code, Mapping):
        raise MlpXpError(
            f"is {kind_of(code)} without methods forward and backward",
            remedy="give two functions, (forward, backward)",
            setting="code",
        )
    elif forward is None:
        forward = getattr(code, "__call__", None)  # noqa: B004
    given, holder = {}, ""
    if isinstance(parameters, dict):
        given = dict(parameters)
        holder = holder_of(parameters, forward or backward)
    elif parameters is not None:
        given = named(parameters, forward or backward)
    for name, value in given.items():
        if isinstance(value, float | int | np.number) and is_only_parameter(name):
            given[name] = np.array(value, float)
    return Code(forward, backward, loss or _method(code, _LOSS), given, holder)


def _method(code: Any, names: Iterable[str]) -> Any:
    methods = (getattr(code, name, None) for name in names)
    return next(filter(callable, methods), None)


def _best_comparison(subject: Subject) -> Comparison:
    """Compare all gradients, and read them in the way that is right, if any is."""
    comparisons = []
    for reading in subject.readings:
        comparisons.append(Comparison(subject, reading))
        if not comparisons[-1].wrong:
            break
    return min(comparisons, key=lambda each: len(each.wrong))


def _elsewhere(here: Comparison) -> GradientCheck | None:
    """Compare at other parameters, if this tells more than the comparison here."""
    with suppress(MlpXpError), silence():  # the loss elsewhere may be infinite
        if here.subject.moved and here.is_at_kink:
            return _off_a_kink(here)
        if not here.wrong:
            return _with_other_variables(here.subject)
    return None


def _off_a_kink(here: Comparison) -> GradientCheck | None:
    """Compare off a kink, where central differences tell more.

    Biases of 0 often put relu at its kink.
    """
    subject = here.subject.elsewhere(here.subject.x, here.subject.y)
    there = _best_comparison(subject)
    report = there.report()
    without_effect = {*subject.ignored} - {*here.subject.ignored}
    if without_effect or there.is_at_kink:
        return None
    if not there.wrong:
        stale = _with_other_variables(subject)
        if stale is not None:
            return stale
    report.loss += " at parameters moved by 1 %, off a kink"
    return report


def _with_other_variables(subject: Subject) -> GradientCheck | None:
    """Compare at other parameters and samples, where right gradients stay right.

    A gradient that is computed from variables of an earlier run is wrong there.
    """
    x, y = subject.x, subject.y
    # A function without x may well use a global X.
    if subject.is_layer or takes_inputs(subject.code.backward):
        x, y = _with_a_sample_twice(x, y)
    elsewhere = subject.elsewhere(x, y)
    for reading in elsewhere.readings:
        if Comparison(elsewhere, reading).is_right_along():
            return None
    there = _best_comparison(elsewhere)
    report = there.report()
    if not there.wrong or there.is_at_kink:
        return None
    report.loss += " at parameters moved by 1 %"
    report.findings[:] = [Finding(there.wrong, (_STALE,))]
    return report


def _with_a_sample_twice(x: Array, y: Array | None) -> tuple[Array, Array | None]:
    """Return a batch with the second sample in place of the first one.

    Other numbers might be none that x can have, such as no one-hot vectors.
    """
    if x.ndim == 1 or (y is not None and y.ndim == 0):  # a single sample
        return x, y
    if y is None or (len(x) == len(y) and not _are_columns(x, y)):
        order = _second_first(len(x))
        return x[order], None if y is None else y[order]
    order = _second_first(x.shape[-1])
    return x[..., order], y[..., order] if y.shape[-1] == len(order) else y


def _are_columns(x: Array, y: Array) -> bool:
    """Return whether one-hot targets are columns, although rows fit the inputs, too."""
    if y.ndim != 2 or y.shape[1] != x.shape[-1]:
        return False
    rows, columns = (np.all(np.sum(y, axis=axis) == 1) for axis in (1, 0))
    return bool(columns and not rows)


def _second_first(count: int) -> Array:
    """Return the indices below `count`, with 1 in place of 0."""
    order = np.arange(count)
    order[0] = min(1, count - 1)
    return order
