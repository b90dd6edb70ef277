"""Folders of IDX and of CSV files: what is in them arrives unchanged on every backend; every fault is told."""

import contextlib
import csv
import gzip
import io
import os
import re
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_xp import csv_data
from mlp_xp.backend import Backend
from mlp_xp.csv_data import CsvError, read_csv, read_csv_shape
from mlp_xp.datasets import DATASETS, DatasetError, Shape, dataset_shape, find_file, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.idx import IdxError, read_idx, read_idx_shape

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


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


def write_idx(folder: Path, packed: bool = True, **changed: np.ndarray) -> Path:
    """The four files, of ARRAYS but for those whose name with underscores is given."""
    for name, array in ARRAYS.items():
        data = idx(changed.get(name.replace("-", "_"), array))
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return folder


def csv_text(images: np.ndarray, labels: np.ndarray, header: bool = True, ending: str = "\n") -> str:
    rows, columns = images.shape[1:]
    lines = [",".join(map(str, (label, *image.ravel()))) for image, label in zip(images, labels, strict=True)]
    names = ",".join(["label", *(f"{i}x{j}" for i in range(1, rows + 1) for j in range(1, columns + 1))])
    return "".join(line + ending for line in ([names] if header else []) + lines)


def write_csv(folder: Path, **changed: str) -> Path:
    (folder / "mnist_train.csv").write_text(changed.get("train", csv_text(TRAIN, TRAIN_LABELS)))
    (folder / "mnist_test.csv").write_text(changed.get("test", csv_text(TEST, TEST_LABELS)))
    return folder


def message(name_or_folder: str | Path, shape_too: bool = True) -> str:
    """What loading says; so says asking for the shape, where that can know."""
    with pytest.raises(MlpXpError) as caught:
        load_dataset(name_or_folder)
    text = str(caught.value)
    assert text.isprintable()
    assert caught.value.exit_code == 2
    if shape_too:
        with pytest.raises(type(caught.value)) as again:
            dataset_shape(name_or_folder)
        assert str(again.value) == text
    return text


def assert_loaded(folder: Path | str, backend: Backend) -> None:
    dataset = load_dataset(folder, backend)
    assert dataset.class_names == tuple("0123456789")
    for array, expected in zip(dataset[:4], ARRAYS.values(), strict=True):
        assert array.dtype == backend.xp.uint8
        np.testing.assert_array_equal(backend.to_numpy(array), expected)
    assert dataset_shape(folder) == Shape(30, 6, 6)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Whom modes stop: root is stopped by none."""
    user = os.geteuid()
    if user == 0:
        try:
            os.seteuid(65534)
        except OSError as error:
            pytest.skip(f"root, and cannot become another user: {error}")
    try:
        yield
    finally:
        os.seteuid(user)


# IDX files.


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
def test_folder_of_idx_files(tmp_path: Path, packed: bool, backend: Backend) -> None:
    assert_loaded(write_idx(tmp_path, packed), backend)
    assert_loaded(str(tmp_path), backend)


def test_without_a_backend_the_arrays_are_the_hosts(tmp_path: Path) -> None:
    dataset = load_dataset(write_idx(tmp_path))
    for array, expected in zip(dataset[:4], ARRAYS.values(), strict=True):
        assert type(array) is np.ndarray
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, expected)


def test_images_that_are_not_square(tmp_path: Path) -> None:
    folder = write_idx(
        tmp_path, train_images_idx3_ubyte=TRAIN.reshape(30, 4, 9), t10k_images_idx3_ubyte=TEST.reshape(20, 4, 9)
    )
    np.testing.assert_array_equal(load_dataset(folder).train_images, TRAIN.reshape(30, 4, 9))
    assert dataset_shape(folder) == Shape(30, 4, 9)


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write_idx(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert dataset_shape("data") == dataset_shape("./data") == Shape(30, 6, 6)
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist")
    assert dataset_shape("mnist") == Shape(60000, 28, 28)  # a name goes before a folder, a path is always a folder
    assert dataset_shape(Path("mnist")) == dataset_shape("./mnist") == Shape(30, 6, 6)


def test_the_repository_has_mnist(mnist_dir: Path) -> None:
    """Counts and the first ten labels as published: http://yann.lecun.com/exdb/mnist/."""
    dataset = load_dataset()
    assert dataset.train_images.shape == (60000, 28, 28)
    assert dataset.test_images.shape == (10000, 28, 28)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    (write_idx(tmp_path) / f"{name}.gz").unlink()
    text = message(tmp_path)
    assert text.startswith(f"{str(tmp_path / name)!r}: is not there, nor is it with .gz; give with --data-dir")


def test_nothing_to_load(tmp_path: Path) -> None:
    text = message(tmp_path)
    assert text.startswith(f"{str(tmp_path)!r}: holds neither IDX files named as MNIST's")
    assert "--data-dir" in text
    assert "--dataset" in text
    (tmp_path / "file").write_bytes(b"")
    assert "is not a folder" in message(tmp_path / "file")
    assert f"no such folder; looked for {str(tmp_path / 'gone')!r}" in message(tmp_path / "gone")


def test_relative_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = message("data/gone")
    assert text.startswith(f"'data/gone': no such folder; looked for {str(tmp_path / 'data' / 'gone')!r}; give")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("mnsit", "mnist"), ("fashion_mnist", "fashion-mnist"), ("KMNIST", "kmnist"), ("emnist-letter", "emnist-letters")],
)
def test_a_mistyped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = message(name)
    assert f"{name!r}: is no known data set (did you mean {meant!r}?) and no folder; choose one of" in text
    assert ", ".join(DATASETS) in text


@pytest.mark.parametrize("name", ["two\nlines", "\ud800", "x" * 300, "a\0b", "x" * 300 + "/data", "a\0b/data"])
def test_names_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    message(name)
    message(Path(name))


def test_images_and_labels_that_differ_in_number(tmp_path: Path) -> None:
    text = message(write_idx(tmp_path, train_labels_idx1_ubyte=TRAIN_LABELS[:29]))
    images = str(tmp_path / "train-images-idx3-ubyte.gz")
    assert text.startswith(f"{images!r}: has 30 images, train-labels-idx1-ubyte.gz has 29 labels; they must belong")
    text = message(write_idx(tmp_path, t10k_images_idx3_ubyte=TEST[:1]), shape_too=False)
    assert "t10k-images-idx3-ubyte.gz': has 1 images, t10k-labels-idx1-ubyte.gz has 20 labels" in text


@pytest.mark.parametrize(("label", "sample"), [(10, 0), (10, 29), (255, 3)])
def test_labels_outside_the_classes(tmp_path: Path, label: int, sample: int) -> None:
    labels = TRAIN_LABELS.copy()
    labels[sample] = label
    text = message(write_idx(tmp_path, train_labels_idx1_ubyte=labels), shape_too=False)
    assert "train-labels-idx1-ubyte.gz'" in text
    assert f"label {label} of sample {sample} is outside the 10 classes, 0 to 9; " in text
    labels = TEST_LABELS.copy()
    labels[19] = label
    assert f"label {label} of sample 19 is" in message(write_idx(tmp_path, t10k_labels_idx1_ubyte=labels), False)


@pytest.mark.parametrize("shape", [(0, 6, 6), (0, 0, 0)])
def test_no_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    none = np.zeros(shape, dtype=np.uint8)
    text = message(write_idx(tmp_path, train_images_idx3_ubyte=none, train_labels_idx1_ubyte=TRAIN_LABELS[:0]))
    assert f"train-images-idx3-ubyte.gz': has no samples (its shape is {shape}); " in text
    folder = write_idx(tmp_path, t10k_images_idx3_ubyte=none, t10k_labels_idx1_ubyte=TEST_LABELS[:0])
    assert "t10k-images-idx3-ubyte.gz': has no samples" in message(folder, shape_too=False)


def test_images_without_pixels(tmp_path: Path) -> None:
    none = np.zeros((30, 6, 0), dtype=np.uint8)
    assert "has no samples (its shape is (30, 6, 0))" in message(write_idx(tmp_path, train_images_idx3_ubyte=none))


def test_training_and_test_images_that_differ_in_size(tmp_path: Path) -> None:
    text = message(write_idx(tmp_path, t10k_images_idx3_ubyte=TEST.reshape(20, 4, 9)), shape_too=False)
    assert "t10k-images-idx3-ubyte.gz': the test images are 4 x 9 pixels" in text
    assert "the training images in train-images-idx3-ubyte.gz 6 x 6" in text


def test_labels_for_images_and_the_reverse(tmp_path: Path) -> None:
    assert "holds labels (magic number 2049)" in message(write_idx(tmp_path, train_images_idx3_ubyte=TRAIN_LABELS))
    assert "holds images (magic number 2051)" in message(write_idx(tmp_path, train_labels_idx1_ubyte=TRAIN))


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    (write_idx(tmp_path) / "train-images-idx3-ubyte.gz").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").mkdir()
    assert "train-images-idx3-ubyte.gz': is a directory" in message(tmp_path)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A folder that other users may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_no_permission(open_dir: Path) -> None:
    (write_idx(open_dir) / "train-labels-idx1-ubyte.gz").chmod(0)
    with another_user():
        assert "train-labels-idx1-ubyte.gz': no permission to read it" in message(open_dir)


def test_no_permission_for_csv(open_dir: Path) -> None:
    (write_csv(open_dir) / "mnist_train.csv").chmod(0)
    with another_user():
        assert "mnist_train.csv': no permission to read it" in message(open_dir)


def test_no_permission_for_the_folder(open_dir: Path) -> None:
    folder = open_dir / "folder"
    folder.mkdir()
    write_idx(folder).chmod(0)
    try:
        with another_user():
            assert f"{str(folder)!r}: no permission to read it" in message(folder)
            assert f"{str(folder / 'inner')!r}: no permission to read it" in message(folder / "inner")
    finally:
        folder.chmod(0o755)


def test_find_file(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False)
    assert find_file(tmp_path, "t10k", "labels-idx1") == tmp_path / "t10k-labels-idx1-ubyte"
    write_idx(tmp_path)
    assert find_file(tmp_path, "t10k", "labels-idx1") == tmp_path / "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(DatasetError, match="train-labels-idx3-ubyte"):
        find_file(tmp_path, "train", "labels-idx3")


# Headers alone.


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize("array", [TRAIN, TRAIN_LABELS, TRAIN[:0]], ids=["images", "labels", "none"])
def test_read_idx_shape(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / "file"
    data = idx(array)
    for part in (data, data[: 4 + 4 * array.ndim]):  # what comes after the header is not asked for
        path.write_bytes(gzip.compress(part) if packed else part)
        assert read_idx_shape(path) == read_idx_shape(path, ndim=array.ndim) == array.shape
    with pytest.raises(IdxError, match="were expected"):
        read_idx_shape(path, ndim=2)
    path.write_bytes(gzip.compress(data[: 3 + 4 * array.ndim]) if packed else data[: 3 + 4 * array.ndim])
    with pytest.raises(IdxError, match="truncated in the header"):
        read_idx_shape(path)


def test_the_shape_of_mnist_needs_no_memory(mnist_dir: Path) -> None:
    tracemalloc.start()
    try:
        assert dataset_shape(mnist_dir) == Shape(60000, 28, 28)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# CSV files.


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("mnist_train.csv", "mnist_test.csv"),
        ("Fashion-MNIST-Train.CSV.gz", "fashion-mnist_test.csv"),
        ("train.csv", "test.csv.gz"),
    ],
)
def test_folder_of_csv_files(tmp_path: Path, train: str, test: str, backend: Backend) -> None:
    for name, text in ((train, csv_text(TRAIN, TRAIN_LABELS)), (test, csv_text(TEST, TEST_LABELS, header=False))):
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n")
    (tmp_path / "._mnist_train.csv").write_text("what a Mac leaves behind")
    assert_loaded(tmp_path, backend)


def read_text(tmp_path: Path, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    images, labels = read_csv(path)
    assert images.dtype == labels.dtype == np.uint8
    assert images.flags.writeable
    assert images.flags.c_contiguous
    assert read_csv_shape(path) == images.shape
    return images, labels


@pytest.mark.parametrize("header", [True, False], ids=["names", "no names"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n", "\n \n"])
@pytest.mark.parametrize("piece", [1, 100, 1 << 22])
def test_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bool, ending: str, piece: int) -> None:
    monkeypatch.setattr(csv_data, "PIECE", piece)
    text = csv_text(TRAIN, TRAIN_LABELS, header, ending)
    for variant in (
        text,
        text.rstrip(),
        ending + text,
        "\ufeff" + text,
        text.replace(",", ", "),
        gzip.compress(text.encode(), mtime=0),
    ):
        images, labels = read_text(tmp_path, variant)
        np.testing.assert_array_equal(images, TRAIN)
        np.testing.assert_array_equal(labels, TRAIN_LABELS)


def test_names_of_other_kinds(tmp_path: Path) -> None:
    for names in (
        "label,pixel0,pixel1,pixel2,pixel3",
        "Label,0,1,2,3",
        '"label","p 1","p 2","p 3","p 4"',
        "class,a,b,c,d",
    ):
        images, labels = read_text(tmp_path, f"{names}\n7,1,2,3,4\n")
        assert images.tolist() == [[[1, 2], [3, 4]]]
        assert labels.tolist() == [7]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda side: st.lists(st.lists(st.integers(0, 255), min_size=side**2 + 1, max_size=side**2 + 1), min_size=1)
    )
)
def test_whatever_the_standard_library_writes(tmp_path: Path, quoting: int, rows: list[list[int]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows(rows)
    images, labels = read_text(tmp_path, text.getvalue())
    np.testing.assert_array_equal(np.column_stack([labels, images.reshape(len(rows), -1)]), rows)


def csv_message(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CsvError) as caught:
        read_csv(path)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{str(path)!r}: ")
    assert "; " in text  # and then what to do
    return text.removeprefix(f"{str(path)!r}: ")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (["256", "-1", "-0.5", "99999", "9" * 5000, "inf"], "is outside 0 to 255"),
        (["1.5", "7.0", "1e2", "1_0", "٣"], "is not a whole number in digits"),
        (["x", "", " ", "nan", "0x10", "1 2", "\0"], "is not a number"),
    ],
)
@pytest.mark.parametrize("names", ["", "label,a,b,c,d\n\n"], ids=["no names", "names"])
@pytest.mark.parametrize("column", [1, 5])
@pytest.mark.parametrize("piece", [1, 1 << 22])
def test_faulty_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: list[str], fault: str, names: str, column: int, piece: int
) -> None:
    monkeypatch.setattr(csv_data, "PIECE", piece)
    for field in fields:
        line = ["3", "1", "1", "1", "1"]
        line[column - 1] = field
        text = csv_message(tmp_path, f"{names}1,2,3,4,5\n\n{','.join(line)}\n1,2,3,4,5\n")
        assert text.startswith(f"line {5 if names else 3}, column {column}: {field[:20]!r} {fault}; ")


def test_faulty_first_sample_is_not_taken_for_names(tmp_path: Path) -> None:
    assert csv_message(tmp_path, "five,0,0,0,0\n1,2,3,4,5\n").startswith("line 1, column 1: 'five' is not a number; ")
    assert csv_message(tmp_path, ",0,0,0,0\n").startswith("line 1, column 1: '' is not a number; ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty: no sample was found"),
        ("\n \n", "empty: no sample was found"),
        (gzip.compress(b"", mtime=0), "empty: no sample was found"),
        ("1,2,3,4,5\n1,2,3,4\n", "line 2: 4 columns, the first line has 5"),
        ("1,2,3,4,5\n\n1,2,3,4,5,\n", "line 3: 6 columns, the first line has 5"),
        ("label,a,b,c,d\n1,2,3\n", "line 2: 3 columns, the first line has 5"),
        ("1,2,3\n", "line 1: 3 columns, separated by commas, are a label and 2 pixels, which make up no square image"),
        ("1,2,3,4\n", "are a label and 3 pixels, which make up no square image; the labels seem to be missing"),
        (
            "1\n",
            "line 1: 1 columns, separated by commas, are a label and 0 pixels, which make up no square image; check",
        ),
        ("1;2;3;4;5\n", "line 1: 1 columns, separated by commas"),
        ("1x1,1x2,2x1,2x2,label\n1,2,3,4,5\n", "line 1: the column 'label' is not the first; move it there"),
        (",label,a,b,c\n0,1,2,3,4\n", "line 1: the column 'label' is not the first; move it there"),
        ("1,2,3,4,5\n1,2,3,4,'5'\n", "line 2, column 5: \"'5'\" is not a number"),
        ('1,2,3,4,5\n1,2,"3,4,5\n', "line 2: 3 columns, the first line has 5"),
        ('1,2,3,4,5\n1,2,3,4,"5\n"\n', "line 3: 1 columns, the first line has 5"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: 1 columns, separated by commas"),
        ("1,2,3,4,5\n1,2,3,4,5\n".encode("utf-16"), "line 1, column 1: "),
        (gzip.compress(b"1,2,3,4,5\n", mtime=0)[:-9], "truncated gzip stream"),
        (gzip.compress(b"1,2,3,4,5\n", mtime=0)[:-8] + bytes(8), "corrupt gzip stream"),
    ],
)
def test_faulty_files(tmp_path: Path, text: str | bytes, fault: str) -> None:
    assert fault in csv_message(tmp_path, text)


def decode(text: str) -> list[list[int]] | None:
    """The samples in a text as the standard library's reader splits each line; None where they are not sound."""
    lines = [line for line in io.StringIO(text, newline=None) if not line.isspace()]
    rows = [next(csv.reader([line])) for line in lines]
    widths = {len(row) for row in rows}
    if rows and rows[0][0].strip()[:1].isalpha() and len({*rows[0]}) == len(rows[0]):
        del rows[0]
    fields = [field.strip() for row in rows for field in row]
    if widths <= {2, 5, 10} and len(widths) == 1 and all(re.fullmatch(r"\+?[0-9]+|-0+", field) for field in fields):
        values = [[int(field) for field in row] for row in rows]
        return values if max(map(max, values), default=0) <= 255 else None
    return None


@pytest.mark.parametrize("text", ["1,2,3,4,5\n6,7,80,90,255\n", '1,"2"\n"30",4\n', "n,a\r\n1,2\r\n3,4"])
def test_every_edit_of_a_character(tmp_path: Path, text: str) -> None:
    """Each character left out, replaced, or with another before it: exactly the sound texts are read, and rightly.

    Where a quote does not close, which no writer leaves so, a text may be refused as well.
    """
    path = tmp_path / "file.csv"
    edits = [
        text[:place] + new + text[place + gone :]
        for place in range(len(text) + 1)
        for new in ("", *'05,\n\r" -.e٣')
        for gone in (0, 1)
    ]
    found = []
    for edit in edits:
        path.write_bytes(edit.encode())
        expected = decode(edit)
        try:
            images, labels = read_csv(path)
        except CsvError:
            assert expected is None or edit.count('"') % 2, edit
            continue
        assert read_csv_shape(path) == images.shape
        rows = [[label, *image.ravel()] for label, image in zip(labels, images, strict=True)]
        assert rows == (expected or []), edit
        found.append(len(rows))
    assert 50 < len(found) < len(edits) - 50


def test_only_names(tmp_path: Path) -> None:
    folder = write_csv(tmp_path, train="label,a,b,c,d\n")
    assert "mnist_train.csv': has no samples (its shape is (0, 2, 2))" in message(folder)


def test_csv_labels_outside_the_classes(tmp_path: Path) -> None:
    text = message(write_csv(tmp_path, train="10,1,2,3,4\n"), shape_too=False)
    assert "mnist_train.csv': label 10 of sample 0 is outside the 10 classes, 0 to 9; " in text


def test_csv_files_that_differ_in_size(tmp_path: Path) -> None:
    text = message(write_csv(tmp_path, test="1,1,2,3,4\n"), shape_too=False)
    assert "mnist_test.csv': the test images are 2 x 2 pixels, the training images in mnist_train.csv 6 x 6" in text


def test_which_csv_files(tmp_path: Path) -> None:
    (write_csv(tmp_path) / "mnist_test.csv").unlink()
    assert "holds no CSV file with 'test' in the name, such as mnist_test.csv; give" in message(tmp_path)
    write_csv(tmp_path)
    (tmp_path / "train.csv").write_text("")
    text = message(tmp_path)
    assert "several CSV files with 'train' in the name (mnist_train.csv, train.csv); keep one of them" in text


def test_csv_directory(tmp_path: Path) -> None:
    (write_csv(tmp_path) / "mnist_train.csv").unlink()
    (tmp_path / "mnist_train.csv").mkdir()
    assert "mnist_train.csv': is a directory" in message(tmp_path)


def test_mnist_as_csv_in_little_memory(tmp_path: Path, mnist_dir: Path) -> None:
    """At most twice the data and a piece of text as Python and NumPy hold it, never all values in a wider type."""
    images = read_idx(mnist_dir / "t10k-images-idx3-ubyte.gz")
    path = tmp_path / "mnist_test.csv"
    path.write_text(csv_text(images, read_idx(mnist_dir / "t10k-labels-idx1-ubyte.gz")))
    tracemalloc.start()
    try:
        read, labels = read_csv(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(labels, read_idx(mnist_dir / "t10k-labels-idx1-ubyte.gz"))
    assert peak < 2 * images.nbytes + 4 * csv_data.PIECE
