"""The forward and backward code of a user, run on copies of everything it changes.

The parameters are arguments, global variables, attributes of an object, or entries of a
dictionary. `Program` finds the arrays and names them as Python does: `layers[0].W`.
"""

import copy
import dis
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import setitem
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, one_line, some

# The meaning of an argument or of a variable, by its name in small letters.
_ROLES = {
    "input": r"(train_)?(x|inputs?|features?|images?|data|a_?0|a_?prev)"
    r"(_?(batch|train|data|list|b|s))?|输入|样本",
    "target": r"((train|true|test)_)?"
    r"(y|t|targets?|labels?|truth|expected|desired|correct)"
    r"(_?(true|batch|train|one_?hot|labels?|data|list|outputs?|values?|b|s))?"
    r"|one_?hot\w*|标签|目标",
    "rate": r"lr|eta|alpha|(learning_?)?rate|step_?size|学习率",
    "output": r"[xyt]_?(hat|pred\w*|rec\w*)|(pred|recon)\w*|outputs?|out|probs?"
    r"|probabilities|p|al|scores?|o",
    "parameters": r"param\w*|theta|weights|model|net(work)?|layers",
    "cache": r"caches?|memory|saved|tape|ctx|context|activations|intermediates?",
}
_DATA = np.ndarray, float, int, list, tuple, dict  # as variables of a class
_DIGITS = "0123456789"
_DATA_ROLES = "input", "target", "cache"
# Beside one of these targets, `y` is the output, as in many textbooks.
_CLEAR_TARGET = (
    r"t|targets?|labels?|truth|true|y_?true|expected|desired|correct|标签|目标"
)
UNCLEAR_RATES = {"alpha", "rate"}  # also the slope of a leaky relu, or dropout
_NUMBER_GRADIENT = (
    r"(d|grad|nabla)\w*?_?(b|bias|w|c|intercept)\d*|(b|bias|w|c)\d*_?grad\w*"
)
_SEED = [*b"check_gradients"]  # no seed of the user


def role_of(name: str) -> str:
    """Return the role of a variable, or an empty string."""
    for role, pattern in _ROLES.items():
        if re.fullmatch(pattern, name.lower()):
            return role
    return ""


class Code(NamedTuple):
    """The functions of a program, and the parameters that are arguments."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any]
    loss: Callable[..., Any] | None
    given: dict[str, Any]
    """The parameters, by their names."""
    holder: str = ""
    """The argument that takes all parameters, if its name does not say so."""


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the arguments of a function."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise MlpXpError(
            f"the arguments of {_name(function)} are not known",
            remedy="give a function of Python",
            setting="code",
        ) from error


def _roles(function: Callable[..., Any]) -> dict[str, str]:
    """Return the role of each argument of a function.

    An argument with a default other than None has a role only as a learning rate.
    """
    roles: dict[str, str] = {}
    optional = []
    for name, argument in _signature(function).parameters.items():
        roles[name] = role = role_of(name)
        if argument.default is argument.empty:
            continue
        if argument.default is None:
            optional.append(name)
        elif role != "rate":
            roles[name] = ""
    needed = {role for name, role in roles.items() if name not in optional}
    for name in optional:
        if roles[name] in needed:
            roles[name] = ""
    targets = [name for name, role in roles.items() if role == "target"]
    for name in targets:
        clear = [x for x in targets if re.fullmatch(_CLEAR_TARGET, x.lower())]
        if name.lower() == "y" and clear:
            roles[name] = "output"
            targets.remove(name)
            break
    if len(targets) > 1:
        raise MlpXpError(
            f"{_name(function)}: cannot tell which argument is y: {some(targets)}",
            remedy="call the outputs y_hat, and the targets y",
            setting="code",
        )
    return roles


def takes_inputs(function: Callable[..., Any]) -> bool:
    """Return whether an argument of a function is a batch of inputs."""
    return "input" in _roles(function).values()


def named(parameters: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """Return parameters by the names of a function's arguments.

    Each argument takes one, or a single argument takes all of them.
    """
    if not isinstance(parameters, tuple | list):
        parameters = (parameters,)
    names, others = [], []
    for name, argument in _signature(function).parameters.items():
        role = role_of(name)
        if argument.default is argument.empty and role in ("", "parameters"):
            names.append(name)
        if argument.default is argument.empty and role not in _DATA_ROLES:
            others.append(name)  # weights may be called alpha or p
    if "parameters" in map(role_of, names):
        others = names
    for each in (names, others):
        if len(each) == len(parameters):
            return dict(zip(each, parameters, strict=True))
    if len(others) == 1:
        return {others[0]: tuple(parameters)}
    raise MlpXpError(
        f"{_name(function)} does not take {len(parameters)} parameters",
        remedy="give one for each argument, or a dictionary",
        setting="parameters",
    )


def holder_of(parameters: dict[str, Any], function: Callable[..., Any]) -> str:
    """Return the argument that takes a dictionary of parameters, such as `P`.

    The result is empty if the names of the arguments tell, or if no argument is left.
    """
    roles = _roles(function)
    if "parameters" in roles.values() or not roles.keys().isdisjoint(parameters):
        return ""
    left = []
    for name, argument in _signature(function).parameters.items():
        is_needed = argument.default is argument.empty
        if is_needed and roles[name] not in ("input", "target"):
            left.append(name)
    if len(left) > 1:
        raise MlpXpError(
            f"{_name(function)}: cannot tell which argument is the dictionary: "
            + some(left),
            remedy="call it `parameters`, or give functions lambda x, y: ...",
            setting="parameters",
        )
    return "".join(left)


class Outcome(NamedTuple):
    """The results of a run."""

    output: Any
    """The predictions of `forward`, or None."""
    loss: Any
    """The loss, or None if the program computes none."""
    returned: Any = None
    """The result of `backward`."""
    variables: Mapping[str, Any] = MappingProxyType({})
    """The variables of `backward` at its end."""
    state: Mapping[str, Any] = MappingProxyType({})
    """All arrays and numbers after `backward`, by their names."""


class Search:
    """A search for arrays and numbers in functions, objects and containers.

    Functions of installed packages are not searched, nor methods without a use.
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.places: list[tuple[Callable[[Any], None], Any]] = []
        """For each variable outside of a function, how to set it, and its value."""
        self.writers: dict[str, Callable[[Any], None]] = {}
        """How to set a variable, an attribute or an entry, by its name."""
        self.shared: dict[int, Any] = {}
        """Values that cannot be copied, such as open files, by their ids."""
        self._seen: dict[int, Any] = {}  # the values by their ids, which stay in use
        self._used: set[str] = set()  # names that the functions use
        self._unused: dict[str, list[Any]] = {}  # methods with other names

    def visit(self, value: Any, name: str = "") -> dict[str, Any]:
        """Add a value and everything below it. Return all that was found so far.

        Of several arrays with a name, the second is `W#2`.
        """
        if isinstance(value, float | int | np.generic):
            self.found.setdefault(name, value)
        elif id(value) not in self._seen:
            self._seen[id(value)] = value
            if isinstance(value, np.ndarray):
                same = [each for each in self.found if each.split("#")[0] == name]
                self.found[f"{name}#{len(same) + 1}" if same else name] = value
            elif isinstance(value, FunctionType):
                self._visit_variables(value, name)
            elif isinstance(value, partial):
                self.visit(value.func)
                self.visit(value.args, name)
                self._visit_all(value.keywords, name)
            elif isinstance(value, MethodType):
                self.visit(value.__self__)
                self.visit(value.__func__)
            elif isinstance(value, list | tuple):
                for i, child in enumerate(value):
                    path = f"{name}[{i}]"
                    if isinstance(value, list):
                        self.writers.setdefault(path, partial(setitem, value, i))
                    self.visit(child, path)
            elif isinstance(value, dict):
                self._visit_all(value, name)
            elif isinstance(value, type):
                self._visit_class(value, name)
            elif _is_own(type(value).__module__) or _is_copied(value):
                self._visit_all(getattr(value, "__dict__", {}), name)
                for kind in type(value).__mro__:
                    for slot in vars(kind).get("__slots__", ()):
                        if hasattr(value, slot):
                            write = partial(setattr, value, slot)
                            child = getattr(value, slot)
                            self._visit_attribute(name, slot, child, write)
                    self.visit(kind, name)
            else:
                self.shared[id(value)] = value
        return self.found

    def _visit_all(self, values: dict[Any, Any], name: str) -> None:
        """Visit the entries of a dictionary, or the attributes of an object."""
        for attribute, child in values.items():
            write = partial(setitem, values, attribute)
            self._visit_attribute(name, attribute, child, write)

    def _visit_attribute(
        self, name: str, attribute: Any, child: Any, write: Callable[[Any], None]
    ) -> None:
        """Visit an attribute of an object, or an entry of a dictionary."""
        path = f"{name}.{attribute}".removeprefix(".")
        self.writers.setdefault(path, write)
        self.visit(child, path)

    def _visit_class(self, kind: type, name: str) -> None:
        """Visit the variables of a class, and those methods that are used."""
        if not _is_own(kind.__module__):
            return
        for attribute, child in vars(kind).items():
            is_special = attribute.startswith("__")
            getter = getattr(child, "fget", child)  # of a property
            # Of a class method or a static method.
            function = getattr(child, "__func__", getter)
            if type(child) in _DATA and not is_special:
                write = partial(setattr, kind, attribute)
                self.places.append((write, child))
                self._visit_attribute(name, attribute, child, write)
            elif attribute in self._used or (is_special and attribute != "__init__"):
                self.visit(function)
            else:
                self._unused.setdefault(attribute, []).append(function)

    def _visit_variables(self, function: FunctionType, path: str) -> None:
        """Visit the variables around a function, and the methods that it uses.

        If two functions f1 and f2 have an array W each, one of them is `f2.W`.
        """
        known = function.__globals__
        if not _is_own(str(known.get("__name__"))):
            return
        variables = {}
        for instruction in _instructions(function.__code__):
            name = instruction.argval
            if isinstance(name, str):  # perhaps of a method
                self._used.add(name)
                for method in self._unused.pop(name, ()):
                    self.visit(method)
            is_global = instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL")
            if is_global and name in known:
                variables[name] = known[name], partial(setitem, known, name)
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            write = partial(setattr, cell, "cell_contents")
            value = cell.cell_contents
            variables[self._name_of(name, value, path)] = value, write
        for name, (value, write) in variables.items():
            if not isinstance(value, ModuleType):
                self.places.append((write, value))
                self.writers.setdefault(name, write)
                self.visit(value, name)
        self._visit_defaults(function, path)

    def _visit_defaults(self, function: FunctionType, path: str) -> None:
        """Visit the defaults of arguments, such as W in `def forward(x, W=W)`."""
        code, defaults = function.__code__, function.__defaults__ or ()
        names = code.co_varnames[: code.co_argcount][-len(defaults) :]
        named = dict(zip(names, defaults, strict=False))
        named |= function.__kwdefaults__ or {}
        for attribute in ("__defaults__", "__kwdefaults__"):
            write = partial(setattr, function, attribute)
            self.places.append((write, getattr(function, attribute)))
        for name, value in named.items():
            is_number = isinstance(value, float | int | np.generic)
            if not (is_number and role_of(name)):  # such as a learning rate
                self.visit(value, self._name_of(name, value, path))

    def _name_of(self, name: str, value: Any, path: str) -> str:
        """Return the name of a function's own variable, or `f2.W` if W is another."""
        is_other = self.found.get(name, value) is not value
        return f"{path}.{name}" if path and is_other else name


def _is_own(module: str) -> bool:
    """Return whether a module is the user's, and not of Python or a package."""
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    is_known = root in sys.stdlib_module_names or root == "mlp_xp"
    # A shell may have its own file in __main__.
    return root == "__main__" or not (is_known or "-packages" in file)


def _is_copied(value: Any) -> bool:
    """Return whether a value can be copied."""
    try:
        copy.deepcopy(value)
    except Exception:  # any error of a class
        return False
    return True


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    """Yield the instructions of a function, then those of the functions in it."""
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)


def _search(code: Code) -> Search:
    search = Search()
    for root in (code.given, code.forward, code.backward, code.loss):
        search.visit(root)
    return search


class Program:
    """A program with its inputs and targets.

    Arrays of floats are made float64, so that the check itself rounds little.
    """

    def __init__(self, code: Code, x: Array, y: Any, rate: float | None) -> None:
        self.code, self.x, self.y = code, x, y
        self.rate = rate
        search = _search(code)
        self.places, self.shared = search.places, search.shared
        self.writers = search.writers
        self.given_names = {*Search().visit(code.given)}
        """The names of the parameters that are arguments."""
        self.arrays: dict[str, Array] = {}
        self.numbers: dict[str, Any] = {}
        for name, value in search.found.items():
            kind = self.arrays if isinstance(value, np.ndarray) else self.numbers
            kind[name] = value
        self.names = {*search.found}
        """The names of all variables that the functions use."""
        self.values: Mapping[str, Array] = self.arrays
        """The values of the arrays in each run."""

    def run(self, values: Mapping[str, Array], *, backward: bool = False) -> Outcome:
        """Run the program on copies, with other values of some variables, also of x.

        `backward` is run only to give the loss, unless it is wanted.
        """
        numbers = values.keys() & self.numbers.keys() & self.writers.keys()
        # The copies have these arrays in place of the originals.
        memo = dict(self.shared)
        for name, array in self.arrays.items():
            memo[id(array)] = widened(values.get(name, self.values[name]))
        x = widened(values.get("x", self.x))
        written = []
        try:
            for name in numbers:  # of objects that are copied
                written.append((self.writers[name], self.numbers[name]))
                self.writers[name](values[name])
            code = copy.deepcopy(self.code, memo)
            for write, value in self.places:
                written.append((write, value))
                write(copy.deepcopy(value, memo))
            for name in numbers:  # of global variables
                self.writers[name](values[name])
            call = _Call(x, widened(self.y), self.rate, code, self.names)
            return _run(code, call, backward=backward)
        finally:
            for write, value in reversed(written):
                write(value)


def _run(code: Code, call: "_Call", *, backward: bool) -> Outcome:
    """Run the functions of a program in their order."""
    output, loss = None, None
    is_layer = code.forward is not None and "target" not in call.by_role
    if code.forward:
        output, loss = call.forward(code.forward)
        is_number = loss is not None and len(call.positional) == 1
        if is_number and loss is call.positional[0] and code.loss:
            # the output of one neuron for one sample
            output, loss = np.asarray(loss), None
            call.by_role["output"] = output
    if is_layer:
        # the forward pass of a layer, whose `backward` takes an error
        if output is None:
            raise MlpXpError(
                f"{_name(code.forward)} returns no array",
                remedy="return the outputs",
                setting="code",
            )
        call.positional = [random_error(output)]
        loss = np.sum(output * call.positional[0])
    elif code.loss:
        loss = call.loss(code.loss, output)
        if loss is None and not inspect.ismethod(code.loss):
            raise MlpXpError(
                "returns None",
                remedy="end it with a return of one number",
                setting="loss",
            )
    if loss is not None and not backward:
        return Outcome(output, loss)
    call.stage = "error" if is_layer else "backward"
    returned, variables = call.result(code.backward)
    if loss is None:
        loss = _loss_in(returned, variables)
    return Outcome(output, loss, returned, variables, _search(code).found)


def random_error(output: Array) -> Array:
    """Return the error of a layer without a loss, the same in each run."""
    return np.random.default_rng(_SEED).standard_normal(np.shape(output))


def widened(array: Any) -> Any:
    """Return a copy, in float64 if it is an array of floats."""
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return array.astype(np.float64)
    return copy.deepcopy(array)


def _number_of(result: tuple[str, Array]) -> int:
    """Return the number at the end of a result's name, or 0."""
    name, _ = result
    return int(name[len(name.rstrip(_DIGITS)) :] or 0)


def _loss_in(returned: Any, variables: Mapping[str, Any]) -> Any:
    """Return the loss in the result of `backward`, or None.

    Of several results, it is the first one, or the last one after a container of
    gradients. Other numbers may be gradients, and so is a `dj_db`.
    """
    if isinstance(returned, tuple | list) and returned:
        is_last = isinstance(returned[0], dict | list | tuple)
        returned = returned[-1] if is_last else returned[0]
    for name, value in variables.items():
        if value is returned and re.fullmatch(_NUMBER_GRADIENT, name.lower()):
            return None
    return _number(returned)


def _number(value: Any) -> Any:
    """Return a number, or the first in a tuple, or None."""
    for each in value if isinstance(value, tuple | list) else [value]:
        if isinstance(each, float | np.floating | np.ndarray) and np.ndim(each) == 0:
            return each
    return None


class _Call:
    """The values for the arguments of functions in one run."""

    def __init__(
        self, x: Array, y: Any, rate: float | None, code: Code, names: set[str]
    ) -> None:
        given, self.holder = code.given, code.holder
        self.outer_names = names
        """Variables outside of the functions."""
        roles = {"input": x, "target": y, "rate": rate, "parameters": given or None}
        self.by_role = {role: each for role, each in roles.items() if each is not None}
        self.by_name = given
        """The parameters, and the results of `forward` that are variables there."""
        self.locals: dict[str, Any] = {}
        """All variables of `forward` at its end."""
        self.positional: list[Any] = [x]
        """The values for arguments with other names, in their order."""
        self.stage = "forward"

    def forward(self, function: Callable[..., Any]) -> tuple[Any, Any]:
        """Return the output and the loss, or None for each, of a forward function."""
        result, variables = self.result(function)
        self.positional = [*result] if isinstance(result, tuple | list) else [result]
        found = Search().visit(result).values()
        known = {id(value) for value in (result, *self.positional, *found)}
        # Only results can be given to another function.
        returned = {name: x for name, x in variables.items() if id(x) in known}
        self.by_name = {**returned, **self.by_name}
        self.locals = {**variables}
        last = self.positional[-1]
        is_cache = isinstance(last, tuple | list | dict)
        self.by_role["cache"] = last if is_cache else result
        names = {id(value): name for name, value in self.by_name.items()}
        results = [(names.get(id(value), ""), value) for value in self.positional]
        if result is None:
            owner = getattr(function, "__self__", None)
            stored = getattr(owner, "__dict__", {}).items()
            results = [pair for pair in stored if role_of(pair[0]) == "output"]
        elif isinstance(result, dict):
            results = [*result.items()]
        outputs = []
        for name, value in results:
            is_input = value is self.by_role.get("input")
            if isinstance(value, np.ndarray) and value.ndim > 0 and not is_input:
                outputs.append((name, value))
        if outputs:
            # Of equally likely ones, the last is the output, but a2 goes before a1.
            best = max(map(self._likelihood, outputs))
            likely = [each for each in outputs if self._likelihood(each) == best]
            stem = likely[-1][0].rstrip(_DIGITS)
            alike = [each for each in likely if each[0].rstrip(_DIGITS) == stem]
            _, self.by_role["output"] = max(reversed(alike), key=_number_of)
        return self.by_role.get("output"), _number(result)

    def _likelihood(self, result: tuple[str, Array]) -> tuple[bool, bool, bool]:
        """Return whether an array has the targets' shape, its name, and not z."""
        name, array = result
        has_shape = array.shape == np.shape(self.by_role.get("target", ()))
        return has_shape, role_of(name) == "output", not name.lower().startswith("z")

    def loss(self, function: Callable[..., Any], output: Any) -> Any:
        """Return the loss. A single argument of another name is the output."""
        values, self.stage = self.positional, "loss"
        self.positional = [] if "output" in _roles(function).values() else [output]
        result, _ = self.result(function)
        self.positional = values
        return result

    def result(self, function: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
        """Return the result of a function, and its variables at the end."""
        arguments = self._arguments(function)
        variables: dict[str, Any] = {}
        code = getattr(inspect.unwrap(function), "__code__", None)

        def watch(frame: Any, event: str, _: Any) -> None:
            if event == "return" and frame.f_code is code:
                variables.update(frame.f_locals)

        previous = sys.getprofile()
        sys.setprofile(watch)
        try:
            return function(*arguments.args, **arguments.kwargs), variables
        except MlpXpError:
            raise
        except Exception as error:
            words = f"{_name(function)} raised {one_line(error)}"
            raise MlpXpError(words, setting="code") from error
        finally:
            sys.setprofile(previous)

    def _arguments(self, function: Callable[..., Any]) -> inspect.BoundArguments:
        """Return the arguments of a function, by their roles and their names."""
        arguments, unknown = {}, []
        signature, roles = _signature(function), _roles(function)
        has_rates = [*roles.values()].count("rate") > 1
        variables = getattr(inspect.unwrap(function), "__globals__", {})
        for name, parameter in signature.parameters.items():
            role = "parameters" if name == self.holder else roles[name]
            is_data = role in ("input", "target") and role in self.by_role
            is_needed = parameter.default is parameter.empty
            if parameter.kind is parameter.VAR_POSITIONAL:
                value = self.by_name.get(name, ())
                arguments[name] = value if isinstance(value, tuple) else (value,)
            elif name in self.by_name and not is_data and name != self.holder:
                arguments[name] = self.by_name[name]
            elif has_rates and name.lower() in UNCLEAR_RATES and not is_needed:
                continue  # its default is no learning rate
            elif role in self.by_role:
                arguments[name] = self.by_role[role]
            elif is_needed and name in self.outer_names & variables.keys():
                arguments[name] = variables[name]  # as `W` in backward(x, y, W)
            elif is_needed and role == "rate":
                raise MlpXpError(
                    f"{_name(function)} needs a value for {name!r}",
                    remedy="give one, as in learning_rate=0.01",
                    setting="learning_rate",
                )
            elif is_needed and parameter.kind is not parameter.VAR_KEYWORD:
                unknown.append(name)
        taken = {id(value) for value in arguments.values()}
        left = [value for value in self.positional if id(value) not in taken]
        if len(unknown) > len(left):
            known = {name: self.locals[name] for name in unknown if name in self.locals}
            unknown = [name for name in unknown if name not in known]
            arguments |= known
        self._ask(function, {*roles.values()}, unknown, len(left))
        arguments |= dict(zip(unknown, left, strict=False))
        return inspect.BoundArguments(signature, arguments)

    def _ask(
        self,
        function: Callable[..., Any],
        roles: set[str],
        unknown: list[str],
        left: int,
    ) -> None:
        """Raise an error if names do not tell the values of arguments.

        So many results are left for the `unknown` arguments.
        """
        lacks_y = "target" in self.by_role.keys() - roles and self.stage != "forward"
        is_short = len(unknown) > left
        names = some(unknown)
        if is_short and "input" not in roles and self.stage != "loss":
            fault = f"cannot tell which argument is x or y: {names}"
            remedy = "call them x and y"
        elif lacks_y and (is_short or (unknown and self.stage == "backward")):
            fault = f"cannot tell which argument is y: {names}"
            remedy = "call it y, or leave y out if it is an error"
            if self.stage == "loss":
                remedy = "call the outputs y_hat, and the targets y"
        elif is_short:
            fault = f"no value is known for {unknown[-1]!r}"
            remedy = "give parameters, as in (W1, b1), or a function of x and y only"
        elif self.stage == "error" and "target" in map(role_of, unknown):
            fault = f"no value is known for {names}"
            remedy = "give y"
        elif self.stage == "error" and not unknown:
            fault = "no argument takes an error"
            remedy = "give y, or x as y for an autoencoder"
        else:
            return
        raise MlpXpError(f"{_name(function)}: {fault}", remedy=remedy, setting="code")


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
