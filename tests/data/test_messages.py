"""Faulty data are told in one line: the place, what is wrong, and what to do."""

import gzip
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pandas as pd
import polars as pl
import pytest
from data_sets import (
    TINY,
    idx_bytes,
    varied,
    write_csv,
    write_idx_folder,
    write_npy,
    write_npz,
    write_pictures,
)
from helpers import assert_one_line, call, native, pattern
from PIL import Image
from sklearn.pipeline import make_pipeline

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.dataset import Samples
from mlp_xp.core.signature import Preparation, unchanged
from mlp_xp.data._mnist_files import read_csv, read_idx
from mlp_xp.data.columns import Columns
from mlp_xp.data.datasets import DATASETS
from mlp_xp.data.frames import as_table
from mlp_xp.data.reading import open_file
from mlp_xp.declared import ConfigError
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning
from mlp_xp.estimator import TableEncoder
from mlp_xp.runs.records import RunError

pytestmark = pytest.mark.needs("pyarrow")

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((20, 3))
CLASSES = np.array(["a", "b", "c"])[np.arange(20) % 3]
NUMBERS = 1000 * X[:, :2]
FLAGS = np.arange(40).reshape(20, 2) % 3 % 2
TABLE = pd.DataFrame(X, columns=["area", "age", "floor"])
TEXTS = [f"name {letter}" for letter in "abcdefghijklmnopqrst"]
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
SINGLE = open_backend(dtype="float32")


def odd(value: Any, values: np.ndarray = X) -> np.ndarray:
    """Return values with another one in row 7, column 1."""
    values = values.copy()
    values[7, 1] = value
    return values


def named(values: np.ndarray, names: Any) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[*names])


# What is called with the data of a row.


def called(use: Callable[[], Any]) -> None:
    use()


def arrays(data: tuple[Any, ...]) -> None:
    from_arrays(*data)


def file(name: str, content: bytes, **options: Any) -> None:
    Path(name).write_bytes(content)
    load_dataset(name, **options)


def csv(content: bytes | str, **options: Any) -> None:
    if isinstance(content, str):
        content = content.encode()
    file("t.csv", content, **{"label": "kind", "test_fraction": 0, **options})


def parquet(columns: dict[str, Any]) -> None:
    write_csv(Path("t.parquet"), columns)
    load_dataset("t.parquet", label="kind", test_fraction=0)


def npz(data: dict[str, Any]) -> None:
    np.savez("a.npz", **data)
    load_dataset("a.npz")


def npy(data: dict[str, Any]) -> None:
    """Like `npz`, but a folder of this name."""
    load_dataset(write_npy(Path("a.npz"), **data))


def folder(files: dict[str, Any], **options: Any) -> None:
    """Load a folder of files with bytes, of pictures, and of empty folders, None."""
    Path("d").mkdir()
    for name, content in files.items():
        path = Path("d", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
    load_dataset("d", **options)


def images(changes: dict[str, Any]) -> None:
    load_dataset(write_idx_folder(Path("d"), varied(TINY, **changes)))


def idx_labels(content: bytes, dimensions: int = 1) -> None:
    Path("file").write_bytes(content)
    read_idx(Path("file"), dimensions)


def idx_images(content: bytes) -> None:
    idx_labels(content, 3)


def pixels(text: str) -> None:
    Path("file").write_text(text, encoding="utf-8")
    read_csv(Path("file"))


def opened(name: str) -> None:
    with open_file(Path(name)):
        pass


def features(fitted: list[Any], values: list[Any], **options: Any) -> None:
    """Read values of a column as a network does that was trained on others."""
    columns = Columns.fit(as_table(["x"], [np.array(fitted, object)]))
    known = Columns.from_record(columns.record())
    known.features(as_table(["x"], [np.array(values, object)]), **options)


def data_frame(*left_out: str, **changes: Any) -> pd.DataFrame:
    """Return a table like that of the run in `place`."""
    columns = {
        "area": [1.5, 2, None, 4] * 5,
        "age": X[:, 1],
        "city": ["Rome", "Oslo"] * 10,
        "kind": CLASSES,
    }
    return pd.DataFrame(columns | changes).drop(columns=[*left_out])


def predict_floats() -> None:
    model = varied(
        load_run("../run-pictures"),
        form="arrays",
        preparation=Preparation(unchanged),
        input_shape=(5, 5),
    )
    predict(model, Path("../pictures"))


# Data, and the start of the message with its facts.
ARRAY_FILES = [
    ({"arr_0": X}, "'a.npz': has no training set; name the arrays x_train, y_train"),
    ({"X": X}, "'a.npz': has x without y; its arrays are 'x'; correct the names"),
    (
        {"X": X, "y": CLASSES, "x_test": X},
        "'a.npz': has x_test without y_test; its arrays are 'x', 'x_test', 'y'; ",
    ),
    (
        {"X": X, "y": CLASSES, "x_test": X, "y_tst": CLASSES},
        "'a.npz': has x_test without y_test; ... 'x', 'x_test', 'y', 'y_tst'; ",
    ),
    (
        {"X": X, "y": CLASSES, "test_images": X, "y_test": CLASSES},
        "'a.npz': has y_test without x_test; ",
    ),
    (
        {"X": X, "y": np.arange(20).astype("M8[D]")},
        "'a.npz', row 0: '1970-01-01' is neither a number nor a name; write numbers",
    ),
    (
        {"X": odd(np.nan), "y": CLASSES},
        "'a.npz', row 7, column 1: nan is not a finite number",
    ),
    (
        {"X": X, "y": np.array([b"a", b"\xe9"] * 10)},
        "'a.npz': cannot be read as an array ('utf-8' codec can't",
    ),
    (
        {"X": np.array([[None]], object), "y": CLASSES[:1]},
        "'a.npz ... cannot be read: Object arrays cannot be loaded when allow_pickle=",
    ),
]
IN_MEMORY = [
    ((odd(np.nan), CLASSES), "X: row 7, column 1: nan is not a finite number"),
    ((named(odd(np.inf), TABLE), CLASSES), "X: row 7, column 'age': inf is"),
    (
        (np.ma.masked_equal(odd(5), 5), CLASSES),
        "X: row 7, column 1: the value is masked; fill it in, or leave out",
    ),
    (
        (X, ["a"] * 20),
        "y: all 20 training rows are of the class 'a'; give at least two",
    ),
    (
        (X, CLASSES[1:]),
        "X: it has 20 rows, but there are 19 labels; give one for each row",
    ),
    (([[1, 2], [3]], [0, 1]), "X: cannot be read as an array ("),
    ((X, None), "y: cannot be read as an array (it is a single value)"),
    (
        (np.array([["a", "b"]] * 20), CLASSES),
        "X: row 0, column 0: 'a' is not a number; encode text as numbers first",
    ),
    ((X[:0], CLASSES[:0]), "X: the shape is (0, 3); give samples, (n, fe"),
    ((X, FLAGS + 1), "y: row 0, column "),
    (
        (X, np.eye(3, dtype=int)[np.arange(20) % 3]),
        "y: each row has a single 1, as if the columns were classes; give the",
    ),
    (
        (X, CLASSES, 1.0),
        "test: is neither a share above 0 and below 1 nor a test set, (X, y); give one",
    ),
    ((X, CLASSES, (X,)), "test: is neither a share above 0"),
    (
        (X, np.arange(20) % 3),
        "y: 3 different whole numbers may be classes or quantities: 0, 1, 2; give "
        'task="classes" or task="regression"',
    ),
    (
        (TABLE.assign(age=["3,5"] * 20), CLASSES),
        "X: row 0, column 'age': '3,5' is not a number such as 1234.5, a date such as "
        "2024-12-31, or text with letters; correct it, write NA for a gap, or give "
        "text=['age'] to read text",
    ),
    (
        (X, CLASSES, (X, ["a"] * 19 + ["d"])),
        "y of the test set: row 19: the label 'd' is none",
    ),
    (
        (TABLE, CLASSES, (named(X, "abc"), CLASSES)),
        "X of the test set: has no column 'area', 'age', 'floor'",
    ),
    (
        (named(X, ["area", "age", "area"]), CLASSES),
        "X: has 2 columns named 'area'; rename them",
    ),
    (
        (X, named(NUMBERS, "ab"), (X, named(NUMBERS, "cd"))),
        "y of the test set: has no column 'a', 'b'",
    ),
    ((X, named(NUMBERS, "aa")), "y: has 2 columns named 'a'; rename them"),
    (
        (X, CLASSES, (X[:, 1:], CLASSES)),
        "test: the test set has samples of 2 features as float64",
    ),
    (
        (TABLE, TABLE["age"][::-1]),
        "y: the index is in another order than in X; give y.loc",
    ),
    (
        (TABLE, TABLE["age"], (TABLE, TABLE["age"][::-1])),
        "y of the test set: the index is in another order than in X; give y.loc",
    ),
    (
        (X, pd.to_datetime(pd.Series(["2020-01-01", None] * 10))),
        "y: row 1: None marks a missing",
    ),
    (
        (pl.DataFrame({"a": TEXTS, "b": TEXTS}), CLASSES),
        "X: no column can be used; columns of text ... : 'a', 'b'",
    ),
    (
        (pl.DataFrame({"x": range(20), "a": [b"a"] * 20}), CLASSES),
        "X: columns 'a' hold bytes, lists, durations or the like; give numbers",
    ),
]
MORE_IN_MEMORY = [
    (
        lambda: from_arrays(X, odd(np.inf)[:, 1], task="classes"),
        "y: row 7: the label inf is not a finite number",
    ),
    (
        lambda: from_arrays(X, CLASSES, feature_names=["a", "b"]),
        "feature_names: there are 2 for 3 features; give",
    ),
    (
        lambda: from_arrays(X, CLASSES, feature_names="abc"),
        "feature_names: 'abc' is not a list; give the names in a list",
    ),
    (
        lambda: from_arrays(X, CLASSES, text=["a"]),
        "text: an array has no names of columns; give a data frame",
    ),
    (
        lambda: from_arrays(TABLE, CLASSES, text=["aera"]),
        "text: has no column 'aera' (did you mean 'area'?)",
    ),
    (
        lambda: from_arrays(X, CLASSES, class_names=dict(enumerate("abc"))),
        "class_names: {0: 'a', 1: 'b', 2: 'c'} is not a list",
    ),
    (
        lambda: from_arrays(X, CLASSES, class_names=3),
        "class_names: 3 is not a list; give the names in a list",
    ),
    (
        lambda: from_arrays(X, CLASSES, class_names={*"abc"}),
        "class_names: {",
    ),
    (
        lambda: from_arrays(X, CLASSES, class_names=["a", "b"]),
        "y: row 2: the label 'c' is none of",
    ),
    (
        lambda: from_arrays(
            X, [7, 3] * 10, task="classes", class_names=["7", "b", "3"]
        ),
        "y: labels are numbers, but the names of the classes are not all",
    ),
    (
        lambda: from_arrays(X, TEXTS, 0.2, task="classes"),
        "y: all 20 labels differ, so no class has two samples, one to train and "
        'one to test on; give task="regression" if they are numbers, or, for no '
        "test set, give test=None",
    ),
    (
        lambda: from_arrays(odd(1e300), CLASSES, backend=SINGLE),
        "X: row 7, column 1: 1e+300 is too large for float32; remove or replace",
    ),
    (
        lambda: from_arrays(X, odd(2e39, NUMBERS), backend=SINGLE),
        "y: row 7, column 1: 2e+39 is too large for float32; remove or replace",
    ),
    (
        lambda: from_arrays(X, CLASSES, sample_weight=odd(-1.0, X**2)[:, 1]),
        "sample_weight: row 7: the weight -1.0 is out of range; give a",
    ),
    (
        lambda: from_arrays(X, CLASSES, sample_weight=odd(np.nan, X**2)[:, 1]),
        "sample_weight: row 7: the weight nan is out of range",
    ),
    (
        lambda: from_arrays(TABLE, CLASSES, sample_weight=TABLE["age"][::-1]),
        "sample_weight: the index ... ; give sample_weight.loc[X.index]",
    ),
    (
        lambda: from_arrays(X, CLASSES, sample_weight=[1.0]),
        "sample_weight: the shape is (1,); give (20,), one for each row",
    ),
    (
        lambda: from_arrays(X, X, class_weight="balanced"),
        "class_weight: numbers have no classes; leave it out",
    ),
]
MISTYPED = [
    (
        lambda: from_arrays(X, CLASSES, task="class"),
        "task: 'class' is not known (did you mean 'classes'?); choose one of",
    ),
    (
        lambda: from_arrays(X, CLASSES, class_weight="balance"),
        "class_weight: 'balance' is not known",
    ),
]
ODD_ARCHIVES = [
    ({}, "'a.npz': has no training set; name the arrays x_train"),
    (
        {"X": X, "x": X, "y": CLASSES},
        "'a.npz': has x twice, in small and in capital letters",
    ),
]
TEXT = [
    (
        "",
        "'t.csv': is empty; give a table with the names of its columns in the",
    ),
    ("a,kind\n", "'t.csv': has a header, but no rows; give a table with rows"),
    (
        "a,KIND\n1,2\n",
        "'t.csv': has no column 'kind' (did you mean 'KIND'?); its "
        "columns are 'a', 'KIND'",
    ),
    (
        "5.1,3.5,1\n4.9,3.0,1\n",
        "'t.csv': has no column 'kind'; its columns are '5.1', '3.5', '1'",
    ),
    (
        "id   kind size\n1  2  3\n",
        "'t.csv': no separator is found in 'id   kind size'; separate columns",
    ),
    (
        "甲，kind\n1，2\n",
        "'t.csv': no separator is found in '甲，kind'; separate",
    ),
    ("a,kind, a \n1,2,3\n", "'t.csv': has 2 columns named 'a'; rename them"),
    ("kind\nx\n", "'t.csv': has no columns except the labels"),
    (
        "a\tkind\n1\tx\n\t\t\n2\ty\n",
        "'t.csv', line 3: has 3 columns, the first row has 2",
    ),
    (
        "PK\x03\x04...",
        "'t.csv': is a workbook of Excel, or another ZIP archive; save it as CSV",
    ),
    (
        "a;b;kind\n0,5;0.08;x\n8,679;0,5;x\n",
        "'t.csv', line 2, column 'a': '0,5' is not a number such as 1234.5, a date "
        "such as 2024-12-31, or text with letters; correct it, write NA for a gap, or "
        'give decimal, thousands or date_format as it is written, text="a,b" to read '
        "text, "
        "or exclude=\"a,b\"; there are wrong values in 'b' too",
    ),
    (
        "a;kind\n900;x\n1,001;x\n",
        "'t.csv', line 3, column 'a': '1,001' is not a number such as 1234.5; correct",
    ),
    (
        "a,kind\n\n1\n",
        "'t.csv', line 3: has 1 columns, the first row has 2; check separators",
    ),
    (
        'a,kind\n1,2\n"3,4\n5,6\n',
        "'t.csv', line 3: unexpected end of data; check the quotes",
    ),
    (
        'a,kind\n"1\\"2",3\n',
        "'t.csv', line 2: ',' expected after '\"'; check the quotes from there",
    ),
    (
        "a,kind\n1,2\n3,é\n".encode("latin-1"),
        "'t.csv': is not text in UTF-8; save a table as UTF-8 (in Excel",
    ),
    (
        "a,kind\n".encode("utf-16"),
        "'t.csv': is not text in UTF-8; save a table",
    ),
    (
        gzip.compress(b"a,kind\n1,2\n", mtime=0)[:-9],
        "'t.csv': cannot be read: Compressed file ended before",
    ),
    (
        gzip.compress(b"a,kind\n1,2\n", mtime=0)[:-8] + bytes(8),
        "'t.csv': cannot be read: CRC check failed",
    ),
    # Values.
    (
        "a;the b;kind\n\n" + "1;1,5;x\n" * 20 + "1;1.5,0;x\n",
        "'t.csv', line 3, column 'the b': '1,5' is not a number such as",
    ),
    (
        "a;the b;kind\n\n" + "1;2024-01-05;x\n" * 20 + "1;2024-13-01;x\n",
        "'t.csv', line 23, column 'the b': '2024-13-01' is not a date such as "
        "2024-12-31; correct it, write",
    ),
    (
        "a,b,kind\n" + "1,2,x\n" * 21 + "z,y,x\n",
        "'t.csv', line 23, column 'a': 'z' is not a number such as 1234.5; ... there "
        "are wrong values in 'b' too",
    ),
    # Labels.
    (
        "a,kind\n1,x\n2,NA\n",
        "'t.csv', line 3, column 'kind': 'NA' marks a missing label; fill it in, or "
        "give drop_unlabelled=True to leave such rows out; if it is a class, give",
    ),
    (
        "a,kind\n1,x\n2,\n3,\n",
        "'t.csv', line 3, column 'kind': '' marks a missing label, as in 2 of 3 rows; "
        "fill it in, or give drop_unlabelled=True to leave such rows out",
    ),
    (
        "a,kind\n1,0.5\n2,inf\n",
        "'t.csv', line 3, column 'kind': 'inf' is not a finite number; write",
    ),
    (
        "a,kind\n1,5\n2,6\n3,x\n",
        "'t.csv', line 4, column 'kind': 'x' is not a finite number; write numbers as "
        '1591.02; if these are names of classes, give task="classes"',
    ),
    (
        "\n".join(["a,kind", *(f"{i},${i}.68" for i in range(20))]),
        "'t.csv', line 2, column 'kind': '$0.68' is neither a number nor a name; write "
        "numbers as 1591.02, or give decimal and thousands as they are written; if "
        'these are names of classes, give task="classes"',
    ),
    (
        "a,kind\n" + "1,0\n5,1\n2,2\n" * 2,
        "'t.csv', column 'kind': 3 different whole numbers may be classes or "
        "quantities: '0', '1', '2'; give",
    ),
]
FILES = [
    (
        lambda: file("a.npz", pickle.dumps(X)),
        "'a.npz': ... pickled ... ; check the path and the file",
    ),
    (
        lambda: (np.save("x.npy", X), load_dataset("x.npy")),
        "'x.npy': has x without y; ",
    ),
    (
        lambda: csv("a,kind\n1,5\n2,6\n3,x\n", task="regression"),
        "'t.csv', line 4, column 'kind': 'x' is not a finite number; write numbers",
    ),
    (
        lambda: csv("a,p,q\n1,1,0\n2,red,0\n", label="p,q"),
        "'t.csv', line 3, column 'p': 'red' is not a finite number; correct it",
    ),
    (
        lambda: csv("a,p,q\n1,0,1\n2,1,yes\n", label="p,q"),
        "'t.csv', line 3, column 'q': 'yes' is not a finite number; correct it, "
        "or leave out the row; write yes and no as 1 and 0, or give a single "
        "column of classes",
    ),
    (
        lambda: csv("a,p,q\n1,0,yes\n", label="p,q", task="classes"),
        "'t.csv': the shape is (1, 2); give a single column of classes, (n,)",
    ),
    (
        lambda: csv("a,kind\n1,0\n2,2\n", task="labels"),
        "'t.csv', line 3, column 'kind': 2 is wrong: labels are 0 or 1; correct",
    ),
    (
        lambda: csv("a,kind\n1,\n2,\n", drop_unlabelled=True),
        "'t.csv', column 'kind': no row has a label; give another column",
    ),
    (
        lambda: csv("rain,kind\n1,a\n2,b\n", text="rian"),
        "'t.csv': has no column 'rian' (did you mean 'rain'?)",
    ),
]
PARQUET = [
    (
        {"x": ["T", *["1.5"] * 20], "kind": [*"abc"] * 7},
        "'t.parquet', row 1, column 'x': 'T' is not a number such as 1234.5; correct",
    ),
    (
        {"x": [3.0, -np.inf], "kind": ["a", "b"]},
        "'t.parquet', row 2, column 'x': -inf is not a finite number",
    ),
    (
        {"x": [1, 2], "kind": ["a", None]},
        "'t.parquet', row 2, column 'kind': None marks a missing label; "
        "fill it in, or give",
    ),
    (
        {"x": [1, 2], "kind": [0.5, np.nan]},
        "'t.parquet', row 2, column 'kind': nan marks a missing label; fill",
    ),
    (
        {"x": [1, 2], "kind": [[1], [2]]},
        "'t.parquet', row 1, column 'kind': array([1]) is neither",
    ),
    (
        {"x": [[1]], "y": [b"a"], "kind": ["a"]},
        "'t.parquet': columns 'x', 'y' hold bytes, lists, durations or the like; give",
    ),
]
NOTHING = [
    (
        "mnsit",
        "dataset: 'mnsit': no such folder, file or data set (did you mean "
        f"'mnist'?); choose one of {', '.join(DATASETS)}, or give a table",
    ),
    *(
        (
            name,
            f"data: '{name}': no such folder, file or data set; choose one of "
            f"{', '.join(DATASETS)}, or give a table",
        )
        for name in ("gone.csv", "", "x" * 300)
    ),
    (Path("mnsit"), "dataset: 'mnsit': no such folder"),
    (Path("gone.csv"), "data: 'gone.csv': no such folder"),
    (Path("x" * 300), f"data: '{'x' * 300}': no such folder"),
]
IMAGES = [
    (
        {"train_labels": TINY.train.labels[:29]},
        "'d/train-labels-idx1-ubyte': it has 200 rows, but there are 29 labels",
    ),
    (
        {"train_labels": TINY.train.labels + np.uint8(1)},
        "'d/train-labels-idx1-ubyte', row 9: the label '10' is none of the 10",
    ),
    (
        {"test_inputs": TINY.test.inputs.reshape(60, 4, 9)},
        "'d/t10k-labels-idx1-ubyte': the test set has images of 4 x 9 as",
    ),
    (
        {"train": Samples(TINY.train.inputs[:0], TINY.train.labels[:0])},
        "'d/train-labels-idx1-ubyte': the shape is (0, 6, 6); give samples",
    ),
    (
        {
            "test_inputs": TINY.train.inputs,
            "test_labels": TINY.train.labels,
        },
        "'d': the test set is the training set: testing on the training set says",
    ),
]
IDX_LABELS = [
    (
        b"",
        "'file': starts with b'', where an IDX file of labels starts with b'",
    ),
    (
        idx_bytes(np.zeros(2, np.uint8), 0x0D),
        r"'file': starts with b'\x00\x00\r\x01', where ... b'\x00\x00\x08\x01'",
    ),
    (
        idx_bytes(TINY.test.inputs),
        "'file': ... check that the files are not swapped, or fetch the file",
    ),
    (
        b"\0\0\x08\x01\0\0\0\x05abcd",
        "'file': its header promises 5 values, and 4 were found; fetch the file",
    ),
]
IDX_IMAGES = [
    (
        idx_bytes(TINY.test.inputs)[:9],
        "'file': its header promises  values, and 0 were found; fetch the file",
    ),
    (
        b"\0\0\x08\x03" + b"\xff" * 12,
        "'file': its header promises 4294967295 x 4294967295 x 4294967295 values",
    ),
]
PIXELS = [
    (
        "label,a,b,c,d\n",
        "'file': its 0 rows of 1 numbers are not labels and pixels of square",
    ),
    ("", "'file': its 0 rows of 1 numbers"),
    ("1\n", "'file': its 1 rows of 1 numbers"),
    (
        "1,2,3\n",
        "'file': its 1 rows of 3 numbers are not labels and pixels of square "
        "images; rows",
    ),
    (
        "1,2,3,4,5\n1,2,3,4\n",
        "'file': cannot be read: the number of columns changed from 5 to 4 at row 2",
    ),
    (
        "5,x,0,0,0\n1,2,3,4,5\n",
        "'file': cannot be read: could not convert string 'x' to uint8 at row 0, "
        "column 2; rows are counted",
    ),
    (
        "1x1,1x2,2x1,2x2,label\n1,2,3,4,5\n",
        "'file': cannot be read: could not convert string '1x1' to uint8 at row 0",
    ),
]
FOLDERS = [
    ({}, "'d': has no data that are known here; give a table (such as CSV)"),
    (
        {"t10k-labels-idx1-ubyte": b""},
        "'d/train-images-idx3-ubyte': cannot be read: No such file or directory",
    ),
    (
        {"latest.csv": b"", "train.csv": b""},
        "'d': has no tables with the word 'test' in the name, but 'latest.csv', ",
    ),
    (
        {"train.csv": b"", "my_train.csv": b"", "test.csv": b""},
        "'d': has 2 tables with the word 'train' in the name, but 'my_train",
    ),
    ({"X.npy": b"\x93NUMPY", "y.npy": b""}, "'d/X.npy': cannot be read: "),
    # Pictures.
    (
        {"a/1.png": GREY, "b/2.png": b"no picture"},
        "'d/b/2.png': cannot be read: cannot identify image file",
    ),
    (
        {"a/1.png": GREY, "b/2.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"},
        "'d/b/2.png': cannot be read: ",
    ),
    (
        {
            "a/1.png": GREY,
            "b/2.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        },
        "'d/b/2.png': cannot be read: cannot identify image file",
    ),
    *(
        (
            {"a/1.png": GREY, "b/2.tif": np.full((3, 4), value)},
            "'d/b/2.tif': has values of 32 bits",
        )
        for value in (np.float32(1.5), np.int32(1 << 20), np.int32(200))
    ),
    (
        {"a/1.png": GREY, "b/2.png": GREY.T.copy()},
        "'d/b/2.png': has 3 x 4 pixels, 'd/a/1.png' has 4 x 3 pixels; resize the "
        "pictures to one",
    ),
    ({"a/1.png": GREY, "b": None}, "'d/b': has no pictures"),
    (
        {"train/cat/1.png": GREY, "train/dog/1.png": GREY},
        "'d/train': has no pictures",
    ),
    (
        {
            "train/cat/1.png": GREY,
            "train/dog/1.png": GREY,
            "test/cat": None,
        },
        "'d/test': the shape is (0, 3, 4); give",
    ),
    (
        {
            "train/cat/1.png": GREY,
            "train/b/1.png": GREY,
            "test/cats/1.png": GREY,
        },
        "'d/test', row 0: the label 'cats' is none of",
    ),
]
OPENED = [
    (
        "none",
        "'none': cannot be read: No such file or directory; check the path",
    ),
    (".", "'.': cannot be read: Is a directory; check the path"),
    ("x" * 300, f"'{'x' * 300}': cannot be read: File name too long"),
]
OF_NETWORKS = [
    (
        lambda: features([1.5, 2.5], ["1970-01-01"]),
        "X: row 0, column 'x': '1970-01-01' is not a number",
    ),
    (
        lambda: features([0.5, 0.25], ["0.25", "NA", "0.5 %"]),
        "X: row 2, column 'x': '0.5 %' is not a number such as 1234.5;",
    ),
    (
        lambda: features(["2020-01-02", "2020-01-01"], [0.0]),
        "X: row 0, column 'x': 0.0 is not a date such as 2024-12-31;",
    ),
    (
        lambda: predict("../run-table", data_frame("age")),
        "X: has no column 'age'",
    ),
    (
        lambda: evaluate("../run-table", data_frame("age")),
        "X: has no column 'age'",
    ),
    (
        lambda: evaluate("../run-table", data_frame("kind")),
        "data: has no column 'kind'",
    ),
    (
        lambda: evaluate(
            replace(load_run("../run-table"), file=""), data_frame("kind")
        ),
        "data: has no labels that are known; give (X, y)",
    ),
    (
        lambda: evaluate("../run-table", (data_frame(), data_frame()["kind"][::-1])),
        "y: the index is in another order than in X",
    ),
]
OTHER_DATA_SETS = [
    (
        lambda: evaluate(
            "../run-table",
            from_arrays(data_frame("kind", age=pd.to_datetime(X[:, 1])), CLASSES),
        ),
        " ... kinds of columns number, number, category, not number, date, category",
    ),
    (
        lambda: evaluate(
            "../run-table",
            from_arrays(data_frame("kind", area=[11.5, 12, None, 14] * 5), CLASSES),
        ),
        " ... medians of columns with gaps 2.0, not 12.0; give data",
    ),
]
FLOATS = (
    "'../pictures': the network of '../run-pictures' takes images of 5 x 5 floats; "
    "use a run that was trained on pictures, or square images of bytes"
)
# The kind of error, what is called, and rows of data.
GROUPS = [
    (DatasetError, arrays, IN_MEMORY),
    (DatasetError, called, MORE_IN_MEMORY),
    (ConfigError, called, MISTYPED),
    (DatasetError, npz, ARRAY_FILES),
    (DatasetError, npy, ARRAY_FILES),
    (DatasetError, npz, ODD_ARCHIVES),
    (DatasetError, csv, TEXT),
    (DatasetError, called, FILES),
    (DatasetError, parquet, PARQUET),
    (DatasetError, load_dataset, NOTHING),
    (DatasetError, images, IMAGES),
    (DatasetError, idx_labels, IDX_LABELS),
    (DatasetError, idx_images, IDX_IMAGES),
    (DatasetError, pixels, PIXELS),
    (DatasetError, folder, FOLDERS),
    (DatasetError, called, OF_NETWORKS),
    (RunError, called, OTHER_DATA_SETS),
    (MlpXpError, called, [(predict_floats, FLOATS)]),
]
# Names and errors of POSIX.
POSIX = [(DatasetError, opened, OPENED), (DatasetError, npy, ODD_ARCHIVES[-1:])]


def rows_of(groups: list[Any]) -> list[Any]:
    return [(kind, use, *row) for kind, use, rows in groups for row in rows]


def begins(said: str) -> str:
    """Return a pattern for a message that begins with these words."""
    return f"^{pattern(native(said))}"


@pytest.mark.usefixtures("new_folder")
@pytest.mark.parametrize(
    ("kind", "use", "data", "said"),
    [
        *rows_of(GROUPS),
        *(pytest.param(*row, marks=pytest.mark.posix) for row in rows_of(POSIX)),
    ],
)
def test_faulty_data_are_refused_in_one_line(kind, use, data, said):
    with pytest.raises(kind, match=begins(said)) as caught:
        use(data)
    assert str(caught.value).isprintable()
    assert "; " in str(caught.value), "what to do"
    assert "--" not in str(caught.value), "options are the command line's"


# A command line, typed in the folder of the fixture `place`.
COMMANDS = [
    ("predict run-table short.csv", "'short.csv': has no column 'city'; its columns"),
    ("predict run-pictures table.csv", "images of 5 x 6; use a run ... on a table"),
    (
        "predict run-table table.csv pictures/a",
        "'table.csv': is a table; give it alone",
    ),
    (
        "predict run-table rows.csv --csv --keep kinds,age,nr",
        "'rows.csv': has no column 'kinds', 'nr'; its columns are 'area', 'age'",
    ),
    ("predict run-pictures pictures/a --keep id", "--keep: is for a table and --csv"),
    ("predict run-table pictures/a", "takes samples of 5 features; use a run that was"),
    ("predict run-table no-file", "'no-file': no such file or folder"),
    ("predict run-pictures gray.csv", "'gray.csv': no such file or folder"),
    ("evaluate run-table --data-dir short.csv", "short.csv': has no column 'city'"),
    (
        "evaluate run-table --data-dir dogs.csv",
        "dogs.csv', line 2, column 'kind': the label 'dog' is none of the 3 cl",
    ),
    (
        "evaluate run-table --data-dir pictures",
        "'pictures': holds pictures, which cannot be read as",
    ),
    (
        "evaluate run-pictures --data-dir table.csv",
        "'table.csv': holds a table, which cannot be read as the",
    ),
    (
        "evaluate run-pictures --data-dir smaller",
        "not images of 4 x 6; give data and runs with the same",
    ),
    (
        "evaluate run-changed",
        "'run-changed/config.json': the run started with other data ... ; to evaluate "
        "on the data as they are now, give --data-dir ",
    ),
    (
        "train --resume run-changed --epochs 2",
        "the run started with other data: values, weights, rows or their",
    ),
    (
        "train --data-dir table.csv",
        "--label: 'table.csv': needs the name of the column with the labels: 'area'",
    ),
    (
        "train --data-dir table.csv --label kind --test-fraction 0.001",
        "--test-fraction: 0.001 of 20 rows leaves one",
    ),
    (
        "train --data-dir table.csv --label kind --picture-size 9",
        "--picture-size: 'table.csv' holds a table, to which this option does not",
    ),
    (
        "train --data-dir arrays.npz --label kind",
        "--label: 'arrays.npz' holds arrays, to which this option does not apply",
    ),
    (
        "train --data-dir table.csv --label kind --deform",
        "--deform: needs images in shades of grey",
    ),
    (
        "train --data-dir pictures --exclude kind",
        "--exclude: 'pictures' holds pictures, to which this option does not apply",
    ),
    ("train --label kind", "--label: 'mnist' holds images like MNIST's, to which t"),
    ("train --test-fraction 0.5", "--test-fraction: 'mnist' holds images like MNIST's"),
    ("train --split-seed 3", "--split-seed: 'mnist' holds images like MNIST's, "),
    ("train --no-stratify", "--stratify: 'mnist' holds images like MNIST's, to"),
    (
        "train --data-dir gaps.csv --label kind",
        "line 2, column 'kind': '' marks a missing label, as in 2 of 20 rows; fill it "
        "in, or give --drop-unlabelled to leave such rows out",
    ),
    (
        "train --data-dir weights.csv --label kind --sample-weight zero",
        "weights: give numbers of at least 0 for all",
    ),
    (
        "train --data-dir weights.csv --label kind --sample-weight low",
        "'weights.csv', line 3, column 'low': the weight -1.0 is out of range; give a",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, no_pictures) -> Path:
    """A folder with data, and with runs on some of the data."""
    place = tmp_path_factory.mktemp("place")
    images = RANDOM.integers(0, 256, (20, 5, 6), np.uint8)
    write_pictures(place / "pictures", images, CLASSES)
    write_pictures(place / "smaller", images[:, :4], CLASSES)
    write_npz(place / "arrays.npz", X, CLASSES)
    table = data_frame()
    for name, frame in {
        "table": table,
        "rows": table.drop(columns="kind"),
        "short": table.drop(columns="city"),
        "dogs": table.assign(kind="dog", age=0.5),
        "changed": table,
        "gaps": table.assign(kind=[None, None, *CLASSES[2:]]),
        "weights": table.assign(zero=0, low=[1, -1] * 10),
    }.items():
        frame.to_csv(place / f"{name}.csv", index=False)
    config = TrainConfig(epochs=1, batch_size=8, init="he")
    for name, label in (
        ("table.csv", "kind"),
        ("changed.csv", "kind"),
        ("pictures", None),
    ):
        dataset = load_dataset(place / name, test_fraction=0, label=label)
        folder = place / f"run-{Path(name).stem}"
        assert [*train(config, dataset, open_backend(), run_dir=folder)]
    data_frame(age=X[:, 2]).to_csv(place / "changed.csv", index=False)
    return place


@pytest.fixture
def new_folder(place, monkeypatch) -> None:
    """Work in a new folder inside `place`."""
    monkeypatch.chdir(tempfile.mkdtemp(dir=place))


@pytest.mark.parametrize(("typed", "said"), COMMANDS)
def test_a_command_refuses_data_in_one_line(typed, said, place):
    with helpers.unchanged(place):
        assert_one_line(call(typed), 2, native(said))


# Warnings.

WARNED = [
    (
        lambda: from_arrays(100 * X + np.array([0, 1.7e9, 0]), CLASSES, backend=SINGLE),
        "X: columns 1: the rows differ in digits that float32 rounds away; leave these "
        "columns",
    ),
    (
        lambda: from_arrays(X, 1e9 + X[:, :1], backend=SINGLE),
        "y: columns '0': the rows differ in digits that float32 rounds away; leave "
        "these columns",
    ),
    (
        lambda: from_arrays(TABLE.assign(age=3.5), CLASSES),
        "X: columns 'age': all training rows have the same value in float64",
    ),
    (
        lambda: from_arrays(X, NUMBERS * [1, 0]),
        "y: columns '1': all training rows have the same value",
    ),
    (
        lambda: from_arrays(X, ["no", "No", "Maybe", "Maybe"] * 5),
        "classes whose names differ only in capital letters: 'No', 'no'",
    ),
    *(
        (
            lambda use=use: use({"X": X, "y": CLASSES, "xtest": X, "ytest": CLASSES}),
            "'a.npz': arrays that are not used: 'xtest', 'ytest'",
        )
        for use in (npz, npy)
    ),
    (
        lambda: csv(",a,,kind\n0,1.5,,x\n1,3,,y\n"),
        "column 1, 3 has no name, and is left out; if it is not a row number",
    ),
    (
        lambda: folder(
            {
                "train.csv": b"x,,kind\n5,2,a\n3,4,b\n1,6,a\n",
                "test.csv": b"x,,kind\n1,2,a\n3,4,b\n6,6,a\n",
            },
            label="kind",
        ),
        " ... column 2 has no name",
    ),
    (
        lambda: folder(
            {
                "train/a/1.png": GREY,
                "train/a/Thumbs.db": b"?",
                "train/b/1.png": GREY,
                "train/b/desktop.ini": b"?",
                "test/a/1.png": GREY + 1,
            }
        ),
        # Names below it have a slash on every system.
        "'d/train': files that Pillow does not read are left out: 'a ... Thumbs.db', "
        "'b ... desktop.ini'",
    ),
    (
        lambda: evaluate("../run-table", data_frame(age=[*X[:10, 1], *X[:10, 1] / 2])),
        "10 of 20 rows equal training rows; new rows would be predicted less well",
    ),
    (
        lambda: load_run("../run-table").predict(data_frame("kind", city="Bonn")),
        "none of the values of these columns is known from the training: 'city'",
    ),
    (
        lambda: evaluate(
            "../run-table", data_frame(age=X[:, 1] / 3, kind=[None, *CLASSES[1:]])
        ),
        "1 of 20 rows are left out: they have no label",
    ),
    (
        lambda: features(["a", "b"] * 5, ["c"]),
        "none of the values of these columns is known from the training: 'x'; check "
        "how they are written",
    ),
    (
        lambda: features([1.5, 2.5], [1.5, None], tells_gaps=True),
        "rows have no value in columns without gaps in the training: 'x'; the medians "
        "are used, and gaps in text count as new values",
    ),
    (
        lambda: (
            make_pipeline(TableEncoder(), "passthrough")
            .fit(data_frame())
            .transform(data_frame(city="Bonn"))
        ),
        "none of the values of these columns is known from the training: 'city'",
    ),
]


@pytest.mark.usefixtures("new_folder")
@pytest.mark.parametrize(("use", "said"), WARNED)
def test_doubtful_data_are_warned_of_in_the_place_of_the_caller(use, said):
    with pytest.warns(MlpXpWarning, match=begins(said)) as caught:
        use()
    assert {each.filename for each in caught} == {__file__}
