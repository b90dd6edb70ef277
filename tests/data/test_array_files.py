"""NumPy's files: what NumPy writes is read, never by a pickle.

Damage is one line with the path.
"""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_npy

from mlp_xp.data._array_files import read_array_files
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError, MlpXpWarning

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])


def as_npz(place: Path, **arrays: Any) -> Path:
    np.savez(place / "a.npz", **arrays)
    return place / "a.npz"


def as_npy(place: Path, **arrays: Any) -> Path:
    shutil.rmtree(place / "arrays", ignore_errors=True)
    return write_npy(place / "arrays", **arrays)


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
    path = write(tmp_path, X=X, y=labels)
    dataset = load_dataset(path, test_fraction=0, task="classes")
    assert dataset.signature.outputs == names
    flat = [
        each.decode() if isinstance(each, bytes) else str(each)
        for each in labels.ravel().tolist()
    ]
    assert [names[i] for i in dataset.train.labels] == flat


def test_only_the_first_training_set_is_used(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, x_train=X, y_train=Y, X=X + 1, y=Y, xtest=X, ytest=Y)
    with pytest.warns(MlpXpWarning, match="'x', 'y'"):
        dataset = load_dataset(path, test_fraction=0)
    np.testing.assert_array_equal(dataset.train.inputs, X)
    assert dataset.test is None


class Trap:
    """Unpickling it would be a fault."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, X=np.array([[Trap()]], object), y=Y[:1])
    with pytest.raises(DatasetError):
        read_array_files(path)
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetError):
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
