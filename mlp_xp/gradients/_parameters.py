"""The arrays that a caller names, and their gradients in the same structure.

A structure is an array, or a list, a tuple or a dictionary of structures, or a pair
`(object, "W b")` of attributes with structures. In `(globals(), "W b")`, these are the
items of a dictionary. `Leaf` and `Branch` form its tree.
"""

import inspect
from collections import Counter
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
FLOATS = (np.float32, np.float64, np.longdouble)
"""The dtypes that can be checked."""
_STRUCTURE = "return the gradients in the structure of the parameters"


class Place(NamedTuple):
    """Where an object, a list or a dictionary holds a value."""

    holder: Any
    key: Any
    is_attribute: bool = False

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


def _place(holder: Any, name: str) -> Place:
    """Return the place of an attribute of an object, or of an item of a dictionary."""
    return Place(holder, name, is_attribute=not isinstance(holder, Mapping))


def _get(place: Place, setting: str) -> Any:
    """Return the value at a place, or raise an error that names its object."""
    try:
        return place.get()
    except (AttributeError, KeyError) as error:
        words = f"{kind_of(place.holder)} has no {place.key!r}"
        raise MlpXpError(words, setting=setting) from error


class Leaf:
    """An array or a number that the caller named."""

    def __init__(self, name: str, value: Any, place: Place | None = None) -> None:
        self.name, self.value, self._place = name, value, place
        self._is_array = isinstance(value, np.ndarray)
        if self._is_array:
            self._check_array()
        else:
            self._check_number()
        self.before: Array = np.array(value, dtype=None if self._is_array else float)
        """A copy of the value before the check."""

    def _check_array(self) -> None:
        """Raise an error unless it is an array of floats that can be moved."""
        fault, remedy = "", "give floats, as in np.array(..., float)"
        if type(self.value) is not np.ndarray:
            fault, remedy = f"is {kind_of(self.value)}", "give a NumPy array"
        elif self.value.dtype.type not in FLOATS:
            fault = f"is an array of {self.value.dtype}"
        elif self.value.size == 0 or not self.value.flags.writeable:
            fault, remedy = "is empty or read-only", "give a copy"
        if fault:
            raise MlpXpError(fault, remedy=remedy, setting=self.name)

    def _check_number(self) -> None:
        """Raise an error unless it is a number at a place where it can be replaced."""
        fault, remedy = "", "give an array of floats"
        if not isinstance(self.value, Real) or isinstance(self.value, bool):
            fault = f"is {kind_of(self.value)}"
        elif self._place is None or isinstance(self._place.holder, tuple):
            fault = f"is the number {self.value}, which cannot be moved"
            remedy = "make it np.array(..., float), or give parameters=(object, 'b')"
        if fault:
            raise MlpXpError(fault, remedy=remedy, setting=self.name)

    def leaves(self) -> Iterator["Leaf"]:
        """Yield the leaves of this tree."""
        yield self

    def holders(self) -> Iterator[tuple[str, Any]]:
        """Yield the objects of this tree, with their names."""
        yield from ()

    def restore(self) -> None:
        """Put the caller's own array or number back to its place."""
        if self._place:
            self._place.put(self.value)

    def write(self, value: Array) -> None:
        """Give the array or the number another value."""
        if self._is_array:
            self.value[...] = value
        elif self._place and not np.array_equal(value, self.before):
            kind = type(self.value) if isinstance(self.value, np.floating) else float
            self._place.put(kind(value))

    def read(self, now: Any) -> dict[str, Array]:
        """Return the array that is at this place now."""
        return {self.name: as_numbers(now, self.name)}

    def match(self, found: Any) -> dict[str, Array]:
        """Return a gradient by the name of its array."""
        return {self.name: as_numbers(found, self.name)}

    def stored(self, _: str) -> dict[str, Array]:
        """Raise an error: no object stores the gradient of this array."""
        remedy = "give parameters=(object, 'W b')"
        words = f"{self.name!r} is no attribute of an object"
        raise MlpXpError(words, remedy=remedy, setting="stored")


class Branch:
    """A list, a dictionary or some attributes of an object, with structures in it."""

    def __init__(
        self,
        name: str,
        value: Any,
        place: Place | None,
        children: dict[Any, "Node"],
        holder: Any = None,
        *,
        has_names: bool = False,
    ) -> None:
        self.name, self.value, self._place = name, value, place
        self.children = children
        """The structures by their indices, keys or names."""
        self.holder = holder
        """The object, or None."""
        self._has_names = has_names
        """Whether the children have names, and an order."""

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves of this tree."""
        for each in self.children.values():
            yield from each.leaves()

    def holders(self) -> Iterator[tuple[str, Any]]:
        """Yield the objects of this tree, with their names."""
        if self.holder is not None:
            yield self.name, self.holder
        for each in self.children.values():
            yield from each.holders()

    def restore(self) -> None:
        """Put the caller's own lists, dictionaries and arrays back to their places."""
        if self._place:
            self._place.put(self.value)
        for each in self.children.values():
            each.restore()

    def read(self, now: Any) -> dict[str, Array]:
        """Return the arrays that are at these places now."""
        found: dict[str, Array] = {}
        for key, child in self.children.items():
            place = Place(now, key) if self.holder is None else _place(self.holder, key)
            found |= child.read(place.get())
        return found

    def match(self, found: Any) -> dict[str, Array]:
        """Return gradients in this structure, by the names of their arrays."""
        children = [*self.children.values()]
        if self._has_names and len(children) == 1 and fits(children[0], found):
            return children[0].match(found)
        matched: dict[str, Array] = {}
        for child, value in zip(children, self._values(found), strict=True):
            matched |= child.match(value)
        return matched

    def _values(self, found: Any) -> list[Any]:
        """Return the gradients of the children, by their keys or in their order."""
        is_dictionary = isinstance(self.value, Mapping)
        if isinstance(found, Mapping) and (is_dictionary or self._has_names):
            return self._values_by_key(found)
        words = f"returns {kind_of(found)}"
        if isinstance(found, list | tuple) and (not is_dictionary or self._has_names):
            if len(found) == len(self.children):
                return [*found]
            words = f"returns {len(found)} gradients"
        names = some([each.name for each in self.children.values()])
        words += f" for {len(self.children)}, {names}"
        raise MlpXpError(words, remedy=_STRUCTURE, setting="gradients")

    def _values_by_key(self, found: Mapping[Any, Any]) -> list[Any]:
        """Return the values of a dictionary with the keys `W`, or with `dW`."""
        plain, prefixed = [*self.children], [f"d{key}" for key in self.children]
        complete = [keys for keys in (plain, prefixed) if {*keys} <= found.keys()]
        if len(complete) == 1:
            return [found[key] for key in complete[0]]
        words = f"returns {some([*found])}, not {some(plain)} or {some(prefixed)}"
        raise MlpXpError(words, remedy=_STRUCTURE, setting="gradients")

    def stored(self, pattern: str) -> dict[str, Array]:
        """Return the gradients that are attributes of the objects."""
        found: dict[str, Array] = {}
        for key, child in self.children.items():
            if self.holder is None:
                found |= child.stored(pattern)
            else:
                place = _place(self.holder, pattern.replace("{}", key))
                found |= child.match(_get(place, "stored"))
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
    """Return a copy of an array or a number that comes from the gradients' function."""
    array = np.array(value) if isinstance(value, np.ndarray | Real) else np.array("")
    if array.dtype.kind not in "fiu" or array.dtype == np.float16:
        words = f"gives {kind_of(value)} for {name!r}"
        remedy = "give an array of float32 or float64"
        raise MlpXpError(words, remedy=remedy, setting="gradients")
    return array


def _tree(name: str, value: Any, place: Place | None = None) -> Node:
    """Return the tree of a structure."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
        holder, names = value
        places = {key: _place(holder, key) for key in names.split()}
    elif isinstance(value, Mapping | list | tuple):
        holder, keys = None, value if isinstance(value, Mapping) else range(len(value))
        places = {key: Place(value, key) for key in keys}
    else:
        return Leaf(name or "parameters", value, place)
    children = {}
    for key, each in places.items():
        is_index = isinstance(value, list | tuple) and holder is None
        path = f"{name}[{key}]" if is_index else f"{name}.{key}".lstrip(".")
        children[key] = _tree(path, _get(each, "parameters"), each)
    has_names = holder is not None
    return Branch(name, value, place, children, holder, has_names=has_names)


class Parameters:
    """The arrays that a caller names, in their structure."""

    def __init__(self, structure: Any, named: dict[str, Any]) -> None:
        if structure is None:
            leaves: dict[Any, Node] = {}
            for name, value in named.items():
                leaves[name] = Leaf(name, value)
            self._root: Node = Branch("", named, None, leaves, has_names=True)
        elif named:
            words, remedy = "is given beside names", "give all arrays in one way"
            raise MlpXpError(words, remedy=remedy, setting="parameters")
        else:
            self._root = _tree("", structure)
        self._structure = named if structure is None else structure
        self._leaves = [*self._root.leaves()]
        self._check_distinct()

    def _check_distinct(self) -> None:
        """Raise an error if two arrays have a name or memory in common."""
        names = Counter(leaf.name for leaf in self._leaves)
        words = [f"{n} are called {name!r}" for name, n in names.items() if n > 1]
        arrays = [leaf for leaf in self._leaves if isinstance(leaf.value, np.ndarray)]
        for one, other in combinations(arrays, 2):
            if np.shares_memory(one.value, other.value):
                words.append(f"{one.name!r} and {other.name!r} share memory")
        if words:
            remedy = "give each array once"
            raise MlpXpError(words[0], remedy=remedy, setting="parameters")

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
            words = "changes the structure of the parameters"
            raise MlpXpError(words, setting="gradients") from error

    def match(self, returned: Any) -> dict[str, Array]:
        """Return the gradients that a network returns."""
        return self._root.match(returned) if self._leaves else {}

    def match_layer(self, returned: Any) -> dict[str, Array]:
        """Return the gradients that a layer returns, that of `x` first."""
        if isinstance(returned, Mapping):
            inputs = [returned[key] for key in ("x", "dx") if key in returned]
            return match_inputs(*inputs[:1]) | self.match(returned)
        if not self._leaves:
            return match_inputs(returned)
        if isinstance(returned, list | tuple) and not fits(self._root, returned):
            first, *others = returned or [None]
            # The gradients of the parameters follow, or a structure of them.
            for rest in (others, *others[:1]):
                if fits(self._root, rest):
                    return match_inputs(first) | self.match(rest)
        return self.match(returned)

    def stored(self, pattern: str) -> dict[str, Array]:
        """Return the gradients that the objects store."""
        return self._root.stored(pattern)

    def others(self) -> dict[str, list[Array]]:
        """Return other arrays of floats that the objects hold, by their attributes."""
        own = [leaf.value for leaf in self._leaves]
        found = {}
        for name, holder in self._root.holders():
            for key, value in _held(holder).items():
                arrays = []
                for each in _arrays_in(value, []):
                    if not any(np.shares_memory(each, array) for array in own):
                        arrays.append(each)
                if arrays:
                    found[f"{name}.{key}".lstrip(".")] = arrays
        return found


def match_inputs(returned: Any = None) -> dict[str, Array]:
    """Return the gradient of the inputs of a layer, or nothing for None."""
    return {} if returned is None else {"x": as_numbers(returned, "x")}


def _held(holder: Any) -> dict[str, Any]:
    """Return the items of a dictionary, or the attributes of an object."""
    if isinstance(holder, Mapping):
        return {**holder}
    found = {}
    for key in [each for each in dir(holder) if each != "__dict__"]:
        value = inspect.getattr_static(holder, key, None)
        if isinstance(value, MemberDescriptorType):  # of __slots__
            value = getattr(holder, key, None)
        found[key] = value
    return found


def _arrays_in(value: Any, above: list[Any]) -> Iterator[Array]:
    """Yield the arrays of floats in lists, tuples and dictionaries."""
    if type(value) is np.ndarray:
        if value.dtype.type in FLOATS and value.flags.writeable:
            yield value
    elif isinstance(value, list | tuple | dict):
        if any(value is each for each in above):  # a list that contains itself
            return
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(each, [*above, value])
