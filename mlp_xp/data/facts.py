"""Whether data and networks fit together: one table of facts about both, and the first fact in which they differ."""

from typing import Any, NamedTuple

from mlp_xp.core.dataset import described
from mlp_xp.core.task import Task


class Facts(NamedTuple):
    """What samples have, and what a network takes. A fact that is None is not known, and fits everything."""

    task: Task | None = None
    shape: tuple[int, ...] | None = None
    """The shape of the inputs of one sample."""
    are_bytes: bool | None = None
    """Whether inputs are bytes; otherwise they are floats."""
    columns: tuple[str, ...] | None = None
    """The names of the features."""
    outputs: tuple[str, ...] | None = None
    """The names of the classes, labels or numbers."""
    may_be_numbered: bool = False
    """Whether the outputs may have no names, but numbers from 0, as those of arrays."""


class Difference(NamedTuple):
    """The first fact in which two sides differ, in words such as `the columns a, b`."""

    ours: str
    theirs: str


def facts_of(thing: Any) -> Facts:
    """Return the facts of a `Dataset` or a `Model`."""
    shape = getattr(thing, "input_shape", None) or tuple(thing.train_inputs.shape[1:])
    return Facts(thing.task, shape, None, thing.feature_names or None, thing.class_names, thing.inputs == "arrays")


def first_difference(ours: Facts, theirs: Facts) -> Difference | None:
    """Return the first fact that both sides know and that differs, or None if they fit together.

    Outputs that are numbered from 0 have any names, except other numbers: classes 1, 2, 3 are not the classes 0, 1, 2.
    """
    names = ours.outputs or (), theirs.outputs or ()
    are_numbers = tuple(map(str, range(len(names[0])))) in names and len(names[0]) == len(names[1])
    other_numbers = all(name.isdecimal() for side in names for name in side)
    if (ours.may_be_numbered or theirs.may_be_numbered) and are_numbers and not other_numbers:
        ours, theirs = ours._replace(outputs=None), theirs._replace(outputs=None)
    for name in ("task", "shape", "are_bytes", "columns", "outputs"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine is not None and other is not None and mine != other:
            what = ours.task.outputs if name == "outputs" and ours.task else name
            return Difference(_said(what, mine), _said(what, other))
    return None


def _said(what: str, value: Any) -> str:
    match what:
        case "task":
            return f"the task {value.name}"
        case "shape":
            return described(value)
        case "are_bytes":
            return "bytes" if value else "floats"
    text = ", ".join(value)
    return f"the {what} {text if len(text) <= 80 else f'{text[:77]}...'}"
