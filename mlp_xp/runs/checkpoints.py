"""Models and checkpoints on disk: safetensors files, which contain no code, with metadata and a checksum."""

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.dataset import PREPARATIONS, Dataset, Preparation, described
from mlp_xp.core.device import all_finite, to_device
from mlp_xp.core.functional import Array
from mlp_xp.core.inputs import read_inputs
from mlp_xp.core.library import Backend
from mlp_xp.core.metrics import evaluate, predict
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.step import State
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Best, Position, Tally
from mlp_xp.data.arrays import backend_of
from mlp_xp.errors import MlpXpError
from mlp_xp.files import write_whole
from mlp_xp.runs.records import FORMAT, RunError, check_fields, check_format, parse, shortened
from mlp_xp.runs.run_folder import CHECKPOINT, MODEL, preparation_of, read_config, targets_of
from mlp_xp.runs.settings import Settings, first_change, flatten, unflatten

REMEDY = "restore it from a copy, or train again"
ALTERED = "is truncated or altered"
# What the fitted arrays of a preparation are called in a model's file.
FITTED = {"bytes": (), "standardize": ("shift", "scale"), "unchanged": ()}
FITTED_TARGETS = {"unchanged": (), "standardize": ("target_shift", "target_scale")}


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
    """The mean and standard deviation of numbers to predict that were standardised, (outputs,) each, on the host."""
    source: str = MODEL
    """The file that it was read from."""
    sha256: str = ""
    """The checksum in this file."""

    @staticmethod
    def load(path: str | Path) -> "Model":
        """Read a model from a model.safetensors file. Raises RunError if it is missing, damaged, or not a model."""
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
        """Return predictions (n, outputs) on the device, as `metrics.predict` does, from inputs on the device.

        Raises RunError if they are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            outputs = predict(to_device(self.network, backend), inputs, **self.meaning(backend))
        self.check_finite(all_finite([outputs], backend))
        return outputs

    def check_finite(self, finite: bool) -> None:
        """Raise RunError unless the model's outputs, or its loss, are finite."""
        if not finite:
            raise RunError(
                f"{self.source!r}: its outputs, or its loss, are not finite: an input or label is far outside the "
                "range of the training data, or the training diverged; correct the data, or train again with a lower "
                "learning rate"
            )

    def meaning(self, backend: Backend) -> dict[str, Any]:
        """Return the arguments with which `metrics.predict` and `metrics.evaluate` use the network as it was trained.

        Arrays are on the backend's device.
        """
        place = partial(backend.asarray, dtype=backend.dtype)
        return {
            "activation": self.activation,
            "backend": backend,
            "prepare": Preparation(PREPARATIONS[self.preparation], tuple(map(place, self.fitted))),
            "task": self.task,
            "targets": tuple(map(place, self.targets)),
        }


def _network_tensors(prefix: str, network: Network, backend: Backend) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.{i}.{name}": backend.to_numpy(array)
        for i, layer in enumerate(network)
        for name, array in layer._asdict().items()
    }


def _network_of(tensors: Mapping[str, np.ndarray], prefix: str) -> Network:
    """Return the network that is stored under a prefix, on the host; without layers if there is none."""
    layers = itertools.takewhile(lambda layer: f"{layer}.bias" in tensors, (f"{prefix}.{i}" for i in itertools.count()))
    return tuple(Layer(*(tensors[f"{layer}.{field}"] for field in Layer._fields)) for layer in layers)


def _digest(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write tensors and metadata (`facts`, as JSON has them) to a safetensors file, with a checksum. Raises FileError.

    The format and the checksum, `sha256`, are added to the facts.
    """
    from safetensors.numpy import save

    facts = {"format": FORMAT, **{name: value for name, value in facts.items() if name != "sha256"}}
    # A single entry, because the order of several entries differs from run to run; equal networks give equal files.
    record = json.dumps({**facts, "sha256": _digest(tensors, facts)})
    write_whole(path, save(tensors, metadata={"mlp_xp": record}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors and metadata of a file of `write_tensors`. Raises RunError if it is missing or altered."""
    with _opened(path) as (file, facts):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a dictionary)
    if facts.get("sha256") != _digest(tensors, {name: value for name, value in facts.items() if name != "sha256"}):
        raise RunError(f"{str(path)!r}: was altered: its content does not match its SHA-256 sum; {REMEDY}")
    return tensors, facts


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a safetensors file and read its metadata. Raises RunError, also for a fault within the `with` block."""
    from safetensors import SafetensorError, safe_open

    where = repr(str(path))
    try:
        path.open("rb").close()  # safetensors reports any file that it cannot open as missing
        with safe_open(path, framework="np") as file:
            facts = parse((file.metadata() or {}).get("mlp_xp", "{}"), where, REMEDY, wrong=ALTERED)
            check_format(check_fields(facts, {}, where, REMEDY), where)
            yield file, facts
    except FileNotFoundError as error:
        raise RunError(
            f"{where}: does not exist; if its run is training, wait for the first checkpoint, else resume the run"
        ) from error
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror or error}; {REMEDY}") from error
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{where}: {ALTERED}: {' '.join(str(error).split())}; {REMEDY}") from error


def save_model(folder: Path, network: Network, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write model.safetensors: the network and what is needed to use it. Raises FileError."""
    facts: dict[str, Any] = {
        "activation": settings.train.activation,
        "dtype": settings.dtype,
        "image_shape": list(dataset.train_inputs.shape[1:]),
        "class_names": list(dataset.class_names),
        "task": dataset.task,
        "preparation": preparation_of(dataset),
        "inputs": dataset.inputs,
        "feature_names": list(dataset.feature_names),
        "targets": targets_of(dataset),
    }
    tensors = _network_tensors("network", network, backend)
    names = (*FITTED[facts["preparation"]], *FITTED_TARGETS[facts["targets"]])
    fitted = (*dataset.prepare.fitted, *dataset.targets)
    tensors |= {name: backend.to_numpy(array) for name, array in zip(names, fitted, strict=True)}
    write_tensors(folder / MODEL, tensors, facts)


def load_model(folder: str | Path) -> Model:
    """Read the last saved network of a run, on the host. Raises RunError if there is none, or it is damaged."""
    read_config(folder)  # or else the folder is not a run
    return _read_model(Path(folder) / MODEL)


def _read_model(path: Path) -> Model:
    tensors, facts = read_tensors(path)
    if "activation" not in facts:
        raise RunError(f"{str(path)!r}: is not a model; give the {MODEL} of a run")
    return Model(
        network=_network_of(tensors, "network"),
        activation=facts["activation"],
        dtype=facts["dtype"],
        image_shape=tuple(facts["image_shape"]),
        class_names=tuple(facts["class_names"]),
        task=facts["task"],
        preparation=facts["preparation"],
        fitted=tuple(tensors[name] for name in FITTED[facts["preparation"]]),
        inputs=facts["inputs"],
        feature_names=tuple(facts["feature_names"]),
        targets=tuple(tensors[name] for name in FITTED_TARGETS[facts["targets"]]),
        source=str(path),
        sha256=facts["sha256"],
    )


def evaluation_of(model: Model, dataset: Dataset, backend: Backend) -> Evaluation:
    """Return loss and accuracy on the test set, as `metrics.evaluate` does. Raises RunError if the loss is not finite.

    dataset: arrays on the backend's device. Its inputs are prepared as the model's training inputs were.
    """
    if dataset.test_inputs is None:
        raise RunError(
            f"the data {dataset.name!r} have no test set: all their samples are for training, and how well a network "
            "does on those says nothing; give other data, or train with a test set"
        )
    network = to_device(model.network, backend)
    result = evaluate(network, dataset.test_inputs, dataset.test_labels, **model.meaning(backend))
    model.check_finite(math.isfinite(result.loss))
    return result


def check_fit(model: Model, other: "Model | Dataset", whose: str) -> None:
    """Raise RunError unless another model, or a data set, has the model's task, inputs and outputs.

    Columns and outputs need the same names in the same order. Arrays may have no columns' names, and the numbers from 0
    as the names of their classes. whose: names the other one in the message.
    """
    shape = other.image_shape if isinstance(other, Model) else tuple(other.train_inputs.shape[1:])
    names, columns = (model.class_names, other.class_names), (model.feature_names, other.feature_names)
    numbers = tuple(map(str, range(len(model.class_names))))
    if isinstance(other, Dataset) and "arrays" in (model.inputs, other.inputs) and numbers in names:
        # Classes 1, 2, 3 are not the classes 0, 1, 2 without names.
        unnamed = len(names[0]) == len(names[1]) and not all(name.isdecimal() for name in (*names[0], *names[1]))
        names = (numbers, numbers) if unnamed else names
    for what, ours, theirs in (
        ("the task ", model.task, other.task),
        ("", described(model.image_shape), described(shape)),
        ("the columns ", *(columns if all(columns) else ((), ()))),
        (f"the {'classes' if model.task == 'classes' else 'outputs'} ", *names),
    ):
        if ours != theirs:
            raise RunError(
                f"{model.source!r}: its network has {what}{_listed(ours)}, but {whose} has {what}{_listed(theirs)}; "
                "give data and runs with the same task, inputs and outputs"
            )


def _listed(value: str | tuple[str, ...]) -> str:
    text = value if isinstance(value, str) else ", ".join(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
    write_tensors(folder / CHECKPOINT, tensors, {"settings": flatten(settings), "position": record})


def read_position(folder: Path) -> dict[str, Any]:
    """Return where the run's checkpoint was saved: its epoch, samples and more. Raises RunError.

    Only the file's metadata are read.
    """
    return _read_facts(folder / CHECKPOINT)["position"]


def _read_facts(path: Path) -> dict[str, Any]:
    with _opened(path) as (_, facts):
        return check_fields(
            facts, {"settings": dict[str, Any], "position": dict[str, Any]}, repr(str(path)), "start the run again"
        )


def check_settings(folder: Path, settings: Settings) -> None:
    """Raise RunError unless the run's checkpoint fits these settings, epochs included. Only its metadata are read."""
    path = folder / CHECKPOINT
    facts = _read_facts(path)
    if change := first_change(unflatten(facts["settings"], repr(str(path))), settings):
        raise RunError(
            f"{str(path)!r}: was made with {change.name} {shortened(change.saved)}, but the run's configuration has "
            f"{shortened(change.wanted)}{change.reason}; resume with the settings of the checkpoint"
        )
    done = facts["position"]["epoch"] + 1
    if done > settings.train.epochs:
        raise RunError(
            f"{settings.train.epochs} is too few: the run in {str(folder)!r} has already come to epoch {done}; give at "
            "least as many, or start a new run",
            setting="epochs",
        )


def load_checkpoint(folder: Path, settings: Settings, backend: Backend) -> Position:
    """Read the position of a run, with its state on the device.

    Raises RunError if the checkpoint is damaged or does not match the settings; the message names the difference.
    """
    check_settings(folder, settings)
    tensors, facts = read_tensors(folder / CHECKPOINT)
    record = facts["position"]
    kept = itertools.takewhile(bool, (_network_of(tensors, f"kept.{j}") for j in itertools.count()))
    network, *slots = (to_device(each, backend) for each in (_network_of(tensors, "network"), *kept))
    best = record["best"]
    return Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network, tuple(tuple(each[i] for each in slots) for i in range(len(network)))),
        tally=Tally(*record["tally"]),
        best=Best(to_device(_network_of(tensors, "best"), backend), *best) if best else None,
    )
