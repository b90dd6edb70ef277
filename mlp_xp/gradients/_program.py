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
    "input": r"(x|inputs?|features?|images?|data|a_?0|a_?prev)(_?(batch|train|data))?"
    "|输入|样本",
    "target": r"(y|t|targets?|labels?|truth)(_?(true|batch|train|one_?hot|labels?))?"
    r"|one_?hot\w*|标签|目标",
    "rate": r"lr|eta|alpha|(learning_?)?rate|step_?size|学习率",
    "output": r"[yt]_?(hat|pred\w*)|pred\w*|outputs?|out|probs?|probabilities|p|al"
    r"|scores?",
    "parameters": r"param\w*|theta|weights|model|net(work)?|layers",
    "cache": r"caches?|memory|saved|tape|ctx|context|activations|intermediates?",
}
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


def _roles(function: Callable[..., Any]) -> dict[str, str]:
    """Return the role of each argument of a function."""
    return {name: role_of(name) for name in inspect.signature(function).parameters}


def named(parameters: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """Return a tuple of parameters by the names of a function's arguments."""
    roles = _roles(function)
    names = [name for name, role in roles.items() if role in ("", "parameters")]
    # Weights may be called alpha or p.
    data = "input", "target", "cache"
    others = [name for name, role in roles.items() if role not in data]
    if len(others) == len(parameters) and "parameters" not in roles.values():
        names = others
    values = parameters if len(names) == len(parameters) else [parameters]
    return dict(zip(names, values, strict=False))


def holder_of(parameters: dict[str, Any], function: Callable[..., Any]) -> str:
    """Return the argument that takes a dictionary of parameters, such as `P`.

    The result is empty if the names of the arguments tell, or if no argument is left.
    """
    roles = _roles(function)
    if "parameters" in roles.values() or not roles.keys().isdisjoint(parameters):
        return ""
    left = []
    for name, argument in inspect.signature(function).parameters.items():
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
    """A search for arrays and numbers in functions, objects and containers."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.places: list[tuple[Callable[[Any], None], Any]] = []
        """For each variable outside of a function, how to set it, and its value."""
        self._seen: dict[int, Any] = {}  # the values by their ids, which stay in use

    def visit(self, value: Any, name: str = "") -> dict[str, Any]:
        """Add a value and everything below it. Return all that was found so far."""
        if isinstance(value, float | int | np.generic):
            self.found[name] = value
        elif id(value) not in self._seen and not isinstance(value, ModuleType | type):
            self._seen[id(value)] = value
            if isinstance(value, np.ndarray):
                # An attribute W1 goes before a global W1 that __init__ copies.
                self.found.setdefault(name, value)
            elif isinstance(value, FunctionType):
                self._visit_variables(value)
            elif isinstance(value, MethodType):
                self.visit(value.__self__)
                self.visit(value.__func__)
            elif isinstance(value, list | tuple):
                for i, child in enumerate(value):
                    self.visit(child, f"{name}[{i}]")
            else:
                self._visit_attributes(value, name)
        return self.found

    def _visit_attributes(self, value: Any, name: str) -> None:
        """Visit the entries of a dictionary, or the attributes and methods."""
        own = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        for attribute, child in own.items():
            self.visit(child, f"{name}.{attribute}".removeprefix("."))
        for kind in type(value).__mro__:
            for method in vars(kind).values():
                if isinstance(method, FunctionType):
                    self.visit(method)

    def _visit_variables(self, function: FunctionType) -> None:
        """Visit the global variables of a function, and those of its closure."""
        known = function.__globals__
        if str(known.get("__name__")).partition(".")[0] in ("numpy", "scipy"):
            return
        variables = {}
        for name in _globals(function.__code__):
            if name in known:
                variables[name] = known[name], partial(setitem, known, name)
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            write = partial(setattr, cell, "cell_contents")
            variables[name] = cell.cell_contents, write
        for name, (value, write) in variables.items():
            if not isinstance(value, ModuleType):
                self.places.append((write, value))
                self.visit(value, name)


def _globals(code: CodeType) -> Iterator[str]:
    """Yield the names of global variables in a function, in the order of their use."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


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
        self.places = search.places
        self.arrays: dict[str, Array] = {}
        self.numbers: dict[str, Any] = {}
        for name, value in search.found.items():
            kind = self.arrays if isinstance(value, np.ndarray) else self.numbers
            kind[name] = value

    def run(self, values: Mapping[str, Array], *, backward: bool = False) -> Outcome:
        """Run the program on copies, with other values of some arrays, also of x.

        `backward` is run only to give the loss, unless it is wanted.
        """
        # The copies have these arrays in place of the originals.
        memo: dict[int, Any] = {}
        for name, array in self.arrays.items():
            memo[id(array)] = widened(values.get(name, array))
        x = widened(values.get("x", self.x))
        written = []
        try:
            code = copy.deepcopy(self.code, memo)
            for write, value in self.places:
                written.append((write, value))
                write(copy.deepcopy(value, memo))
            call = _Call(x, widened(self.y), self.rate, code)
            return _run(code, call, backward=backward)
        finally:
            for write, value in reversed(written):
                write(value)


def _run(code: Code, call: "_Call", *, backward: bool) -> Outcome:
    """Run the functions of a program in their order."""
    output, loss = None, None
    if code.forward:
        output, loss = call.forward(code.forward)
    # the forward pass of a layer, whose `backward` takes an error
    if "target" not in call.roles and code.forward:
        error = random_error(output)
        loss, call.values = np.sum(output * error), [error]
    elif code.loss:
        loss, _ = call.result(code.loss)
    if loss is not None and not backward:
        return Outcome(output, loss)
    returned, variables = call.result(code.backward)
    if loss is None:
        # Of several results, only the first may be the loss.
        loss = _number(returned[:1] if isinstance(returned, tuple) else returned)
    return Outcome(output, loss, returned, variables, _search(code).found)


def random_error(output: Array) -> Array:
    """Return the error of a layer without a loss, the same in each run."""
    return np.random.default_rng(_SEED).standard_normal(np.shape(output))


def widened(array: Any) -> Any:
    """Return a copy, in float64 if it is an array of floats."""
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return array.astype(np.float64)
    return copy.deepcopy(array)


def _number(value: Any) -> Any:
    """Return a number, or the first in a tuple, or None."""
    for each in value if isinstance(value, tuple | list) else [value]:
        if isinstance(each, float | np.floating | np.ndarray) and np.ndim(each) == 0:
            return each
    return None


class _Call:
    """The values for the arguments of functions in one run."""

    def __init__(self, x: Array, y: Any, rate: float | None, code: Code) -> None:
        given, self.holder = code.given, code.holder
        roles = {"input": x, "target": y, "rate": rate, "parameters": given or None}
        self.roles = {role: each for role, each in roles.items() if each is not None}
        self.named = given
        """The parameters, and the variables of `forward` at its end."""
        self.values: list[Any] = [x]
        """The values for arguments with other names, in their order."""

    def forward(self, function: Callable[..., Any]) -> tuple[Any, Any]:
        """Return the output and the loss, or None for each, of a forward function."""
        result, variables = self.result(function)
        self.named = {**variables, **self.named}
        self.values = [*result] if isinstance(result, tuple | list) else [result]
        last = self.values[-1]
        is_cache = isinstance(last, tuple | list | dict)
        self.roles["cache"] = last if is_cache else result
        results = result.values() if isinstance(result, dict) else self.values
        outputs = [x for x in results if isinstance(x, np.ndarray) and x.ndim > 0]
        if outputs:
            self.roles["output"] = max(reversed(outputs), key=self._likelihood)
        return self.roles.get("output"), _number(result)

    def _likelihood(self, array: Array) -> tuple[bool, bool]:
        """Return whether an array has the shape of the targets, and is not named z."""
        names = {id(each): name.lower() for name, each in self.named.items()}
        is_z = names.get(id(array), "").startswith("z")
        return array.shape == np.shape(self.roles.get("target", ())), not is_z

    def result(self, function: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
        """Return the result of a function, and its variables at the end."""
        arguments = self._arguments(function)
        variables: dict[str, Any] = {}
        code = getattr(function, "__code__", None)

        def watch(frame: Any, event: str, _: Any) -> None:
            if event == "return" and frame.f_code is code:
                variables.update(frame.f_locals)

        previous = sys.getprofile()
        sys.setprofile(watch)
        try:
            return function(**arguments), variables
        except MlpXpError:
            raise
        except Exception as error:
            words = f"{_name(function)} raised {one_line(error)}"
            raise MlpXpError(words, setting="code") from error
        finally:
            sys.setprofile(previous)

    def _arguments(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the arguments of a function, by their roles and their names."""
        arguments, unknown = {}, []
        for name, parameter in inspect.signature(function).parameters.items():
            role = "parameters" if name == self.holder else role_of(name)
            is_data = role in ("input", "target") and role in self.roles
            if name in self.named and not is_data and name != self.holder:
                arguments[name] = self.named[name]
            elif role in self.roles:
                arguments[name] = self.roles[role]
            elif parameter.default is parameter.empty and role == "rate":
                raise MlpXpError(
                    f"{_name(function)} needs a value for {name!r}",
                    remedy="give one, as in learning_rate=0.01",
                    setting="learning_rate",
                )
            elif parameter.default is parameter.empty:
                unknown.append(name)
        if len(unknown) > len(self.values):
            roles = {role_of(name) for name in [*arguments, *unknown]}
            if "input" not in roles:
                raise MlpXpError(
                    f"{_name(function)}: cannot tell which argument is x or y: "
                    + some(unknown),
                    remedy="call them x and y",
                    setting="code",
                )
            raise MlpXpError(
                f"{_name(function)}: no value is known for {unknown[-1]!r}",
                remedy="give parameters, as in (W1, b1), or a function of x and y only",
                setting="code",
            )
        return arguments | dict(zip(unknown, self.values, strict=False))


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
