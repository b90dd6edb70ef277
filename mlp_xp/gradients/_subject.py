"""A program with its loss, and the parameters on which the loss depends."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, some
from mlp_xp.gradients._default_loss import mean_cross_entropy
from mlp_xp.gradients._differences import rounding_error, scales
from mlp_xp.gradients._layers import find_twin
from mlp_xp.gradients._matching import (
    extended_names,
    is_only_parameter,
    is_parameter,
    key_of,
    names_with_gradients,
    readings,
)
from mlp_xp.gradients._program import (
    Code,
    Outcome,
    Program,
    random_error,
    role_of,
    widened,
)

_MOST_CLASSES = 1000  # of labels that are made one-hot


class Subject:
    """A program after its first run, and what its gradients are compared with.

    `values` replace some arrays of the program.
    """

    def __init__(
        self,
        code: Code,
        x: Any,
        y: Any,
        rate: float | None,
        values: Mapping[str, Array],
    ) -> None:
        self.code, self.rate = code, rate
        self.is_layer = y is None
        self.x = _inputs(x)
        self.y = y
        if self.is_layer:
            with suppress(MlpXpError), silence():  # only integers are indices
                floats = self.x.astype(float)
                Program(code, floats, None, rate).run({})
                self.x = floats
        else:
            self.y = _as_numbers(y, "y", "the targets, an array of numbers")
        self.program = Program(code, self.x, self.y, rate)
        self.program.values = self.program.arrays | {**values}
        self.first = _first_run(self.program)
        self.targets = random_error(self.first.output) if self.is_layer else self.y
        """The targets, or the error of a layer."""
        self.loss_name = self._set_loss()
        self.value = self._steady_loss()
        self.eps = _eps(self.first)
        # Between the tolerance for a smooth loss f, about eps^(2/3) |f|, and the
        # tolerance at a kink, about |f|.
        self.largest_tolerance = self.eps ** (1 / 3) * abs(self.value)
        self.random = np.random.default_rng(0)
        self.parameters: dict[str, Array] = {}
        """The parameters, and the inputs x of a layer."""
        self.moved: dict[str, Array] = {}
        """The parameters, moved by about 1 %."""
        self.ignored: list[str] = []
        """Parameters without an effect on the loss."""
        self.skipped: list[str] = []
        """Parameters that are numbers, or arrays of another dtype than floats."""
        self._find_parameters()
        self.rounding = rounding_error(
            self.loss, self.parameters, self.eps, self.random
        )
        self.readings = readings(
            self.first, self.program, self.parameters, self.ignored
        )
        self.missing = self._remove_constants()
        """Arrays without a gradient, such as a mask."""
        layers = {}
        for name, value in self.parameters.items():
            if name != "x" and name not in self.ignored:
                layers[name] = value
        self.twin = find_twin(
            layers,
            self.x,
            self.targets,
            self.loss,
            self.eps,
            self.rounding,
            is_layer=self.is_layer,
        )

    def elsewhere(self, x: Array, y: Array | None) -> "Subject":
        """Return the program with moved parameters, for other samples."""
        return Subject(self.code, x, y, self.rate, self.moved)

    def _set_loss(self) -> str:
        """Give the program a loss, if it has none. Return the loss in words."""
        if self.is_layer:
            return "the sum of the outputs times a random error"
        if self.first.loss is not None:
            return "your loss"
        if not isinstance(self.first.output, np.ndarray):
            raise MlpXpError(
                "no outputs and no loss are known",
                remedy="end forward with a return of the outputs",
                setting="code",
            )
        self.program.code = self.code._replace(loss=mean_cross_entropy)
        words = "the mean cross-entropy of your outputs"
        if self.y.size < self.first.output.size:
            words += f", with labels from 0 to {np.max(self.y)}"
        return words

    def _steady_loss(self) -> float:
        """Return the loss, which must be the same in each run."""
        value = self.loss({})
        if not np.isfinite(value):
            remedy = "give smaller parameters or inputs"
            raise MlpXpError(f"the loss is {value}", remedy=remedy)
        if self.loss({}) != value:
            raise MlpXpError(
                "the loss changes from run to run",
                remedy="switch off dropout, or set the seed in forward",
                setting="code",
            )
        return value

    def loss(self, values: Mapping[str, Any]) -> float:
        """Return the loss with other values of some variables. Nothing is printed."""
        with silence():
            loss = self.program.run(values).loss
        is_real = np.asarray(loss).dtype.kind in "biuf"
        if np.size(loss) != 1 or not is_real:
            words = f"an array of {np.size(loss)} numbers" if is_real else repr(loss)
            raise MlpXpError(
                f"is {words:.80}",
                remedy="return one number, such as the mean over the batch",
                setting="loss",
            )
        return float(np.squeeze(loss))

    def loss_at(self, name: str, index: tuple[Any, ...], number: float) -> float:
        """Return the loss with another number in one entry of a parameter."""
        changed = self.parameters[name].copy()
        changed[index] = number
        return self.loss({name: changed})

    def _find_parameters(self) -> None:
        """Find the arrays on which the loss depends, and those that it ignores."""
        given = self.program.given_names
        names = [*self.program.arrays, *self.program.numbers]
        with_gradients = names_with_gradients(self.first, names)
        losses = [self.value]
        for name in self._candidates():
            has_gradient = name in with_gradients
            # The second array of a name may be left from an `__init__`.
            is_known = (name in given or is_parameter(name)) and "#" not in name
            if given and not (is_known or has_gradient):
                continue
            value = widened(self.program.values[name])
            change = 0.01 * scales(value) * self.random.standard_normal(value.shape)
            other = np.asarray(value + change)
            losses.append(self.loss({name: other}))
            if losses[-1] != self.value:
                self.parameters[name] = value
                self.moved[name] = other
            elif is_known or (has_gradient and self._is_kept(name, other)):
                self.parameters[name] = value
                self.ignored.append(name)
        self.skipped = self._skipped(with_gradients)
        self._forget_optimizer(with_gradients | given)
        if self.is_layer and self.x.dtype.kind == "f":
            self.parameters["x"] = self.x
        if len(self.parameters) == len(self.ignored):
            raise MlpXpError(
                "the loss depends on no array of floats that the code uses",
                remedy="give the arrays, as in (W1, b1, W2, b2)",
                setting="parameters",
            )
        largest = max(map(abs, losses))
        if 0 < largest < 1e6 and all(loss == round(loss, 8) for loss in losses):
            raise MlpXpError(
                "has few digits",
                remedy="return it without round()",
                setting="loss",
            )

    def _candidates(self) -> Iterator[str]:
        """Yield the names of the arrays of floats that are not data."""
        for name, array in self.program.arrays.items():
            is_data = name == "x"  # the input of an earlier run
            for data in (self.x, self.targets):
                is_data |= np.shares_memory(array, data)
            if array.dtype.kind == "f" and not is_data:
                yield name

    def _forget_optimizer(self, parameters: set[str]) -> None:
        """Remove the arrays of an optimizer: `velocity.W1`, if there is a `W1`.

        The `parameters` are known to be none.
        """
        extended = extended_names([*self.parameters, *self.skipped]) - parameters
        self.skipped = [name for name in self.skipped if name not in extended]
        for name in extended & {*self.ignored}:
            self.ignored.remove(name)
            del self.parameters[name]

    def _is_kept(self, name: str, other: Array) -> bool:
        """Return whether a run keeps an array, unlike `self.z1` with its `dz1`."""
        with silence():
            run = self.program.run({name: other}, backward=True)
        return not np.array_equal(run.state[name], self.first.state[name])

    def _skipped(self, with_gradients: set[str]) -> list[str]:
        """Return parameters that are numbers, or arrays of another dtype."""
        checked = set(map(key_of, self.parameters))
        skipped = []
        for name, value in {**self.program.arrays, **self.program.numbers}.items():
            is_array = isinstance(value, np.ndarray)
            if is_array and value.dtype.kind == "f":
                continue
            # A positive integer b or B may be the size of a batch.
            may_be_size = isinstance(value, int | np.integer) and value > 0
            is_known = is_only_parameter(name) and not may_be_size
            role = role_of(name.rpartition(".")[2])
            # With a gradient, an alpha is the slope of a PReLU, and no learning rate.
            if name in with_gradients and role in ("", "rate"):
                is_known = True
            # Another argument may be a parameter, or a constant.
            is_given = name in self.program.given_names and isinstance(value, float)
            is_known = is_known or is_given or self._is_trained(name, value)
            if is_known and key_of(name) not in checked:
                skipped.append(name)
        return skipped

    def _is_trained(self, name: str, value: Any) -> bool:
        """Return whether a run changes a number on which the loss depends."""
        if np.array_equal(self.first.state.get(name, value), value):
            return False
        with suppress(MlpXpError):
            return self.loss({name: value + 1}) != self.value
        return False

    def _remove_constants(self) -> list[str]:
        """Remove the arrays without a gradient, and return their names."""
        found = self.readings[0].gradients
        if "x" not in found:
            self.parameters.pop("x", None)
        missing = [name for name in self.parameters if name not in found]
        missing = [name for name in missing if name not in self.ignored]
        for name in missing:
            if name in self.program.given_names or is_parameter(name) or not found:
                raise MlpXpError(
                    f"no gradient of {some(missing)} is returned or stored",
                    remedy=f"call it d{missing[0].rpartition('.')[2]}",
                    setting="code",
                )
            del self.parameters[name]
            del self.moved[name]  # a constant, which others may depend on
        return missing

    def ask_for_names(self, wrong: Collection[str]) -> None:
        """Raise an error if wrong gradients may be those of an optimizer's update."""
        shapes = {self.parameters[name].shape for name in wrong}
        for name, before in self.program.arrays.items():
            is_other = name not in self.parameters and before.shape in shapes
            after = self.first.state.get(name, before)
            if is_other and not np.array_equal(before, after):
                raise MlpXpError(
                    f"the update changes {name!r}, too, as an optimizer does",
                    remedy="return or store the gradients, as dW",
                    setting="code",
                )


def _inputs(x: Any) -> Array:
    """Return the inputs as an array."""
    wanted = "a batch of inputs, an array of numbers"
    array = _as_numbers(x, "x", wanted)
    if array.ndim == 0:
        raise MlpXpError(
            f"is the number {array!r:.80}", remedy=f"give {wanted}", setting="x"
        )
    return array


def _as_numbers(values: Any, name: str, wanted: str) -> Array:
    """Return inputs or targets as an array."""
    try:
        array = np.asarray(values)
        if array.dtype == object:  # of numbers, as a column of pandas
            array = np.array(array.tolist())
    except ValueError:
        array = np.array("")  # rows of different lengths
    if array.dtype.kind not in "biuf" or array.size == 0:
        shown = " ".join(repr(values).split())
        raise MlpXpError(f"is {shown:.80}", remedy=f"give {wanted}", setting=name)
    return array


def silence() -> redirect_stdout[StringIO]:
    """Keep the program from printing. Only its first run prints."""
    return redirect_stdout(StringIO())


def _first_run(program: Program) -> Outcome:
    """Run a program once. If it raises an error, say which targets would run."""
    x, y = program.x, program.y
    try:
        return program.run({}, backward=True)
    except MlpXpError as raised:
        if y is None:
            raise
        # A vector is a sample without the axis of a batch.
        first = np.newaxis if x.ndim == 1 else slice(1)
        words = "a batch of a single sample, as X[:1] and Y[:1]"
        inputs, targets = x[first], np.atleast_1d(y)[first]
        is_integers = y.ndim == 1 < x.ndim and y.dtype.kind in "iu"
        if is_integers and 0 <= min(y) <= max(y) < _MOST_CLASSES:
            words, inputs = "one-hot labels, np.eye(classes)[y]", x
            targets = np.eye(max(y) + 1)[y]
        with suppress(MlpXpError), silence():
            Program(program.code, inputs, targets, program.rate).run({}, backward=True)
            raised.remedy = f"it runs with {words}"
        raise


def _eps(run: Outcome) -> float:
    """Return the eps of the dtype of a program."""
    kinds = [np.asarray(each).dtype for each in (run.output, run.loss, 1.0)]
    return float(max(np.finfo(kind).eps for kind in kinds if kind.kind == "f"))
