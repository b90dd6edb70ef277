"""A batch of samples, and the same batch with other samples."""

import copy
from collections.abc import Sequence
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.errors import MlpXpError, kind_of

AXES = (
    "give samples=-1 if samples are columns, or samples=None if their number is fixed"
)


class Batch(NamedTuple):
    """Inputs and targets as the code takes them: arrays, lists or numbers."""

    x: Any
    y: Any
    axis: int | None
    """The axis of the samples, or None if there is none."""

    @property
    def samples(self) -> int:
        """The number of samples."""
        return 1 if self.axis is None else _length(self.x, self.axis)

    def replaced(self) -> "Batch":
        """Return the batch with another sample in place of the first one."""
        order = [*range(self.samples)]
        targets = self.x if self.y is None else self.y
        first = _take(targets, order[:1], self.axis)
        order[0] = 1
        for i in range(1, self.samples):
            if not np.array_equal(_take(targets, [i], self.axis), first):
                order[0] = i
                break
        return self._take(order)

    def shortened(self) -> "Batch":
        """Return the batch without its last sample."""
        return self._take([*range(self.samples - 1)])

    def _take(self, order: list[int]) -> "Batch":
        y = None if self.y is None else _take(self.y, order, self.axis)
        return self._replace(x=_take(self.x, order, self.axis), y=y)


def as_batch(x: Any, y: Any, samples: int | None) -> Batch:
    """Return a copy of a batch. Its samples must have an axis in `x` and in `y`."""
    for name, values in (("x", x), ("y", y)):
        is_missing = name == "y" and y is None
        if not (is_missing or isinstance(values, np.ndarray | list | tuple | Number)):
            remedy = "give an array, a list or a number"
            raise MlpXpError(f"is {kind_of(values)}", remedy=remedy, setting=name)
        if _is_empty(values):
            raise MlpXpError("is empty", remedy="give some samples", setting=name)
    x, y = copy.deepcopy((x, y))
    if (
        samples is None
        or isinstance(x, Number)
        or (isinstance(x, np.ndarray) and x.ndim == 0)
    ):
        return Batch(x, y, None)
    given = [x] if y is None else [x, y]
    counts = [_length(values, samples) for values in given]
    if counts[0] is None:
        raise MlpXpError(f"x has no axis {samples}", remedy=AXES, setting="samples")
    if len({*counts}) > 1:
        words = f"x has {counts[0]} samples, and y has {counts[1] or 'no such axis'}"
        raise MlpXpError(words, remedy=AXES, setting="samples")
    return Batch(x, y, samples)


def _is_empty(values: Any) -> bool:
    """Return whether there is no sample."""
    if isinstance(values, np.ndarray):
        return values.size == 0
    return isinstance(values, Sequence) and len(values) == 0


def _length(values: Any, axis: int) -> Any:
    """Return the number of samples, or None without such an axis."""
    if isinstance(values, Sequence):
        return len(values) if axis == 0 else None
    shape = np.shape(values)
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def _take(values: Any, order: list[int], axis: int | None) -> Any:
    """Return samples in this order."""
    if isinstance(values, np.ndarray):
        return np.take(values, order, axis)
    return [values[i] for i in order]
