"""`check_gradients` and `assert_gradients`."""

from collections.abc import Callable, Iterator
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from mlp_xp.errors import MlpXpError, check_type
from mlp_xp.gradients._batch import AXES, as_batch
from mlp_xp.gradients._comparison import Comparison
from mlp_xp.gradients._differences import moved
from mlp_xp.gradients._mistakes import Finding
from mlp_xp.gradients._parameters import Parameters
from mlp_xp.gradients._report import GradientCheck
from mlp_xp.gradients._subject import Code, Point, Subject

_RESERVED = ("x", "y", "loss", "gradients")
_MOVES = 3


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
    """Check gradients."""
    check_type(loss, Callable, "loss", "give a function of x and y")
    check_type(gradients, Callable, "gradients", "give a function of x and y")
    check_type(learning_rate, Real | None, "learning_rate", "give a number")
    if learning_rate is not None and (learning_rate == 0 or not isfinite(learning_rate)):
        remedy = "give the learning rate of the update"
        raise MlpXpError(f"is {learning_rate}", remedy=remedy, setting="learning_rate")
    check_type(stored, str | None, "stored", "give a text, as in stored='d{}'")
    check_type(samples, int | None, "samples", "give 0, -1 or None")
    if stored is not None and learning_rate is not None:
        remedy = "leave out one of them"
        raise MlpXpError("is given beside learning_rate", remedy=remedy, setting="stored")
    for name in _RESERVED:
        if name in named:
            remedy = "give loss, gradients, x and y in this order, without names"
            raise MlpXpError("is no name for a parameter", remedy=remedy, setting=name)
    arrays = Parameters(parameters, named)
    if "x" in arrays.before and y is None:
        raise MlpXpError("is the input of a layer", setting="x")
    batch = as_batch(x, y, samples)
    code = Code(loss, gradients, arrays, learning_rate, stored, batch.samples)
    with np.errstate(all="ignore"):
        try:
            return _check(code, Point(batch, arrays.before))
        finally:
            arrays.put_back()


def assert_gradients(
    loss: Callable[..., Any],
    gradients: Callable[..., Any],
    x: Any,
    y: Any = None,
    /,
    parameters: Any = None,
    **settings: Any,
) -> None:
    """Raise an AssertionError unless gradients are right."""
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
    for again in (there, *_compare_other_samples(code, there)):
        place = again.subject.point
        if again.outcome == "wrong":
            report = again.report(others)
            words = f"right elsewhere, wrong {place.words} ({place.cause})"
            report.findings[:] = [Finding(again.wrong, (words,))]
            return report
        if again.outcome == "right" and again is not shown:
            repeated.append(place.words)
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
                words="with one sample fewer",
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
        if point.batch.samples < code.samples:
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
        finally:
            for i, value in before.items():
                arrays[int(i)][...] = value
    return others
