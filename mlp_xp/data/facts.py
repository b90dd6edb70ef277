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
    outputs_count: int | None = None
    """How many labels or numbers a sample has, or how many classes there are."""
    outputs: tuple[str, ...] | None = None
    """Their names."""


class Difference(NamedTuple):
    """The first fact in which two sides differ, in words: `the columns a, b`."""

    ours: str
    theirs: str


def facts_of(thing: Any) -> Facts:
    """Return the facts of a `Dataset` or a `Model`. Names that only number the outputs of arrays are not known."""
    shape = getattr(thing, "input_shape", None) or tuple(thing.train_inputs.shape[1:])
    names, count = thing.class_names, len(thing.class_names)
    unnamed = thing.inputs == "arrays" and names == tuple(map(str, range(count)))
    return Facts(thing.task, shape, None, thing.feature_names or None, count, None if unnamed else names)


def first_difference(ours: Facts, theirs: Facts) -> Difference | None:
    """Return the first fact that both sides know and that differs, or None if they fit together."""
    outputs = ours.task.outputs if ours.task else "outputs"
    for name, (mine, other) in zip(Facts._fields, zip(ours, theirs, strict=True), strict=True):
        if mine is not None and other is not None and mine != other:
            return Difference(_said(name, mine, outputs), _said(name, other, outputs))
    # Outputs that are numbered from 0 may have any names, except numbers: classes 1, 2, 3 are not the classes 0, 1, 2.
    for known, side in ((ours.outputs, theirs), (theirs.outputs, ours)):
        if known and side.outputs_count and side.outputs is None and all(name.isdecimal() for name in known):
            numbers = tuple(map(str, range(side.outputs_count)))
            if known != numbers:
                mine, other = (known, numbers) if side is theirs else (numbers, known)
                return Difference(_said("outputs", mine, outputs), _said("outputs", other, outputs))
    return None


def _said(name: str, value: Any, outputs: str) -> str:
    match name:
        case "task":
            return f"the task {value.name}"
        case "shape":
            return described(value)
        case "are_bytes":
            return "bytes" if value else "floats"
        case "outputs_count":
            return f"{value} {outputs}"
    text = ", ".join(value)
    return f"the {outputs if name == 'outputs' else name} {text if len(text) <= 80 else f'{text[:77]}...'}"
