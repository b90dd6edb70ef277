"""`check_gradients` and `assert_gradients`."""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.errors import MlpXpError, check_type
from mlp_xp.gradients._batch import Batch, as_batch
from mlp_xp.gradients._comparison import Comparison
from mlp_xp.gradients._differences import moved
from mlp_xp.gradients._mistakes import Finding
from mlp_xp.gradients._parameters import Parameters, Values
from mlp_xp.gradients._report import GradientCheck
from mlp_xp.gradients._subject import Code, Subject

_RESERVED = ("x", "y", "loss", "gradients")
_MOVED = "at parameters moved by 1 %"
_STALE = "variables of an earlier run?"


class Place(NamedTuple):
    """A batch and values of the parameters, at which a program is checked."""

    words: str
    """The place in words, such as `with one sample fewer`."""
    batch: Batch
    point: Values
    cause: str = ""
    """The usual reason for a gradient that is right elsewhere and wrong here."""


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
    code = Code(loss, gradients, arrays, learning_rate, stored)
    batch = as_batch(x, y, samples)
    with np.errstate(all="ignore"):
        try:
            return _check(code, Place("", batch, arrays.before))
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


def _check(code: Code, place: Place) -> GradientCheck:
    """Check a program at a place, and again at others if it is right there."""
    here = _compare(code, place)
    others = _others(code, here.subject)
    batch, point = here.subject.elsewhere()
    there = Place(_MOVED, batch, point, f"({_STALE[:-1]}, or weights of 0?)")
    if here.wrong:
        return _report(here, place, others)
    if not here.is_clear:
        place = there
        here = _compare(code, place)
        if here.wrong or not here.is_clear:
            return _report(here, place, others)
    repeated = []
    for other in [there, *_other_samples(there)]:
        if other is place:
            continue
        again = _compare(code, other)
        if again.is_right_along():
            repeated.append(other.words)
        elif again.wrong:
            report = _report(again, other, others)
            words = f"right elsewhere, wrong {other.words} {other.cause}"
            report.findings[:] = [Finding(again.wrong, (words,))]
            return report
        elif again.is_clear:
            repeated.append(other.words)
    report = _report(here, place, others)
    report.repeated[:] = repeated
    return report


def _other_samples(place: Place) -> Iterator[Place]:
    """Yield a place with one sample replaced, and one with a sample fewer."""
    batch = place.batch
    if batch.samples > 1:
        words = "with one sample replaced"
        yield Place(words, batch.replaced(), place.point, f"({_STALE})")
        words = "with one sample fewer"
        cause = "(a fixed number of samples?)"
        yield Place(words, batch.shortened(), place.point, cause)


def _compare(code: Code, place: Place) -> Comparison:
    """Run a program at a place, and say where if it fails."""
    try:
        return Comparison(Subject(code, place.batch, place.point))
    except MlpXpError as error:
        if place.words:
            error.fault = f"{error.fault}, {place.words}"
            if "fewer" in place.words:
                error.remedy = (
                    "give samples=-1 if samples are columns, or samples=None if their "
                    "number is fixed"
                )
        raise


def _others(code: Code, subject: Subject) -> list[str]:
    """Return other attributes of the objects, on whose arrays the loss depends."""
    others = []
    for name, arrays in code.parameters.others().items():
        before = [array.copy() for array in arrays]
        values = {str(i): array for i, array in enumerate(before)}
        try:
            for i, value in moved(values, 0.01, subject.random).items():
                arrays[int(i)][...] = value
            if subject.loss({}) != subject.value:
                others.append(name)
        finally:
            for array, value in zip(arrays, before, strict=True):
                array[...] = value
    return others


def _report(comparison: Comparison, place: Place, others: list[str]) -> GradientCheck:
    """Return the report of a comparison."""
    subject = comparison.subject
    words = "your loss"
    if subject.is_layer:
        words = "the sum of the outputs times a random error"
    return GradientCheck(
        comparison.rows,
        comparison.findings(),
        subject.ignored,
        others,
        str(subject.twin or ""),
        f"{words} {place.words}".strip(),
        [],
    )
