"""CSV files with the label first: any sound text is read, and rightly; every fault is told by line and column."""

import re
from pathlib import Path

import numpy as np
import pytest
from data_sets import csv_text

from mlp_xp.data.mnist_files import read_csv
from mlp_xp.errors import DatasetError

IMAGES = np.random.default_rng(1).integers(0, 256, (30, 6, 6), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10


def read_text(tmp_path: Path, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    images, labels = read_csv(path)
    assert images.dtype == labels.dtype == np.uint8
    assert images.flags.writeable
    assert images.flags.c_contiguous
    return images, labels


@pytest.mark.parametrize("header", [True, False], ids=["names", "no names"])
def test_images_and_labels(tmp_path: Path, header: bool) -> None:
    text = csv_text(IMAGES, LABELS, header)
    for variant in (text, f"\n{text}".replace(",", ", "), re.sub("[^,\n]+", '"\\g<0>"', text)):
        images, labels = read_text(tmp_path, variant)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)


def test_kinds_of_names(tmp_path: Path) -> None:
    for names in ("label,pixel0,pixel1,pixel2,pixel3", "Label,0,1,2,3", '"label","p 1","p 2","p 3","p 4"', "0,1,2,3,4"):
        images, labels = read_text(tmp_path, f"{names}\n7,1,2,3,4\n")
        assert images.tolist() == [[[1, 2], [3, 4]]]
        assert labels.tolist() == [7]


@pytest.mark.parametrize("field", ["256", "-1", "1.5", "x", ""])
@pytest.mark.parametrize("column", [1, 5])
def test_faulty_fields(tmp_path: Path, field: str, column: int) -> None:
    line = ["3", "1", "1", "1", "1"]
    line[column - 1] = field
    for names in ("", "label,a,b,c,d\n"):
        fault = f"line {4 if names else 3}, column {column}: '{field}'"
        with pytest.raises(DatasetError, match=f"file.csv', {re.escape(fault)} is not a whole number from 0 to 255"):
            read_text(tmp_path, f"{names}1,2,3,4,5\n\n{','.join(line)}\n1,2,3,4,5\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ": has no samples; give a file with some"),
        ("label,a,b,c,d\n", ": has no samples; give a file with some"),
        ("five,0,0,0,0\n1,2,3,4,5\n", ", line 1, column 1: 'five' is not a whole number"),
        ("1,2,3,4,5\n1,2,3,4\n", ", line 2: has 4 columns, the first row has 5"),
        ("1,2,3\n", ", line 1: 3 columns, separated by commas, are not a label and the pixels of a square image; "),
        ("1x1,1x2,2x1,2x2,label\n1,2,3,4,5\n", ", line 1: the column 'label' is not the first; move it there"),
    ],
)
def test_faulty_files(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(f"file.csv'{fault}")):
        read_text(tmp_path, text)
