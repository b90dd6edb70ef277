"""`check_gradients` and `assert_gradients`."""

from collections.abc import Callable, Iterator
from itertools import chain
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from mlp_xp.errors import MlpXpError, check_type
from mlp_xp.gradients._batch import AXES, as_batch
from mlp_xp.gradients._code import Code, Point
from mlp_xp.gradients._comparison import Comparison
from mlp_xp.gradients._differences import moved
from mlp_xp.gradients._mistakes import Finding
from mlp_xp.gradients._parameters import Parameters
from mlp_xp.gradients._report import GradientCheck
from mlp_xp.gradients._subject import Subject

_RESERVED = ("x", "y", "loss", "gradients")
_MOVES = 3
_FEWER = "with one sample fewer"


def check_gradients(
    loss: Callable[..., Any],
    gradients: Callable[..., Any],
    x: Any,
    y: Any = None,
    /,
    parameters: Any = None,
    *,
    learning_rate: float | None = None,
    stored: str | None = None,
    samples: int | None = 0,
    **named: Any,
) -> GradientCheck:
    """Check hand-written gradients, and name usual mistakes in them.

    They are compared with central differences (f(w + h) - f(w - h)) / 2h of the loss f,
    with h = eps^(1/3) max(1, |w|) for the eps of the least precise dtype. A right
    gradient g satisfies

        |g - D| <= (|S(w) - S(w - h)| + |S(w + h) - S(w)|) / h + eps_f / h

    where D is the central difference and S(w) = f(w + h) - 2 f(w) + f(w - h). The first
    term bounds the truncation error, also at a kink of relu. The second bounds the
    rounding error (Nocedal and Wright, Numerical Optimization, 2006, section 8.1).
    eps_f is eps |f| and eight times the noise of f, from fifth differences at 16 points
    (after More and Wild, 2011). Of each array, 24 entries are compared: the most
    doubtful, and others at random. All entries of a larger array are also compared
    along a random direction.

    Right gradients are checked again at parameters moved by 1 %, with one sample
    replaced, and with one sample fewer.

    A mistake is named if it gives the same numbers in this package's layers.

    Args:
        loss: A function of `x` and `y` that returns one number. Without `y`, it is a
            function of `x`, and returns the outputs of a layer. It runs just before
            `gradients`.
        gradients: A function of `x` and `y` that returns the gradients in the structure
            of the parameters. Those of `named` may also be in their order, or in a
            dictionary. The keys of a dictionary may all have a `d` in front. Without
            `y`, it is a function of `x` and of a random error of the outputs. The
            gradient with respect to `x` comes first if it is returned.
        x: A batch of inputs: an array, a list or a number.
        y: The targets, in the form that the code takes.
        parameters: The arrays of float32 or float64, instead of `named`: an array,
            lists or dictionaries of arrays, or `(object, "W b")` for attributes of an
            object or items of a dictionary such as `globals()`.
        learning_rate: The learning rate, if `gradients` updates the parameters. The
            gradient is then (before - after) / learning_rate.
        stored: The name of the attribute with a gradient, if the object in `parameters`
            stores gradients: `"d{}"` for `dW`, `"grad"` for the same name in each.
        samples: The axis of the samples in `x` and in `y`, such as -1 for columns, or
            None if their number is fixed.
        named: The arrays by their names, as in `W=W, b=b`. They are moved in place, and
            put back also after an error.

    Returns:
        The report, true if all gradients are right. `print` shows the verdict in the
        first line. `rows` holds the numbers, `findings` the mistakes.

    Raises:
        MlpXpError: The code raises an error, or does not do what is said above.

    Examples:
        >>> W, b = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.5]]), np.zeros(3)
        >>> def loss(x, y):
        ...     return np.mean((x @ W + b - y) ** 2)
        >>> def gradients(x, y):
        ...     error = 2 * (x @ W + b - y) / y.size
        ...     return {"dW": x.T @ error, "db": error.mean(axis=0)}
        >>> x, y = np.array([[1.0, 0.5], [0.2, 2.0], [0.3, 0.4]]), np.eye(3)
        >>> print(check_gradients(loss, gradients, x, y, W=W, b=b))
        wrong: b; right: W
        ...
        b: divided by the number of samples twice
        ...
    """
    check_type(loss, Callable, "loss", "give a function of x and y")
    check_type(gradients, Callable, "gradients", "give a function of x and y")
    check_type(learning_rate, Real | None, "learning_rate", "give a number")
    if learning_rate is not None and (
        learning_rate == 0 or not isfinite(learning_rate)
    ):
        remedy = "give the learning rate of the update"
        raise MlpXpError(f"is {learning_rate}", remedy=remedy, setting="learning_rate")
    check_type(stored, str | None, "stored", "give a text, as in stored='d{}'")
    check_type(samples, int | None, "samples", "give 0, -1 or None")
    if stored is not None and learning_rate is not None:
        remedy = "leave out one of them"
        raise MlpXpError(
            "is given beside learning_rate", remedy=remedy, setting="stored"
        )
    for name in _RESERVED:
        if name in named:
            remedy = "give loss, gradients, x and y in this order, without names"
            raise MlpXpError("is no name for a parameter", remedy=remedy, setting=name)
    arrays = Parameters(parameters, named)
    if y is not None and not arrays.before:
        remedy = "give arrays, as in W=W"
        raise MlpXpError("names no array", remedy=remedy, setting="parameters")
    if y is None and "x" in arrays.before:
        remedy = "call the array by another name"
        raise MlpXpError("is the input of a layer", remedy=remedy, setting="x")
    batch = as_batch(x, y, samples)
    code = Code(loss, gradients, arrays, learning_rate, stored)
    with np.errstate(all="ignore"):
        try:
            return _check(code, Point(batch, arrays.before))
        finally:
            arrays.write(arrays.before)


def assert_gradients(
    loss: Callable[..., Any],
    gradients: Callable[..., Any],
    x: Any,
    y: Any = None,
    /,
    parameters: Any = None,
    **settings: Any,
) -> None:
    """Raise an AssertionError unless hand-written gradients are right.

    Args:
        loss: The loss, as for `check_gradients`.
        gradients: The gradients.
        x: The inputs.
        y: The targets.
        parameters: The arrays in their structure.
        settings: Other arguments of `check_gradients`, and arrays by their names.

    Raises:
        AssertionError: A gradient is not right. The message is the report.
        MlpXpError: As for `check_gradients`.

    Examples:
        >>> W, x = np.eye(2), np.ones((3, 2))
        >>> def gradients(x, error):
        ...     return error @ W.T, x.T @ error
        >>> assert_gradients(lambda x: x @ W, gradients, x, W=W)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    report = check_gradients(loss, gradients, x, y, parameters, **settings)
    if not report:
        raise AssertionError(str(report))


def _check(code: Code, start: Point) -> GradientCheck:
    """Check a program at a point, and again at others if it is right there."""
    here = _compare(code, start)
    others = _other_arrays(here.subject)
    if here.wrong:
        return here.report(others)
    shown = there = _compare_moved(code, here)
    if here.is_clear:
        shown = here
    elif there.wrong or not there.is_clear:
        return there.report(others)
    repeated = []
    for again in chain([there], _compare_other_samples(code, there)):
        place = again.subject.point
        if again.outcome == "wrong":
            report = again.report(others)
            words = f"right elsewhere, wrong {place.words} ({place.cause})"
            report.findings[:] = [Finding(again.wrong, (words,))]
            return report
        if again is not shown:
            is_unclear = again.outcome == "unclear"
            repeated.append(f"unclear {place.words}" if is_unclear else place.words)
    return shown.report(others, repeated)


def _compare_moved(code: Code, here: Comparison) -> Comparison:
    """Compare at parameters moved by 1 %, and at most twice at others if unclear."""
    for _ in range(_MOVES):
        there = _compare(code, here.subject.moved_point())
        if there.outcome != "unclear":
            break
    return there


def _compare_other_samples(code: Code, there: Comparison) -> Iterator[Comparison]:
    """Compare with one sample replaced, and with one sample fewer."""
    point = there.subject.point
    if point.batch.samples > 1:
        yield _compare(
            code,
            point._replace(
                batch=point.batch.replaced(),
                words="with one sample replaced",
                cause="variables of an earlier run?",
            ),
        )
        yield _compare(
            code,
            point._replace(
                batch=point.batch.shortened(),
                words=_FEWER,
                cause="a fixed number of samples?",
            ),
        )


def _compare(code: Code, point: Point) -> Comparison:
    """Run a program at a point, and say where if it fails."""
    try:
        return Comparison(Subject(code, point))
    except MlpXpError as error:
        if point.words:
            error.fault = f"{error.fault}, {point.words}"
        if point.words == _FEWER:
            error.remedy = AXES
        raise


def _other_arrays(subject: Subject) -> list[str]:
    """Return other attributes of the objects, on whose arrays the loss depends."""
    others = []
    for name, arrays in subject.code.parameters.others().items():
        before = {str(i): array.copy() for i, array in enumerate(arrays)}
        try:
            for i, value in moved(before, 0.01, subject.random).items():
                arrays[int(i)][...] = value
            if subject.loss({}) != subject.value:
                others.append(name)
        except MlpXpError:  # it refuses other values
            others.append(name)
        finally:
            for i, value in before.items():
                arrays[int(i)][...] = value
    return others
