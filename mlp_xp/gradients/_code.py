"""The functions of the caller, called with values in the arrays that they use."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, kind_of, one_line, some
from mlp_xp.gradients._batch import Batch
from mlp_xp.gradients._parameters import Parameters, Values, match_inputs

_IN_PLACE = (
    "update arrays in place, as in W -= rate * dW, or name their places, as in "
    "parameters=(globals(), 'W b')"
)


class Point(NamedTuple):
    """A batch and values of the parameters, at which a program is checked."""

    batch: Batch
    values: Values
    words: str = ""
    """The point in words, such as `with one sample fewer`."""
    cause: str = ""
    """The usual cause of a gradient that is wrong there, and right elsewhere."""


class Reading(NamedTuple):
    """The gradients of a run."""

    gradients: dict[str, Array]
    steps: Mapping[str, Array] = MappingProxyType({})
    """Before - after, if the gradients are read from an update."""


class Code:
    """The functions of the caller, and the parameters that they use.

    Without targets, the code is a layer. Then values may have other inputs `x`.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        gradients: Callable[..., Any],
        parameters: Parameters,
        rate: float | None,
        stored: str | None,
    ) -> None:
        self._functions = {"loss": loss, "gradients": gradients}
        self.parameters, self.rate, self._stored = parameters, rate, stored
        self._called: set[str] = set()

    def run(self, batch: Batch, values: Values) -> Array:
        """Return the loss, or the outputs of a layer."""
        result, _, _ = self._run(batch, values)
        return result

    def read(self, batch: Batch, values: Values, targets: Any) -> Reading:
        """Call the gradients right after the loss, and read them.

        The targets of a layer are the error of its outputs.
        """
        _, x, y = self._run(batch, values)
        returned = self._call("gradients", x, targets if y is None else y)
        after = self.parameters.read()
        changed = []
        for name, array in after.items():
            if not np.array_equal(array, values[name], equal_nan=True):
                changed.append(name)
        if self.rate is not None:
            inputs = match_inputs(returned) if y is None else {}
            return self._read_update(values, after, changed, inputs)
        if changed:
            remedy = "give learning_rate=, if it is an update"
            words = f"changes {some(changed)}"
            raise MlpXpError(words, remedy=remedy, setting="gradients")
        if self._stored is not None:
            inputs = match_inputs(returned) if y is None else {}
            return Reading(inputs | self.parameters.stored(self._stored))
        match = self.parameters.match_layer if y is None else self.parameters.match
        return Reading(match(returned))

    def _run(self, batch: Batch, values: Values) -> tuple[Array, Any, Any]:
        """Return the loss or the outputs, and the copies of `x` and `y` for it."""
        x, y = copy.deepcopy((batch.x, batch.y))
        if y is None and "x" in values:
            x = np.array(values["x"])
        self.parameters.write(values)
        found = self._call("loss", *((x,) if y is None else (x, y)))
        return _as_result(found, is_layer=y is None), x, y

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function. Only its first call prints."""
        is_first = name not in self._called
        self._called.add(name)
        try:
            with nullcontext() if is_first else redirect_stdout(StringIO()):
                return self._functions[name](*arguments)
        except MlpXpError:
            raise
        except Exception as error:
            raise MlpXpError(f"raises {one_line(error)}", setting=name) from error

    def _read_update(
        self,
        before: Values,
        after: Values,
        changed: list[str],
        inputs: dict[str, Array],
    ) -> Reading:
        """Return the gradients (before - after) / learning rate of an update."""
        if not changed:
            raise MlpXpError("changes no array", remedy=_IN_PLACE, setting="gradients")
        steps = {}
        for name, array in after.items():
            # The sum over the samples may be missing in a bias.
            if not _broadcasts(before[name].shape, array.shape):
                words = f"gives {name!r} the shape {array.shape}"
                raise MlpXpError(words, setting="gradients")
            steps[name] = before[name] - array
        gradients = {name: step / self.rate for name, step in steps.items()}
        return Reading(inputs | gradients, steps)

    def unsteady(self) -> MlpXpError:
        """Return the error for a loss that is another one after the gradients."""
        words = "changes more than the arrays that you name: the loss is another one"
        return MlpXpError(words, remedy=_IN_PLACE, setting="gradients")


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether an array of a shape can be broadcast to another shape."""
    try:
        return np.broadcast_shapes(shape, other) == other
    except ValueError:
        return False


def _as_result(found: Any, *, is_layer: bool) -> Array:
    """Return the loss or the outputs of a layer as an array."""
    wanted = "the outputs, an array" if is_layer else "one number"
    is_numeric = isinstance(found, np.ndarray | np.number | float | int)
    array = np.array(found) if is_numeric else np.array("")
    words = ""
    if array.dtype.kind not in "fiu":
        words = f"returns {kind_of(found)}"
    elif array.size != 1 and not is_layer:
        words = f"returns {array.size} numbers"
    elif array.dtype == np.float16:
        words, wanted = "returns float16", "float32 or float64"
    if words:
        raise MlpXpError(words, remedy=f"return {wanted}", setting="loss")
    return array
