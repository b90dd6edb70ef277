"""What labels mean: a task and names, whether they are numbers or text, and every fault
by its row.
"""

from typing import Any

import numpy as np
import pytest

from mlp_xp.data._labels import meaning_of, read_labels
from mlp_xp.data.arrays import from_arrays
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table import Table
from mlp_xp.errors import DatasetError, MlpXpWarning


def meaning(
    labels: Any, task: str | None = None, *, written: bool = True, names: Any = None
) -> tuple[str, Any, Any]:
    """The task, the names of the outputs, and the labels of a data set."""
    y = np.array(labels)
    lines = range(len(y)) if written else ()
    found = meaning_of(
        RawSamples(Part(Table((), (), lines), y), class_names=names), y, task
    )
    return found.task.name, found.names, read_labels(y, found).tolist()


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        (["3", "-1", "+07"], None, ("classes", ("-1", "3", "+07"), [1, 0, 2])),
        (["3", "-1", "+07"], "regression", ("regression", ("0",), [[3], [-1], [7]])),
        (["3", "1e2", "-0.5"], None, ("regression", ("0",), [[3], [100], [-0.5]])),
        (
            ["1.1", "1.10", "0.5"],
            "classes",
            ("classes", ("0.5", "1.1", "1.10"), [1, 2, 0]),
        ),
        (
            ["01", "1", "x", "x", "x"],
            None,
            ("classes", ("01", "1", "x"), [0, 1, 2, 2, 2]),
        ),
        (["1", "01", "2"], None, ("classes", ("01", "1", "2"), [1, 0, 2])),
        (["5", "6", "x"], "classes", ("classes", ("5", "6", "x"), [0, 1, 2])),
        (["1_0", "2_0", "3"], None, ("classes", ("1_0", "2_0", "3"), [0, 1, 2])),
        (["+", "-", "+"], None, ("classes", ("+", "-"), [0, 1, 0])),
        (["True", "false"], None, ("classes", ("True", "false"), [0, 1])),
        (
            [["True", "1"], ["false", "0"], ["true", "0"]],
            None,
            ("labels", ("0", "1"), [[1, 1], [0, 0], [1, 0]]),
        ),
        (
            [["0.5", "1"], ["2", "true"]],
            None,
            ("regression", ("0", "1"), [[0.5, 1], [2, 1]]),
        ),
    ],
)
def test_written_labels(labels: Any, task: str | None, expected: Any) -> None:
    """Text in CSV, which may be numbers. Classes have the names that are written."""
    assert meaning(labels, task) == expected


def test_text_in_memory_is_never_a_number() -> None:
    """It has no spaces around it, as in a file, and a warning tells of names that
    hardly differ.
    """
    assert from_arrays([[1.0], [2], [4]], ["a ", "a", " b"]).signature.outputs == (
        "a",
        "b",
    )
    with pytest.warns(
        MlpXpWarning,
        match="^classes whose names differ by capital letters alone: 'No', 'no'",
    ):
        from_arrays([[1.0], [2], [4]], ["no", "No", "yes"])
    assert meaning(["3.5", "3.50"], written=False) == (
        "classes",
        ("3.5", "3.50"),
        [0, 1],
    )
    assert meaning(["b", "a"], names=("b", "a"), written=False) == (
        "classes",
        ("b", "a"),
        [0, 1],
    )


def test_whole_numbers_count_the_classes_unless_their_names_are_numbers() -> None:
    """Then numbers are matched by value: in training, where names are given, as for the
    classes of a network.
    """
    for kind, names, numbers in (
        (int, ("03", "7"), [1, 0, 0]),
        (float, ("03", "7"), [1, 0, 0]),
        (int, tuple("abcdefgh"), [7, 3, 3]),
        (int, ("7", "b", "3"), None),
    ):
        y = np.array([7, 3, 3], kind)
        for trained, given in ((names, None), (None, names)):
            samples = RawSamples(Part(None, y), class_names=given)
            if numbers is None:
                with pytest.raises(
                    DatasetError,
                    match="y: labels may be names of classes or count them",
                ):
                    meaning_of(samples, y, "classes", trained)
                continue
            found = meaning_of(samples, y, "classes", trained)
            assert (found.names, read_labels(y, found).tolist()) == (names, numbers)


@pytest.mark.parametrize(
    ("labels", "task", "fault"),
    [
        (
            ["0.5", "inf"],
            None,
            "y: row 1: 'inf' is not a finite number; correct it, or leave out the row",
        ),
        (
            ["5", "6", "x"],
            None,
            "y: row 2: 'x' is not a finite number; correct it, or leave out the row; if these are names",
        ),
        (
            ["5", "6", "x"],
            "regression",
            "y: row 2: 'x' is not a finite number; correct it, or leave out",
        ),
        (
            [["1", "0"], ["red", "0"]],
            None,
            "y: row 1, column 0: 'red' is not a finite number; correct it, or",
        ),
        (["0", "2"], "labels", "y: row 1: 2 is wrong: labels are 0 or 1; correct it"),
    ],
)
def test_faults(labels: Any, task: str | None, fault: str) -> None:
    with pytest.raises(DatasetError) as caught:
        meaning(labels, task)
    assert str(caught.value).startswith(fault)
