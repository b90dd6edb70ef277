"""Data like MNIST's, in IDX and CSV files.

They arrive unchanged on every backend, and every fault is told.
"""

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import arrays_in, csv_text, idx_bytes

from mlp_xp.core.backend import Backend
from mlp_xp.data._mnist_files import read_csv, read_idx
from mlp_xp.data.datasets import DATASETS, load_dataset
from mlp_xp.data.registry import IDX_FILES
from mlp_xp.errors import DatasetError

TRAIN, TEST = (
    np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    for seed, count in ((1, 30), (2, 20))
)
TRAIN_LABELS, TEST_LABELS = (
    np.arange(30, dtype=np.uint8) % 10,
    np.arange(20, dtype=np.uint8) % 10,
)
ARRAYS = [TRAIN, TRAIN_LABELS, TEST, TEST_LABELS]


def write_idx(
    folder: Path, arrays: Sequence[np.ndarray] = ARRAYS, packed: bool = True
) -> Path:
    """Write the four files."""
    folder.mkdir(exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        data = idx_bytes(array)
        (folder / (name if packed else name[:-3])).write_bytes(
            gzip.compress(data, mtime=0) if packed else data
        )
    return folder


def write(folder: Path, data: bytes | str) -> Path:
    (folder / "file").write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / "file"


def message(function: Any, *args: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        function(*args)
    text = str(caught.value)
    assert text.isprintable()
    assert "--" not in text, "options are the command line's"
    return text


# Folders.


def test_folders_of_idx_and_of_csv_files(tmp_path: Path, backend: Backend) -> None:
    packed, plain, tables = (
        write_idx(tmp_path / "a"),
        write_idx(tmp_path / "b", packed=False),
        tmp_path / "c",
    )
    tables.mkdir()
    text = csv_text(TRAIN, TRAIN_LABELS).encode()
    (tables / "Fashion-MNIST-Train.CSV.gz").write_bytes(gzip.compress(text, mtime=0))
    (tables / "t10k.csv").write_text(csv_text(TEST, TEST_LABELS, header=False))
    (tables / "sample_submission.csv").write_text("ImageId,Label\n")
    (tables / "._mnist_train.csv").write_text("what a Mac leaves behind")
    for folder in (packed, str(plain), tables):
        dataset = load_dataset(folder, backend)
        assert (dataset.signature.outputs, dataset.hold_out) == (
            tuple("0123456789"),
            None,
        )
        for array, expected in zip(arrays_in(dataset), ARRAYS, strict=True):
            assert array.dtype == backend.xp.uint8
            np.testing.assert_array_equal(backend.to_numpy(array), expected)
    assert type(load_dataset(packed).train.inputs) is np.ndarray, (
        "without a backend they are on the host"
    )


def test_a_name_goes_before_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_idx(Path("mnist"))
    assert load_dataset("mnist").train.inputs.shape == (60000, 28, 28)
    for path in (Path("mnist"), "./mnist"):
        assert load_dataset(path).train.inputs.shape == (30, 6, 6)


@pytest.mark.parametrize("name", ["mnsit", "gone.csv", "", "x" * 300])
def test_nothing_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    meant, setting = (
        (" (did you mean 'mnist'?)", "dataset") if name == "mnsit" else ("", "data")
    )
    start = f"{setting}: {name!r}: no such folder, file or data set{meant}; choose one"
    said = message(load_dataset, name)
    assert said.startswith(f"{start} of {', '.join(DATASETS)}, or give a table")
    if name:
        assert message(load_dataset, Path(name)).startswith(
            f"{setting}: {name!r}: no such folder"
        )


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        (
            [TRAIN, TRAIN_LABELS[:29]],
            "train-labels-idx1-ubyte.gz': it has 30 rows, but there are 29 labels",
        ),
        (
            [TRAIN, TRAIN_LABELS + 1],
            "train-labels-idx1-ubyte.gz', row 9: the label '10' is none of the 10",
        ),
        (
            [*ARRAYS[:2], TEST.reshape(20, 4, 9)],
            "t10k-labels-idx1-ubyte.gz': the test set has images of 4 x 9 as",
        ),
        (
            [TRAIN[:0], TRAIN_LABELS[:0]],
            "train-labels-idx1-ubyte.gz': the shape is (0, 6, 6); give samples",
        ),
        (
            [*ARRAYS[:2], *ARRAYS[:2]],
            "': the test set is the training set: testing on the training set says",
        ),
    ],
)
def test_faults_of_folders(
    tmp_path: Path, arrays: list[np.ndarray], fault: str
) -> None:
    assert fault in message(
        load_dataset, write_idx(tmp_path, [*arrays, *ARRAYS[len(arrays) :]])
    )
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    assert (
        "t10k-images-idx3-ubyte': cannot be read: No such file or directory"
        in message(load_dataset, tmp_path)
    )


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (
            ["latest.csv", "train.csv"],
            "has no tables with the word 'test' in the name, but 'latest.csv', 'trai",
        ),
        (
            ["train.csv", "my_train.csv", "test.csv"],
            "has 2 tables with the word 'train' in the name, but 'my_train",
        ),
    ],
)
def test_train_and_test_are_whole_words(
    tmp_path: Path, names: list[str], fault: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    assert message(load_dataset, tmp_path).startswith(f"'{tmp_path}': {fault}")


# IDX files.


def test_idx(tmp_path: Path) -> None:
    """The start of the format's own description is spelled out.

    So reader and writer cannot be wrong together.
    """
    data = bytes([0, 0, 8, 3, *(0, 0, 0, 1), *(0, 0, 0, 2), *(0, 0, 0, 3)])
    data += bytes([0, 1, 2, 253, 254, 255])
    assert read_idx(write(tmp_path, data), 3).tolist() == [[[0, 1, 2], [253, 254, 255]]]
    for array in (TRAIN, TRAIN_LABELS):
        read = read_idx(
            write(tmp_path, gzip.compress(idx_bytes(array), mtime=0)), array.ndim
        )
        np.testing.assert_array_equal(read, array, strict=True)
        assert read.flags.c_contiguous
        assert read.flags.writeable


@pytest.mark.parametrize(
    ("data", "ndim", "fault"),
    [
        (
            b"",
            1,
            r"starts with b'', where an IDX file of labels starts with b'\x00\x00\x08",
        ),
        (idx_bytes(np.zeros(2, np.uint8), 0x0D), 1, r"starts with b'\x00\x00\r\x01'"),
        (
            idx_bytes(TRAIN),
            1,
            "check that the files are not swapped, or fetch the file again",
        ),
        (
            idx_bytes(TRAIN)[:9],
            3,
            "its header promises  values, and 0 were found; fetch the file again",
        ),
        (
            b"\0\0\x08\x01\0\0\0\x05abcd",
            1,
            "its header promises 5 values, and 4 were found; fetch the file again",
        ),
        (
            b"\0\0\x08\x03" + b"\xff" * 12,
            3,
            "its header promises 4294967295 x 4294967295 x 4294967295 values, and 0",
        ),
    ],
)
def test_faults_of_idx(tmp_path: Path, data: bytes, ndim: int, fault: str) -> None:
    text = message(read_idx, write(tmp_path, data), ndim)
    assert text.startswith(f"'{tmp_path / 'file'}': ")
    assert fault in text


# CSV files.


@pytest.mark.parametrize("names", [True, False], ids=["names", "no names"])
def test_csv(tmp_path: Path, names: bool) -> None:
    text = csv_text(TRAIN, TRAIN_LABELS, names)
    for variant in (
        text,
        f"\n{text}".replace(",", ", "),
        re.sub("[^,\n]+", '"\\g<0>"', text),
    ):
        images, labels = read_csv(write(tmp_path, variant))
        np.testing.assert_array_equal(images, TRAIN, strict=True)
        np.testing.assert_array_equal(labels, TRAIN_LABELS, strict=True)
        assert images.flags.writeable
        assert images.flags.c_contiguous
    for first in (
        "label,pixel0,pixel1,pixel2,pixel3",
        "Label,0,1,2,3",
        '"label","p 1","p 2","p 3","p 4"',
        "0,1,2,3,4",
    ):
        images, labels = read_csv(write(tmp_path, f"{first}\n7,1,2,3,4\n"))
        assert (images.tolist(), labels.tolist()) == ([[[1, 2], [3, 4]]], [7])


@pytest.mark.parametrize("field", ["256", "-1", "1.5", "x", ""])
@pytest.mark.parametrize("column", [1, 5])
def test_faulty_fields(tmp_path: Path, field: str, column: int) -> None:
    line = ["3", "1", "1", "1", "1"]
    line[column - 1] = field
    text = f"label,a,b,c,d\n1,2,3,4,5\n\n{','.join(line)}\n1,2,3,4,5\n"
    said = message(read_csv, write(tmp_path, text))
    assert f": cannot be read: could not convert string '{field}' to uint8" in said
    assert f" at row 1, column {column}; rows are counted" in said


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "label,a,b,c,d\n",
            "its 0 rows of 1 numbers are not labels and pixels of square images",
        ),
        ("", "its 0 rows of 1 numbers"),
        ("1\n", "its 1 rows of 1 numbers"),
        (
            "1,2,3\n",
            "its 1 rows of 3 numbers are not labels and pixels of square images; rows",
        ),
        (
            "1,2,3,4,5\n1,2,3,4\n",
            "cannot be read: the number of columns changed from 5 to 4 at row 2",
        ),
        (
            "5,x,0,0,0\n1,2,3,4,5\n",
            "cannot be read: could not convert string 'x' to uint8 at row 0, column 2",
        ),
        (
            "1x1,1x2,2x1,2x2,label\n1,2,3,4,5\n",
            "cannot be read: could not convert string '1x1' to uint8 at row 0",
        ),
    ],
)
def test_faults_of_csv(tmp_path: Path, text: str, fault: str) -> None:
    assert message(read_csv, write(tmp_path, text)).startswith(
        f"'{tmp_path / 'file'}': {fault}"
    )
