"""Data like MNIST's, in folders of IDX and of CSV files: it arrives unchanged on every backend; every fault is told."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import csv_text

from mlp_xp.core.library import Backend
from mlp_xp.data.datasets import DATASETS, load_dataset
from mlp_xp.errors import DatasetError

TRAIN, TEST = (
    np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8) for seed, count in ((1, 30), (2, 20))
)
TRAIN_LABELS, TEST_LABELS = np.arange(30, dtype=np.uint8) % 10, np.arange(20, dtype=np.uint8) % 10
ARRAYS = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": TRAIN_LABELS,
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": TEST_LABELS,
}


def write_idx(folder: Path, packed: bool = True, **changed: np.ndarray) -> Path:
    """The four files, of ARRAYS but for those whose name with underscores is given."""
    for name, array in ARRAYS.items():
        array = changed.get(name.replace("-", "_"), array)
        head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        data = head + array.tobytes()
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


def write_csv(folder: Path, **changed: str) -> Path:
    (folder / "mnist_train.csv").write_text(changed.get("train", csv_text(TRAIN, TRAIN_LABELS)))
    (folder / "mnist_test.csv").write_text(changed.get("test", csv_text(TEST, TEST_LABELS)))
    return folder


def message(name_or_folder: str | Path) -> str:
    """What loading says, without the name of the argument; this stands before what is no data set at all."""
    with pytest.raises(DatasetError) as caught:
        load_dataset(name_or_folder)
    text = str(caught.value)
    assert text.isprintable()
    assert "--" not in text, "options are the command line's"
    assert caught.value.exit_code == 2
    return text.removeprefix("name_or_folder: ")


def assert_loaded(folder: Path | str, backend: Backend) -> None:
    dataset = load_dataset(folder, backend)
    assert dataset.class_names == tuple("0123456789")
    for array, expected in zip(dataset[:4], ARRAYS.values(), strict=True):
        assert array.dtype == backend.xp.uint8
        np.testing.assert_array_equal(backend.to_numpy(array), expected)


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
def test_folder_of_idx_files(tmp_path: Path, packed: bool, backend: Backend) -> None:
    assert_loaded(write_idx(tmp_path, packed), backend)
    assert_loaded(str(tmp_path), backend)
    dataset = load_dataset(tmp_path)
    for array, expected in zip(dataset[:4], ARRAYS.values(), strict=True):
        assert type(array) is np.ndarray  # without a backend they are on the host
        np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("mnist_train.csv", "mnist_test.csv"),
        ("Fashion-MNIST-Train.CSV.gz", "t10k.csv"),
    ],
)
def test_folder_of_csv_files(tmp_path: Path, train: str, test: str, backend: Backend) -> None:
    for name, text in ((train, csv_text(TRAIN, TRAIN_LABELS)), (test, csv_text(TEST, TEST_LABELS, header=False))):
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n")
    (tmp_path / "._mnist_train.csv").write_text("what a Mac leaves behind")
    assert_loaded(tmp_path, backend)


def test_a_name_goes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "mnist"):
        Path(folder).mkdir()
        write_idx(Path(folder))
    assert load_dataset("mnist").train_inputs.shape == (60000, 28, 28)
    for path in ("data", "./data", Path("mnist"), "./mnist"):
        assert load_dataset(path).train_inputs.shape == (30, 6, 6)


def test_the_repository_has_mnist() -> None:
    """Counts and the first ten labels as published: http://yann.lecun.com/exdb/mnist/."""
    dataset = load_dataset()
    assert dataset.train_inputs.shape == (60000, 28, 28)
    assert dataset.test_inputs.shape == (10000, 28, 28)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("name", ["mnsit", "gone.csv", "", "x" * 300])
def test_nothing_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = message(name)
    meant = " (did you mean 'mnist'?)" if name == "mnsit" else ""
    assert text.startswith(f"{name!r}: no such folder, file or data set{meant}; choose one of mnist, ")
    assert ", ".join(DATASETS) in text
    assert text.endswith("of pictures for each class, of .npy files, or of IDX or CSV files like MNIST's")
    if name:
        assert message(Path(name)).startswith(f"{name!r}: no such folder")


def test_a_missing_file(tmp_path: Path) -> None:
    path = write_idx(tmp_path) / "t10k-images-idx3-ubyte.gz"
    path.unlink()
    assert message(tmp_path).startswith(f"{str(path)!r}: not found, with or without .gz; add this file")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"train_labels_idx1_ubyte": TRAIN_LABELS[:29]},
            "train-images-idx3-ubyte.gz': has 30 images, train-labels-idx1-ubyte.gz has 29 labels; the numbers must be",
        ),
        (
            {"train_labels_idx1_ubyte": np.where(TRAIN_LABELS == 3, 11, TRAIN_LABELS).astype(np.uint8)},
            "train-labels-idx1-ubyte.gz': label 11 of sample 3 is outside the 10 classes, 0 to 9; ",
        ),
        (
            {"t10k_images_idx3_ubyte": TEST.reshape(20, 4, 9)},
            "t10k-images-idx3-ubyte.gz': the test set has images of 4 x 9, the training set images of 6 x 6",
        ),
        (
            {"t10k_images_idx3_ubyte": TRAIN, "t10k_labels_idx1_ubyte": TRAIN_LABELS},
            "': the test set is the training set: testing on the training set says nothing about other samples",
        ),
    ],
)
def test_faults(tmp_path: Path, changed: dict[str, np.ndarray], fault: str) -> None:
    assert fault in message(write_idx(tmp_path, **changed))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"train": "10,1,2,3,4\n"}, "mnist_train.csv': label 10 of sample 0 is outside the 10 classes, 0 to 9; "),
        ({"test": csv_text(TRAIN, TRAIN_LABELS, header=False)}, "': the test set is the training set"),
        ({"train": "x,y,kind\n1,2,3\n"}, "; name the column of the labels, if this is a table with a header"),
    ],
)
def test_faults_of_csv_files(tmp_path: Path, changed: dict[str, str], fault: str) -> None:
    assert fault in message(write_csv(tmp_path, **changed))


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["latest.csv", "train.csv"], "has no tables with the word 'test' in the name, but 'latest.csv', 'train.csv'"),
        (["train.csv", "my_train.csv", "test.csv"], "has 2 tables with the word 'train' in the name, but 'my_train"),
    ],
)
def test_train_and_test_are_whole_words(tmp_path: Path, names: list[str], fault: str) -> None:
    for name in names:
        (tmp_path / name).write_text(csv_text(TRAIN, TRAIN_LABELS))
    assert re.search(f"^{re.escape(repr(str(tmp_path)))}: {re.escape(fault)}.*; give a folder with", message(tmp_path))
