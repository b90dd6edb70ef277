"""The files of models and checkpoints: their tensors, and how they are read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.signature import Signature
from mlp_xp.core.step import State, to_device
from mlp_xp.core.training import Best, Mark, Position, Tally
from mlp_xp.data.columns import Columns
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.names import MODEL
from mlp_xp.runs.records import RunError, check_fields
from mlp_xp.runs.settings import Settings, flatten, unflatten, with_absolute_paths

# The fields of a position with plain numbers.
NUMBERS = ("epoch", "sample", "step", "reports", "seconds", "loss")


def write_model(path: Path, model: Model, rows_sha256: str | None = None) -> None:
    """Write the file of a model, which is enough to use it. Raises FileError.

    `rows_sha256` is the checksum of the file with the model's training rows, or None if
    the rows are not recorded.
    """
    facts = {
        "rows": rows_sha256,
        "activation": model.activation,
        "dtype": model.backend.dtype_name,
        "signature": model.signature.record(),
    }
    tensors = _tensors_of("network", model.network, model.backend)
    tensors |= model.signature.arrays()
    write_tensors(path, tensors, facts)


def read_model(path: Path, source: str) -> Model:
    """Read a model, with arrays of NumPy. Messages call the model `source`.

    Raises:
        RunError: The file is missing or damaged, or has no model.
    """
    tensors, facts = read_tensors(path)
    if "activation" not in facts:
        raise RunError("is not a model", file=path, remedy=f"give the {MODEL} of a run")
    backend = open_backend("numpy", dtype=facts["dtype"])
    record = facts["signature"]
    columns = record["columns"]
    if columns:
        columns = Columns.from_record(columns)
    return Model(
        network=to_device(_network_of("network", tensors), backend),
        activation=facts["activation"],
        signature=Signature.from_record(record, tensors, columns),
        backend=backend,
        source=source,
        file=str(path.absolute()),
        sha256=facts["sha256"],
    )


def write_position(
    path: Path, position: Position, settings: Settings, backend: Backend
) -> None:
    """Write a checkpoint, to resume a run bit for bit. Raises FileError.

    The state of the position is on the device of the backend.
    """
    network, layers_slots = position.state
    tensors = _tensors_of("network", network, backend)
    # Slot j of the optimiser, of all layers, is stored like a network: `kept.j`.
    for j, slot in enumerate(zip(*layers_slots, strict=True)):
        tensors |= _tensors_of(f"kept.{j}", slot, backend)
    record = {name: getattr(position, name) for name in NUMBERS}
    record["tally"] = position.tally._asdict()
    record["best"] = None
    if position.best:
        record["best"] = position.best.marks
        tensors |= _tensors_of("best", position.best.network, backend)
    saved = flatten(with_absolute_paths(settings))
    write_tensors(path, tensors, {"settings": saved, "position": record})


def read_position(path: Path, backend: Backend) -> tuple[Position, Settings]:
    """Read the position in a checkpoint, onto the device, and the settings of the run.

    Raises:
        RunError: The file is missing or damaged.
    """
    tensors, facts = read_tensors(path)
    check_fields(facts, {"settings": dict, "position": dict}, path)
    record = facts["position"]
    network = to_device(_network_of("network", tensors), backend)
    slots = _networks_of("kept", tensors, backend)
    layers_slots = tuple(
        tuple(slot[layer] for slot in slots) for layer in range(len(network))
    )
    best = None
    if record["best"]:
        best_network = to_device(_network_of("best", tensors), backend)
        best = Best(best_network, tuple(Mark(*mark) for mark in record["best"]))
    position = Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network, layers_slots),
        tally=Tally(**record["tally"]),
        best=best,
    )
    return position, unflatten(facts["settings"], path)


def read_settings(path: Path) -> Settings:
    """Read the settings of the run in a checkpoint.

    Raises:
        RunError: The file is missing or damaged.
    """
    _, facts = read_tensors(path)
    check_fields(facts, {"settings": dict}, path)
    return unflatten(facts["settings"], path)


def _tensors_of(
    prefix: str, network: Network, backend: Backend
) -> dict[str, np.ndarray]:
    """Return a network's arrays on the host, by names like `network.0.weights`."""
    tensors = {}
    for i, layer in enumerate(network):
        for field, array in layer._asdict().items():
            tensors[f"{prefix}.{i}.{field}"] = backend.to_numpy(array)
    return tensors


def _networks_of(
    prefix: str, tensors: Mapping[str, np.ndarray], backend: Backend
) -> list[Network]:
    """Return the networks with the prefixes `prefix.0`, `prefix.1` and so on."""
    networks: list[Network] = []
    while network := _network_of(f"{prefix}.{len(networks)}", tensors):
        networks.append(to_device(network, backend))
    return networks


def _network_of(prefix: str, tensors: Mapping[str, np.ndarray]) -> Network:
    """Return the host network whose arrays have this prefix, or () if none do."""
    layers: list[Layer] = []
    while f"{prefix}.{len(layers)}.bias" in tensors:
        start = f"{prefix}.{len(layers)}"
        layers.append(Layer(tensors[f"{start}.weights"], tensors[f"{start}.bias"]))
    return tuple(layers)
