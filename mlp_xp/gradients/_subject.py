"""A program at a point: its loss, its gradients, and how precise they are."""

from functools import cached_property
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._code import Code, Point, Reading
from mlp_xp.gradients._differences import (
    LARGEST_STEP,
    moved,
    neighbours,
    rounding_error,
)
from mlp_xp.gradients._layers import Twin, find_twin
from mlp_xp.gradients._parameters import FLOATS, Values


class Subject:
    """A program at a point."""

    def __init__(self, code: Code, point: Point) -> None:
        self.code, self.point, self.batch = code, point, point.batch
        self.is_layer = self.batch.y is None
        self.random = np.random.default_rng(0)
        outputs = code.run(self.batch, point.values)
        self.targets: Any = self.batch.y
        """The targets, or the error of a layer."""
        if self.is_layer:
            random = np.random.default_rng(7)  # the same error in each run
            self.targets = random.standard_normal(outputs.shape)
        self.value = self._steady_loss()
        self.reading = self._steady_reading()
        self.parameters = self._compared()
        """The arrays with gradients, and the inputs x of a layer."""
        arrays = [outputs, *self.parameters.values(), *self.reading.gradients.values()]
        kinds = [each.dtype for each in arrays if each.dtype.kind == "f"]
        self.eps = float(max(np.finfo(each).eps for each in [*kinds, np.dtype(float)]))
        """The eps of the least precise dtype."""
        self.ignored = self._without_effect()
        """Parameters without an effect on the loss."""
        self.rounding = self._rounding()
        """The absolute rounding error of the loss."""

    def moved_point(self) -> Point:
        """Return a point with parameters moved by about 1 %."""
        values = {**self.point.values}
        values |= moved(self.parameters, 0.01, self.random)
        batch = self.batch
        if self.is_layer:
            batch = batch._replace(x=values.pop("x", batch.x))
        return Point(
            batch,
            values,
            "at parameters moved by 1 %",
            "variables of an earlier run, or weights of 0?",
        )

    def loss(self, values: Values) -> float:
        """Return the loss with other values of some arrays."""
        result = self.code.run(self.batch, {**self.point.values, **values})
        if not self.is_layer:
            return float(result.reshape(()))
        if result.shape != self.targets.shape:
            raise MlpXpError("returns outputs of changing shapes", setting="loss")
        return float(np.sum(result * self.targets, dtype=float))

    def loss_at(self, name: str, index: tuple[Any, ...], number: float) -> float:
        """Return the loss with another number in one entry of a parameter."""
        changed = self.parameters[name].copy()
        changed[index] = number
        return self.loss({name: changed})

    def _steady_loss(self) -> float:
        """Return the loss, which must be finite and the same in each run."""
        value = self.loss({})
        if not np.isfinite(value):
            remedy = "give smaller parameters or inputs"
            raise MlpXpError(f"is {value}", remedy=remedy, setting="loss")
        for name, array in self.code.parameters.read().items():
            if not np.array_equal(array, self.point.values[name]):
                raise MlpXpError(f"changes {name!r}", setting="loss")
        if self.loss({}) != value:
            remedy = "switch off dropout, or set the seed in the function"
            words = "changes from run to run"
            raise MlpXpError(words, remedy=remedy, setting="loss")
        return value

    def _read(self) -> Reading:
        """Read the gradients."""
        error = self.targets.copy() if self.is_layer else None
        return self.code.read(self.batch, self.point.values, error)

    def _steady_reading(self) -> Reading:
        """Return the gradients, which must be the same in each run."""
        reading = self._read()
        if self.loss({}) != self.value:
            raise self.code.unsteady()
        again = self._read()
        for name, array in reading.gradients.items():
            if not _is_repeated(array, again.gradients[name]):
                remedy = "clear sums of earlier calls, and return no momentum"
                words = f"gives another gradient of {name!r} in a second call"
                raise MlpXpError(words, remedy=remedy, setting="gradients")
        return reading

    def _compared(self) -> dict[str, Array]:
        """Return the arrays with gradients. They include the inputs of a layer."""
        inputs = {}
        if self.is_layer and "x" in self.reading.gradients:
            x = self.batch.x
            if not isinstance(x, np.ndarray) or x.dtype.type not in FLOATS:
                remedy = "give float32 or float64, or return no gradient of x"
                words = "is no array of floats, and has a gradient"
                raise MlpXpError(words, remedy=remedy, setting="x")
            inputs = {"x": x}
        if not (inputs or self.point.values):
            remedy = "give arrays, as in W=W, or return a gradient of x"
            raise MlpXpError("names no array", remedy=remedy, setting="parameters")
        return {**inputs, **self.point.values}

    def _without_effect(self) -> list[str]:
        """Return the parameters on which the loss does not depend."""
        ignored = []
        for name, other in moved(self.parameters, 0.01, self.random).items():
            if self.loss({name: other}) == self.value:
                ignored.append(name)
        return ignored

    def _rounding(self) -> float:
        """Return eps_f, the absolute rounding error of the loss."""
        step = self.eps ** (1 / 3)
        losses = neighbours(self.loss, self.parameters, step, self.random)
        rounding = rounding_error(losses, self.eps)
        # A loss that is rounded may be equal at all neighbours, but not far away.
        change = self.loss(moved(self.parameters, 0.01, self.random)) - self.value
        is_flat = np.ptp(losses) == 0 and abs(change) > self.eps**0.5 * abs(self.value)
        sizes = [abs(self.value)]
        for array in self.reading.gradients.values():
            sizes.append(float(np.max(np.abs(array), initial=0.0)))
        if is_flat or rounding > self.eps**0.5 * max(sizes):
            remedy = "return it without round(), in one dtype, and not at its minimum"
            words = "has few digits, or does not change near these parameters"
            raise MlpXpError(words, remedy=remedy, setting="loss")
        return rounding

    @cached_property
    def rounding_far(self) -> float:
        """The absolute rounding error of the loss for large steps."""
        losses = neighbours(self.loss, self.parameters, LARGEST_STEP, self.random)
        return max(self.rounding, rounding_error(losses, self.eps))

    @cached_property
    def twin(self) -> Twin | None:
        """The network in this package's layers, or None."""
        if self.ignored:
            return None
        layers = {name: value for name, value in self.parameters.items() if name != "x"}
        return find_twin(
            layers,
            self.batch._replace(y=self.targets),
            self.loss,
            self.eps,
            self.rounding,
            is_layer=self.is_layer,
        )


def _is_repeated(array: Array, again: Array) -> bool:
    """Return whether two gradients are equal, up to another order of their sums."""
    sizes = np.abs(array[np.isfinite(array)])
    rounding = 1e-6 * np.max(sizes, initial=0.0)
    is_like = array.shape == again.shape
    return is_like and np.allclose(array, again, rtol=0, atol=rounding, equal_nan=True)
