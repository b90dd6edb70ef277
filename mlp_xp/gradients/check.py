"""`check_gradients` and `assert_gradients`."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout, suppress
from functools import partial
from io import StringIO
from numbers import Real
from operator import eq, itemgetter
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, check_type, kind_of, some
from mlp_xp.gradients._differences import difference, rounding_error, typical
from mlp_xp.gradients._layers import find_twin, targets_as_rows
from mlp_xp.gradients._matching import (
    Reading,
    extended_names,
    is_only_parameter,
    is_parameter,
    key_of,
    names_with_gradients,
    readings,
)
from mlp_xp.gradients._mistakes import Finding, explain
from mlp_xp.gradients._program import (
    Code,
    Outcome,
    Program,
    holder_of,
    named,
    random_error,
    role_of,
    takes_inputs,
    widened,
)
from mlp_xp.gradients._report import GradientCheck, Row

_SAMPLED, _LARGEST = 16, 8  # entries of each array that are compared
_MOST_CLASSES = 1000  # of labels that are made one-hot
_FORWARD = (
    "forward",
    "predict",
    "feedforward",
    "feed_forward",
    "forward_propagation",
    "query",
)
_BACKWARD = (
    "backward",
    "backprop",
    "backward_propagation",
    "gradient",
    "gradients",
    "train",
    "train_step",
    "update",
)
_LOSS = ("loss", "compute_loss", "cost", "compute_cost")
_ZERO = "it is 0: never computed, or overwritten"
_AXIS = "the axis of the samples is left: use sum(axis=0) without keepdims=True"
_NO_AXIS = "the axis of the samples is missing: use keepdims=True"
_STEPS = (
    "no usual mistake of one step; if a call takes several steps, give x[:1], y[:1] "
    "and one epoch"
)
_UPDATE = "the update is not learning_rate times this gradient, and is not checked"
_STALE = (
    "right here, wrong for other samples or parameters (variables of an earlier run?)"
)
_SMALL_TERM = "a small term of your loss is missing, such as a penalty on the weights"


def check_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> GradientCheck:
    """Check a backpropagation written in NumPy, and name its usual mistakes.

    The code runs on copies, in float64 if it converts nothing itself. Its gradients are
    compared with central differences (f(w + h) - f(w - h)) / 2h of its own loss f, with
    h = eps^(1/3) max(1, |w|) for the eps of its dtype. A right gradient g satisfies

        |g - D| <= (|S(w) - S(w - h)| + |S(w + h) - S(w)|) / h + eps_f / h

    where D is the central difference and S(w) = f(w + h) - 2 f(w) + f(w - h), or equals
    this package's gradient of the same f. The first term bounds the truncation error,
    also at a kink of relu. If it is large, the code is checked at parameters moved at
    random by about 1 % instead, unless it is large there too. The second bounds the
    rounding error (Nocedal and Wright, Numerical Optimization, 2006, section 8.1).
    eps_f is eps |f| and eight times the noise of f, from fifth differences at 16 points
    (after More and Wild, 2011). Of each array, 24 entries are compared. Eight are the
    largest deviations from this package's layers, or the largest gradients without such
    layers. The others are random. Without such layers, all entries of a larger array
    are also compared along a random direction.

    If all gradients are right, they are checked again at parameters moved by 1 %, with
    a sample in place of another. Gradients from variables of an earlier run are wrong
    there.

    A mistake is named only if it gives the same numbers in this package's layers.

    Args:
        code: Two functions, `(forward, backward)`, or an object with these methods, or
            a function returning the loss and the gradients. Arguments are recognised by
            their names, such as `x`, `y`, `W1`, `cache`, `y_hat` and `learning_rate`.
            Gradients may be returned, with the names of the parameters or in their
            order, or stored on the object, or used for an update.
        x: A batch of inputs, with samples as rows or as columns.
        y: The targets, in the form the code takes, one-hot or integers. Without
            targets, the code is a layer. It gets a random error, and the loss is the
            sum of its outputs times the error.
        parameters: The parameters, if they are arguments of the functions. By default
            they are found in global variables or on the object. They are arrays of
            floats of any shape. A number is checked if it is given here as `W` or `b`.
            Others are not checked, and the report says so.
        loss: A function of `y_hat` and `y`, if the code computes no loss. The default
            is the mean cross-entropy, if the outputs are probabilities that sum to 1.
        learning_rate: The learning rate, if the code updates its parameters with a rate
            of an unusual name.

    Returns:
        The report, true if all gradients are checked and right. `print` shows the
        verdict in the first line. `rows` holds the numbers, `findings` the mistakes.

    Raises:
        MlpXpError: The code raises an error, or something in it is ambiguous.

    Examples:
        >>> def forward(x, W, b):
        ...     e = np.exp(x @ W + b)
        ...     return e / e.sum(axis=1, keepdims=True)
        >>> def backward(x, y, y_hat):
        ...     dW = x.T @ (y_hat - y)
        ...     db = np.mean(y_hat - y, axis=0)
        ...     return dW, db
        >>> x, y = np.array([[1.0, 0.5], [0.2, 2.0], [0.3, 0.4]]), np.eye(3)
        >>> W, b = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.5]]), np.zeros(3)
        >>> print(check_gradients((forward, backward), x, y, (W, b)))
        wrong: W; right: b
        ...
        W: a sum over the batch that should be a mean
        ...
    """
    check_type(loss, Callable | None, "loss", "give a function of y_hat and y")
    check_type(learning_rate, Real | None, "learning_rate", "give a number")
    if learning_rate == 0:
        remedy = "give the learning rate of the update"
        raise MlpXpError("is 0", remedy=remedy, setting="learning_rate")
    with np.errstate(all="ignore"):
        functions = _as_code(code, parameters, loss)
        state = np.random.get_state()
        try:
            check = _Check(functions, x, y, learning_rate, {})
            report = check.report()
            elsewhere = check.report_elsewhere(report)
            return report if elsewhere is None else elsewhere
        finally:
            np.random.set_state(state)


def assert_gradients(
    code: Any,
    x: Any,
    y: Any = None,
    parameters: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    learning_rate: float | None = None,
) -> None:
    """Raise an AssertionError unless a backpropagation is right.

    Args:
        code: The functions or the object, as for `check_gradients`.
        x: The inputs.
        y: The targets.
        parameters: The parameters.
        loss: The loss.
        learning_rate: The learning rate.

    Raises:
        AssertionError: A gradient is wrong. The message is the report.
        MlpXpError: As for `check_gradients`.

    Examples:
        >>> class Layer:
        ...     def __init__(self):
        ...         self.W, self.b = np.eye(2), np.zeros(2)
        ...     def forward(self, x):
        ...         self.x = x
        ...         return x @ self.W + self.b
        ...     def backward(self, dout):
        ...         self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        ...         return dout @ self.W.T
        >>> assert_gradients(Layer(), np.ones((3, 2)))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    report = check_gradients(
        code, x, y, parameters, loss=loss, learning_rate=learning_rate
    )
    if not report:
        raise AssertionError(str(report))


def _as_code(code: Any, parameters: Any, loss: Any) -> Code:
    """Return the functions of a program."""
    forward, backward = _method(code, _FORWARD), _method(code, _BACKWARD)
    if isinstance(code, tuple | list) and len(code) == 2 and all(map(callable, code)):
        forward, backward = code
    elif inspect.isroutine(code):
        backward = code
    elif inspect.isclass(code):
        raise MlpXpError(
            "is a class", remedy=f"give an object, {code.__name__}(...)", setting="code"
        )
    elif backward is None or isinstance(code, Mapping):
        raise MlpXpError(
            f"is {kind_of(code)} without methods forward and backward",
            remedy="give two functions, (forward, backward)",
            setting="code",
        )
    elif forward is None:
        forward = getattr(code, "__call__", None)  # noqa: B004
    given, holder = {}, ""
    if isinstance(parameters, dict):
        given = dict(parameters)
        holder = holder_of(parameters, forward or backward)
    elif parameters is not None:
        given = named(parameters, forward or backward)
    for name, value in given.items():
        if isinstance(value, float | int | np.number) and is_only_parameter(name):
            given[name] = np.array(value, float)
    return Code(forward, backward, loss or _method(code, _LOSS), given, holder)


def _method(code: Any, names: Iterable[str]) -> Any:
    methods = (getattr(code, name, None) for name in names)
    return next(filter(callable, methods), None)


class _Check:
    """A program with its first run, and the comparison of its gradients."""

    def __init__(
        self,
        code: Code,
        x: Any,
        y: Any,
        rate: float | None,
        values: Mapping[str, Array],
    ) -> None:
        self.start = partial(_Check, code, rate=rate)
        self.is_layer = y is None
        self.moved: dict[str, Array] = {}
        self.x = _as_numbers(x, "x", "a batch of inputs, an array of numbers")
        if self.x.ndim == 0:
            remedy = "give a batch of inputs, an array of numbers"
            raise MlpXpError(f"is the number {x!r:.80}", remedy=remedy, setting="x")
        if self.is_layer:
            with suppress(MlpXpError), _silence():  # only integers are indices
                floats = self.x.astype(float)
                Program(code, floats, None, rate).run({})
                self.x = floats
        if not self.is_layer:
            y = _as_numbers(y, "y", "the targets, an array of numbers")
        self.y = y
        self.program = Program(code, self.x, y, rate)
        self.program.values = self.program.arrays | {**values}
        self.first = _first_run(self.program)
        self.targets = random_error(self.first.output) if self.is_layer else y
        self.loss_name = "your loss"
        if self.is_layer:
            self.loss_name = "the sum of the outputs times a random error"
        elif self.first.loss is None:
            if not isinstance(self.first.output, np.ndarray):
                raise MlpXpError(
                    "no outputs and no loss are known",
                    remedy="end forward with a return of the outputs",
                    setting="code",
                )
            self.loss_name = "the mean cross-entropy of your outputs"
            if y.size < self.first.output.size:
                self.loss_name += f", with labels from 0 to {np.max(y)}"
            self.program.code = code._replace(loss=_mean_cross_entropy)
        self.value = self.loss({})
        if not np.isfinite(self.value):
            remedy = "give smaller parameters or inputs"
            raise MlpXpError(f"the loss is {self.value}", remedy=remedy)
        if self.loss({}) != self.value:
            raise MlpXpError(
                "the loss changes from run to run",
                remedy="switch off dropout, or set the seed in forward",
                setting="code",
            )
        self.eps = _eps(self.first)
        # A tolerance is about eps^(2/3) |f| for a smooth loss f, and |f| at a kink.
        self.largest_tolerance = self.eps ** (1 / 3) * abs(self.value)
        self.random = np.random.default_rng(0)
        self.parameters: dict[str, Array] = {}
        self.ignored: list[str] = []
        self.skipped: list[str] = []
        self._find_parameters()
        self.rounding = rounding_error(
            self.loss, self.parameters, self.eps, self.random
        )
        self.readings = readings(
            self.first, self.program, self.parameters, self.ignored
        )
        self.missing = self._missing()
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
        self.is_exact = self.twin is not None and self.twin.is_exact
        self.package = self.twin.gradients if self.twin else {}

    def loss(self, values: Mapping[str, Array]) -> float:
        """Return the loss with other values of some parameters. Nothing is printed."""
        with _silence():
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

    def _loss_at(self, name: str, index: tuple[Any, ...], number: float) -> float:
        """Return the loss with another number in one entry of a parameter."""
        changed = self.parameters[name].copy()
        changed[index] = number
        return self.loss({name: changed})

    def _find_parameters(self) -> None:
        """Find the arrays that the loss depends on, and those it ignores."""
        arrays, numbers = self.program.arrays, self.program.numbers
        with_gradients = names_with_gradients(self.first, [*arrays, *numbers])
        data, given = (self.x, self.targets), self.program.given
        losses = [self.value]
        for name, array in arrays.items():
            is_data = any(np.shares_memory(array, each) for each in data)
            is_data |= name == "x"  # the input of an earlier run
            if array.dtype.kind != "f" or is_data:
                continue
            has_gradient = name in with_gradients
            is_known = name in given or is_parameter(name)
            if given and not (is_known or has_gradient):
                continue
            value = widened(self.program.values[name])
            scale = (np.abs(value) + typical(value)) / 2
            change = 0.01 * scale * self.random.standard_normal(value.shape)
            other = np.asarray(value + change)
            losses.append(self.loss({name: other}))
            if losses[-1] != self.value:
                self.parameters[name] = value
                self.moved[name] = other
            elif is_known or (has_gradient and self._is_kept(name, other)):
                self.parameters[name] = value
                self.ignored.append(name)
        self.skipped = self._skipped(with_gradients)
        # "velocity.W1" belongs to an optimizer, if there is a "W1".
        extended = extended_names([*self.parameters, *self.skipped])
        extended -= with_gradients | given
        self.skipped = [name for name in self.skipped if name not in extended]
        for name in extended & {*self.ignored}:
            self.ignored.remove(name)
            del self.parameters[name]
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

    def _is_kept(self, name: str, other: Array) -> bool:
        """Return whether a run keeps an array, unlike `self.z1` with its `dz1`."""
        with _silence():
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
            if name in with_gradients and not role_of(name.rpartition(".")[2]):
                is_known = True
            if is_known and key_of(name) not in checked:
                skipped.append(name)
        return skipped

    def report(self) -> GradientCheck:
        """Compare all gradients, and read them in the way that is right, if any is."""
        compared = []
        for reading in self.readings:
            self._set_rate(reading.rate)
            found = reading.gradients
            names = [name for name in self.parameters if name in found]
            rows = [self._row(name, found[name]) for name in names]
            compared.append((sum(not row.is_right for row in rows), reading, rows))
            if not compared[-1][0]:
                break
        wrong, reading, rows = min(compared, key=itemgetter(0))
        self._set_rate(reading.rate)
        if wrong and reading.rate and not reading.is_named:
            self._ask_for_names(rows)
        findings = self._findings(reading, rows) if wrong else []
        others = self._other_updates(reading)
        if others:
            findings.append(Finding(others, (_UPDATE,)))
        return GradientCheck(
            rows,
            findings,
            self.ignored,
            self.skipped,
            self.missing,
            str(self.twin or ""),
            self.loss_name,
        )

    def report_elsewhere(self, report: GradientCheck) -> GradientCheck | None:
        """Compare at other parameters, if this tells more than a report."""
        with suppress(MlpXpError), _silence():  # the loss elsewhere may be infinite
            if self.moved and self.is_at_kink(report):
                return self._off_a_kink(report)
            if all(row.is_right for row in report.rows):
                return self._with_other_variables()
        return None

    def _off_a_kink(self, report: GradientCheck) -> GradientCheck | None:
        """Compare off a kink, where central differences tell more.

        Biases of 0 often put relu at its kink.
        """
        elsewhere = self.start(self.x, self.y, values=self.moved)
        other = elsewhere.report()
        has_lost = {*other.ignored} - {*report.ignored}
        if has_lost or elsewhere.is_at_kink(other):
            return None
        if all(row.is_right for row in other.rows):
            stale = elsewhere._with_other_variables()
            if stale is not None:
                return stale
        other.loss += " at parameters moved by 1 %, off a kink"
        return other

    def _with_other_variables(self) -> GradientCheck | None:
        """Compare at other parameters and samples, where right gradients stay right.

        A gradient that is computed from variables of an earlier run is wrong there.
        """
        x, y = self.x, self.y
        # A function without x may well use a global X.
        if self.is_layer or takes_inputs(self.program.code.backward):
            x, y = _with_a_sample_twice(x, y)
        elsewhere = self.start(x, y, values=self.moved)
        if elsewhere.is_right_along():
            return None
        report = elsewhere.report()
        wrong = tuple(row.name for row in report.rows if not row.is_right)
        if not wrong or elsewhere.is_at_kink(report):
            return None
        report.loss += " at parameters moved by 1 %"
        report.findings[:] = [Finding(wrong, (_STALE,))]
        return report

    def is_right_along(self) -> bool:
        """Return whether all gradients are right along a random direction."""
        for reading in self.readings:
            self._set_rate(reading.rate)
            doubtful = []
            for name, value in self.parameters.items():
                array = reading.gradients.get(name)
                if array is not None and np.size(array) == value.size:
                    entries = np.arange(value.size)
                    array = np.reshape(array, value.shape)
                    doubtful.append(self._is_doubtful(name, array, entries))
            if not any(doubtful):
                return True
        return False

    def is_at_kink(self, report: GradientCheck) -> bool:
        """Return whether a report has a tolerance too large for a smooth loss."""
        limit = self.largest_tolerance + self.update_error
        return any(row.tolerance > limit for row in report.rows)

    def _other_updates(self, reading: Reading) -> tuple[str, ...]:
        """Return the parameters that an update changes by more than its gradient."""
        rates = {each.rate for each in self.readings if each.rate}
        if len(rates) != 1:
            return ()
        (rate,) = rates
        self._set_rate(rate)
        others = []
        for name, array in reading.gradients.items():
            step = reading.steps.get(name)
            if step is not None and not self._same(step / rate, array):
                others.append(name)
        self._set_rate(reading.rate)
        return tuple(others)

    def _missing(self) -> list[str]:
        """Return the arrays without a gradient, which are no parameters."""
        found = self.readings[0].gradients
        if "x" not in found:
            self.parameters.pop("x", None)
        missing = [name for name in self.parameters if name not in found]
        missing = [name for name in missing if name not in self.ignored]
        for name in missing:
            if name in self.program.given or is_parameter(name) or not found:
                raise MlpXpError(
                    f"no gradient of {some(missing)} is returned or stored",
                    remedy=f"call it d{missing[0].rpartition('.')[2]}",
                    setting="code",
                )
            del self.parameters[name]
            del self.moved[name]  # a constant, which others may depend on
        return missing

    def _ask_for_names(self, rows: list[Row]) -> None:
        """Raise an error if a wrong update may be that of an optimizer."""
        shapes = {self.parameters[row.name].shape for row in rows if not row.is_right}
        for name, before in self.program.arrays.items():
            is_other = name not in self.parameters and before.shape in shapes
            after = self.first.state.get(name, before)
            if is_other and not np.array_equal(before, after):
                raise MlpXpError(
                    f"the update changes {name!r}, too, as an optimizer does",
                    remedy="return or store the gradients, as dW",
                    setting="code",
                )

    def _set_rate(self, rate: float | None) -> None:
        """Set the rounding error of gradients that are read from an update."""
        largest = max(np.max(np.abs(each)) for each in self.parameters.values())
        self.update_error = 2 * self.eps * float(largest) / abs(rate) if rate else 0.0

    def _row(self, name: str, array: Array) -> Row:
        """Compare the gradient of one parameter."""
        value = self.parameters[name]
        accepted = array.shape, (1, *array.shape)  # a bias may be a row
        is_number = value.size == array.size == 1
        if value.shape not in accepted and not is_number:
            return Row(name, False, f"shape {array.shape}, not {value.shape}")
        array = array.reshape(value.shape)
        package = self.package.get(name)
        if package is not None:
            package = package.reshape(value.shape)
        compare = partial(self._entry, name, array, package)
        rows = [compare(index) for index in self._entries(array, package)]
        is_sample = len(rows) < array.size
        if is_sample and not self.is_exact and all(row.is_right for row in rows):
            rows += [compare(index) for index in self._doubtful(name, array)]
        worst = max(rows, key=Row.doubt)
        tolerance = max(row.tolerance for row in rows)
        return worst._replace(compared=len(rows), tolerance=tolerance)

    def _entry(
        self, name: str, array: Array, package: Array | None, index: tuple[Any, ...]
    ) -> Row:
        """Compare one entry of a gradient."""
        loss = partial(self._loss_at, name, index)
        value = self.parameters[name][index]
        compare = partial(difference, loss, value, self.value, self.eps, self.rounding)
        found = compare()
        if found.tolerance > self.largest_tolerance:
            # The step may be large for small numbers.
            near = compare(scale=typical(self.parameters[name]))
            found = min(found, near, key=itemgetter(1))
        exact, tolerance = found.value, found.tolerance + self.update_error
        yours = array[index]
        other = None if package is None else package[index]
        is_right = bool(abs(yours - exact) <= tolerance)
        # The network was recognised at several parameters, but at the same inputs.
        if other is not None and self.is_exact and name != "x":
            is_right |= self._same(yours, other)
        entry = str([int(each) for each in index])
        return Row(name, is_right, entry, yours, exact, other, tolerance)

    def _doubtful(self, name: str, array: Array) -> list[tuple[Any, ...]]:
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
        value, direction = self.parameters[name], np.zeros(array.shape)
        direction.flat[entries] = self.random.standard_normal(len(entries))
        exact, tolerance = difference(
            lambda step: self.loss({name: value + step * direction}),
            0.0,
            self.value,
            self.eps,
            self.rounding,
        )
        errors = self.update_error + self.eps * np.abs(array)
        tolerance += float(np.sum(errors * np.abs(direction)))
        return not abs(float(np.sum(array * direction)) - exact) <= tolerance

    def _findings(self, reading: Reading, rows: list[Row]) -> list[Finding]:
        """Return the mistakes that explain wrong gradients."""
        said: dict[str, list[str]] = {}
        found = reading.gradients
        for row in rows:
            array, shape = found[row.name], self.parameters[row.name].shape
            words = ""
            if row.is_right:
                continue
            same = [x for x in self.package if self._same(array, self.package[x])]
            if not np.any(array) and array.size == np.prod(shape):
                words = _ZERO
            elif array.shape == (1, *shape):
                words = _AXIS
            elif row.yours is None and array.shape == tuple(n for n in shape if n > 1):
                words = _NO_AXIS
            elif same and row.name != "x":
                words = f"it is the gradient of {same[0]}"
                if row.name in same:
                    words = _SMALL_TERM
            said.setdefault(words, []).append(row.name)
        others = said.pop("", [])
        findings = [Finding(tuple(names), (words,)) for words, names in said.items()]
        if self.twin:
            names = [name for name in self.parameters if name not in self.ignored]
            gradients = {name: found[name] for name in names}
            zeros = said.get(_ZERO, [])
            right = [row.name for row in rows if row.is_right]
            mistakes = explain(
                self.twin, gradients, reading.steps, self._same, zeros, right
            )
            findings = mistakes + findings
            explained = {name for each in findings for name in each.names}
            for name in others:
                factor = self._factor(name, found[name])
                words = f"{factor:.4g} times the right gradient"
                if factor and name not in explained and f"{factor:.4g}" != "1":
                    findings.append(Finding((name,), (words,)))
        is_update = reading.rate and not reading.is_named
        # Samples are rows or columns.
        is_batch = self.x.ndim > 1 and min(self.x.shape[0], self.x.shape[-1]) > 1
        if is_update and not findings and is_batch:
            findings = [Finding(tuple(others), (_STEPS,))]
        return findings

    def _factor(self, name: str, array: Array) -> float:
        """Return the factor of a wrong gradient to this package's, or 0."""
        package = np.reshape(self.package.get(name, ()), -1)
        if package.size != array.size or not np.any(package):
            return 0.0
        array = np.reshape(array, -1)
        factor = float(array @ package / (package @ package))
        is_factor = self._same(array, factor * package)
        return factor if is_factor and not self._same(array, package) else 0.0

    def _entries(self, array: Array, package: Array | None) -> list[tuple[Any, ...]]:
        """Return the entries to compare: the most doubtful, then others at random."""
        if array.ndim == 0:
            return [()]
        deviation = array if package is None else array - package
        order = np.argsort(-np.nan_to_num(np.abs(deviation), nan=np.inf), axis=None)
        others = order[_LARGEST:].copy()
        self.random.shuffle(others)
        chosen = np.concatenate([order[:_LARGEST], others[:_SAMPLED]])
        return list(zip(*np.unravel_index(chosen, array.shape), strict=True))

    def _same(self, array: Array, variant: Array) -> bool:
        """Return whether two gradients are equal up to rounding."""
        step = self.eps ** (1 / 3)
        tolerance = self.rounding / step + self.update_error
        tolerance += step * step * np.max(np.abs(variant), initial=0.0)
        same_shape = np.shape(array) == np.shape(variant)
        return same_shape and np.allclose(array, variant, rtol=0, atol=tolerance)


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


def _with_a_sample_twice(x: Array, y: Array | None) -> tuple[Array, Array | None]:
    """Return a batch with the second sample in place of the first one.

    Other numbers might be none that x can have, such as no one-hot vectors.
    """
    if x.ndim == 1 or (y is not None and y.ndim == 0):  # a single sample
        return x, y
    if y is None or len(x) == len(y):
        order = _second_first(len(x))
        return x[order], None if y is None else y[order]
    order = _second_first(x.shape[-1])
    return x[..., order], y[..., order] if y.shape[-1] == len(order) else y


def _second_first(count: int) -> Array:
    """Return the indices below `count`, with 1 in place of 0."""
    order = np.arange(count)
    order[0] = min(1, count - 1)
    return order


def _silence() -> redirect_stdout[StringIO]:
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
        with suppress(MlpXpError):
            Program(program.code, inputs, targets, program.rate).run({}, backward=True)
            raised.remedy = f"it runs with {words}"
        raise


def _eps(run: Outcome) -> float:
    """Return the eps of the dtype of a program."""
    kinds = [np.asarray(each).dtype for each in (run.output, run.loss, 1.0)]
    return float(max(np.finfo(kind).eps for kind in kinds if kind.kind == "f"))


def _mean_cross_entropy(y_hat: Any, y: Array, x: Array) -> float:
    """Return the mean cross-entropy of probabilities, in rows or columns."""
    for columns in (False, True):
        rows = np.transpose(y_hat) if columns else y_hat
        if np.ndim(y_hat) == 2 and np.allclose(np.sum(rows, axis=1), 1, atol=1e-5):
            # Whether each axis of the outputs is as long as this axis of the inputs.
            same = [*map(eq, np.shape(y_hat), np.shape(x))]
            if same == [columns, not columns]:
                raise MlpXpError(
                    "your outputs sum to 1 over the samples, not over the classes",
                    remedy="change the axis of the sum in softmax",
                    setting="loss",
                )
            t = targets_as_rows(y, rows.shape, columns=columns)
            if t is not None:
                return float(-np.sum(t * np.log(rows)) / len(rows))
            samples, classes = rows.shape
            if y.size == samples:
                raise MlpXpError(
                    f"has labels {np.min(y)} to {np.max(y)}, for {classes} outputs",
                    remedy=f"give whole numbers from 0 to {classes - 1}",
                    setting="y",
                )
            raise MlpXpError(
                f"its shape {y.shape} does not fit outputs of shape {np.shape(y_hat)}",
                remedy="give a label or a one-hot vector for each sample",
                setting="y",
            )
    if np.ndim(y_hat) == 1 and np.isclose(np.sum(y_hat), 1, atol=1e-5):
        raise MlpXpError(
            "your outputs have one axis",
            remedy="give loss=, or a batch such as X[:1]",
            setting="loss",
        )
    words = "your outputs are not probabilities of classes"
    target = "y"
    if y.size == np.size(y_hat) and y.shape != np.shape(y_hat):
        target = "y.reshape(y_hat.shape)"  # otherwise (n,) and (n, 1) make (n, n)
    own = f"np.mean((y_hat - {target}) ** 2)"
    if np.min(y_hat) > 0 and np.max(y_hat) < 1 and np.all(np.isin(y, (0, 1))):
        words = "your outputs are probabilities that do not sum to 1"
        # Samples as rows, or as columns, or a single one.
        samples = "len(y)" if len(x) == len(y_hat) else "y[0].size"
        logs = f"{target} * np.log(y_hat) + (1 - {target}) * np.log(1 - y_hat)"
        own = f"-np.sum({logs}) / {samples}, or {own}"
    raise MlpXpError(
        words,
        remedy=f"give your own, as in loss=lambda y, y_hat: {own}",
        setting="loss",
    )
