"""Small data sets, in memory and as files."""

import csv
import gzip
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.signature import Signature
from mlp_xp.parity.notebook import flat, one_hot

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def synthetic(
    samples: int = 300, test_samples: int = 100, size: int = 12, classes: int = 10
) -> Dataset:
    """Return small images on the host, easy to learn.

    Each class has a random pattern, with noise added.
    """
    random = np.random.default_rng(samples)
    patterns = random.integers(0, 128, (classes, size, size))

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, classes, count)
        # Every class occurs, because the notebook takes the number of classes from the
        # largest label.
        labels[:classes] = np.arange(classes)[:count]
        images = patterns[labels] + random.integers(0, 128, (count, size, size))
        return images.astype(np.uint8), labels.astype(np.uint8)

    outputs = tuple(str(i) for i in range(classes))
    signature = Signature((size, size), outputs)
    return Dataset(Samples(*part(samples)), Samples(*part(test_samples)), signature)


def varied(one: Any, **changes: Any) -> Any:
    """Return a data set or a model with other fields.

    Args:
        one: The data set or model.
        changes: Its fields, fields of its signature, or arrays of a data set, such as
            `train_inputs` or `weights`.
    """
    of_signature = {each.name for each in fields(Signature)}
    signature, own = one.signature, {}
    for name, value in changes.items():
        part, _, field = name.partition("_")
        if name in of_signature:
            signature = replace(signature, **{name: value})
        elif name == "weights":
            own["train"] = replace(one.train, weights=value)
        elif part in ("train", "test") and field:
            before = own.get(part, getattr(one, part)) or Samples(None, None)
            own[part] = replace(before, **{field: value})
        else:
            own[name] = value
    if "input_shape" not in changes and "train_inputs" in changes:
        shape = tuple(changes["train_inputs"].shape[1:])
        signature = replace(signature, input_shape=shape)
    return replace(one, signature=signature, **own)


def arrays_in(dataset: Dataset) -> list[Any]:
    """Return the inputs and labels of the training set, and of the test set, if any."""
    parts = [part for part in (dataset.train, dataset.test) if part is not None]
    return [array for part in parts for array in (part.inputs, part.labels)]


ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def array_of(dataset: Dataset, name: str) -> Any:
    """Return one of ARRAYS, or None without a test set."""
    part, _, field = name.partition("_")
    return getattr(getattr(dataset, part), field, None)


def on_device(dataset: Dataset, backend: Backend) -> Dataset:
    """Copy the arrays of a data set from the host to the backend's device."""

    def place(samples: Samples) -> Samples:
        arrays = samples.inputs, samples.labels
        placed = [None if x is None else backend.asarray(x) for x in arrays]
        return Samples(*placed, samples.weights)

    test = None if dataset.test is None else place(dataset.test)
    return replace(dataset, train=place(dataset.train), test=test)


def notebook_rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the training data as the notebook has them.

    They are on the host: float64 rows and one-hot labels.
    """
    return flat(dataset.train.inputs), one_hot(dataset.train.labels)


TINY = synthetic(200, 60, 6)
"""200 training and 60 test images of 6 x 6."""


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    """Return an array of bytes as an IDX file."""
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx_folder(folder: Path, dataset: Dataset, *, packed: bool = False) -> Path:
    """Write the four files of a host data set as IDX, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_NAMES, arrays_in(dataset), strict=True):
        content = idx_bytes(array)
        if packed:
            name, content = f"{name}.gz", gzip.compress(content, mtime=0)
        (folder / name).write_bytes(content)
    return folder


def csv_text(images: np.ndarray, labels: np.ndarray, header: bool = True) -> str:
    """Return images and labels as CSV: the label first, then the pixels, row by row."""
    rows, columns = images.shape[1:]
    names = [f"{i + 1}x{j + 1}" for i in range(rows) for j in range(columns)]
    lines = [["label", *names]] if header else []
    for image, label in zip(images, labels, strict=True):
        lines.append([label, *image.ravel()])
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def write_csv(path: Path, columns: Mapping[str, Iterable[Any]]) -> Path:
    """Write a table with a header, its columns by name.

    The file is Parquet if the path ends in .parquet, else CSV.
    """
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(dict(columns)), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_samples(
    path: Path, features: np.ndarray, labels: Any, names: Any = None
) -> Path:
    """Write a table with the labels in its last column, `kind`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names or [f"x{i}" for i in range(features.shape[1])]
    return write_csv(
        path, {**dict(zip(names, features.T.tolist(), strict=True)), "kind": labels}
    )


def write_pictures(folder: Path, images: np.ndarray, labels: Any) -> Path:
    """Write a folder of pictures for each label."""
    from PIL import Image

    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number:05}.png")
    return folder


def write_npz(path: Path, features: np.ndarray, labels: np.ndarray) -> Path:
    """Write an archive with X and y."""
    np.savez_compressed(path, X=features, y=labels)
    return path


def write_npy(path: Path, **arrays: Any) -> Path:
    """Write a folder with a file for each array."""
    path.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


class Mixed(NamedTuple):
    """A table as people have it: text, dates, numbers, true and false, ids, gaps."""

    columns: dict[str, list[Any]]
    """Its columns by name, of plain values; None: no value."""
    label: str
    ids: tuple[str, ...] = ()
    """The columns with another value in every row, or in nearly every row."""

    def frame(self, kind: str, names: Iterable[str] | None = None) -> Any:
        """Return columns, by default the features, as a frame of a kind of FRAMES."""
        if names is None:
            others = (self.label, *self.ids)
            names = [name for name in self.columns if name not in others]
        return data_frame(kind, {name: self.columns[name] for name in names})


def mixed(name: str, rows: int = 150) -> Mixed:
    """Return a table of MIXED.

    It can be learned and resembles the known table, but every value is made up.
    """
    return MIXED[name](rows, np.random.default_rng(rows))


def _gaps(
    values: Iterable[Any], share: float, random: np.random.Generator
) -> list[Any]:
    return [None if random.random() < share else value for value in values]


def _named(numbers: Iterable[int], *names: str) -> list[str]:
    return [names[i] for i in numbers]


def _penguins(rows: int, random: np.random.Generator) -> Mixed:
    species, sex = random.integers(0, 3, rows), random.integers(0, 2, rows)
    means = np.array([[38.8, 190], [48.8, 196], [47.5, 217]])
    noise = 0.02 * random.standard_normal((rows, 2))
    bills, flippers = (means[species] * (1 + noise + 0.04 * sex[:, None])).T
    island = np.where(random.random(rows) < 0.3, 2, species)
    columns = {
        "species": _named(species, "Adelie", "Chinstrap", "Gentoo"),
        "island": _named(island, "Torgersen", "Dream", "Biscoe"),
        "bill_length_mm": _gaps(bills.round(1).tolist(), 0.02, random),
        "flipper_length_mm": _gaps(flippers.round().astype(int).tolist(), 0.02, random),
        "sex": _gaps(_named(sex, "female", "male"), 0.05, random),
    }
    return Mixed(columns, "species")


def _titanic(rows: int, random: np.random.Generator) -> Mixed:
    sex, grade = random.integers(0, 2, rows), random.integers(1, 4, rows)
    fares = (90 / grade**2 * np.exp(0.4 * random.standard_normal(rows))).round(4)
    survived = 3 * sex - grade + random.standard_normal(rows) > 0
    titles = _named(sex, "Mr.", "Mrs.")
    columns = {
        "PassengerId": list(range(1, rows + 1)),
        "Survived": survived.astype(int).tolist(),
        "Pclass": grade.tolist(),
        "Name": [
            f'{title} "{chr(65 + n % 26)}", No {n}' for n, title in enumerate(titles)
        ],
        "Sex": _named(sex, "male", "female"),
        "Age": _gaps(random.gamma(6, 5, rows).round(1).tolist(), 0.2, random),
        "SibSp": random.poisson(0.5, rows).tolist(),
        "Ticket": [
            f"PC {n}" if n % 3 else str(n)
            for n in random.integers(10_000, 400_000, rows)
        ],
        "Fare": fares.tolist(),
        "Cabin": _gaps((f"C{n}" for n in random.integers(1, 12, rows)), 0.7, random),
        "Embarked": _gaps(
            random.choice(["S", "C", "Q"], rows, p=[0.7, 0.2, 0.1]).tolist(),
            0.02,
            random,
        ),
        "Alone": (random.random(rows) < 0.6).tolist(),
    }
    return Mixed(columns, "Survived", ("PassengerId", "Name", "Ticket"))


def _ames(rows: int, random: np.random.Generator) -> Mixed:
    area = random.normal(1500, 400, rows).clip(400)
    built = random.integers(1900, 2010, rows)
    # Zipf's law: a few districts are frequent, and several have a single house.
    districts = (random.zipf(1.6, rows) - 1).clip(max=20)
    value = 60 * area + 400 * (built - 1900) - 3000 * districts
    price = value + random.normal(0, 8000, rows)
    days = random.integers(0, 1600, rows).tolist()
    alleys = random.choice(["Grvl", "Pave"], rows).tolist()
    columns = {
        "Id": [5_000_000 + 7 * n for n in range(rows)],
        "Sold": [date(2006, 1, 1) + timedelta(each) for each in days],
        "District": [f"District {n}" for n in districts],
        "Alley": _gaps(alleys, 0.85, random),
        "Area": area.round().astype(int).tolist(),
        "Built": built.tolist(),
        "GarageBuilt": _gaps(
            (built + random.integers(0, 5, rows)).tolist(), 0.06, random
        ),
        "Air": (random.random(rows) < 0.9).tolist(),
        "Price": price.round(-2).tolist(),
    }
    return Mixed(columns, "Price", ("Id",))


MIXED: dict[str, Callable[[int, np.random.Generator], Mixed]] = {
    "penguins": _penguins,
    "titanic": _titanic,
    "ames": _ames,
}


FRAMES = (
    "pandas",
    "pandas object",
    "pandas nullable",
    "pandas arrow",
    "pandas category",
    "polars",
    "pyarrow",
)
"""The kinds of `data_frame`."""
FEW_FRAMES = [
    pytest.param(
        kind, marks=[] if kind in ("pandas object", "polars") else pytest.mark.slow
    )
    for kind in FRAMES
]
"""These kinds for a costly test: all but two are slow."""


def data_frame(kind: str, columns: Mapping[str, Any]) -> Any:
    """Return plain columns as a data frame of a kind."""
    if kind == "polars":
        return pytest.importorskip("polars").DataFrame(dict(columns))
    pytest.importorskip("pandas")
    table = pytest.importorskip("pyarrow").table(dict(columns))
    frame = table.to_pandas(date_as_object=False)
    if kind == "pandas category":
        return frame.astype(
            dict.fromkeys(frame.select_dtypes(["object", "string"]), "category")
        )
    if kind == "pandas arrow":
        return frame.convert_dtypes(dtype_backend="pyarrow")
    others = {"pyarrow": table, "pandas": frame, "pandas object": frame.astype(object)}
    return others.get(kind, frame.convert_dtypes())
