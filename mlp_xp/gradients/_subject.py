"""A program at some values of its parameters, for a batch."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from functools import cached_property
from io import StringIO
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, kind_of, one_line, some
from mlp_xp.gradients._batch import Batch
from mlp_xp.gradients._differences import moved, neighbours, rounding_error
from mlp_xp.gradients._layers import Twin, find_twin
from mlp_xp.gradients._parameters import Parameters, Values, as_numbers

_AS_LAYER = "without y, the code is a layer: loss(x) and gradients(x, error)"
_IN_PLACE = (
    "update arrays in place, as in W -= rate * dW, or name their places, as in "
    "parameters=(globals(), 'W b')"
)


class Reading(NamedTuple):
    """The gradients of a run."""

    gradients: dict[str, Array]
    steps: Mapping[str, Array] = MappingProxyType({})
    """Before - after, if the gradients are read from an update."""


class Point(NamedTuple):
    """A batch and values of the parameters, at which a program is checked."""

    batch: Batch
    values: Values
    words: str = ""
    """The point in words, such as `with one sample fewer`."""
    cause: str = ""
    """The usual cause of a gradient that is wrong there, and right elsewhere."""


class Code:
    """The functions of the caller, and the parameters that they use."""

    def __init__(
        self,
        loss: Callable[..., Any],
        gradients: Callable[..., Any],
        parameters: Parameters,
        rate: float | None,
        stored: str | None,
        samples: int,
    ) -> None:
        self.loss, self.gradients = loss, gradients
        self.parameters, self.rate, self.stored = parameters, rate, stored
        self.samples = samples
        """The number of samples that the caller gives."""
        self._called: set[str] = set()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call `loss` or `gradients`. Only the first call of each prints."""
        is_first = name not in self._called
        self._called.add(name)
        try:
            with nullcontext() if is_first else redirect_stdout(StringIO()):
                return getattr(self, name)(*arguments)
        except MlpXpError:
            raise
        except Exception as error:
            raise MlpXpError(f"raises {one_line(error)}", setting=name) from error


class Subject:
    """A program at a point."""

    def __init__(self, code: Code, point: Point) -> None:
        self.code, self.point = code, point
        self.batch, self._values = point.batch, point.values
        self.is_layer = self.batch.y is None
        self.random = np.random.default_rng(0)
        self._outputs, _ = self._run({})
        self.targets: Any = self.batch.y
        """The targets, or the error of a layer."""
        if self.is_layer:
            random = np.random.default_rng(7)
            self.targets = random.standard_normal(self._outputs.shape)
        self.value = self._steady_loss()
        self.reading = self._steady_reading()
        self.parameters = self._compared()
        """The arrays with gradients, and the inputs x of a layer."""
        self.eps = self._eps()
        self.ignored = self._without_effect()
        """Parameters without an effect on the loss."""
        self.rounding = self._rounding()

    def moved_point(self) -> Point:
        """Return a point with parameters moved by about 1 %."""
        values = {**self._values, **moved(self.parameters, 0.01, self.random)}
        x = values.pop("x", self.batch.x) if self.is_layer else self.batch.x
        return Point(
            self.batch._replace(x=x),
            values,
            "at parameters moved by 1 %",
            "variables of an earlier run, or weights of 0?",
        )

    def _run(self, values: Values) -> tuple[Array, tuple[Any, Any]]:
        """Return the loss or the outputs of a layer, and the arguments of the call."""
        values = {**self._values, **values}
        x = values.pop("x", self.batch.x) if self.is_layer else self.batch.x
        self.code.parameters.write(values)
        x, y = copy.deepcopy((x, self.batch.y))
        found = self.code.call("loss", *((x,) if self.is_layer else (x, y)))
        return self._as_result(found), (x, y)

    def _as_result(self, found: Any) -> Array:
        """Return the loss or the outputs as an array."""
        wanted = "the outputs, an array" if self.is_layer else "one number"
        kinds = Array | float | int | np.number
        array = np.asarray(found) if isinstance(found, np.ndarray | float | int | np.number) else np.array("")
        words = ""
        if array.dtype.kind not in "fiu":
            words = f"returns {kind_of(found)}"
        elif array.size != 1 and not self.is_layer:
            words = f"returns {array.size} numbers"
        elif array.dtype == np.float16:
            words, wanted = "returns float16", "float32 or float64"
        if words:
            raise MlpXpError(words, remedy=f"return {wanted}", setting="loss")
        return array

    def loss(self, values: Values) -> float:
        """Return the loss with other values of some arrays."""
        result, _ = self._run(values)
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
        for name, now in self.code.parameters.read().items():
            if not np.array_equal(now, self._values[name]):
                raise MlpXpError(f"changes {name!r}", setting="loss")
        if self.loss({}) != value:
            raise MlpXpError(
                "changes from run to run",
                remedy="switch off dropout, or set the seed in the function",
                setting="loss",
            )
        return value

    def _steady_reading(self) -> Reading:
        """Return the gradients, which must be the same in each run."""
        reading = self._read()
        if self.loss({}) != self.value:
            raise MlpXpError(
                "changes more than the arrays that you name: the loss is another one",
                remedy=_IN_PLACE,
                setting="gradients",
            )
        again = self._read()
        for name, array in reading.gradients.items():
            if not self._is_same(array, again.gradients[name]):
                raise MlpXpError(
                    f"gives another gradient of {name!r} in a second call",
                    remedy="clear sums of earlier calls, and return no momentum",
                    setting="gradients",
                )
        return reading

    def _is_same(self, one: Array, other: Array) -> bool:
        """Return whether two gradients are equal, up to another order of sums."""
        if one.shape != other.shape:
            return False
        rounding = 1e-6 * np.max(np.abs(one), initial=0.0)
        return np.allclose(one, other, rtol=0, atol=rounding, equal_nan=True)

    def _read(self) -> Reading:
        """Call the gradients right after the loss."""
        _, (x, y) = self._run({})
        targets = self.targets.copy() if self.is_layer else y
        returned = self.code.call("gradients", x, targets)
        after = self.code.parameters.read()
        changed = []
        for name, array in after.items():
            if not np.array_equal(array, self._values[name], equal_nan=True):
                changed.append(name)
        if self.code.rate is None:
            if changed:
                raise MlpXpError(
                    f"changes {some(changed)}",
                    remedy="give learning_rate=, if it is an update",
                    setting="gradients",
                )
            return Reading(self._returned(returned))
        if not changed:
            raise MlpXpError("changes no array", remedy=_IN_PLACE, setting="gradients")
        gradients = {}
        if self.is_layer:
            gradients = self.code.parameters.match_inputs(returned)
        steps = {}
        for name, array in after.items():
            steps[name] = self._values[name] - array
            gradients[name] = steps[name] / self.code.rate
        return Reading(gradients, steps)

    def _returned(self, returned: Any) -> dict[str, Array]:
        """Return the gradients that are returned or stored."""
        parameters = self.code.parameters
        if self.code.stored is not None:
            inputs = parameters.match_inputs(returned) if self.is_layer else {}
            return inputs | parameters.stored(self.code.stored)
        if self.is_layer:
            return parameters.match_layer(returned)
        return parameters.match(returned)

    def _compared(self) -> dict[str, Array]:
        """Return the arrays with gradients. They include the inputs of a layer."""
        found = {name: array for name, array in self._values.items() if name != "x"}
        if "x" not in self.reading.gradients or not self.is_layer:
            if not found:
                raise MlpXpError(
                    "names no array", remedy="give arrays, as in W=W", setting="parameters"
                )
            return {**self._values}
        x = self.batch.x
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            raise MlpXpError(
                "is no array of floats, and has a gradient",
                remedy="give an array of floats, or return no gradient of x",
                setting="x",
            )
        return {"x": x, **found}

    def _eps(self) -> float:
        """Return the eps of the least precise dtype of a program."""
        arrays = [self._outputs, *self.parameters.values()]
        arrays += self.reading.gradients.values()
        kinds = [each.dtype for each in arrays if each.dtype.kind == "f"]
        return float(max(np.finfo(kind).eps for kind in [*kinds, np.dtype(float)]))

    def _without_effect(self) -> list[str]:
        """Return the parameters on which the loss does not depend."""
        ignored = []
        for name, other in moved(self.parameters, 0.01, self.random).items():
            if self.loss({name: other}) == self.value:
                ignored.append(name)
        return ignored

    def _rounding(self) -> float:
        """Return eps_f, the absolute rounding error of the loss."""
        losses = neighbours(self.loss, self.parameters, self.eps, self.random)
        rounding = rounding_error(losses, self.eps)
        change = self.loss(moved(self.parameters, 0.01, self.random)) - self.value
        has_steps = len({*losses}) == 1 and abs(change) > self.eps**0.5 * abs(self.value)
        if has_steps or rounding > self.eps**0.5 * self.size:
            raise MlpXpError(
                "has few digits, or does not change near these parameters",
                remedy="return it without round(), and compute it in one dtype",
                setting="loss",
            )
        return rounding

    @cached_property
    def size(self) -> float:
        """The size of the loss or of the largest gradient."""
        gradients = self.reading.gradients.values()
        sizes = [float(np.max(np.abs(each), initial=0.0)) for each in gradients]
        return max(abs(self.value), *sizes)

    @cached_property
    def twin(self) -> Twin | None:
        """The network in this package's layers, or None."""
        if self.ignored:
            return None
        layers = {name: value for name, value in self.parameters.items() if name != "x"}
        batch = self.batch._replace(y=self.targets)
        return find_twin(
            layers, batch, self.loss, self.eps, self.rounding, is_layer=self.is_layer
        )
