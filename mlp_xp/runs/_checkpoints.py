"""The files of models and of checkpoints: their tensors, and what these mean."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.signature import Signature
from mlp_xp.core.step import State, to_device
from mlp_xp.core.training import Best, Position, Tally
from mlp_xp.data.columns import Columns
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.names import MODEL
from mlp_xp.runs.records import RunError, check_fields
from mlp_xp.runs.settings import Settings, flatten, unflatten

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
    facts = {
        "rows": fingerprints,
        "activation": model.activation,
        "dtype": model.backend.dtype_name,
        "signature": model.signature.record(),
    }
    tensors = _tensors_of("network", model.network, model.backend)
    write_tensors(path, {**tensors, **model.signature.arrays()}, facts)


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
    record = facts["signature"]
    columns = record["columns"] and Columns.from_record(record["columns"])
    return Model(
        network=to_device(_network_of("network", tensors), place),
        activation=facts["activation"],
        signature=Signature.from_record(record, tensors, columns),
        backend=place,
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
