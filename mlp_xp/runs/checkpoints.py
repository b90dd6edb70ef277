"""The files of models and of checkpoints: their tensors, and what these mean."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import PREPARATIONS, Dataset, Preparation, described
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.step import State, to_device
from mlp_xp.core.task import TASKS
from mlp_xp.core.training import Best, Position, Tally
from mlp_xp.data.columns import Column, Columns
from mlp_xp.runs.names import MODEL
from mlp_xp.runs.records import TARGETS, RunError, check_fields, first_difference
from mlp_xp.runs.settings import Settings, flatten, unflatten
from mlp_xp.runs.tensors import read_tensors, write_tensors

# The names of arrays in the file of a model: those that were fitted to inputs, and the
# mean and the deviation of standardised numbers.
FITTED = ("shift", "scale")
SCALING = ("target_shift", "target_scale")
# The fields of a position that are plain numbers.
NUMBERS = ("epoch", "sample", "step", "reports", "seconds", "loss")


def write_model(path: Path, model: Model, fingerprints: str | None = None) -> None:
    """Write the file of a model, which is enough to use the model again.

    Args:
        path: The file.
        model: The network, and what its inputs and outputs mean.
        fingerprints: The checksum of the file with the rows that the model was trained
            on; None if they are not recorded.

    Raises:
        FileError: The file cannot be written.
    """
    facts: dict[str, Any] = {
        "rows": fingerprints,
        "activation": model.activation,
        "dtype": model.backend.dtype_name,
        "decimal_commas": bool(model.columns and model.columns.decimal_commas),
        **facts_of(model, model.input_shape),
    }
    to_numpy = model.backend.to_numpy
    tensors = _tensors_of("network", model.network, model.backend)
    for name, array in zip(FITTED, model.prepare.fitted, strict=False):
        tensors[name] = to_numpy(array)
    for name, array in zip(SCALING, model.scaling, strict=False):
        tensors[name] = to_numpy(array)
    write_tensors(path, tensors, facts)


def read_model(path: Path, source: str, backend: Backend | None = None) -> Model:
    """Read the file of a model.

    Args:
        path: The file.
        source: What messages call the model.
        backend: Where its arrays are; by default NumPy in the model's dtype.

    Raises:
        RunError: The file is missing or damaged, or has no model.
    """
    tensors, facts = read_tensors(path)
    if "activation" not in facts:
        raise RunError("is not a model", file=path, remedy=f"give the {MODEL} of a run")
    place = backend or open_backend("numpy", dtype=facts["dtype"])

    def placed(names: tuple[str, ...]) -> tuple[Array, ...]:
        present = [name for name in names if name in tensors]
        return tuple(place.asarray(tensors[name], place.dtype) for name in present)

    columns = None
    if facts["columns"]:
        known = tuple(_column_of(record) for record in facts["columns"])
        columns = Columns(known, decimal_commas=facts["decimal_commas"])
    return Model(
        network=to_device(_network_of("network", tensors), place),
        backend=place,
        activation=facts["activation"],
        prepare=Preparation(PREPARATIONS[facts["preparation"]], placed(FITTED)),
        task=TASKS[facts["task"]],
        scaling=placed(SCALING),
        input_shape=tuple(facts["image_shape"]),
        class_names=tuple(facts["class_names"]),
        columns=columns,
        kind=facts["inputs"],
        source=source,
        sha256=facts["sha256"],
    )


def write_position(
    path: Path, position: Position, settings: Settings, backend: Backend
) -> None:
    """Write a checkpoint, from which a run can be resumed bit for bit.

    Args:
        path: The file.
        position: How far the run has come, with its state on the device.
        settings: The settings of the run.
        backend: The backend that the state is on.

    Raises:
        FileError: The file cannot be written.
    """
    network, slots = position.state
    tensors = _tensors_of("network", network, backend)
    for j in range(len(slots[0])):
        of_slot = tuple(layer_slots[j] for layer_slots in slots)
        tensors |= _tensors_of(f"kept.{j}", of_slot, backend)
    best = None
    if position.best:
        tensors |= _tensors_of("best", position.best.network, backend)
        best = list(position.best[1:])
    record = {name: getattr(position, name) for name in NUMBERS}
    record |= {"tally": list(position.tally), "best": best}
    write_tensors(path, tensors, {"settings": flatten(settings), "position": record})


def read_position(path: Path, backend: Backend) -> tuple[Position, Settings]:
    """Read a checkpoint.

    Args:
        path: The file.
        backend: The backend that the state shall be on.

    Returns:
        The position, with its state on the device, and the settings of the run.

    Raises:
        RunError: The file is missing or damaged.
    """
    tensors, facts = read_tensors(path)
    check_fields(facts, {"settings": dict, "position": dict}, path)
    record = facts["position"]
    network = to_device(_network_of("network", tensors), backend)
    slots = []
    for j in itertools.count():
        of_slot = _network_of(f"kept.{j}", tensors)
        if not of_slot:
            break
        slots.append(to_device(of_slot, backend))
    of_layers = tuple(tuple(slot[i] for slot in slots) for i in range(len(network)))
    best = None
    if record["best"]:
        best = Best(to_device(_network_of("best", tensors), backend), *record["best"])
    position = Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network, of_layers),
        tally=Tally(*record["tally"]),
        best=best,
    )
    return position, unflatten(facts["settings"], path)


def facts_of(data: Model | Dataset, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the meaning of inputs and outputs as JSON values."""
    columns = None
    if data.columns:
        columns = [
            {**each._asdict(), "levels": [*each.levels]}
            for each in data.columns.columns
        ]
    return {
        "inputs": data.kind,
        "image_shape": list(input_shape),
        "class_names": list(data.class_names),
        "columns": columns,
        "task": data.task.name,
        "preparation": preparation_of(data.prepare),
        "targets": TARGETS[bool(data.scaling)],
    }


def preparation_of(prepare: Preparation) -> str:
    """Return the name of a preparation, a key of PREPARATIONS.

    Raises:
        RunError: It is another function.
    """
    for name, function in PREPARATIONS.items():
        if prepare.function is function:
            return name
    fault = "the data set has a prepare function of its own, which a run folder cannot store"
    raise RunError(fault)


def check_fit(model: Model, other: "Model | Dataset", whose: str) -> None:
    """Raise RunError unless another model, or a data set, has the model's task, inputs
    and outputs.

    whose: names the other one in the message. Columns without names fit all, and models
    with names make features of a table each in its own way. Outputs of arrays that are
    only numbered, from 0, fit outputs with names. They do not fit other numbers:
    classes 1, 2, 3 are not the classes 0, 1, 2.
    """
    shape = (
        other.input_shape
        if isinstance(other, Model)
        else tuple(other.train_inputs.shape[1:])
    )
    names = model.class_names, other.class_names
    of_arrays = isinstance(other, Dataset) and "arrays" in (model.kind, other.kind)
    are_numbers = tuple(map(str, range(len(names[0])))) in names and len(
        names[0]
    ) == len(names[1])
    fit = (
        of_arrays
        and are_numbers
        and any(not name.isdecimal() for side in names for name in side)
    )
    facts: list[tuple[str, Any, Any]] = [
        ("task", model.task.name, other.task.name),
        (model.task.outputs_name, names[1] if fit else names[0], names[1]),
    ]
    if isinstance(other, Dataset) or not (model.columns and other.columns):
        facts.insert(1, ("inputs", described(model.input_shape), described(shape)))
    if isinstance(other, Dataset) and model.columns and other.columns:
        mine, theirs = model.columns, other.columns
        kinds = [[each.kind for each in one.columns] for one in (mine, theirs)]
        medians = [
            [each.fill for each in one.columns if each.flagged]
            for one in (mine, theirs)
        ]
        facts.insert(2, ("columns", mine.feature_names, theirs.feature_names))
        facts += [
            ("kinds of columns", kinds[0], kinds[1]),
            ("medians of columns with gaps", medians[0], medians[1]),
        ]
    if difference := first_difference(facts):
        raise RunError(
            f"its network does not fit {whose}: {difference}",
            file=model.source,
            remedy="give data and runs with the same task, inputs and outputs",
        )


def _tensors_of(
    prefix: str, network: Network, backend: Backend
) -> dict[str, np.ndarray]:
    """Return the arrays of a network on the host, by names such as `network.0.weights`."""
    tensors = {}
    for i, layer in enumerate(network):
        for field, array in layer._asdict().items():
            tensors[f"{prefix}.{i}.{field}"] = backend.to_numpy(array)
    return tensors


def _network_of(prefix: str, tensors: Mapping[str, np.ndarray]) -> Network:
    """Return the network with these names, on the host; without layers if there is
    none.
    """
    layers: list[Layer] = []
    while f"{prefix}.{len(layers)}.bias" in tensors:
        start = f"{prefix}.{len(layers)}"
        layers.append(Layer(tensors[f"{start}.weights"], tensors[f"{start}.bias"]))
    return tuple(layers)


def _column_of(record: dict[str, Any]) -> Column:
    return Column(**{**record, "levels": tuple(record["levels"])})
