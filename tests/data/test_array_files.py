"""NumPy's files: what NumPy writes is read, never by a pickle.

Damage is one line with the path.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp.data._array_files import read_array_files
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError, MlpXpWarning

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])


def as_npz(place: Path, **arrays: Any) -> Path:
    np.savez(place / "a.npz", **arrays)
    return place / "a.npz"


def as_npy(place: Path, **arrays: Any) -> Path:
    folder = place / "arrays"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture(params=[as_npz, as_npy])
def write(request: pytest.FixtureRequest) -> Any:
    """A function that writes arrays and returns their path."""
    return request.param


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_TRAIN", "X_Test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X", "y", "x_test", "y_test"),
    ],
)
def test_names(tmp_path: Path, write: Any, names: tuple[str, ...]) -> None:
    expected = X, Y, X[:2] + 1, Y[:2]
    samples = read_array_files(
        write(tmp_path, **dict(zip(names, expected, strict=True)))
    )
    assert samples.test is not None
    for array, wanted in zip(
        (*samples.train[:2], *samples.test[:2]), expected, strict=True
    ):
        np.testing.assert_array_equal(array, wanted, strict=True)
    samples = read_array_files(
        write(tmp_path, **dict(zip(names[:2], expected[:2], strict=True)))
    )
    np.testing.assert_array_equal(samples.train.inputs, X)
    assert samples.test is None


def test_arrays_are_contiguous(tmp_path: Path, write: Any) -> None:
    """The last bits of sums depend on it."""
    for features in (np.asfortranarray(X), X.astype(">f4")):
        read = read_array_files(write(tmp_path, X=features, y=Y)).train.inputs
        np.testing.assert_array_equal(read, features, strict=True)
        assert read.flags.c_contiguous


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["a", "bé", "a", "c"], ">U7"), ("a", "bé", "c")),
        (np.array([each.encode() for each in ("a", "bé", "a", "c")]), ("a", "bé", "c")),
        (np.array([True, False, True, True]), ("False", "True")),
        (np.array([[3], [5], [3], [0]], ">i2"), ("0", "3", "5")),
    ],
)
def test_labels(
    tmp_path: Path, write: Any, labels: np.ndarray, names: tuple[str, ...]
) -> None:
    dataset = load_dataset(write(tmp_path, X=X, y=labels), test_fraction=0)
    assert dataset.signature.outputs == names
    flat = [
        each.decode() if isinstance(each, bytes) else str(each)
        for each in labels.ravel().tolist()
    ]
    assert [names[i] for i in dataset.train.labels] == flat


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({}, "has no training set; name the arrays x_train"),
        ({"arr_0": X, "arr_1": Y}, "has no training set; name the arrays x_train"),
        ({"X": X}, "has x without y; its arrays are 'x'; correct the names"),
        (
            {"X": X, "y": Y, "x_test": X},
            "has x_test without y_test; its arrays are 'x', 'x_test', 'y'; ",
        ),
        (
            {"X": X, "y": Y, "x_test": X, "y_tst": Y},
            "has x_test without y_test; its arrays are 'x', 'x_test', 'y', 'y_tst'; ",
        ),
        (
            {"X": X, "y": Y, "test_images": X, "y_test": Y},
            "has y_test without x_test; ",
        ),
        (
            {"X": X, "y": np.arange(4).astype("M8[D]")},
            ", row 0: '1970-01-01' and most of the labels look like numbers or dates; ",
        ),
        (
            {"X": np.where(X == 7, np.nan, X), "y": Y},
            ", row 2, column 1: nan is not a finite number",
        ),
        (
            {"X": X, "y": np.array([b"a", b"b", b"\xe9", b"c"])},
            "cannot be read as an array ('utf-8' codec can't",
        ),
    ],
)
def test_faults(tmp_path: Path, write: Any, arrays: dict[str, Any], fault: str) -> None:
    path = write(tmp_path, **arrays)
    with pytest.raises(DatasetError, match=re.escape(fault)) as caught:
        load_dataset(path) if arrays else read_array_files(path)
    assert str(caught.value).startswith(f"'{path}")
    assert str(caught.value).isprintable()


def test_a_warning_names_arrays_that_are_not_used(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, X=X, y=Y, xtest=X, ytest=Y)
    message = "arrays that are not used: 'xtest', 'ytest'"
    with pytest.warns(MlpXpWarning, match=message) as warned:
        assert load_dataset(path, test_fraction=0).test is None
    assert [each.filename for each in warned] == [__file__], "of the caller"


def test_a_second_training_set_is_named_in_the_warning(
    tmp_path: Path, write: Any
) -> None:
    path = write(tmp_path, x_train=X, y_train=Y, X=X + 1, y=Y)
    with pytest.warns(MlpXpWarning, match="arrays that are not used: 'x', 'y'"):
        dataset = load_dataset(path, test_fraction=0)
    np.testing.assert_array_equal(dataset.train.inputs, X)


@pytest.mark.posix
def test_names_that_differ_in_case_alone_are_refused(
    tmp_path: Path, write: Any
) -> None:
    path = write(tmp_path, X=X, x=X + 1, y=Y)
    with pytest.raises(DatasetError, match="has x twice, in small and in capital"):
        read_array_files(path)


class Trap:
    """Unpickling it would be a fault."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, X=np.array([[Trap()]], object), y=Y[:1])
    said = "cannot be read: Object arrays cannot be loaded when allow_pickle=False; "
    with pytest.raises(DatasetError, match=said):
        read_array_files(path)
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetError, match=r"pickled .*; check the path and the file$"):
        read_array_files(tmp_path / "a.npz")


def test_damaged_archives(tmp_path: Path) -> None:
    """A changed or cut file is read to the same values, or refused in one line."""
    np.savez_compressed(tmp_path / "a.npz", X=X, y=Y)
    content = (tmp_path / "a.npz").read_bytes()
    texts = []
    for place in range(0, len(content), 7):
        for damaged in (
            content[:place],
            content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :],
        ):
            (tmp_path / "a.npz").write_bytes(damaged)
            try:
                features, labels = read_array_files(tmp_path / "a.npz").train[:2]
            except DatasetError as error:
                texts.append(str(error))
            else:
                np.testing.assert_array_equal(features, X)
                np.testing.assert_array_equal(labels, Y)
    assert len(texts) > 50
    assert all(text.isprintable() for text in texts)


def test_what_is_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    for path, fault in (
        ("x.npy", "has x without y; "),
        ("none.npz", "cannot be read: No such"),
    ):
        with pytest.raises(
            DatasetError, match=re.escape(f"'{tmp_path / path}': {fault}")
        ):
            read_array_files(tmp_path / path)
    folder = as_npy(tmp_path, X=X, y=Y)
    (folder / "X.npy").write_bytes((folder / "X.npy").read_bytes()[:-3])
    with pytest.raises(DatasetError, match=r"X\.npy': cannot be read: "):
        read_array_files(folder)
