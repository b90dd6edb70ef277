"""NumPy's files: what NumPy writes is read, never by a pickle, and every fault is told by array and place."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from mlp_xp.checks import DatasetWarning
from mlp_xp.data import array_files
from mlp_xp.data.array_files import ArrayFileError, Parts, read_npy_folder, read_npz

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
FUZZ = settings(
    max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def write_folder(folder: Path, **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def as_npz(place: Path, **arrays: Any) -> Parts:
    np.savez(place / "a.npz", **arrays)
    return read_npz(place / "a.npz")


def as_small_npz(place: Path, **arrays: Any) -> Parts:
    np.savez_compressed(place / "a.npz", **arrays)
    return read_npz(place / "a.npz")


def as_npy(place: Path, **arrays: Any) -> Parts:
    return read_npy_folder(write_folder(place / "arrays", **arrays))


@pytest.fixture(params=[as_npz, as_small_npz, as_npy])
def written(request: pytest.FixtureRequest) -> Any:
    """A function that writes arrays and reads them again."""
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
def test_names(tmp_path: Path, written: Any, names: tuple[str, ...]) -> None:
    parts = written(tmp_path, **dict(zip(names, (X, Y, X[:2] + 1, Y[:2]), strict=True)))
    for part, array in zip((*parts.train, *parts.test), (X, Y, X[:2] + 1, Y[:2]), strict=True):
        np.testing.assert_array_equal(part, array)
        assert part.flags.writeable
        assert part.flags.c_contiguous


@pytest.mark.parametrize("names", [("X", "y"), ("x", "Y"), ("x_train", "y_train")])
def test_a_training_set_alone(tmp_path: Path, written: Any, names: tuple[str, str]) -> None:
    parts = written(tmp_path, **dict(zip(names, (X, Y[:, None]), strict=True)))
    assert parts.test is None
    np.testing.assert_array_equal(parts.train.features, X)
    np.testing.assert_array_equal(parts.train.labels, Y)


SHAPES = st.integers(1, 5).flatmap(
    lambda n: arrays_of.array_shapes(min_dims=1, max_dims=3).map(lambda rest: (n, *rest))
)
DTYPES = st.one_of(
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?"),
)


@pytest.mark.parametrize("order", ["C", "F"])
@FUZZ
@given(data=st.data(), dtype=DTYPES, shape=SHAPES)
def test_whatever_numpy_writes(tmp_path: Path, written: Any, order: Any, data: Any, dtype: Any, shape: Any) -> None:
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    features = data.draw(arrays_of.arrays(dtype, shape, elements=arrays_of.from_dtype(dtype, **finite)))
    parts = written(tmp_path, X=np.asarray(features, order=order), y=np.arange(shape[0]))
    np.testing.assert_array_equal(parts.train.features, features)
    assert parts.train.features.dtype == dtype.newbyteorder("=")
    assert parts.train.features.dtype.isnative


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array(["a", "bé", "a", "c"]), ["a", "bé", "a", "c"]),
        (np.array(["a", "bé", "a", "c"], ">U7"), ["a", "bé", "a", "c"]),
        (np.array([each.encode() for each in ("a", "bé", "a", "c")]), ["a", "bé", "a", "c"]),
        (np.array([True, False, True, True]), ["True", "False", "True", "True"]),
        (np.array([3, 200, 3, 0], np.uint8), [3, 200, 3, 0]),
        (np.array([0.5, 1.5, -2.0, 0.0], np.float32), [0.5, 1.5, -2.0, 0.0]),
        (np.eye(4, 2, dtype=int), np.eye(4, 2, dtype=int).tolist()),
    ],
)
def test_labels(tmp_path: Path, written: Any, labels: np.ndarray, expected: list[Any]) -> None:
    assert written(tmp_path, X=X, y=labels).train.labels.tolist() == expected


def test_booleans_as_features(tmp_path: Path, written: Any) -> None:
    features = written(tmp_path, X=X > 5, y=Y).train.features
    assert features.dtype == np.float64
    np.testing.assert_array_equal(features, X > 5)


def test_arrays_that_are_not_used_are_named(tmp_path: Path, written: Any) -> None:
    with pytest.warns(DatasetWarning, match="these arrays are not used: 'val_images', 'val_labels'"):
        written(tmp_path, train_images=X, train_labels=Y, val_images=X, val_labels=Y)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({}, "has no training set, but no arrays at all; name the arrays x_train"),
        ({"arr_0": X, "arr_1": Y}, "has no training set, but 'arr_0', 'arr_1'; name the arrays x_train"),
        ({"x_test": X, "y_test": Y}, "has no training set, but 'x_test', 'y_test'; "),
        ({"X": X}, "has 'X' but no 'y'; "),
        ({"y_train": Y}, "has 'y_train' but no 'x_train'; "),
        ({"X": X, "y": Y, "y_test": Y}, "has 'y_test' but no 'x_test'; "),
        ({"X": X, "y": Y, "x_train": X, "y_train": Y}, "has two train sets, x_train and X; keep one of them"),
        ({"X": X, "x": X, "y": Y}, "has both 'X' and 'x'; keep one of them"),
        ({"X": X[0], "y": Y}, "X has the shape (3,); give (n, features)"),
        ({"X": X[:0], "y": Y[:0]}, "X has the shape (0, 3); give (n, features)"),
        ({"X": X, "y": Y[:3]}, "y has the shape (3,), X (4, 3); give one label for each of the 4"),
        ({"X": X, "y": np.array(1)}, "y has the shape (), X (4, 3); "),
        ({"X": X * 1j, "y": Y}, "X has the dtype complex128; give integers or floats"),
        ({"X": np.full((4, 2), "a"), "y": Y}, "X has the dtype <U1; give integers or floats"),
        ({"X": X, "y": Y * 1j}, "y has the dtype complex128; give integers, floats or strings"),
        ({"X": X, "y": np.zeros(4, "M8[s]")}, "y has the dtype datetime64[s]; "),
        ({"X": np.where(X == 7, np.nan, X), "y": Y}, "X[2, 1] is nan; give finite values"),
        ({"X": np.where(X == 7, -np.inf, X)[:, None, :, None], "y": Y}, "X[2, 0, 1, 0] is -inf; give finite values"),
        ({"X": X, "y": [0.5, 1, 2, np.nan]}, "y[3] is nan; give finite values"),
        ({"X": X, "y": np.array(["a", "b", "", "c"])}, "y has an empty label; "),
        ({"X": X, "y": np.array([b"a", b"b", b"\xe9", b"c"])}, "y has bytes that are not UTF-8"),
        ({"X": X, "y": np.array(["a", "b", "x" * 1001, "c"])}, "y has a label of 1001 characters, more than 1000; "),
        ({"X": X, "y": Y, "x_test": X[:, :2], "y_test": Y}, "x_test has the shape (4, 2), X (4, 3); they must agree"),
        ({"X": X, "y": Y, "x_test": X, "y_test": np.eye(4)}, "y_test has the shape (4, 4), y (4,); they must agree"),
    ],
)
def test_faults(tmp_path: Path, written: Any, arrays: dict[str, Any], fault: str) -> None:
    with pytest.raises(ArrayFileError, match=re.escape(fault)) as caught:
        written(tmp_path, **arrays)
    text = str(caught.value)
    assert text.isprintable()
    assert text.count(repr(str(tmp_path))[:-1]) == 1
    assert text.startswith(repr(str(tmp_path))[:-1])
    assert caught.value.exit_code == 2


class Trap:
    """Unpickling it would be a fault."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, written: Any) -> None:
    for arrays in (
        {"X": np.array([[Trap()]], object), "y": Y[:1]},
        {"X": X, "y": np.array(["a", None, "b", "c"], object)},
    ):
        with pytest.raises(ArrayFileError, match="holds Python objects, which can only be unpickled, and a pickle can"):
            written(tmp_path, **arrays)
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ArrayFileError, match=r"is no \.npz archive"):
        read_npz(tmp_path / "a.npz")


def header(text: str, version: int = 1) -> bytes:
    data = text.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(data).to_bytes(2 if version == 1 else 4, "little") + data


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is no .npy data, or damaged: EOF"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is no .npy data, or damaged: the magic string is not correct"),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000000)}"),
            "the header promises 1000",
        ),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}") + bytes(8), "the header promises -1 x"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}") + bytes(9), "8 bytes, but 9 were found"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}") + bytes(7), "8 bytes, but 7 were found"),
        (header("{'descr': '<U0', 'fortran_order': False, 'shape': (1, 1)}"), "has the dtype <U0; save it as a plain"),
        (header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1, 1)}"), "save it as a plain array"),
        (header("{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (1, 1)}"), "save it as a plain array"),
        (header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {(1,) * 65}}}") + bytes(8), "has 65 dimensions"),
        (header("{'descr': 'x9', 'fortran_order': False, 'shape': (1, 1)}"), "is no .npy data, or damaged"),
        (header("__import__('os')"), "is no .npy data, or damaged"),
        (header("(" * 5000), "is no .npy data, or damaged"),
        (header("{}" + " " * 20000), "is no .npy data, or damaged"),
        (header("{}", 3), "has the version (3, 0) of the format"),
        (b"\x1f\x8b" + bytes(20), "is a gzip stream, not a"),
    ],
)
def test_faulty_npy_files(tmp_path: Path, content: bytes, fault: str) -> None:
    folder = write_folder(tmp_path / "arrays", y=Y)
    (folder / "X.npy").write_bytes(content)
    with pytest.raises(ArrayFileError, match=re.escape(fault)) as caught:
        read_npy_folder(folder)
    assert str(caught.value).startswith(f"{str(folder / 'X.npy')!r}: ")
    if content[:2] == b"\x1f\x8b":
        return
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", content)
        archive.writestr("y.npy", (folder / "y.npy").read_bytes())
    with pytest.raises(ArrayFileError, match=re.escape(fault)) as caught:
        read_npz(tmp_path / "a.npz")
    assert str(caught.value).startswith(f"{str(tmp_path / 'a.npz')!r}: X: ")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """80 MB of zeros, in 80 kB. 8 MB are modest."""
    np.savez_compressed(tmp_path / "one.npz", X=np.zeros((1000, 1000)), y=np.zeros(1000))
    assert read_npz(tmp_path / "one.npz").train.features.shape == (1000, 1000)
    np.savez_compressed(tmp_path / "ten.npz", X=np.zeros((10000, 1000)), y=np.zeros(10000))
    with pytest.raises(
        ArrayFileError, match="its arrays expand to more than 50 times the size of the file, and to more"
    ):
        read_npz(tmp_path / "ten.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        for name, array in (("X", X), ("y", Y)):
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    with pytest.raises(ArrayFileError, match="X is encrypted, or compressed as NumPy does not"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", b"")
        archive.writestr("X.npy", b"")
    with pytest.raises(ArrayFileError, match="has two arrays named 'X'"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives(tmp_path: Path, save: Any) -> None:
    """Each byte in turn is changed, and the file cut there: it is read to the same values, or refused in one line."""
    save(tmp_path / "a.npz", X=X, y=Y)
    content = (tmp_path / "a.npz").read_bytes()
    texts = []
    for place in range(0, len(content), 3):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]):
            (tmp_path / "a.npz").write_bytes(damaged)
            try:
                train = read_npz(tmp_path / "a.npz").train
            except ArrayFileError as error:
                texts.append(str(error))
            else:
                np.testing.assert_array_equal(train.features, X)
                np.testing.assert_array_equal(train.labels, Y)
    assert len(texts) > 100
    assert all(text.isprintable() for text in texts)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for read, name, fault in (
        (read_npz, "none", "no such file"),
        (read_npz, "fifo", "is not a regular file but a FIFO"),
        (read_npz, ".", "is a directory"),
        (read_npy_folder, "none", "No such file"),
        (read_npy_folder, "fifo", "Not a directory"),
    ):
        with pytest.raises(ArrayFileError, match=fault):
            read(tmp_path / name)
    os.mkfifo(write_folder(tmp_path / "arrays", y=Y) / "X.npy")
    with pytest.raises(ArrayFileError, match=r"X\.npy': is not a regular file but a FIFO"):
        read_npy_folder(tmp_path / "arrays")


def test_a_file_larger_than_a_piece(tmp_path: Path, written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "PIECE", 10)
    np.testing.assert_array_equal(written(tmp_path, X=X, y=Y).train.features, X)
