"""The gradients of a program, compared with central differences and a twin."""

from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.gradients._differences import difference, typical
from mlp_xp.gradients._matching import Reading
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
_UPDATE = "the update is not learning_rate times this gradient, and is not checked"
_SMALL_TERM = "a small term of your loss is missing, such as a penalty on the weights"
Index = tuple[Any, ...]
"""The place of an entry in an array."""


class Comparison:
    """The gradients of a program in one reading, compared with the right ones."""

    def __init__(self, subject: Subject, reading: Reading) -> None:
        self.subject, self.reading = subject, reading
        self.update_error = 0.0
        """The rounding error of gradients that are read from an update."""
        if reading.rate:
            sizes = [np.max(np.abs(each)) for each in subject.parameters.values()]
            self.update_error = 2 * subject.eps * float(max(sizes)) / abs(reading.rate)

    @cached_property
    def rows(self) -> list[Row]:
        """The comparison of each gradient."""
        found = self.reading.gradients
        names = [name for name in self.subject.parameters if name in found]
        return [self._row(name, found[name]) for name in names]

    @property
    def wrong(self) -> tuple[str, ...]:
        """The parameters with wrong gradients."""
        return tuple(row.name for row in self.rows if not row.is_right)

    @property
    def is_at_kink(self) -> bool:
        """Whether a tolerance is too large for a smooth loss."""
        limit = self.subject.largest_tolerance + self.update_error
        return any(row.tolerance > limit for row in self.rows)

    def report(self) -> GradientCheck:
        """Return the report, with the mistakes that explain wrong gradients."""
        subject, reading = self.subject, self.reading
        if self.wrong and reading.rate and not reading.is_named:
            subject.ask_for_names(self.wrong)
        findings = self._findings() if self.wrong else []
        others = self._other_updates()
        if others:
            findings.append(Finding(others, (_UPDATE,)))
        return GradientCheck(
            self.rows,
            findings,
            subject.ignored,
            subject.skipped,
            subject.missing,
            str(subject.twin or ""),
            subject.loss_name,
        )

    def is_right_along(self) -> bool:
        """Return whether all gradients are right along a random direction."""
        for name, value in self.subject.parameters.items():
            array = self.reading.gradients.get(name)
            if array is not None and np.size(array) == value.size:
                entries = np.arange(value.size)
                array = np.reshape(array, value.shape)
                if self._is_doubtful(name, array, entries):
                    return False
        return True

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
        is_sample = len(rows) < array.size
        if is_sample and not self._is_exact and all(row.is_right for row in rows):
            rows += [compare(index) for index in self._doubtful(name, array)]
        worst = max(rows, key=Row.doubt)
        tolerance = max(row.tolerance for row in rows)
        return worst._replace(compared=len(rows), tolerance=tolerance)

    @property
    def _is_exact(self) -> bool:
        """Whether this package has the same network with the same loss."""
        return self.subject.twin is not None and self.subject.twin.is_exact

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
        value = subject.parameters[name][index]
        compare = partial(
            difference,
            partial(subject.loss_at, name, index),
            value,
            subject.value,
            subject.eps,
            subject.rounding,
        )
        found = compare()
        if found.tolerance > subject.largest_tolerance:
            # The step may be large for small numbers.
            near = compare(scale=typical(subject.parameters[name]))
            found = min(found, near, key=attrgetter("tolerance"))
        exact, tolerance = found.value, found.tolerance + self.update_error
        yours = array[index]
        other = None if package is None else package[index]
        is_right = bool(abs(yours - exact) <= tolerance)
        # The network was recognised at several parameters, but at the same inputs.
        if other is not None and self._is_exact and name != "x":
            is_right |= self._same(yours, other)
        entry = str([int(each) for each in index])
        return Row(name, is_right, entry, yours, exact, other, tolerance)

    def _doubtful(self, name: str, array: Array) -> list[Index]:
        """Return an entry in which a gradient may be wrong, or nothing.

        The derivative along a random direction has all entries in it. A wrong one is
        found by halving.
        """
        left = np.arange(array.size)
        if not self._is_doubtful(name, array, left):
            return []
        while len(left) > 1:
            half, other = np.array_split(left, 2)
            left = half if self._is_doubtful(name, array, half) else other
        return list(zip(*np.unravel_index(left, array.shape), strict=True))

    def _is_doubtful(self, name: str, array: Array, entries: Array) -> bool:
        """Return whether a gradient is wrong along a random direction."""
        subject = self.subject
        value, direction = subject.parameters[name], np.zeros(array.shape)
        direction.flat[entries] = subject.random.standard_normal(len(entries))
        exact, tolerance = difference(
            lambda step: subject.loss({name: value + step * direction}),
            0.0,
            subject.value,
            subject.eps,
            subject.rounding,
        )
        errors = self.update_error + subject.eps * np.abs(array)
        tolerance += float(np.sum(errors * np.abs(direction)))
        return not abs(float(np.sum(array * direction)) - exact) <= tolerance

    def _other_updates(self) -> tuple[str, ...]:
        """Return the parameters whose update does not take the named gradient."""
        rates = {each.rate for each in self.subject.readings if each.rate}
        if len(rates) != 1:
            return ()
        (rate,) = rates
        update = Comparison(self.subject, self.reading._replace(rate=rate))
        others = []
        for name, array in self.reading.gradients.items():
            step = self.reading.steps.get(name)
            if step is None or step.size != array.size:  # the shape is wrong
                continue
            if not update._same(step / rate, array.reshape(step.shape)):
                others.append(name)
        return tuple(others)

    def _findings(self) -> list[Finding]:
        """Return the mistakes that explain wrong gradients."""
        plain = self._plain_mistakes()
        said = {name for each in plain for name in each.names}
        mistakes = self._mistakes(plain)
        explained = said | {name for each in mistakes for name in each.names}
        left = [name for name in self.wrong if name not in explained]
        findings = [*mistakes, *plain, *self._factors(left)]
        reading, x = self.reading, self.subject.x
        is_update = reading.rate and not reading.is_named
        # Samples are rows or columns.
        is_batch = x.ndim > 1 and min(x.shape[0], x.shape[-1]) > 1
        if is_update and not findings and is_batch:
            return [Finding(self.wrong, (_STEPS,))]
        return findings

    def _plain_mistakes(self) -> list[Finding]:
        """Return the mistakes that a look at an array tells, without the formulas."""
        said: dict[str, list[str]] = {}
        for row in self.rows:
            words = "" if row.is_right else self._plain_mistake(row)
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
            return _SMALL_TERM
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
        tolerance = self.subject.rounding / step + self.update_error
        tolerance += step * step * np.max(np.abs(variant), initial=0.0)
        same_shape = np.shape(array) == np.shape(variant)
        return same_shape and np.allclose(array, variant, rtol=0, atol=tolerance)
