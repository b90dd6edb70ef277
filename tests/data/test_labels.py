"""What labels mean: a task and names, numbers or text, and faults by their row."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mlp_xp.data._labels import meaning_of, read_labels
from mlp_xp.data.arrays import from_arrays
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table import Table
from mlp_xp.errors import DatasetError


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
        (["3", "-1", "3"], None, ("classes", ("-1", "3"), [1, 0, 1])),
        (["3", "-1", "+07"], "classes", ("classes", ("-1", "3", "+07"), [1, 0, 2])),
        (["3", "-1", "+07"], None, ("regression", ("0",), [[3], [-1], [7]])),
        (["3", "1e2", "-0.5"], None, ("regression", ("0",), [[3], [100], [-0.5]])),
        (
            ["1.1", "1.10", "0.5"],
            "classes",
            ("classes", ("0.5", "1.1", "1.10"), [1, 2, 0]),
        ),
        (
            ["01", "1", "x", "x", "x"],
            "classes",
            ("classes", ("01", "1", "x"), [0, 1, 2, 2, 2]),
        ),
        (["1", "01", "1"], None, ("classes", ("01", "1"), [1, 0, 1])),
        (["5", "6", "x"], "classes", ("classes", ("5", "6", "x"), [0, 1, 2])),
        (["1_0", "2_0"], "classes", ("classes", ("1_0", "2_0"), [0, 1])),
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
    """It has no spaces around it, as in a file."""
    assert from_arrays([[1.0], [2], [4]], ["a ", "a", " b"]).signature.outputs == (
        "a",
        "b",
    )
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
    """Then numbers are matched by value.

    This holds where names are given, and for the classes of a network.
    """
    for kind, names, numbers in (
        (int, ("03", "7"), [1, 0, 0]),
        (float, ("03", "7"), [1, 0, 0]),
        (int, tuple("abcdefgh"), [7, 3, 3]),
        (int, ("7", "b", "3"), None),
        (int, ("03", "3", "7"), None),
    ):
        y = np.array([7, 3, 3], kind)
        for trained, given in ((names, None), (None, names)):
            samples = RawSamples(Part(None, y), class_names=given)
            if numbers is None:
                with pytest.raises(DatasetError):
                    meaning_of(samples, y, "classes", trained)
                continue
            found = meaning_of(samples, y, "classes", trained)
            assert (found.names, read_labels(y, found).tolist()) == (names, numbers)


def test_large_whole_numbers_are_found_among_the_classes_of_a_network() -> None:
    names = (str(2**53), str(2**53 + 1))
    y = np.array([2**53 + 1, 2**53])
    found = meaning_of(RawSamples(Part(None, y)), y, "classes", names)
    assert read_labels(y, found).tolist() == [1, 0]


@pytest.mark.parametrize("kind", [int, float, str, object])
@pytest.mark.parametrize(
    ("values", "rows", "task"),
    [
        ([0, 1], [444, 239], "classes"),
        ([2, 9], [30, 1], "classes"),
        (range(40), [1] * 40, "regression"),
        (range(3), [9, 1, 9], "regression"),
        (range(10), [178] * 10, ""),
        ([1987, 1990, 1993], [51] * 3, ""),
    ],
)
def test_two_whole_numbers_are_classes_and_single_ones_quantities(
    kind: type, values: Any, rows: list[int], task: str
) -> None:
    """Whether they are whole numbers, as pandas writes those beside gaps, or text.

    For other whole numbers the task is asked for.
    """
    y = np.repeat([*values], rows)
    labels = [f"{value}.0" for value in y] if kind is str else y.astype(kind)
    if task:
        assert meaning(labels)[0] == task
        return
    with pytest.raises(DatasetError) as caught:
        meaning(labels)
    remedy = caught.value.remedy
    assert [*remedy[1::2]] == [("task", "classes"), ("task", "regression")]
    assert meaning(labels, "classes")[1] == tuple(map(str, values))


def test_numbers_are_the_same_class_with_a_point_and_without() -> None:
    """Text in memory keeps its point, and so does text that is no whole number."""
    assert meaning(["1.0", "2.0"], written=False)[1] == ("1.0", "2.0")
    assert meaning(["1.0", "1", "0.", "-1"], "classes") == (
        "classes",
        ("-1", "0", "1"),
        [2, 2, 1, 0],
    )
    assert meaning(["2.0", "2.5"], "classes")[1] == ("2.0", "2.5")


IN_A_FILE, IN_MEMORY = Table((), (), range(2)), None


@pytest.mark.parametrize(
    ("y", "place", "names", "numbers"),
    [
        (["1.0", "x"], IN_A_FILE, ("1", "2.5", "x"), [0, 2]),
        ([1.0, 2.5], IN_A_FILE, ("1", "2.5"), [0, 1]),
        (["2.0", "1.0"], IN_MEMORY, ("1.0", "1.1", "2.0"), [2, 0]),
        (["1", "1"], IN_MEMORY, ("01", "1", "x"), [1, 1]),
    ],
)
def test_labels_are_found_among_the_classes_of_a_network(y, place, names, numbers):
    """Classes with names keep their points."""
    labels = np.array(y)
    found = meaning_of(RawSamples(Part(place, labels)), labels, "classes", names)
    assert read_labels(labels, found).tolist() == numbers


def test_several_columns_are_labels_or_quantities() -> None:
    flags, sizes = np.array([[0, 1], [1, 1], [0, 0]]), np.array([[12, 3], [80, 1]])
    for y, task in (
        (flags, "labels"),
        (flags * 1.0, "labels"),
        (flags[:, :1], "labels"),
        (sizes * 1.0, "regression"),
        (sizes, "labels"),
    ):
        found = meaning_of(RawSamples(Part(None, y)), y, None)
        assert found.task.name == task


def wanted_numbers(form: str) -> list[str]:
    """Twenty texts in a form, of which each differs."""
    return [form.format(i) for i in range(10, 30)]


@pytest.mark.parametrize(
    "form",
    [
        "${0}.68",
        "1,5{0}.25",
        "-${0}",
        "−{0}.5",
        "({0})",
        "{0}%",
        "€{0},5",
        "20{0}-01-16",
        "{0}:15",
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_text_with_digits_and_without_letters_is_no_class(
    form: str, *, written: bool
) -> None:
    """It is refused as classes, and as numbers. It is a class if the task says so."""
    labels = wanted_numbers(form)
    for task in (None, "regression"):
        with pytest.raises(DatasetError, match=r"^y: row 0: .*; write numbers as 1591"):
            meaning(labels, task, written=written)
    assert meaning(labels, "classes", written=written)[0] == "classes"
    with pytest.raises(DatasetError, match=r"^y: row 1: "):
        meaning(["x", labels[0], "x"] * 4, written=written)


def test_text_is_classes_however_many() -> None:
    labels = [f"name {chr(i)}" for i in range(97, 117)]
    assert meaning(labels)[0] == "classes"
    assert meaning([f"Jan {i} 2000" for i in range(20)])[0] == "classes"


def test_dates_in_frames_are_no_classes_either() -> None:
    days = [date(2020, 1, 1 + i) for i in range(20)]
    X = np.arange(20.0)[:, None]
    for y in (pl.Series(days), pd.Series(days), pd.to_datetime(pd.Series(days))):
        with pytest.raises(DatasetError, match="'2020-01-01'"):
            from_arrays(X, y)
        outputs = from_arrays(X, y, task="classes").signature.outputs
        assert outputs == tuple(map(str, days))
