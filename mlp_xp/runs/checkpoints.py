"""Models and checkpoints on disk: safetensors files, which contain no code, with metadata and a checksum."""

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.arrays import DatasetError, backend_of, read_inputs
from mlp_xp.backend import DTYPES, Backend
from mlp_xp.dataset import PREPARATIONS, TARGETS, Dataset, Preparation, described
from mlp_xp.device import all_finite, to_device
from mlp_xp.errors import MlpXpError
from mlp_xp.files import write_whole
from mlp_xp.functional import ACTIVATIONS, Array
from mlp_xp.losses import LOSSES
from mlp_xp.metrics import Evaluation, evaluate, predict
from mlp_xp.network import Layer, Network
from mlp_xp.regular import UnfitFileError, open_regular, read_fault
from mlp_xp.runs import records
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import CHECKPOINT, CONFIG, MODEL, preparation_of, read_config, targets_of
from mlp_xp.runs.settings import Settings, first_change, flatten, unflatten
from mlp_xp.steps import State
from mlp_xp.training import Best, Position, Tally

REMEDY = "train again"
ALTERED = "is truncated or altered"
TENSOR_DTYPES = ("F64", "F32")
# Limits on the size of a file, in bytes, and of its header: names, shapes and metadata.
FILE_LIMIT, HEADER_LIMIT = 1 << 34, 1 << 24
INPUTS = ("arrays", "pictures", "columns")
# Deviations from the mean of the training data beyond which an input may be what makes outputs infinite.
FAR = 1e3
MODEL_FACTS: records.Schema = {
    "activation": records.choice(ACTIVATIONS),
    "dtype": records.choice(DTYPES),
    "image_shape": records.IMAGE_SHAPE,
    "class_names": records.CLASS_NAMES,
    "task": records.choice(LOSSES),
    "preparation": records.choice(PREPARATIONS),
    "inputs": records.choice(INPUTS),
    "feature_names": records.sequence(records.text(1 << 21), 0, 1 << 16),
    "targets": records.choice(TARGETS),
}
# What the fitted arrays of a preparation are called, and what a model has that is older than these facts.
FITTED = {"bytes": (), "standardize": ("shift", "scale"), "unchanged": ()}
FITTED_TARGETS = {"unchanged": (), "standardize": ("target_shift", "target_scale")}
DEFAULTS = {
    **{"task": "classes", "preparation": "bytes", "inputs": "arrays", "feature_names": "[]", "targets": "unchanged"},
}


class Model(NamedTuple):
    """A trained network and what is needed to use it: `mlp_xp.load_run` and `load` read one from its file."""

    network: Network
    """On the host."""
    activation: str
    dtype: str
    image_shape: tuple[int, ...]
    """The shape of one input."""
    class_names: tuple[str, ...]
    task: str = "classes"
    preparation: str = "bytes"
    """A key of PREPARATIONS."""
    fitted: tuple[np.ndarray, ...] = ()
    """The preparation's arrays, (features,) each, on the host."""
    inputs: str = "arrays"
    feature_names: tuple[str, ...] = ()
    """As in the `Dataset` that it was trained on."""
    targets: tuple[np.ndarray, ...] = ()
    """Of a regression on standardised numbers: their mean and standard deviation, (outputs,) each, on the host."""
    source: str = MODEL
    """The file that it was read from."""
    sha256: str = ""
    """The checksum in this file: of all above."""

    @staticmethod
    def load(path: str | Path) -> "Model":
        """Read a model from a model.safetensors alone; `load_run` compares it with its run's settings too.

        Raises RunError for what is no model, is damaged, or has arrays that do not fit together or are not finite.
        """
        if not os.path.lexists(path):
            raise RunError(f"{str(path)!r}: does not exist; give the {MODEL} of a run")
        return _read_model(Path(path))

    def __repr__(self) -> str:
        many = f"{len(self.class_names)} {'outputs' if self.task == 'regression' else self.task}"
        return (
            f"Model({self.source!r}, network={self.network!r}, activation={self.activation!r}, "
            f"{described(self.image_shape)}, {many})"
        )

    def predict(self, X: Any, /) -> Array:
        """Predict from inputs X, (n, ...) as the network was trained on: NumPy arrays, lists, or a library's arrays.

        A library's array must be of one that `open_backend` knows, or have a namespace of the standard. The computation
        is on its device, in the model's dtype, and so is the result; all else is read by NumPy, for a NumPy array.

        classes: the name of each sample's class, (n,); for other arrays than NumPy's, which have no text, its number,
        int64: `class_names[number]` is the name. labels: 0 or 1, int64 (n, labels). regression: numbers (n, outputs),
        or (n,) for a single output.

        Raises DatasetError for a shape, dtype or range that does not fit, or a value that is not finite, RunError for
        outputs that are not finite, and BackendError.
        """
        outputs, backend = self._outputs_for(X)
        xp = backend.xp
        if self.task == "regression":
            return outputs[:, 0] if len(self.class_names) == 1 else outputs
        if self.task == "labels":
            return xp.astype(outputs > 0.5, xp.int64)
        numbers = xp.astype(xp.argmax(outputs, axis=1), xp.int64)
        return np.array(self.class_names)[numbers] if isinstance(numbers, np.ndarray) else numbers

    def predict_proba(self, X: Any, /) -> Array:
        """Return the probabilities of the classes, or of each label, (n, outputs), from inputs as `predict` takes them.

        The columns are in the order of `class_names`. Raises as `predict` does, and MlpXpError for a regression.
        """
        if self.task == "regression":
            raise MlpXpError("a regression has no probabilities; call predict for its numbers")
        return self._outputs_for(X)[0]

    def _outputs_for(self, X: Any) -> tuple[Array, Backend]:
        backend = backend_of(X, self.dtype)
        is_bytes = self.preparation == "bytes"
        inputs = read_inputs(X, self.image_shape, is_bytes, self.feature_names, backend)
        return self.outputs(inputs, backend), backend

    def outputs(self, inputs: Array, backend: Backend) -> Array:
        """Return predictions (n, outputs) on the device, as `metrics.predict` does, of inputs there.

        Raises RunError if they are not finite: those of a network whose weights are finite but too large; and
        DatasetError if inputs are so large that they cause it.
        """
        outputs = self._predict(inputs, backend)
        self.check_outputs(all_finite([outputs], backend), inputs, backend)
        return outputs

    @np.errstate(over="ignore", invalid="ignore")  # the caller refuses what is not finite
    def _predict(self, inputs: Array, backend: Backend) -> Array:
        network, prepare = to_device(self.network, backend), self.prepare(backend)
        return predict(
            network,
            inputs,
            activation=self.activation,
            backend=backend,
            prepare=prepare,
            task=self.task,
            targets=self.scaling(backend),
        )

    def check_outputs(
        self, finite: bool, inputs: Array, backend: Backend, where: Callable[[int], str] = "X: row {}".format
    ) -> None:
        """Raise RunError unless the outputs for these inputs are finite, or DatasetError if the inputs cause it.

        where: names a row of the inputs.
        """
        if finite:
            return
        if self.preparation != "bytes" and self._is_sound(backend):
            given = backend.to_numpy(inputs).reshape(inputs.shape[0], -1)
            shift, scale = self.fitted or (np.zeros(1), np.ones(1))
            with np.errstate(over="ignore", invalid="ignore"):
                sizes = np.abs(given.astype(np.float64) / scale - shift / scale.astype(np.float64))
            row, column = map(int, np.unravel_index(np.argmax(np.where(np.isnan(sizes), np.inf, sizes)), sizes.shape))
            if not sizes[row, column] <= FAR:
                place = np.unravel_index(column, self.image_shape)
                name = repr(self.feature_names[column]) if self.feature_names else ", ".join(map(str, place))
                raise DatasetError(
                    f"{where(row)}, column {name} is {given[row, column]:g}, so far from the training data that the "
                    f"network's outputs are not finite in {self.dtype}; correct it"
                )
        raise RunError(
            f"{self.source!r}: its outputs are not finite: the training diverged; train again with a lower learning "
            "rate"
        )

    def _is_sound(self, backend: Backend) -> bool:
        """Return whether outputs are finite for inputs like those trained on: a deviation from the mean."""
        ones = np.ones(math.prod(self.image_shape))
        shift, scale = self.fitted or (0 * ones, ones)
        typical = np.stack([shift + scale, shift - scale]).reshape(2, *self.image_shape)
        return all_finite([self._predict(backend.asarray(typical, backend.dtype), backend)], backend)

    def prepare(self, backend: Backend) -> Preparation:
        """Return the preparation of inputs, with its arrays on the backend's device."""
        fitted = tuple(backend.asarray(array, backend.dtype) for array in self.fitted)
        return Preparation(PREPARATIONS[self.preparation], fitted)

    def scaling(self, backend: Backend) -> tuple[Array, ...]:
        """Return `targets` on the backend's device."""
        return tuple(backend.asarray(array, backend.dtype) for array in self.targets)


def _network_tensors(prefix: str, network: Network, backend: Backend) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.{i}.{name}": backend.to_numpy(array)
        for i, layer in enumerate(network)
        for name, array in layer._asdict().items()
    }


def _digest(tensors: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    """Write tensors and metadata (`facts`) to a safetensors file, with a checksum. Raises FileError."""
    from safetensors.numpy import save

    # A single entry, because the order of several entries differs from run to run; equal networks give equal files.
    record = json.dumps({**facts, "sha256": _digest(tensors, facts)})
    write_whole(path, save(tensors, metadata={"mlp_xp": record}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read tensors, float64 or float32, and metadata from a file of `write_tensors`.

    Raises RunError if the file is missing, altered or not a regular file, or larger than HEADER_LIMIT or FILE_LIMIT.
    """
    tensors, facts, _ = _read_checked(path)
    return tensors, facts


def _read_checked(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    """Read tensors, metadata and their checksum. Raises RunError."""
    with _opened(path) as (file, facts):
        names = [*file.keys()]
        for name in names:
            dtype = file.get_slice(name).get_dtype()
            if dtype not in TENSOR_DTYPES:
                shown = records.shortened(name)
                raise RunError(f"{str(path)!r}: {shown} is an array of {dtype}, not of floats; {REMEDY}")
        tensors = {name: file.get_tensor(name) for name in names}
    sha256 = facts.pop("sha256", None)
    if sha256 != _digest(tensors, facts):
        raise RunError(f"{str(path)!r}: was altered: its content does not match its SHA-256 sum; {REMEDY}")
    schema = dict.fromkeys(facts, records.text(HEADER_LIMIT))
    return tensors, records.check_fields(facts, schema, repr(str(path)), REMEDY), sha256


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a safetensors file, and give its metadata too, which are not yet checked. Raises RunError."""
    from safetensors import SafetensorError, safe_open

    where = repr(str(path))
    try:
        _check_sizes(path)  # safetensors reports any file that it cannot open as missing, and waits for a FIFO
        with safe_open(path, framework="np") as file:
            facts = records.parse((file.metadata() or {}).get("mlp_xp", "{}"), where, REMEDY, wrong=ALTERED)
            yield file, facts if isinstance(facts, dict) else {}
    except FileNotFoundError as error:
        raise RunError(
            f"{where}: does not exist: the run has no checkpoint yet; wait for one if it is training, or resume it"
        ) from error
    except OSError as error:
        raise RunError(f"{where}: {read_fault(error)}; fix it, or train again") from error
    except MemoryError as error:
        raise RunError(f"{where}: is too large for the memory of this machine; {REMEDY}") from error
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{where}: {ALTERED}: {' '.join(str(error).split())}; {REMEDY}") from error


def _check_sizes(path: Path) -> None:
    """Check the size of the file and of its header, which starts with its own size. Raises OSError."""
    with open_regular(path) as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
    if size > FILE_LIMIT or int.from_bytes(start, "little") > HEADER_LIMIT < size:
        limit = f"{FILE_LIMIT} bytes, or {HEADER_LIMIT} of them in its header"
        raise UnfitFileError(errno.EFBIG, f"has more than {limit}, the limit for such a file")


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return the name of the first array (host, floats) with a value that is not finite; None if all are finite."""
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)


def _check_finite(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    if name := not_finite(arrays):
        raise RunError(
            f"{str(path)!r}: the array {name} has values that are not finite: its training diverged; {REMEDY}"
        )


def save_model(folder: Path, network: Network, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write model.safetensors: the network and what is needed to use it. Raises FileError."""
    facts = {
        "activation": str(settings.train.activation),
        "dtype": settings.dtype,
        "image_shape": json.dumps(list(dataset.train_images.shape[1:])),
        "class_names": json.dumps(list(dataset.class_names)),
        "task": dataset.task,
        "preparation": preparation_of(dataset),
        "inputs": dataset.inputs,
        "feature_names": json.dumps(list(dataset.feature_names)),
        "targets": targets_of(dataset),
    }
    tensors = _network_tensors("network", network, backend)
    names = FITTED[facts["preparation"]]
    tensors |= {name: backend.to_numpy(array) for name, array in zip(names, dataset.prepare.fitted, strict=True)}
    names = FITTED_TARGETS[facts["targets"]]
    tensors |= {name: backend.to_numpy(array) for name, array in zip(names, dataset.targets, strict=True)}
    write_tensors(folder / MODEL, tensors, facts)


def load_model(folder: str | Path) -> Model:
    """Read the last saved network of a run, on the host.

    Raises RunError unless its arrays are finite, fit together, and fit the image shape, the class names and the run's
    config.json.
    """
    return _read_model(Path(folder) / MODEL, read_config(folder))


def _read_model(path: Path, run: tuple[Settings, Mapping[str, Any]] | None = None) -> Model:
    """Read a model; if the settings and the record of its run are given, compare it with them. Raises RunError."""
    tensors, facts, sha256 = _read_checked(path)
    where = repr(str(path))
    facts = {**DEFAULTS, **facts}
    missing = [name for name in MODEL_FACTS if name not in facts]
    if missing or not tensors:
        lacks = f"it has no {missing[0]!r}" if missing else "it has no arrays"
        raise RunError(f"{where}: is not a model of mlp_xp: {lacks}; {REMEDY}")
    values = {
        **facts,
        **{
            name: records.parse(facts[name], f"{where}, {name}", REMEDY)
            for name in ("image_shape", "class_names", "feature_names")
        },
    }
    records.check_fields(values, MODEL_FACTS, where, REMEDY)
    if run:
        settings, record = run
        for name, saved, wanted in (
            ("activation", values["activation"], settings.train.activation),
            ("dtype", values["dtype"], settings.dtype),
            *(
                (name, values[name], record.get(name, values[name]))
                for name in ("image_shape", "class_names", *DEFAULTS)
            ),
        ):
            if saved != wanted:
                raise RunError(
                    f"{where}: was made with {name} {records.shortened(saved)}, but {CONFIG} has "
                    f"{records.shortened(wanted)}; restore the files of one run, or train again"
                )
    features = math.prod(values["image_shape"])
    if values["inputs"] == "columns" and len(values["feature_names"]) != features:
        raise RunError(
            f"{where}: has {len(values['feature_names'])} names for {features} columns; restore it from a copy, or "
            f"{REMEDY}"
        )
    hidden = run[0].train.hidden if run else _hidden_sizes(tensors)
    sizes = (features, *hidden, len(values["class_names"]))
    expected = {
        f"network.{i}.{field}": shape
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
        for field, shape in (("weights", (inputs, outputs)), ("bias", (outputs,)))
    }
    fitted = FITTED[values["preparation"]]
    expected |= dict.fromkeys(fitted, (features,))
    targets = FITTED_TARGETS[values["targets"]]
    if targets and values["task"] != "regression":
        raise RunError(f"{where}: is for {values['task']}, but has standardised numbers to predict; {REMEDY}")
    expected |= dict.fromkeys(targets, (len(values["class_names"]),))
    _check_arrays(tensors, expected, values["dtype"], path)
    layers = (Layer(tensors[f"network.{i}.weights"], tensors[f"network.{i}.bias"]) for i in range(len(sizes) - 1))
    return Model(
        tuple(layers),
        values["activation"],
        values["dtype"],
        tuple(values["image_shape"]),
        tuple(values["class_names"]),
        values["task"],
        values["preparation"],
        tuple(tensors[name] for name in fitted),
        values["inputs"],
        tuple(values["feature_names"]),
        tuple(tensors[name] for name in targets),
        str(path),
        sha256,
    )


def _hidden_sizes(tensors: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Return the units of each hidden layer: of all layers that follow each other but the last."""
    biases = itertools.takewhile(lambda name: name in tensors, (f"network.{i}.bias" for i in itertools.count()))
    return tuple(tensors[name].size for name in biases)[:-1]


def _check_arrays(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], dtype: str, path: Path
) -> None:
    """Raise RunError unless the tensors have the expected names and shapes, the dtype, and finite values."""
    for name, shape in expected.items():
        if name not in tensors:
            raise RunError(f"{str(path)!r}: has no array {name} for the run's configuration; {REMEDY}")
        if tensors[name].shape != shape:
            raise RunError(
                f"{str(path)!r}: the array {name} has shape {tensors[name].shape}, but the run's configuration "
                f"requires {shape}; use the configuration that it was made with, or train again"
            )
        if tensors[name].dtype != dtype:
            raise RunError(
                f"{str(path)!r}: the array {name} is {tensors[name].dtype}, but the run's dtype is {dtype}; {REMEDY}"
            )
    if more := [name for name in tensors if name not in expected]:
        raise RunError(
            f"{str(path)!r}: has an array {records.shortened(more[0])}, which the configuration does not; {REMEDY}"
        )
    _check_finite(tensors, path)


def evaluation_of(model: Model, dataset: Dataset, backend: Backend) -> Evaluation:
    """Return loss and accuracy on the test set, as `metrics.evaluate` does.

    Raises RunError if the loss is not finite, and DatasetError if the data are so large that they cause it.

    dataset: arrays on the backend's device. Its inputs are prepared as the model's training inputs were.
    """
    if dataset.test_images is None:
        raise RunError(
            f"the data {dataset.name!r} have no test set: all their samples are for training, and how well a network "
            "does on those says nothing; give other data, or train with a test set"
        )
    network, images, labels = to_device(model.network, backend), dataset.test_images, dataset.test_labels
    result = evaluate(
        network,
        images,
        labels,
        activation=model.activation,
        backend=backend,
        prepare=model.prepare(backend),
        task=model.task,
        targets=model.scaling(backend),
    )
    if math.isfinite(result.loss):
        return result

    def where(row: int) -> str:
        return f"{dataset.name!r}: sample {row + 1} of the {images.shape[0]} to test on"

    outputs = model._predict(images, backend)
    if model.task == "regression" and all_finite([outputs], backend) and model._is_sound(backend):
        errors = np.abs(backend.to_numpy(outputs) / 2 - backend.to_numpy(labels) / 2)  # halves do not overflow
        row, column = map(int, np.unravel_index(np.argmax(errors), errors.shape))
        raise DatasetError(
            f"{where(row)}: the label {model.class_names[column]!r} is {float(labels[row, column]):g}, so far from the "
            f"prediction that the squared error is not finite in {model.dtype}; correct it"
        )
    model.check_outputs(False, images, backend, where)
    return result


def check_classes(model: Model, dataset: Dataset) -> None:
    """Raise RunError unless the model and the data set have the same task, inputs of one shape, and as many classes.

    The names of their classes and columns must be the same too; arrays may have no columns' names, and the numbers from
    0 as those of their classes.
    """
    if dataset.task != model.task:
        raise RunError(
            f"the run's network is for {model.task}, but the data {dataset.name!r} are for {dataset.task}; give the "
            "run's own data"
        )
    if len(dataset.class_names) != len(model.class_names):
        raise RunError(
            f"the run's network has {len(model.class_names)} classes, but the data {dataset.name!r} have "
            f"{len(dataset.class_names)}; give the run's own data"
        )
    if (shape := tuple(dataset.train_images.shape[1:])) != model.image_shape:
        raise RunError(
            f"the run's network takes {described(model.image_shape)}, but the data {dataset.name!r} have "
            f"{described(shape)}; give the run's own data"
        )
    names, columns = (model.class_names, dataset.class_names), (model.feature_names, dataset.feature_names)
    numbers = tuple(map(str, range(len(model.class_names))))
    # Arrays may have no names of their own; but classes 1, 2, 3 are not 0, 1, 2.
    unnamed = numbers in names and not all(name.isdecimal() for name in (*names[0], *names[1]))
    free = {"inputs": True, "feature_names": () in columns, "class_names": unnamed}
    arrays = "arrays" in (model.inputs, dataset.inputs)
    for name, is_free in free.items():
        ours, others = getattr(model, name), getattr(dataset, name)
        if ours != others and not (arrays and is_free):
            raise RunError(
                f"the run's network has the {name} {records.shortened(ours)}, but the data {dataset.name!r} have "
                f"{records.shortened(others)}; give data with the same, in the same order"
            )


NUMBERS = ("epoch", "sample", "step", "reports", "seconds", "loss")


def save_checkpoint(folder: Path, position: Position, settings: Settings, backend: Backend) -> None:
    """Write checkpoint.safetensors, from which a run can be resumed bit for bit. Raises FileError."""
    network, slots = position.state
    tensors = _network_tensors("network", network, backend)
    for j in range(len(slots[0])):
        tensors |= _network_tensors(f"kept.{j}", tuple(layer_slots[j] for layer_slots in slots), backend)
    if position.best:
        tensors |= _network_tensors("best", position.best.network, backend)
    record = {
        **{name: getattr(position, name) for name in NUMBERS},
        "tally": list(position.tally),
        "best": list(position.best[1:]) if position.best else None,
    }
    write_tensors(
        folder / CHECKPOINT, tensors, {"settings": json.dumps(flatten(settings)), "position": json.dumps(record)}
    )


def check_settings(folder: Path, settings: Settings) -> None:
    """Raise RunError unless the run's checkpoint fits these settings, epochs included. Only its metadata are read.

    For use before a network of the settings' size is made: they may come from anybody's config.json.
    """
    path = folder / CHECKPOINT
    with _opened(path) as (_, facts):
        if not isinstance(facts.get("settings"), str):
            raise RunError(f"{str(path)!r}: is altered or is not a checkpoint; start the run again")
        _check_settings(facts["settings"], settings, path)
        done = _parse_position(facts, path)["epoch"] + 1
    if done > settings.train.epochs:
        raise RunError(
            f"{settings.train.epochs} is too few: the run in {str(folder)!r} has already come to epoch {done}; give at "
            "least as many, or start a new run",
            setting="epochs",
        )


def check_columns(folder: Path, dataset: Dataset) -> None:
    """Raise RunError if the columns of a run's table have other names now: its model would change its inputs.

    The model alone has their names. One that is missing or damaged is written again, and compared with nothing.
    """
    try:
        names = load_model(folder).feature_names
    except MlpXpError:
        return
    if names and dataset.feature_names and names != dataset.feature_names:
        raise RunError(
            f"{str(folder)!r}: the run was trained on the columns {records.shortened(names)}, but these data have "
            f"{records.shortened(dataset.feature_names)}; give the run's own data"
        )


def _check_settings(saved_settings: str, settings: Settings, path: Path) -> None:
    where = repr(str(path))
    record = records.parse(saved_settings, f"{where}, settings", REMEDY)
    # A setting that is newer than the checkpoint gets its default.
    saved = unflatten(records.check_fields(record, {}, where, REMEDY), where)
    if change := first_change(saved, settings):
        raise RunError(
            f"{where}: was made with {change.name} {records.shortened(change.saved)}, but the run's configuration has "
            f"{records.shortened(change.wanted)}{change.reason}; resume with the settings of the checkpoint"
        )


def read_position(folder: Path) -> dict[str, Any]:
    """Return where the run's checkpoint was saved: its epoch, samples and more. Raises RunError."""
    _, facts = read_tensors(folder / CHECKPOINT)
    return _parse_position(facts, folder / CHECKPOINT)


def _parse_position(facts: Mapping[str, str], path: Path, last_epoch: int = records.LARGEST) -> dict[str, Any]:
    where = repr(str(path))
    if not {"settings", "position"} <= {*facts}:
        raise RunError(f"{where}: is not a checkpoint; start the run again")
    schema = {**records.POSITION, "epoch": records.whole(0, last_epoch)}
    return records.check_fields(records.parse(facts["position"], f"{where}, position", REMEDY), schema, where, REMEDY)


def load_checkpoint(folder: Path, settings: Settings, fresh: State, backend: Backend) -> Position:
    """Read the position of a run, with its state on the device.

    fresh: a new state of the settings' network, which gives the expected names and shapes. Raises RunError if the
    checkpoint is damaged or does not match the settings; the message names the difference.
    """
    path = folder / CHECKPOINT
    tensors, facts = read_tensors(path)
    record = _parse_position(facts, path, last_epoch=settings.train.epochs - 1)
    _check_settings(facts["settings"], settings, path)
    tally, best = record["tally"], record["best"]
    networks = ["network", *(f"kept.{j}" for j in range(len(fresh.slots[0]))), *(["best"] if best else [])]
    expected = {
        f"{prefix}.{i}.{field}": tuple(array.shape)
        for prefix in networks
        for i, layer in enumerate(fresh.network)
        for field, array in layer._asdict().items()
    }
    _check_arrays(tensors, expected, settings.dtype, path)

    def network(prefix: str) -> Network:
        def on_device(i: int, field: str) -> Any:
            return backend.asarray(tensors[f"{prefix}.{i}.{field}"], backend.dtype)

        return tuple(Layer(*(on_device(i, field) for field in Layer._fields)) for i in range(len(fresh.network)))

    slots = [network(f"kept.{j}") for j in range(len(fresh.slots[0]))]
    return Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network("network"), tuple(tuple(each[i] for each in slots) for i in range(len(fresh.network)))),
        tally=Tally(*tally),
        best=Best(network("best"), *best) if best else None,
    )
