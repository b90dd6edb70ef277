"""Folders of IDX and of CSV files: what is in them arrives unchanged on every backend; every fault is told."""

import contextlib
import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_sets import csv_text

from mlp_xp.backend import Backend
from mlp_xp.data.datasets import DATASETS, DatasetError, find_file, load_dataset
from mlp_xp.errors import MlpXpError

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


def write_csv(folder: Path, **changed: str) -> Path:
    (folder / "mnist_train.csv").write_text(changed.get("train", csv_text(TRAIN, TRAIN_LABELS)))
    (folder / "mnist_test.csv").write_text(changed.get("test", csv_text(TEST, TEST_LABELS)))
    return folder


def message(name_or_folder: str | Path) -> str:
    """What loading says, without the name of the argument; this stands before what is no data set at all."""
    with pytest.raises(MlpXpError) as caught:
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


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write_idx(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("data").train_images.shape == load_dataset("./data").train_images.shape == (30, 6, 6)
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist")
    assert load_dataset("mnist").train_images.shape == (60000, 28, 28)  # a name goes before a folder
    for folder in (Path("mnist"), "./mnist"):  # which a path always is
        assert load_dataset(folder).train_images.shape == (30, 6, 6)


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
    assert text.startswith(f"{str(tmp_path / name)!r}: not found, with or without .gz; give a folder with four")


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^name_or_folder: ") as caught:
        load_dataset(tmp_path)
    assert caught.value.on_command_line().startswith("--name-or-folder: ")
    text = message(tmp_path)
    assert text.startswith(f"{str(tmp_path)!r}: has neither IDX files named like MNIST's")
    assert text.endswith(
        "; give a folder with four IDX files named like MNIST's or two CSV files, or one of pictures for each class, "
        "or a table, or the name of a data set"
    )
    (tmp_path / "file").write_bytes(b"")
    assert "empty: no header was found" in message(tmp_path / "file")
    assert f"no such folder; looked for {str(tmp_path / 'gone')!r}" in message(tmp_path / "gone")


def test_relative_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = message("data/gone")
    assert text.startswith(f"'data/gone': no such folder; looked for {str(tmp_path / 'data' / 'gone')!r}; give")
    for name in ("gone.csv", "gone.parquet", "gone.npz"):
        wanted = f"{name!r}: no such file or folder; looked for {str(tmp_path / name)!r}; give a table (CSV, Parquet)"
        for place in (Path(name), name):
            assert wanted in message(place)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("mnsit", "mnist"), ("fashion_mnist", "fashion-mnist"), ("KMNIST", "kmnist"), ("emnist-letter", "emnist-letters")],
)
def test_a_mistyped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = message(name)
    assert f"{name!r}: is neither a known data set (did you mean {meant!r}?) nor a folder; choose one of" in text
    assert ", ".join(DATASETS) in text


@pytest.mark.parametrize("name", ["two\nlines", "\ud800", "x" * 300, "a\0b", "x" * 300 + "/data", "a\0b/data"])
def test_names_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    message(name)
    message(Path(name))


def test_images_and_labels_that_differ_in_number(tmp_path: Path) -> None:
    text = message(write_idx(tmp_path, train_labels_idx1_ubyte=TRAIN_LABELS[:29]))
    images = str(tmp_path / "train-images-idx3-ubyte.gz")
    assert text.startswith(f"{images!r}: has 30 images, train-labels-idx1-ubyte.gz has 29 labels; the numbers must be")
    text = message(write_idx(tmp_path, t10k_images_idx3_ubyte=TEST[:1]))
    assert "t10k-images-idx3-ubyte.gz': has 1 images, t10k-labels-idx1-ubyte.gz has 20 labels" in text


@pytest.mark.parametrize(("label", "sample"), [(10, 0), (10, 29), (255, 3)])
def test_labels_outside_the_classes(tmp_path: Path, label: int, sample: int) -> None:
    labels = TRAIN_LABELS.copy()
    labels[sample] = label
    text = message(write_idx(tmp_path, train_labels_idx1_ubyte=labels))
    assert "train-labels-idx1-ubyte.gz'" in text
    assert f"label {label} of sample {sample} is outside the 10 classes, 0 to 9; " in text
    labels = TEST_LABELS.copy()
    labels[19] = label
    assert f"label {label} of sample 19 is" in message(write_idx(tmp_path, t10k_labels_idx1_ubyte=labels))


@pytest.mark.parametrize("shape", [(0, 6, 6), (0, 0, 0)])
def test_no_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    none = np.zeros(shape, dtype=np.uint8)
    text = message(write_idx(tmp_path, train_images_idx3_ubyte=none, train_labels_idx1_ubyte=TRAIN_LABELS[:0]))
    assert f"train-images-idx3-ubyte.gz': has no samples (its shape is {shape}); " in text
    folder = write_idx(tmp_path, t10k_images_idx3_ubyte=none, t10k_labels_idx1_ubyte=TEST_LABELS[:0])
    assert "t10k-images-idx3-ubyte.gz': has no samples" in message(folder)


def test_images_without_pixels(tmp_path: Path) -> None:
    none = np.zeros((30, 6, 0), dtype=np.uint8)
    assert "has no samples (its shape is (30, 6, 0))" in message(write_idx(tmp_path, train_images_idx3_ubyte=none))


def test_training_and_test_images_that_differ_in_size(tmp_path: Path) -> None:
    text = message(write_idx(tmp_path, t10k_images_idx3_ubyte=TEST.reshape(20, 4, 9)))
    assert "t10k-images-idx3-ubyte.gz': the test images are 4 x 9 pixels" in text
    assert "the training images in train-images-idx3-ubyte.gz are 6 x 6" in text


def test_labels_for_images_and_the_reverse(tmp_path: Path) -> None:
    assert "has labels (magic number 2049)" in message(write_idx(tmp_path, train_images_idx3_ubyte=TRAIN_LABELS))
    assert "has images (magic number 2051)" in message(write_idx(tmp_path, train_labels_idx1_ubyte=TRAIN))


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


def test_only_names(tmp_path: Path) -> None:
    folder = write_csv(tmp_path, train="label,a,b,c,d\n")
    assert "mnist_train.csv': has no samples (its shape is (0, 2, 2))" in message(folder)


def test_csv_labels_outside_the_classes(tmp_path: Path) -> None:
    text = message(write_csv(tmp_path, train="10,1,2,3,4\n"))
    assert "mnist_train.csv': label 10 of sample 0 is outside the 10 classes, 0 to 9; " in text


def test_csv_files_that_differ_in_size(tmp_path: Path) -> None:
    text = message(write_csv(tmp_path, test="1,1,2,3,4\n"))
    assert "mnist_test.csv': the test images are 2 x 2 pixels, the training images in mnist_train.csv are 6 x 6" in text


def test_which_csv_files(tmp_path: Path) -> None:
    (write_csv(tmp_path) / "mnist_test.csv").unlink()
    assert (
        "has no CSV file with the word 'test' in its name, such as mnist_test.csv, but 'mnist_train.csv'; give"
        in message(tmp_path)
    )
    write_csv(tmp_path)
    (tmp_path / "train.csv").write_text("")
    text = message(tmp_path)
    assert "several CSV files with 'train' in the name (mnist_train.csv, train.csv); keep one of them" in text


def test_csv_directory(tmp_path: Path) -> None:
    (write_csv(tmp_path) / "mnist_train.csv").unlink()
    (tmp_path / "mnist_train.csv").mkdir()
    assert "mnist_train.csv': is a directory" in message(tmp_path)


# Nonsense that must not pass.


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["latest_train.csv"], "test"),
        (["latest.csv", "train.csv"], "test"),
        (["contest.csv", "train.csv"], "test"),
        (["testing.csv", "train.csv"], "test"),
        (["trains.csv", "test.csv"], "train"),
        (["strain.csv", "test.csv"], "train"),
        (["a.csv", "b.csv", "c.csv", "d.csv"], "train"),
    ],
)
def test_train_and_test_are_whole_words(tmp_path: Path, names: list[str], part: str) -> None:
    for name in names:
        (tmp_path / name).write_text(csv_text(TRAIN, TRAIN_LABELS))
    text = message(tmp_path)
    assert f"has no CSV file with the word {part!r} in its name, such as mnist_{part}.csv, but 'a" in text or all(
        repr(name) in text for name in names
    )


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.csv", "t10k.csv"),
        ("TRAIN.CSV", "Test.Csv"),
        ("my-train-1.csv", "my.test.2.csv"),
        ("train2.csv", "latest_test.csv"),
        ("latest_train_1.csv", "1test1.csv"),
    ],
)
def test_words_between_anything_but_letters(tmp_path: Path, train: str, test: str) -> None:
    (tmp_path / train).write_text(csv_text(TRAIN, TRAIN_LABELS))
    (tmp_path / test).write_text(csv_text(TEST, TEST_LABELS))
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.train_images, TRAIN)
    np.testing.assert_array_equal(dataset.test_images, TEST)


@pytest.mark.parametrize("name", ["train_test.csv", "test-of-train.csv"])
def test_a_name_with_both_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(csv_text(TRAIN, TRAIN_LABELS))
    assert f"the name {name!r} has both 'train' and 'test' in it" in message(tmp_path)


def test_several_files_to_test_on(tmp_path: Path) -> None:
    (write_csv(tmp_path) / "t10k.csv").write_text(csv_text(TEST, TEST_LABELS))
    assert "several CSV files with 'test' in the name (mnist_test.csv, t10k.csv)" in message(tmp_path)
    (tmp_path / "t10k.csv").rename(tmp_path / "MNIST_TEST.CSV")
    assert "several CSV files with 'test' in the name (MNIST_TEST.CSV, mnist_test.csv)" in message(tmp_path)


def test_two_data_sets_in_a_folder(tmp_path: Path) -> None:
    write_csv(write_idx(tmp_path))
    assert "has two data sets: 't10k-images-idx3-ubyte.gz' and others, and 'mnist_train.csv'" in message(tmp_path)
    for name in ("mnist_train.csv", "mnist_test.csv"):
        (tmp_path / name).unlink()
    (tmp_path / "test-images-idx3-ubyte").write_bytes(idx(TEST[::-1]))
    assert "has two data sets: 't10k-images-idx3-ubyte.gz' and others, and 'test-images-idx3-ubyte'" in message(
        tmp_path
    )


@pytest.mark.parametrize("kind", ["idx", "csv"])
def test_a_file_gzipped_and_plain(tmp_path: Path, kind: str) -> None:
    """One of them is read if they are the same, and none if they are not."""
    if kind == "idx":
        plain, other = write_idx(tmp_path) / "t10k-images-idx3-ubyte", idx(TEST[::-1])
        plain.write_bytes(idx(TEST))
        packed = plain.with_name(f"{plain.name}.gz")
    else:
        plain, other = write_csv(tmp_path) / "mnist_test.csv", csv_text(TEST[::-1], TEST_LABELS).encode()
        packed = plain.with_name(f"{plain.name}.gz")
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(load_dataset(tmp_path).test_images, TEST)
    for content in (other, plain.read_bytes() + b"\n", plain.read_bytes()[:-1]):
        packed.write_bytes(gzip.compress(content))
        text = message(tmp_path)
        assert "has another content than " in text
        assert repr(plain.name) in text or repr(packed.name) in text
        assert str(tmp_path) in text
    packed.write_bytes(b"\x1f\x8bnonsense")
    assert packed.name in message(tmp_path)


def test_testing_on_the_training_set(tmp_path: Path, backend: Backend) -> None:
    """By a copy, a link, or another name: its accuracy would be praised for nothing."""
    (tmp_path / "train.csv").write_text(csv_text(TRAIN, TRAIN_LABELS))
    (tmp_path / "test.csv").symlink_to("train.csv")
    assert "test.csv': has the same images as train.csv: testing on the training set says" in message(tmp_path)
    (tmp_path / "test.csv").unlink()
    (tmp_path / "test.csv").write_text(csv_text(TRAIN, TRAIN_LABELS, header=False, ending="\r\n"))
    with pytest.raises(DatasetError, match="has the same images as train"):
        load_dataset(tmp_path, backend)
    other = TRAIN.copy()
    other[-1, -1, -1] ^= 1
    (tmp_path / "test.csv").write_text(csv_text(other, TRAIN_LABELS))
    load_dataset(tmp_path, backend)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    for target, fault in (("mnist_train.csv", "Too many levels of symbolic links"), ("gone", "no such file")):
        (write_csv(tmp_path) / "mnist_train.csv").unlink()
        (tmp_path / "mnist_train.csv").symlink_to(target)
        assert fault in message(tmp_path)
        (tmp_path / "mnist_train.csv").unlink()
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in message(tmp_path / "loop")
