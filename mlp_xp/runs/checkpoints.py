"""Models and checkpoints on disk: safetensors files, which contain no code, with metadata and a checksum."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend, open_backend
from mlp_xp.dataset import Dataset
from mlp_xp.files import write_whole
from mlp_xp.network import Layer, Network
from mlp_xp.runs.run_folder import CHECKPOINT, FREE_SETTINGS, MODEL, RunError, read_config
from mlp_xp.runs.settings import Settings, flatten, unflatten
from mlp_xp.steps import State
from mlp_xp.training import Best, Position, Tally


class Model(NamedTuple):
    """A trained network and what is needed to use it."""

    network: Network
    """On the host."""
    activation: str
    dtype: str
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]


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
    """Read tensors and metadata from a file of `write_tensors`. Raises RunError if the file is missing or altered."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"):  # safetensors reports any file that it cannot open as missing
            pass
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {}).get("mlp_xp", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError(f"{str(path)!r}: does not exist; resume the run to save one") from error
    except OSError as error:
        raise RunError(f"{str(path)!r}: cannot be read: {error.strerror or error}; fix it, or train again") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise RunError(
            f"{str(path)!r}: is truncated or altered: {' '.join(str(error).split())}; train again"
        ) from error
    if not isinstance(facts, dict) or facts.pop("sha256", None) != _digest(tensors, facts):
        raise RunError(f"{str(path)!r}: was altered: its content does not match its SHA-256 sum; train again")
    return tensors, facts


def save_model(folder: Path, network: Network, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write model.safetensors: the network and what is needed to use it. Raises FileError."""
    facts = {
        "activation": settings.train.activation,
        "dtype": settings.dtype,
        "image_shape": json.dumps(list(dataset.train_images.shape[1:])),
        "class_names": json.dumps(list(dataset.class_names)),
    }
    write_tensors(folder / MODEL, _network_tensors("network", network, backend), facts)


def load_model(folder: str | Path) -> Model:
    """Read the last saved network of a run, on the host. Raises RunError."""
    folder = Path(folder)
    read_config(folder)
    tensors, facts = read_tensors(folder / MODEL)
    try:
        layers = [
            Layer(tensors[f"network.{i}.weights"], tensors[f"network.{i}.bias"]) for i in range(len(tensors) // 2)
        ]
        rows, columns = json.loads(facts["image_shape"])
        return Model(
            tuple(layers), facts["activation"], facts["dtype"], (rows, columns), tuple(json.loads(facts["class_names"]))
        )
    except KeyError as error:
        raise RunError(f"{str(folder / MODEL)!r}: is not a model of mlp_xp: it has no {error}; train again") from error


def backend_for(folder: str | Path, name: str, device: str | None = None) -> Backend:
    """Open a backend for a run's model, with the model's dtype. Raises BackendError or RunError."""
    return open_backend(name, device, load_model(folder).dtype)


def check_classes(model: Model, dataset: Dataset) -> None:
    """Raise RunError unless the model and the data set have the same number of classes."""
    if len(dataset.class_names) != len(model.class_names):
        raise RunError(
            f"the run's network has {len(model.class_names)} classes, but the data {dataset.name!r} have "
            f"{len(dataset.class_names)}; give the run's own data"
        )


NUMBERS = ("epoch", "sample", "step", "reports", "seconds", "loss")


def _as_json(settings: Settings) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(flatten(settings)))
    return record


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
        "best": [position.best.accuracy, position.best.epoch] if position.best else None,
    }
    write_tensors(
        folder / CHECKPOINT, tensors, {"settings": json.dumps(flatten(settings)), "position": json.dumps(record)}
    )


def load_checkpoint(folder: Path, settings: Settings, fresh: State, backend: Backend) -> Position:
    """Read the position of a run, with its state on the device.

    fresh: a new state of the settings' network, which gives the expected names and shapes. Raises RunError if the
    checkpoint is damaged or does not match the settings; the message names the difference.
    """
    path = folder / CHECKPOINT
    tensors, facts = read_tensors(path)
    if not {"settings", "position"} <= {*facts}:
        raise RunError(f"{str(path)!r}: is not a checkpoint; start the run again")
    # A setting that is newer than the checkpoint gets its default.
    saved = _as_json(unflatten(json.loads(facts["settings"]), repr(str(path))))
    wanted = _as_json(settings)
    for name in wanted:
        if name not in FREE_SETTINGS and saved[name] != wanted[name]:
            raise RunError(
                f"{str(path)!r}: was made with {name} {saved[name]!r}, but the run's configuration has "
                f"{wanted[name]!r}; resume with the settings of the checkpoint"
            )
    record = json.loads(facts["position"])

    def network(prefix: str) -> Network:
        layers = []
        for i, layer in enumerate(fresh.network):
            arrays = []
            for field, array in layer._asdict().items():
                name = f"{prefix}.{i}.{field}"
                if name not in tensors:
                    raise RunError(f"{str(path)!r}: has no array {name} for the run's configuration; train again")
                if tensors[name].shape != tuple(array.shape):
                    raise RunError(
                        f"{str(path)!r}: the array {name} has shape {tensors[name].shape}, but the run's "
                        f"configuration requires {tuple(array.shape)}; use the configuration of the checkpoint"
                    )
                arrays.append(backend.asarray(tensors[name], backend.dtype))
            layers.append(Layer(*arrays))
        return tuple(layers)

    slots = [network(f"kept.{j}") for j in range(len(fresh.slots[0]))]
    return Position(
        **{name: record[name] for name in NUMBERS},
        state=State(network("network"), tuple(tuple(each[i] for each in slots) for i in range(len(fresh.network)))),
        tally=Tally(*record["tally"]),
        best=Best(network("best"), *record["best"]) if record["best"] else None,
    )
