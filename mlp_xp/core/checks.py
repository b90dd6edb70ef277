"""Checks of a data set before the first training step. Each error is reported in one line.

What is rejected here would otherwise fail inside the array library, or give a wrong result silently: a label outside
the classes gives an all-zero target, and images that are already scaled would be divided by 255 again.
"""

import math
import warnings
from collections.abc import Callable
from functools import lru_cache

from mlp_xp.core.dataset import BYTES, Dataset, Preparation
from mlp_xp.core.functional import Array
from mlp_xp.core.inputs import INTEGERS, dtype_name, not_of
from mlp_xp.core.library import Backend
from mlp_xp.core.task import TASKS, Task
from mlp_xp.errors import DatasetError, DatasetWarning

MOST_CLASSES = 2**16
# If all pixels are below this value, no pixel uses the highest bit. Images with fewer than 8 bits always stay below it
# (4 bits: 15, scikit-learn's digits: 16); 8-bit images reach it with any bright stroke.
DIM = 128


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless a data set can be used for training; warn if its images are too dark.

    Its arrays must be as `Dataset` documents: of the backend's library and on its device, at least one input, inputs of
    one size in both parts, one label for each, and 1 to 65536 classes or outputs. Class labels must be in 0, ...,
    classes - 1, other labels 0 or 1, and floats finite. Gives a DatasetWarning if the largest byte of the training
    images is below 128. Makes one pass over all arrays on the device, without bytes of the test set, and copies a few
    numbers to the host.
    """
    arrays = {name: each for name, each in zip(Dataset._fields[:4], dataset[:4], strict=True) if each is not None}
    _check_arrays(arrays, dataset, backend)
    if dataset.test_inputs is not None and dataset.test_inputs.dtype == backend.xp.uint8:
        del arrays["test_inputs"]  # no byte is wrong
    values = [backend.to_numpy(each).item() for each in _compiled_extremes(backend)(*arrays.values())]
    extremes = dict(zip(arrays, zip(values[::2], values[1::2], strict=True), strict=True))
    if bad := [name for name, range_ in extremes.items() if not all(map(math.isfinite, range_))]:
        raise DatasetError(f"{bad[0]}: it has values that are not finite; remove the samples with NaN and infinity")
    outputs = len(dataset.class_names)
    most = outputs - 1 if dataset.task.exclusive else 1
    for name in () if dataset.task.floats else ("train_labels", "test_labels"):
        lowest, highest = extremes.get(name, extremes["train_labels"])
        if not 0 <= lowest <= highest <= most:
            wanted = "; a label is 0 or 1"
            if dataset.task.exclusive:
                wanted = (
                    f", outside the {outputs} classes, 0 to {most}; number the classes from 0, and give each a name in "
                    "class_names"
                )
            raise DatasetError(f"{name}: they range from {lowest} to {highest}{wanted}")
    darkest, brightest = extremes["train_inputs"]
    if dataset.prepare == BYTES and brightest < DIM:
        warnings.warn(
            f"train_inputs: the pixels range from {darkest} to {brightest}, where 0 to 255 is expected: the "
            f"network sees values of at most {brightest / 255:.2g} and learns slowly or badly; rescale all images so "
            "that the largest pixel is 255",
            DatasetWarning,
            stacklevel=2,
        )


def _check_arrays(arrays: dict[str, Array], dataset: Dataset, backend: Backend) -> None:
    """Check the form of the arrays, which reads nothing from the device."""
    if not isinstance(dataset.task, Task):
        raise DatasetError(f"task: {dataset.task!r} is not a Task; give one of TASKS: {', '.join(TASKS)}")
    if not 1 <= len(dataset.class_names) <= MOST_CLASSES:
        raise DatasetError(f"class_names: there are {len(dataset.class_names)}; give 1 to {MOST_CLASSES}")
    if ("test_inputs" in arrays) is not ("test_labels" in arrays):
        raise DatasetError("test_inputs, test_labels: one of them is None; give both, or None for both")
    for name, array in arrays.items():
        if wrong := not_of(array, backend):
            raise DatasetError(
                f"the data set's arrays are {wrong[0]} ({name}), the backend is {wrong[1]}: load it with "
                "load_dataset(..., backend), or copy each array with backend.asarray"
            )
    for part in ("train", "test") if "test_inputs" in arrays else ("train",):
        inputs, labels = arrays[f"{part}_inputs"], arrays[f"{part}_labels"]
        _check_inputs(f"{part}_inputs", inputs, backend, dataset.prepare)
        if 0 in inputs.shape:
            raise DatasetError(f"{part}_inputs: there are none (their shape is {tuple(inputs.shape)}); give some")
        _check_labels(f"{part}_labels", labels, dataset, backend)
        if labels.shape[0] != inputs.shape[0]:
            raise DatasetError(
                f"{part}_labels: there are {labels.shape[0]} for {inputs.shape[0]} inputs; give one label per input"
            )
        if inputs.shape[1:] != dataset.train_inputs.shape[1:]:
            ours, theirs = (" x ".join(map(str, each.shape[1:])) for each in (inputs, dataset.train_inputs))
            raise DatasetError(
                f"test_inputs: they are {ours} pixels, the training inputs {theirs}; give inputs of one size"
            )


def _check_labels(name: str, labels: Array, dataset: Dataset, backend: Backend) -> None:
    xp, outputs = backend.xp, len(dataset.class_names)
    if dataset.task.exclusive and len(labels.shape) != 1:
        raise DatasetError(f"{name}: their shape is {tuple(labels.shape)}; give (n,), one number per input")
    if not dataset.task.exclusive and tuple(labels.shape[1:]) != (outputs,):
        raise DatasetError(f"{name}: their shape is {tuple(labels.shape)}; give (n, {outputs}), as class_names has")
    if dataset.task.floats and labels.dtype != backend.dtype:
        raise DatasetError(f"{name}: their dtype is {dtype_name(labels)}; give the backend's, {backend.dtype_name}")
    integers = [getattr(xp, each) for each in INTEGERS if hasattr(xp, each)]
    if not dataset.task.floats and not any(labels.dtype == dtype for dtype in integers):
        # NumPy's float64 equals None, so there is no default.
        raise DatasetError(f"{name}: their dtype is {dtype_name(labels)}; give integers, such as uint8")


def check_inputs(inputs: Array, backend: Backend, prepare: Preparation) -> None:
    """Raise DatasetError unless inputs are of the backend's library, on its device, and such as `prepare` takes.

    With BYTES these are uint8 images (n, rows, columns[, channels]), else uint8 or the backend's floats (n, ...).

    Checks only the dtype, never the values: the values of floating-point images do not show whether they are scaled to
    [0, 1]. Nothing is read from the device, so this may run inside a compiled function.
    """
    if wrong := not_of(inputs, backend):
        raise DatasetError(
            f"inputs: they are {wrong[0]}, the backend is {wrong[1]}: copy them with backend.asarray(inputs)"
        )
    _check_inputs("inputs", inputs, backend, prepare)


def _check_inputs(name: str, inputs: Array, backend: Backend, prepare: Preparation) -> None:
    shape = tuple(inputs.shape)
    if prepare.takes_bytes and len(shape) not in (3, 4):
        raise DatasetError(f"{name}: their shape is {shape}; give (n, rows, columns), one as image[None]")
    if len(shape) < 2:
        raise DatasetError(f"{name}: their shape is {shape}; give (n, features), one as sample[None]")
    if prepare.takes_bytes and inputs.dtype != backend.xp.uint8:
        raise DatasetError(
            f"{name}: their dtype is {dtype_name(inputs)}; give bytes (uint8) from 0 to 255, which are scaled to "
            "[0, 1] here"
        )
    if inputs.dtype != backend.xp.uint8 and inputs.dtype != backend.dtype:
        raise DatasetError(f"{name}: their dtype is {dtype_name(inputs)}; give {backend.dtype_name} or bytes (uint8)")


@lru_cache(maxsize=8)
def _compiled_extremes(backend: Backend) -> Callable[..., tuple[Array, ...]]:
    """Return a function that finds the minimum and maximum of each array, as arrays () on the device."""
    xp = backend.xp

    def extremes(*given: Array) -> tuple[Array, ...]:
        # Some libraries have unsigned integers wider than a byte, but no reductions for them. Bytes are not converted:
        # with the conversion JAX takes 0.3 s to compile this, without it 0.01 s.
        kept = (xp.uint8, backend.dtype)
        arrays = [x if any(x.dtype == each for each in kept) else xp.astype(x, xp.int64) for x in given]
        return tuple(find(array) for array in arrays for find in (xp.min, xp.max))

    return backend.jit(extremes)
