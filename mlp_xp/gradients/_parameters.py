"""The arrays that a caller names, and their gradients in the same structure.

A structure is an array, or a list, a tuple or a dictionary of structures, or a pair
`(object, "W b")` of attributes with structures. In `(globals(), "W b")`, these are the
items of a dictionary. `Leaf` and `Branch` form its tree.
"""

import inspect
from collections.abc import Iterator, Mapping
from itertools import combinations
from numbers import Real
from types import MemberDescriptorType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, kind_of, some

Values = Mapping[str, Array]
"""Values of arrays by their names."""
_FLOATS = (np.float32, np.float64, np.longdouble)
_RETURNED = "return the gradients in the structure of the parameters"


class Place(NamedTuple):
    """Where an object, a list or a dictionary holds a value."""

    holder: Any
    key: Any
    is_attribute: bool

    def get(self) -> Any:
        """Return the value that is there now."""
        if self.is_attribute:
            return getattr(self.holder, self.key)
        return self.holder[self.key]

    def put(self, value: Any) -> None:
        """Put a value there, unless it is there already."""
        try:
            if self.get() is value:
                return
        except (AttributeError, LookupError):
            pass  # it was deleted
        if self.is_attribute:
            setattr(self.holder, self.key, value)
        else:
            self.holder[self.key] = value


class Leaf:
    """An array or a number that the caller named."""

    def __init__(self, name: str, value: Any, place: Place | None) -> None:
        self.name, self._value, self._place = name, value, place
        self._is_array = isinstance(value, np.ndarray)
        self._refuse()
        self.before: Array = np.array(value, copy=True)
        """Its value before the check."""
        if not self._is_array:
            self.before = self.before.astype(float)

    def _refuse(self) -> None:
        """Raise an error if the value cannot be moved and put back."""
        value, place = self._value, self._place
        fault, remedy = "", ""
        if type(value) is np.ndarray:
            if value.dtype.type not in _FLOATS:
                fault = f"is an array of {value.dtype}"
                remedy = "give floats, as in np.array(..., float)"
            elif value.size == 0 or not value.flags.writeable:
                fault = "is empty" if value.size == 0 else "is a read-only array"
        elif not isinstance(value, Real) or isinstance(value, bool | np.bool):
            fault, remedy = f"is {kind_of(value)}", "give an array of floats"
        elif place is None or isinstance(place.holder, tuple):
            fault = f"is the number {value}, which cannot be moved"
            remedy = "make it np.array(..., float), or give parameters=(object, 'b')"
        if fault:
            raise MlpXpError(fault, remedy=remedy, setting=self.name)

    def leaves(self) -> list["Leaf"]:
        """Return the leaves of this tree."""
        return [self]

    def branches(self) -> list["Branch"]:
        """Return the branches of this tree."""
        return []

    def restore(self) -> None:
        """Put the caller's own array back to its place."""
        if self._place:
            self._place.put(self._value)

    def write(self, value: Array) -> None:
        """Give the array or the number another value."""
        if self._is_array:
            self._value[...] = value
        elif not np.array_equal(value, self.before):
            kind = type(self._value) if isinstance(self._value, np.floating) else float
            try:
                self._place.put(kind(value))
            except (AttributeError, TypeError) as error:
                words = "is a number that cannot be set"
                raise MlpXpError(words, setting=self.name) from error

    def read(self, now: Any) -> dict[str, Array]:
        """Return the array that is at this place now."""
        return {self.name: as_numbers(now, self.name)}

    def match(self, found: Any) -> dict[str, Array]:
        """Return a gradient by the name of its array."""
        return {self.name: as_numbers(found, self.name)}

    def stored(self, _: str) -> dict[str, Array]:
        """Refuse to look for a stored gradient."""
        remedy = "give parameters=(object, 'W b')"
        raise MlpXpError(
            f"{self.name!r} is no attribute of an object",
            remedy=remedy,
            setting="stored",
        )


class Branch:
    """A list, a dictionary or some attributes of an object, with structures in it."""

    def __init__(
        self,
        name: str,
        value: Any,
        place: Place | None,
        children: dict[Any, "Node"],
        holder: Any = None,
    ) -> None:
        self.name, self._value, self._place = name, value, place
        self.children, self.holder = children, holder
        """The children are attributes of the holder, if there is one."""
        # Names have an order: those of keyword arguments and of attributes.
        has_names = holder is not None or (place is None and name == "named")
        self._by_key = has_names or isinstance(value, Mapping)
        self._by_order = has_names or not isinstance(value, Mapping)

    def leaves(self) -> list[Leaf]:
        """Return the leaves of this tree."""
        return [leaf for each in self.children.values() for leaf in each.leaves()]

    def branches(self) -> list["Branch"]:
        """Return the branches of this tree."""
        below = [branch for each in self.children.values() for branch in each.branches()]
        return [self, *below]

    def restore(self) -> None:
        """Put the caller's own lists, dictionaries and arrays back to their places."""
        if self._place:
            self._place.put(self._value)
        for each in self.children.values():
            each.restore()

    def read(self, now: Any) -> dict[str, Array]:
        """Return the arrays that are at these places now."""
        found = {}
        holder = now if self.holder is None else self.holder
        for key, child in self.children.items():
            is_attribute = isinstance(key, str) and not isinstance(holder, Mapping)
            found |= child.read(Place(holder, key, is_attribute).get())
        return found

    def match(self, found: Any) -> dict[str, Array]:
        """Return gradients in this structure, by the names of their arrays."""
        children = [*self.children.values()]
        if self._by_key and self._by_order and len(children) == 1:
            (only,) = children
            if fits(only, found):
                return only.match(found)
        values: list[Any] = []
        if self._by_key and isinstance(found, Mapping):
            values = self._by_keys(found)
        elif self._by_order and isinstance(found, list | tuple):
            values = [*found]
        else:
            words = f"returns {kind_of(found)} for {some([*self.children])}"
            raise MlpXpError(words, remedy=_RETURNED, setting="gradients")
        if len(values) != len(children):
            words = f"returns {len(values)} gradients, not {len(children)}, of "
            names = some([each.name for each in children])
            raise MlpXpError(words + names, remedy=_RETURNED, setting="gradients")
        matched = {}
        for child, value in zip(children, values, strict=True):
            matched |= child.match(value)
        return matched

    def _by_keys(self, found: Mapping[Any, Any]) -> list[Any]:
        """Return the values of a dictionary for all children, as `W` or as `dW`."""
        plain, prefixed = [*self.children], [f"d{key}" for key in self.children]
        complete = [keys for keys in (plain, prefixed) if {*keys} <= found.keys()]
        if len(complete) == 1:
            return [found[key] for key in complete[0]]
        if complete:
            words = f"returns {some(plain)} and {some(prefixed)}"
        else:
            words = f"returns {some([*found])}, not {some(plain)} or {some(prefixed)}"
        raise MlpXpError(words, remedy=_RETURNED, setting="gradients")

    def stored(self, pattern: str) -> dict[str, Array]:
        """Return the gradients that are attributes of the objects."""
        found = {}
        for key, child in self.children.items():
            if self.holder is None:
                found |= child.stored(pattern)
                continue
            name = pattern.replace("{}", key)
            found |= child.match(_get(self.holder, name, "stored"))
        return found


Node = Leaf | Branch


def fits(node: Node, found: Any) -> bool:
    """Return whether gradients have the structure of a tree."""
    try:
        node.match(found)
    except MlpXpError:
        return False
    return True


def as_numbers(value: Any, name: str) -> Array:
    """Return a copy of an array or a number that the gradients of a program are."""
    array = np.array(value) if isinstance(value, np.ndarray | Real) else np.array("")
    if array.dtype.kind not in "fiu":
        words = f"{kind_of(value)} for {name!r}"
        raise MlpXpError(
            f"gives {words}", remedy="give an array of floats", setting="gradients"
        )
    return array


def _get(holder: Any, name: str, setting: str) -> Any:
    """Return an attribute or an item, or raise an error that names its object."""
    try:
        return Place(holder, name, not isinstance(holder, Mapping)).get()
    except (AttributeError, KeyError) as error:
        words = f"{kind_of(holder)} has no {name!r}"
        raise MlpXpError(words, setting=setting) from error


def _tree(name: str, value: Any, place: Place | None) -> Node:
    """Return the tree of a structure."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        return _attributes(name, value)
    if isinstance(value, Mapping):
        items = {key: f"{name}.{key}".lstrip(".") for key in value}
    elif isinstance(value, list | tuple):
        items = {i: f"{name}[{i}]" for i in range(len(value))}
    else:
        return Leaf(name or "parameters", value, place)
    children: dict[Any, Node] = {}
    for key, path in items.items():
        children[key] = _tree(path, value[key], Place(value, key, False))
    return Branch(name, value, place, children)


def _attributes(name: str, pair: tuple[Any, str]) -> Branch:
    """Return the tree of `(object, "W b")`."""
    holder, names = pair
    children: dict[Any, Node] = {}
    for key in names.split():
        value = _get(holder, key, "parameters")
        path = f"{name}.{key}".lstrip(".")
        place = Place(holder, key, not isinstance(holder, Mapping))
        children[key] = _tree(path, value, place)
    return Branch(name, pair, None, children, holder)


class Parameters:
    """The arrays that a caller names, in their structure."""

    def __init__(self, structure: Any, named: dict[str, Any]) -> None:
        if structure is not None and named:
            remedy = "give the arrays here or by their names"
            raise MlpXpError("is given beside names", remedy=remedy, setting="parameters")
        if structure is None:
            leaves: dict[Any, Node] = {}
            for name, value in named.items():
                leaves[name] = Leaf(name, value, None)
            self._root: Node = Branch("named", named, None, leaves)
        else:
            self._root = _tree("", structure, None)
        self._structure = named if structure is None else structure
        self._leaves = self._root.leaves()
        self._refuse_twice()

    def _refuse_twice(self) -> None:
        """Raise an error if two arrays have a name or memory in common."""
        for one, other in combinations(self._leaves, 2):
            if one.name == other.name:
                raise MlpXpError(f"two are called {one.name!r}", setting="parameters")
            if np.shares_memory(one._value, other._value):
                raise MlpXpError(
                    f"{one.name!r} and {other.name!r} share memory",
                    remedy="name one of them",
                    setting="parameters",
                )

    @property
    def before(self) -> dict[str, Array]:
        """The values before the check."""
        return {leaf.name: leaf.before for leaf in self._leaves}

    def write(self, values: Values) -> None:
        """Give the arrays other values, in their places."""
        self._root.restore()
        for leaf in self._leaves:
            leaf.write(values[leaf.name])

    def read(self) -> dict[str, Array]:
        """Return the values that are in the places of the arrays now."""
        try:
            return self._root.read(self._structure)
        except (AttributeError, LookupError, TypeError) as error:
            raise MlpXpError(
                "changes the structure of the parameters", setting="gradients"
            ) from error

    def put_back(self) -> None:
        """Put everything back as it was before the check."""
        self.write(self.before)

    def match(self, returned: Any) -> dict[str, Array]:
        """Return the gradients that a network returns."""
        return self._root.match(returned)

    def match_layer(self, returned: Any) -> dict[str, Array]:
        """Return the gradients that a layer returns, that of `x` first."""
        if isinstance(returned, Mapping):
            keys = [key for key in ("x", "dx") if key in returned]
            inputs = [returned[key] for key in keys]
            return _inputs(inputs) | self.match(returned)
        if not self._leaves:
            return self.match_inputs(returned)
        if not fits(self._root, returned) and isinstance(returned, list | tuple):
            first, *others = returned or [None]
            rests: list[Any] = [others, *others] if len(others) == 1 else [others]
            for rest in rests:
                if fits(self._root, rest):
                    return _inputs([first]) | self.match(rest)
        return self.match(returned)

    def match_inputs(self, returned: Any) -> dict[str, Array]:
        """Return the gradient of `x`, if a layer returns an array."""
        return _inputs([] if returned is None else [returned])

    def stored(self, pattern: str) -> dict[str, Array]:
        """Return the gradients that the objects store."""
        return self._root.stored(pattern)

    def others(self) -> dict[str, list[Array]]:
        """Return other arrays of floats in attributes of the objects, by attribute."""
        own = [leaf._value for leaf in self._leaves]
        found = {}
        for branch in self._root.branches():
            for key, value in _held(branch.holder).items():
                arrays = []
                for each in _arrays_in(value, []):
                    if not any(np.shares_memory(each, array) for array in own):
                        arrays.append(each)
                if arrays:
                    found[f"{branch.name}.{key}".lstrip(".")] = arrays
        return found


def _held(holder: Any) -> dict[str, Any]:
    """Return the items of a dictionary, or the attributes of an object."""
    if holder is None:
        return {}
    if isinstance(holder, Mapping):
        return {**holder}
    found = {}
    for key in dir(holder):
        value = inspect.getattr_static(holder, key, None)
        if isinstance(value, MemberDescriptorType):  # of __slots__
            value = getattr(holder, key, None)
        found[key] = value
    return found


def _inputs(found: list[Any]) -> dict[str, Array]:
    """Return the gradient of `x`, if there is one."""
    return {"x": as_numbers(each, "x") for each in found}


def _arrays_in(value: Any, above: list[Any]) -> Iterator[Array]:
    """Yield the arrays of floats in lists, tuples and dictionaries."""
    if type(value) is np.ndarray:
        if value.dtype.type in _FLOATS and value.flags.writeable:
            yield value
    elif isinstance(value, list | tuple | dict) and not any(
        value is each for each in above
    ):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(each, [*above, value])
