"""Data sets: four IDX files in a folder, to `uint8` arrays on a backend's device."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.errors import MlpXpError
from mlp_xp.idx import read_idx
from mlp_xp.loops import Array

# Beside the package in the repository, so that the command finds it wherever it is started.
MNIST_DIR = Path(__file__).resolve().parent.parent / "data" / "mnist"


class DatasetError(MlpXpError):
    """Files that do not make up a data set."""


class Dataset(NamedTuple):
    """A training and a test set. Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB."""

    train_images: Array
    """uint8 (n, rows, columns) on the device, 0 to 255."""
    train_labels: Array
    """uint8 (n,) on the device, each below the number of classes."""
    test_images: Array
    test_labels: Array
    class_names: tuple[str, ...]


def find_file(folder: Path, part: str, content: str) -> Path:
    """The path of one of the four files, `train-images-idx3-ubyte` and so on, gzipped or not.

    part: "train" or "t10k". content: "images-idx3" or "labels-idx1". Raises DatasetError when it is not there.
    """
    name = f"{part}-{content}-ubyte"
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    what = "is not a folder" if not folder.is_dir() else "is not there, nor is it without .gz"
    missing = folder if not folder.is_dir() else folder / f"{name}.gz"
    raise DatasetError(f"{str(missing)!r}: {what}; give a folder of the four MNIST-like IDX files with --data-dir")


def _load_part(folder: Path, part: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    image_file, label_file = find_file(folder, part, "images-idx3"), find_file(folder, part, "labels-idx1")
    images, labels = read_idx(image_file, ndim=3), read_idx(label_file, ndim=1)
    if len(images) != len(labels):
        raise DatasetError(
            f"{str(image_file)!r}: has {len(images)} images, {label_file.name} has {len(labels)} labels; they must "
            "belong together: fetch both again"
        )
    if not images.size:
        raise DatasetError(
            f"{str(image_file)!r}: has no samples (its shape is {images.shape}); give files that have some"
        )
    if labels.max() >= classes:
        first = int(np.argmax(labels >= classes))
        raise DatasetError(
            f"{str(label_file)!r}: label {labels[first]} of sample {first} is outside the {classes} classes, "
            f"0 to {classes - 1}; check which data set it belongs to"
        )
    return images, labels


def load_dataset(folder: str | os.PathLike[str] = MNIST_DIR, backend: Backend | None = None) -> Dataset:
    """Load a folder with four IDX files named as MNIST's, gzipped or not, with labels 0 to 9.

    The arrays are `uint8` on the backend's device; without a backend they are NumPy arrays on the host. Raises
    DatasetError or IdxError, which name the file and the fault.
    """
    folder = Path(folder)
    class_names = tuple(str(i) for i in range(10))
    train_images, train_labels = _load_part(folder, "train", len(class_names))
    test_images, test_labels = _load_part(folder, "t10k", len(class_names))
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DatasetError(
            f"{str(folder)!r}: the training images are {_size(train_images)} pixels, the test images "
            f"{_size(test_images)}; one network takes one size"
        )
    parts = (train_images, train_labels, test_images, test_labels)
    if backend is not None:
        parts = tuple(backend.asarray(part) for part in parts)
    return Dataset(*parts, class_names)


def _size(images: np.ndarray) -> str:
    return " x ".join(map(str, images.shape[1:]))
