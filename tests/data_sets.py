"""Small data sets, in memory and as files."""

import csv
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.parity.notebook import flat, one_hot

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def synthetic(samples: int = 300, test_samples: int = 100, size: int = 12, classes: int = 10) -> Dataset:
    """Return small host images that a network can learn: a random pattern for each class, plus noise."""
    random = np.random.default_rng(samples)
    patterns = random.integers(0, 128, (classes, size, size))

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, classes, count)
        # Every class occurs, because the notebook takes the number of classes from the largest label.
        labels[:classes] = np.arange(classes)[:count]
        images = patterns[labels] + random.integers(0, 128, (count, size, size))
        return images.astype(np.uint8), labels.astype(np.uint8)

    return Dataset(*part(samples), *part(test_samples), tuple(str(i) for i in range(classes)))


def on_device(dataset: Dataset, backend: Backend) -> Dataset:
    """Copy the arrays of a data set from the host to the backend's device."""
    fields = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    arrays = {field: getattr(dataset, field) for field in fields}
    return dataset._replace(
        **{name: array if array is None else backend.asarray(array) for name, array in arrays.items()}
    )


def notebook_rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the training data in the notebook's form, on the host: float64 rows and one-hot labels."""
    return flat(dataset.train_inputs), one_hot(dataset.train_labels)


TINY = synthetic(200, 60, 6)
"""200 training and 60 test images of 6 x 6."""


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    """Return an array of bytes as an IDX file."""
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_folder(folder: Path, dataset: Dataset) -> Path:
    """Write the four files of a host data set as plain IDX, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_NAMES, dataset[:4], strict=True):
        (folder / name).write_bytes(idx_bytes(array))
    return folder


def csv_text(images: np.ndarray, labels: np.ndarray, header: bool = True, ending: str = "\n") -> str:
    """Return images and labels as CSV: the label first, then the pixels, row by row."""
    rows, columns = images.shape[1:]
    lines = [",".join(map(str, (label, *image.ravel()))) for image, label in zip(images, labels, strict=True)]
    names = ",".join(["label", *(f"{i}x{j}" for i in range(1, rows + 1) for j in range(1, columns + 1))])
    return "".join(line + ending for line in ([names] if header else []) + lines)


def write_csv(path: Path, columns: Mapping[str, Iterable[Any]]) -> Path:
    """Write a table with a header, its columns by name: as Parquet where the path ends like that, else as CSV."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(dict(columns)), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_samples(path: Path, features: np.ndarray, labels: Any, names: Any = None) -> Path:
    """Write a table with the labels in its last column, `kind`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names or [f"x{i}" for i in range(features.shape[1])]
    return write_csv(path, {**dict(zip(names, features.T.tolist(), strict=True)), "kind": labels})


def write_pictures(folder: Path, images: np.ndarray, labels: Any) -> Path:
    """Write a folder of pictures for each label."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number:05}.png")
    return folder


def write_npz(path: Path, features: np.ndarray, labels: np.ndarray) -> Path:
    """Write an archive with X and y."""
    np.savez_compressed(path, X=features, y=labels)
    return path
