"""Models and checkpoints on disk: files of tensors."""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import PREPARATIONS, Dataset, Preparation, described
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.step import State, to_device
from mlp_xp.core.task import TASKS
from mlp_xp.core.training import Best, Position, Tally
from mlp_xp.data.columns import Column, Columns
from mlp_xp.errors import quoted
from mlp_xp.runs.records import RunError, check_fields, first_difference
from mlp_xp.runs.run_folder import CHECKPOINT, MODEL, facts_of, read_config
from mlp_xp.runs.settings import Settings, check_unchanged, flatten, unflatten
from mlp_xp.runs.tensors import read_tensors, write_tensors

# What the fitted arrays of a preparation, and those of standardised numbers, are called in a model's file.
FITTED, SCALING = ("shift", "scale"), ("target_shift", "target_scale")


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


def save_model(folder: Path, model: Model, rows: str | None = None) -> None:
    """Write model.safetensors, which is enough to use the model again.

    Args:
        folder: The folder of the run.
        model: The network, and what its inputs and outputs mean.
        rows: The checksum of the rows that the model was trained on, from `write_rows`;
            None if they are not recorded.

    Raises:
        FileError: The file cannot be written.
    """
    facts: dict[str, Any] = {
        "rows": rows,
        "activation": model.activation,
        "dtype": model.backend.dtype_name,
        "decimal_commas": bool(model.columns and model.columns.decimal_commas),
        **facts_of(model, model.input_shape),
    }
    tensors = _network_tensors("network", model.network, model.backend)
    for names, arrays in ((FITTED, model.prepare.fitted), (SCALING, model.scaling)):
        tensors |= {name: model.backend.to_numpy(array) for name, array in zip(names, arrays, strict=False)}
    write_tensors(folder / MODEL, tensors, facts)


def load_run(path: str | Path, backend: Backend | None = None) -> Model:
    """Read the trained network of a run's folder, or a model.safetensors file: see `Model.predict`.

    Its arrays are on the backend, by default NumPy in the model's dtype. Raises RunError if the folder is not a run,
    has no model yet, or its model is damaged.
    """
    if not isinstance(path, str | os.PathLike):
        raise RunError(f"{path!r:.80} is not a path", remedy="give the folder of a run", setting="path")
    source = path = Path(path)
    if path.suffix != ".safetensors":
        read_config(path)  # or else the folder is not a run
        path = path / MODEL
    tensors, facts = read_tensors(path)
    if "activation" not in facts:
        raise RunError("is not a model", file=path, remedy=f"give the {MODEL} of a run")
    place = backend or open_backend("numpy", dtype=facts["dtype"])

    def placed(names: Iterable[str]) -> tuple[Array, ...]:
        return tuple(place.asarray(tensors[name], place.dtype) for name in names if name in tensors)

    return Model(
        to_device(_network_of(tensors, "network"), place),
        place,
        facts["activation"],
        Preparation(PREPARATIONS[facts["preparation"]], placed(FITTED)),
        TASKS[facts["task"]],
        placed(SCALING),
        tuple(facts["image_shape"]),
        tuple(facts["class_names"]),
        facts["columns"] and Columns(tuple(map(_column_of, facts["columns"])), "", facts["decimal_commas"]),
        facts["inputs"],
        str(source),
        facts["sha256"],
    )


def _column_of(record: dict[str, Any]) -> Column:
    return Column(**{**record, "levels": tuple(record["levels"])})


def check_fit(model: Model, other: "Model | Dataset", whose: str) -> None:
    """Raise RunError unless another model, or a data set, has the model's task, inputs and outputs.

    whose: names the other one in the message. Columns without names fit all, and models with names make features of a
    table each in its own way. Outputs of arrays that are only numbered, from 0, fit outputs with names. They do not fit
    other numbers: classes 1, 2, 3 are not the classes 0, 1, 2.
    """
    shape = other.input_shape if isinstance(other, Model) else tuple(other.train_inputs.shape[1:])
    names = model.class_names, other.class_names
    of_arrays = isinstance(other, Dataset) and "arrays" in (model.kind, other.kind)
    are_numbers = tuple(map(str, range(len(names[0])))) in names and len(names[0]) == len(names[1])
    fit = of_arrays and are_numbers and any(not name.isdecimal() for side in names for name in side)
    facts: list[tuple[str, Any, Any]] = [
        ("task", model.task.name, other.task.name),
        (model.task.outputs_name, names[1] if fit else names[0], names[1]),
    ]
    if isinstance(other, Dataset) or not (model.columns and other.columns):
        facts.insert(1, ("inputs", described(model.input_shape), described(shape)))
    if isinstance(other, Dataset) and model.columns and other.columns:
        mine, theirs = model.columns, other.columns
        kinds = [[each.kind for each in one.columns] for one in (mine, theirs)]
        medians = [[each.fill for each in one.columns if each.flagged] for one in (mine, theirs)]
        facts.insert(2, ("columns", mine.feature_names, theirs.feature_names))
        facts += [("kinds of columns", kinds[0], kinds[1]), ("medians of columns with gaps", medians[0], medians[1])]
    if difference := first_difference(facts):
        raise RunError(
            f"its network does not fit {whose}: {difference}",
            file=model.source,
            remedy="give data and runs with the same task, inputs and outputs",
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
    write_tensors(folder / CHECKPOINT, tensors, {"settings": flatten(settings), "position": record})


def load_checkpoint(folder: Path, settings: Settings, backend: Backend) -> Position:
    """Read the position of a run, with its state on the device.

    Raises MlpXpError if the checkpoint is damaged or does not match the settings; the message names the difference.
    """
    path = folder / CHECKPOINT
    tensors, facts = read_tensors(path)
    check_fields(facts, {"settings": dict, "position": dict}, path)
    check_unchanged(unflatten(facts["settings"], path), settings, path)
    record = facts["position"]
    if record["epoch"] >= settings.train.epochs:
        raise RunError(
            f"{settings.train.epochs} is too few: the run in {quoted(folder)} has already come to epoch "
            f"{record['epoch'] + 1}",
            remedy="give at least as many, or start a new run",
            setting="epochs",
        )
    kept = itertools.takewhile(bool, (_network_of(tensors, f"kept.{j}") for j in itertools.count()))
    network, *slots = (to_device(each, backend) for each in (_network_of(tensors, "network"), *kept))
    best = record["best"]
    return Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network, tuple(tuple(each[i] for each in slots) for i in range(len(network)))),
        tally=Tally(*record["tally"]),
        best=Best(to_device(_network_of(tensors, "best"), backend), *best) if best else None,
    )
