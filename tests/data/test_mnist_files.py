"""Data like MNIST's, in IDX and CSV files.

They arrive unchanged on every backend, and every fault is told.
"""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, arrays_in, csv_text, idx_bytes, write_idx_folder

from mlp_xp.core.backend import Backend
from mlp_xp.data._mnist_files import read_csv, read_idx
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError

ARRAYS = arrays_in(TINY)
TRAIN, TRAIN_LABELS, TEST, TEST_LABELS = ARRAYS


def write(folder: Path, data: bytes | str) -> Path:
    (folder / "file").write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / "file"


# Folders.


def test_folders_of_idx_and_of_csv_files(tmp_path: Path, backend: Backend) -> None:
    packed = write_idx_folder(tmp_path / "a", TINY, packed=True)
    plain, tables = write_idx_folder(tmp_path / "b", TINY), tmp_path / "c"
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
    write_idx_folder(Path("mnist"), TINY, packed=True)
    assert load_dataset("mnist").train.inputs.shape == (60000, 28, 28)
    for path in (Path("mnist"), "./mnist"):
        assert load_dataset(path).train.inputs.shape == (200, 6, 6)


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


@pytest.mark.parametrize(
    ("field", "column"), [("256", 1), ("-1", 5), ("1.5", 1), ("x", 5), ("", 1)]
)
def test_faulty_fields(tmp_path: Path, field: str, column: int) -> None:
    line = ["3", "1", "1", "1", "1"]
    line[column - 1] = field
    text = f"label,a,b,c,d\n1,2,3,4,5\n\n{','.join(line)}\n1,2,3,4,5\n"
    with pytest.raises(DatasetError, match=f"'{field}' .* row 1, column {column};"):
        read_csv(write(tmp_path, text))
