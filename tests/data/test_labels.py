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


# Numbers in published tables, with their frequencies, by what people say that they are.
CLASSES = {
    "sick": ([0, 1], [444, 239]),
    "side": ([-1, 1], [30, 40]),
    "left or right": ([2, 9], [30, 1]),
    "digits": (range(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    "glass": ([1, 2, 3, 5, 6, 7], [70, 76, 17, 13, 9, 29]),
    "thal": ([3, 6, 7], [152, 14, 104]),
    "texture": ([2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14], [500] * 11),
    "forest": (range(1, 8), [2118, 2833, 357, 27, 94, 173, 205]),
    "shuttle": (range(1, 8), [45586, 50, 171, 8903, 3267, 10, 13]),
    "faces": (range(40), [10] * 40),
    "race": ([1, 2, 3], [96, 26, 67]),
    "skin": (range(1, 7), [112, 61, 72, 49, 52, 20]),
}  # fmt: skip
QUANTITIES = {
    "kids": (range(7), [1233, 1342, 1663, 808, 202, 55, 17]),
    "visits": (range(10), [4141, 782, 174, 30, 24, 9, 12, 12, 5, 1]),
    "doctor": ([*range(10), 48], [277, 95, 53, 24, 13, 7, 4, 3, 2, 3, 4]),
    "cylinders": ([4, 6, 8, 12], [49, 31, 20, 2]),
    "schooling": ([9, 12, 14, 16, 17, 18, 20], [7, 44, 154, 115, 89, 112, 80]),
    "age": (range(25, 65), [100] * 40),
    "rank": (range(86), [1] * 86),
    "rings": (range(1, 30), [1, 1, 15, 57, 115, 259, 391, 568, 689, 634, 487, 267, 203, 126, 103, 67, 58, 42, 32, 26, 14, 6, 9, 2, 1, 1, 2, 1, 1]),
    "year": ([1987, 1990, 1993], [51, 51, 51]),
    "price": ([150, 157, 164], [5, 5, 5]),
}  # fmt: skip


@pytest.mark.parametrize("kind", [int, float, str, object])
def test_few_numbers_from_0_or_1_are_classes_and_others_are_quantities(
    kind: type,
) -> None:
    """Whether they are whole numbers, as pandas writes those beside gaps, or text."""
    for task, tables in (("classes", CLASSES), ("regression", QUANTITIES)):
        for name, (values, rows) in tables.items():
            y = np.repeat([*values], rows)
            labels = [f"{value}.0" for value in y] if kind is str else y.astype(kind)
            found, names, _ = meaning(labels)
            assert (name, found) == (name, task)
            if task == "classes":
                assert names == tuple(map(str, values))


def test_numbers_are_the_same_class_with_a_point_and_without() -> None:
    """Text in memory keeps its point, and so does text that is no whole number."""
    assert meaning(["1.0", "2.0"], written=False)[1] == ("1.0", "2.0")
    assert meaning(["1.0", "1", "0.", "-1"]) == (
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
        (sizes[:, :1] * np.arange(1, 21), "labels"),
        ((17 * np.arange(1, 21))[:, None], "regression"),
    ):
        found = meaning_of(RawSamples(Part(None, y)), y, None)
        assert found.task.name == task


def wanted_numbers(form: str) -> list[str]:
    """Twenty texts in a form, of which each differs."""
    return [form.format(i) for i in range(10, 30)]


@pytest.mark.parametrize(
    ("form", "advice"),
    [
        ("${0}.68", "write numbers"),
        ("1,5{0}.25", "write numbers"),
        ("-${0}", "write numbers"),
        ("\u2212{0}.5", "write numbers"),
        ("({0})", "write numbers"),
        ("{0} %", "write numbers"),
        ("€{0},5", "write numbers"),
        ("20{0}-01-16", "dates are"),
        ("Jan {0} 2000", "dates are"),
        ("{0}:15", "dates are"),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_text_that_looks_like_numbers_or_dates_is_no_class(
    form: str, advice: str, *, written: bool
) -> None:
    """It is refused as classes, and as numbers, with what to write.

    Both may be classes if the task says so.
    """
    labels = wanted_numbers(form)
    for task in (None, "regression"):
        with pytest.raises(DatasetError, match=f"^y: row 0: .*; {advice}"):
            meaning(labels, task, written=written)
    assert meaning(labels, "classes", written=written)[0] == "classes"
    few = [labels[0], labels[1], "x", "x", "x"] * 4
    assert meaning(few, written=written)[0] == "classes"


def test_text_that_differs_in_nearly_every_row_is_no_class() -> None:
    """Unless the task says so, or the classes have names."""
    labels = [f"name {chr(i)}" for i in range(97, 117)]
    with pytest.raises(DatasetError):
        meaning(labels)
    assert meaning(labels, "classes")[0] == "classes"
    assert meaning(labels, names=tuple(labels))[0] == "classes"
    assert meaning([*labels[:17], *labels[:3]])[0] == "classes"


def test_dates_in_frames_are_no_classes_either() -> None:
    days = [date(2020, 1, 1 + i) for i in range(20)]
    X = np.arange(20.0)[:, None]
    for y in (pl.Series(days), pd.Series(days), pd.to_datetime(pd.Series(days))):
        with pytest.raises(DatasetError, match="'2020-01-01'"):
            from_arrays(X, y)
        outputs = from_arrays(X, y, task="classes").signature.outputs
        assert outputs == tuple(map(str, days))
