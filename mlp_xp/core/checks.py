"""Checks of a data set before the first training step. Each error is reported in one line.

What is rejected here would otherwise fail inside the array library, or give a wrong result silently: a label outside
the classes gives an all-zero target, and images that are already scaled would be divided by 255 again.
"""

import numpy as np

from mlp_xp.core.dataset import Dataset, Preparation
from mlp_xp.core.functional import Array
from mlp_xp.core.inputs import INTEGERS, dtype_name, not_of
from mlp_xp.core.library import Backend
from mlp_xp.core.task import Task
from mlp_xp.errors import DatasetError


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless a data set can be used for training.

    Its arrays must be as `Dataset` documents: of the backend's library and on its device, at least one input, inputs of
    one size in both parts, and one label for each. Class labels must be in 0, ..., classes - 1, and other labels 0 or
    1. Only the labels are read from the device.
    """
    if (dataset.test_inputs is None) is not (dataset.test_labels is None):
        raise DatasetError("test_inputs, test_labels: one of them is None; give both, or None for both")
    outputs, shape = len(dataset.class_names), tuple(dataset.train_inputs.shape)
    for part, inputs, labels in (("train", *dataset[:2]), ("test", *dataset[2:4])):
        if inputs is None:
            continue
        check_inputs(inputs, backend, dataset.prepare, f"{part}_inputs")
        _check_place(labels, backend, f"{part}_labels")
        check_labels(labels, inputs, backend, dataset.task, outputs, f"{part}_labels")
        if 0 in inputs.shape or inputs.shape[1:] != shape[1:]:
            fault = f"{part}_inputs: their shape is {tuple(inputs.shape)}, that of train_inputs {shape}"
            raise DatasetError(f"{fault}; give some, all of one size")
        values, most = backend.to_numpy(labels), outputs - 1 if dataset.task.exclusive else 1
        if not np.isfinite(values).all() or not (dataset.task.floats or 0 <= values.min() <= values.max() <= most):
            fault = f"{part}_labels: they range from {values.min()} to {values.max()}"
            wanted = "finite numbers" if dataset.task.floats else f"0 to {most}"
            raise DatasetError(f"{fault}; give {wanted}; classes are numbered from 0, each with a name in class_names")


def check_inputs(inputs: Array, backend: Backend, prepare: Preparation, name: str = "inputs") -> None:
    """Raise DatasetError unless inputs are of the backend's library, on its device, and such as `prepare` takes.

    With BYTES these are uint8 images (n, rows, columns[, channels]), else uint8 or the backend's floats (n, ...).

    Checks only the dtype, never the values: the values of floating-point images do not show whether they are scaled to
    [0, 1]. Nothing is read from the device, so this may run inside a compiled function.
    """
    _check_place(inputs, backend, name)
    shape, is_bytes = tuple(inputs.shape), inputs.dtype == backend.xp.uint8
    if prepare.takes_bytes and len(shape) not in (3, 4):
        raise DatasetError(f"{name}: their shape is {shape}; give (n, rows, columns), one as image[None]")
    if len(shape) < 2:
        raise DatasetError(f"{name}: their shape is {shape}; give (n, features), one as sample[None]")
    if not is_bytes and (prepare.takes_bytes or inputs.dtype != backend.dtype):
        wanted = f"bytes (uint8){'' if prepare.takes_bytes else f' or {backend.dtype_name}'}"
        raise DatasetError(f"{name}: their dtype is {dtype_name(inputs)}; give {wanted}; bytes are scaled to [0, 1]")


def check_labels(
    labels: Array, inputs: Array, backend: Backend, task: Task, outputs: int, name: str = "labels"
) -> None:
    """Raise DatasetError unless the shape and the dtype of labels are those of a task."""
    wanted = (inputs.shape[0],) if task.exclusive else (inputs.shape[0], outputs)
    if tuple(labels.shape) != wanted:
        fault = f"{name}: their shape is {tuple(labels.shape)}, where {wanted} is expected"
        raise DatasetError(f"{fault}; give labels for each input")
    if (labels.dtype != backend.dtype) if task.floats else (dtype_name(labels) not in INTEGERS):
        wanted_dtype = f"the backend's, {backend.dtype_name}" if task.floats else "integers, such as uint8"
        raise DatasetError(f"{name}: their dtype is {dtype_name(labels)}; give {wanted_dtype}")


def _check_place(array: Array, backend: Backend, name: str) -> None:
    if wrong := not_of(array, backend):
        fault = f"{name}: they are {wrong[0]}, the backend is {wrong[1]}"
        raise DatasetError(f"{fault}; copy them with backend.asarray, or load the data set with this backend")
