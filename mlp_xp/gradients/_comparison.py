"""The gradients of a program, compared with central differences and a twin."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.gradients._differences import (
    Difference,
    difference,
    points_around,
    typical,
)
from mlp_xp.gradients._mistakes import Finding, explain
from mlp_xp.gradients._report import GradientCheck, Row
from mlp_xp.gradients._subject import Subject

_SAMPLED, _LARGEST = 16, 8  # entries of each array that are compared
_PAIR = 2  # entries
_ZERO = "it is 0: never computed, or overwritten"
_AXIS = "the axis of the samples is left: use sum(axis=0) without keepdims=True"
_NO_AXIS = "the axis of the samples is missing: use keepdims=True"
_STEPS = (
    "no usual mistake of one step; if a call takes several steps, give x[:1], y[:1] "
    "and one epoch"
)
_GUARD = "the guard of the logarithm is missing, or leave it out, as in log(p + 1e-8)"
_SMALL_TERM = "a small term of your loss is missing, such as a penalty on the weights"
Index = tuple[Any, ...]
"""The place of an entry in an array."""


class Comparison:
    """The gradients of a program, compared with the right ones."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.reading = subject, subject.reading
        self._update_errors = self._rounding_of_updates()

    @cached_property
    def rows(self) -> list[Row]:
        """The comparison of each gradient."""
        found = self.reading.gradients
        return [self._row(name, found[name]) for name in self.subject.parameters]

    @property
    def wrong(self) -> tuple[str, ...]:
        """The parameters with wrong gradients."""
        return tuple(row.name for row in self.rows if row.is_wrong)

    @property
    def is_clear(self) -> bool:
        """Whether central differences are precise enough for all gradients."""
        return all(row.is_clear for row in self.rows)

    @cached_property
    def outcome(self) -> str:
        """Whether all gradients are `right`, some are `wrong`, or `unclear`.

        Directions are quick, and mostly enough.
        """
        if self._is_right_along():
            return "right"
        if self.wrong:
            return "wrong"
        return "right" if self.is_clear else "unclear"

    def report(
        self, others: Sequence[str], repeated: Sequence[str] = ()
    ) -> GradientCheck:
        """Return the report, with the mistakes that explain wrong gradients."""
        subject = self.subject
        words = "your loss"
        if subject.is_layer:
            words = "the sum of the outputs times a random error"
        return GradientCheck(
            self.rows,
            self._findings() if self.wrong else [],
            subject.ignored,
            [*others],
            str(subject.twin or ""),
            f"{words} {subject.point.words}".strip(),
            [*repeated],
        )

    def _is_right_along(self) -> bool:
        """Return whether all gradients are right along a random direction."""
        for name, value in self.subject.parameters.items():
            array = self.reading.gradients[name]
            if np.size(array) != value.size:
                return False
            array = np.reshape(array, value.shape)
            is_right, is_clear = self._along(name, array, np.arange(value.size))
            if not (is_right and is_clear):
                return False
        return True

    def _rounding_of_updates(self) -> dict[str, float]:
        """Return the rounding errors of gradients that are read from an update."""
        rate, errors = self.subject.code.rate, {}
        for name in self.reading.steps:
            value = self.subject.parameters[name]
            eps = float(np.finfo(value.dtype).eps)
            errors[name] = 2 * eps * float(np.max(np.abs(value))) / abs(rate or 1)
        return errors

    def _row(self, name: str, array: Array) -> Row:
        """Compare the gradient of one parameter."""
        value = self.subject.parameters[name]
        accepted = array.shape, (1, *array.shape)  # a bias may be a row
        is_number = value.size == array.size == 1
        if value.shape not in accepted and not is_number:
            return Row(name, False, f"shape {array.shape}, not {value.shape}")
        array = array.reshape(value.shape)
        package = self._package(name)
        if package is not None:
            package = package.reshape(value.shape)
        compare = partial(self._entry, name, array, package)
        rows = [compare(index) for index in self._entries(array, package)]
        if len(rows) < array.size and all(row.is_right for row in rows):
            rows += [compare(index) for index in self._doubtful(name, array)]
        worst = max(rows, key=Row.doubt)
        tolerance = max(row.tolerance for row in rows)
        return worst._replace(
            compared=len(rows),
            tolerance=tolerance,
            is_zero=bool(np.all(np.abs(array) <= tolerance)),
        )

    def _package(self, name: str) -> Array | None:
        """Return the gradient of this package's network, or None without such one."""
        twin = self.subject.twin
        return twin.gradients.get(name) if twin else None

    def _entries(self, array: Array, package: Array | None) -> list[Index]:
        """Return the entries to compare: the most doubtful, then others at random."""
        if array.ndim == 0:
            return [()]
        deviation = array if package is None else array - package
        order = np.argsort(-np.nan_to_num(np.abs(deviation), nan=np.inf), axis=None)
        others = order[_LARGEST:].copy()
        self.subject.random.shuffle(others)
        chosen = np.concatenate([order[:_LARGEST], others[:_SAMPLED]])
        return list(zip(*np.unravel_index(chosen, array.shape), strict=True))

    def _entry(
        self, name: str, array: Array, package: Array | None, index: Index
    ) -> Row:
        """Compare one entry of a gradient."""
        subject = self.subject
        yours = array[index]
        values = subject.parameters[name]
        found = self._difference(
            name,
            partial(subject.loss_at, name, index),
            values[index],
            typical(values),
            yours,
        )
        size = max(float(np.max(np.abs(array))), abs(found.value))
        return Row(
            name,
            bool(abs(yours - found.value) <= found.tolerance),
            str([int(each) for each in index]),
            yours,
            found.value,
            None if package is None else package[index],
            found.tolerance,
            is_clear=self._is_clear(found, size),
        )

    def _difference(
        self,
        name: str,
        loss: Callable[[float], float],
        value: Any,
        scale: float,
        yours: Any,
    ) -> Difference:
        """Return the most precise of central differences with several steps.

        Another step is tried if the tolerance is large, relative to the derivative. A
        smaller one avoids a kink, and a larger one the rounding of the loss.
        """
        subject = self.subject
        step = subject.eps ** (1 / 3) * max(1.0, abs(value))
        steps = [step, step / 10, step / 100, step / 1000]
        steps += [10 * step, 100 * step, 1000 * step]
        steps.append(subject.eps ** (1 / 3) * max(scale, abs(value)))
        update_error = self._update_errors.get(name, 0.0)
        best = Difference(0.0, np.inf)
        for each in steps:
            if each > max(step, 0.01 * max(1.0, abs(value))):
                continue
            points = points_around(value, each)
            if points[1] == points[2]:
                continue
            found = difference(loss, points, subject.value, subject.rounding)
            best = min(best, found, key=attrgetter("tolerance"))
            size = max(abs(yours), abs(best.value))
            if best.tolerance <= subject.eps ** (1 / 3) * size or yours == found.value:
                break
        return best._replace(tolerance=best.tolerance + update_error)

    def _is_clear(self, found: Difference, size: float) -> bool:
        """Return whether a tolerance is small enough to tell a mistake.

        It is small relative to the array's largest gradient. A gradient of 0 may have
        the rounding error of the loss.
        """
        subject = self.subject
        step = subject.eps ** (1 / 3)
        if size <= found.tolerance:
            return found.tolerance <= 16 * subject.rounding / step
        return found.tolerance <= subject.eps ** (1 / 6) * size

    def _doubtful(self, name: str, array: Array) -> list[Index]:
        """Return an entry in which a gradient may be wrong, or nothing.

        The derivative along a random direction has all entries in it. A wrong one is
        found by halving.
        """
        left = np.arange(array.size)
        if self._along(name, array, left)[0]:
            return []
        while len(left) > 1:
            half, other = np.array_split(left, 2)
            is_right, _ = self._along(name, array, half)
            left = other if is_right else half
        return list(zip(*np.unravel_index(left, array.shape), strict=True))

    def _along(self, name: str, array: Array, entries: Array) -> tuple[bool, bool]:
        """Return whether a gradient is right along a random direction, and is clear."""
        subject = self.subject
        value, direction = subject.parameters[name], np.zeros(array.shape)
        direction.flat[entries] = subject.random.standard_normal(len(entries))
        yours = float(np.sum(array * direction))
        found = self._difference(
            name,
            lambda step: subject.loss(
                {name: (value + step * direction).astype(value.dtype)}
            ),
            0.0,
            typical(value),
            yours,
        )
        errors = self._update_errors.get(name, 0.0) + subject.eps * np.abs(array)
        tolerance = found.tolerance + float(np.sum(errors * np.abs(direction)))
        size = float(np.sum((array * direction) ** 2)) ** 0.5
        is_clear = self._is_clear(found._replace(tolerance=tolerance), size)
        return bool(abs(yours - found.value) <= tolerance), is_clear

    def _findings(self) -> list[Finding]:
        """Return the mistakes that explain wrong gradients."""
        plain = self._plain_mistakes()
        said = {name for each in plain for name in each.names}
        mistakes = self._mistakes(plain)
        explained = said | {name for each in mistakes for name in each.names}
        left = [name for name in self.wrong if name not in explained]
        findings = [*mistakes, *plain, *self._factors(left)]
        if self.reading.steps and not findings and self.subject.batch.samples > 1:
            return [Finding(self.wrong, (_STEPS,))]
        return findings

    def _plain_mistakes(self) -> list[Finding]:
        """Return the mistakes that a look at an array tells, without the formulas."""
        said: dict[str, list[str]] = {}
        for row in self.rows:
            words = self._plain_mistake(row) if row.is_wrong else ""
            if words:
                said.setdefault(words, []).append(row.name)
        return [Finding(tuple(names), (words,)) for words, names in said.items()]

    def _plain_mistake(self, row: Row) -> str:
        """Return the plain mistake in a wrong gradient, or an empty string."""
        array = self.reading.gradients[row.name]
        shape = self.subject.parameters[row.name].shape
        if not np.any(array) and array.size == np.prod(shape):
            return _ZERO
        if array.shape == (1, *shape):
            return _AXIS
        if row.yours is None and array.shape == tuple(n for n in shape if n > 1):
            return _NO_AXIS
        twin = self.subject.twin
        package = twin.gradients if twin else {}
        same = [name for name in package if self._same(array, package[name])]
        if not same or row.name == "x":
            return ""
        if row.name in same:
            return _GUARD if twin and twin.is_guarded else _SMALL_TERM
        return f"it is the gradient of {same[0]}"

    def _mistakes(self, plain: list[Finding]) -> list[Finding]:
        """Return the mistakes in the formulas of backpropagation."""
        subject, reading = self.subject, self.reading
        if not subject.twin:
            return []
        names = [name for name in subject.parameters if name not in subject.ignored]
        gradients = {name: reading.gradients[name] for name in names}
        right = [row.name for row in self.rows if row.is_right]
        zeros: list[str] = []
        for finding in plain:
            if _ZERO in finding.mistakes:
                zeros += finding.names
        return explain(subject.twin, gradients, reading.steps, self._same, zeros, right)

    def _factors(self, names: list[str]) -> list[Finding]:
        """Return the factors of gradients that are multiples of the right ones.

        One number always is a multiple, and so are two with the sum 0. They must have
        the factor of another gradient.
        """
        factors = {name: f"{self._factor(name):.4g}" for name in names}
        large = [name for name in names if self.reading.gradients[name].size > _PAIR]
        credible = {factors[name] for name in large} - {"0", "1"}
        findings = []
        for name, factor in factors.items():
            if factor in credible:
                words = f"{factor} times the right gradient"
                findings.append(Finding((name,), (words,)))
        return findings

    def _factor(self, name: str) -> float:
        """Return the factor of a wrong gradient to this package's, or 0."""
        package = self._package(name)
        array = np.reshape(self.reading.gradients[name], -1)
        if package is None or package.size != array.size or not np.any(package):
            return 0.0
        package = np.reshape(package, -1)
        factor = float(array @ package / (package @ package))
        is_factor = self._same(array, factor * package)
        return factor if is_factor and not self._same(array, package) else 0.0

    def _same(self, array: Array, variant: Array) -> bool:
        """Return whether two gradients are equal up to rounding."""
        step = self.subject.eps ** (1 / 3)
        tolerance = self.subject.rounding / step
        tolerance += max(self._update_errors.values(), default=0.0)
        tolerance += step * step * np.max(np.abs(variant), initial=0.0)
        same_shape = np.shape(array) == np.shape(variant)
        return same_shape and np.allclose(array, variant, rtol=0, atol=tolerance)
