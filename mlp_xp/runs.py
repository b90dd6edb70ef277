"""A run is a folder: config.json, metrics.jsonl, model.safetensors, checkpoint.safetensors, and pictures."""

import datetime as dt
import hashlib
import importlib.metadata
import json
import os
import platform
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend, open_backend, threads_chosen
from mlp_xp.datasets import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.files import file_errors, left_aside, write_whole
from mlp_xp.network import Layer, Network
from mlp_xp.settings import Settings, flatten, read_settings
from mlp_xp.steps import State
from mlp_xp.training import Best, Progress, Report, Tally

CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
MODEL, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
# What may differ between a checkpoint and the run that goes on from it: where it computes, not what.
FREE_SETTINGS = ("backend", "device", "data_dir")


class RunError(MlpXpError):
    """A run folder, a model or a checkpoint that does not fit."""


class Model(NamedTuple):
    """A trained network and what it takes to use it."""

    network: Network
    """On the host."""
    activation: str
    dtype: str
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]


def default_folder(settings: Settings, now: dt.datetime) -> Path:
    """`runs/<dataset>-<backend>-<date-time>` below the current folder."""
    name = Path(settings.data_dir).resolve().name if settings.data_dir else settings.dataset
    return Path("runs") / f"{name}-{settings.backend.replace(':', '-')}-{now:%Y%m%d-%H%M%S}"


def check_new(folder: Path, overwrite: bool) -> None:
    """Raise RunError unless a new run may be written to the folder."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"{str(folder)!r}: is not a folder; choose another --run-dir")
    is_run = (folder / CONFIG).exists()
    if is_run and not overwrite:
        raise RunError(
            f"{str(folder)!r}: holds a run already; choose another --run-dir, or replace it with --overwrite"
        )
    if not is_run and {*folder.iterdir()} - {*left_aside(folder)}:
        raise RunError(f"{str(folder)!r}: is neither empty nor a run; choose another --run-dir")


def create_run(folder: Path, settings: Settings, backend: Backend, dataset: Dataset) -> None:
    """Make the folder, remove what an old run left there, and write config.json."""
    record = {
        "settings": flatten(settings),
        "device": backend.device_name,
        "versions": {
            "mlp_xp": importlib.metadata.version("mlp_xp"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "array-api-compat": importlib.metadata.version("array-api-compat"),
            backend.name: backend.version,
        },
        "threads": {
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            **threads_chosen(),
        },
        "machine": f"{platform.system()} {platform.machine()}",
        **_data_facts(settings, dataset, backend),
    }
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    write_whole(folder / CONFIG, (json.dumps(record, indent=2) + "\n").encode())


def _data_facts(settings: Settings, dataset: Dataset, backend: Backend) -> dict[str, Any]:
    return {
        "train_samples": dataset.train_images.shape[0] - settings.train.validation,
        "image_shape": list(dataset.train_images.shape[1:]),
        "class_names": list(dataset.class_names),
        "data_crc32": _checksum(dataset, backend),
    }


def _checksum(dataset: Dataset, backend: Backend) -> str:
    """Of all images and labels: enough to tell other data of the same shape. A piece at a time, for memory's sake."""
    checksum = 0
    for array in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        for start in range(0, array.shape[0], 5000):
            stop = min(start + 5000, array.shape[0])
            checksum = zlib.crc32(np.ascontiguousarray(backend.to_numpy(array[start:stop, ...])).data, checksum)
    return f"{checksum:08x}"


def check_data(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Raise RunError, which names what differs, for data that are not like those that the run was begun with."""
    _, record = read_config(folder)
    for name, value in _data_facts(settings, dataset, backend).items():
        if record.get(name) != value:
            raise RunError(
                f"{str(folder / CONFIG)!r}: the run was begun with {name} {record.get(name)!r}, these data have "
                f"{value!r}; give the run's own data with --data-dir or --dataset"
            )


def clear(folder: Path) -> None:
    """Remove whatever a run wrote into its folder, the checkpoint first, but its config.json. Raises FileError.

    That one is only ever replaced: a process that is killed here must not leave a folder without settings.
    """
    with file_errors(folder, "remove the old run in"):
        for name in (CHECKPOINT, MODEL, RESULT, METRICS):
            (folder / name).unlink(missing_ok=True)
        for old in (*folder.glob("*.png"), *folder.glob("events.out.tfevents.*"), *left_aside(folder)):
            old.unlink()


def read_config(folder: Path) -> tuple[Settings, dict[str, Any]]:
    """A run's settings, and the whole record in its config.json. Raises MlpXpError for a folder that is no run."""
    if not (folder / CONFIG).is_file():
        raise RunError(f"{str(folder)!r}: is not a run: it has no {CONFIG}; give a folder that scripts/train.py made")
    return read_settings(folder / CONFIG), json.loads((folder / CONFIG).read_text(encoding="utf-8"))


def metrics_record(report: Report) -> dict[str, Any]:
    """A report as the object that stands for it in metrics.jsonl: every field but the network."""
    return {name: value for name, value in report._asdict().items() if name != "network"}


def write_result(folder: Path, closing: Report) -> None:
    """Write result.json, the closing report of a run that came to its end. Raises FileError."""
    write_whole(folder / RESULT, (json.dumps(metrics_record(closing), indent=2) + "\n").encode())


def append_metrics(folder: Path, report: Report) -> None:
    """Add a line to metrics.jsonl, and wait until it is on the disk. Raises FileError."""
    line = json.dumps(metrics_record(report)) + "\n"
    with file_errors(folder / METRICS, "write"), (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The reports of a run, oldest first. A last line that was cut off is left out; none is not an error."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunError(f"{str(path)!r}: is damaged: {error}; train again") from None


def truncate_metrics(folder: Path, reports: int) -> None:
    """Keep the first reports of metrics.jsonl, those that a checkpoint knows of. Raises RunError when some lack.

    Also removes what a write that was killed left aside.
    """
    path = folder / METRICS
    with file_errors(folder, "tidy"):
        for old in left_aside(folder):
            old.unlink()
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    if len(lines) < reports:
        raise RunError(
            f"{str(path)!r}: has {len(lines)} reports, the checkpoint knows of {reports}; train again with --overwrite"
        )
    write_whole(path, b"".join(line + b"\n" for line in lines[:reports]))


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


def _save(path: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    from safetensors.numpy import save

    # One entry, since several are written in an order that changes from run to run: equal networks make equal files.
    record = json.dumps({**facts, "sha256": _digest(tensors, facts)})
    write_whole(path, save(tensors, metadata={"mlp_xp": record}))


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {}).get("mlp_xp", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{str(path)!r}: is not there; the run saved none yet: start it over with --overwrite") from None
    except OSError as error:
        raise RunError(f"{str(path)!r}: cannot be read: {error.strerror or error}; mend it, or train again") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise RunError(f"{str(path)!r}: is truncated or altered: {' '.join(str(error).split())}; train again") from None
    if not isinstance(facts, dict) or facts.pop("sha256", None) != _digest(tensors, facts):
        raise RunError(f"{str(path)!r}: was altered: its content and its SHA-256 sum differ; train again")
    return tensors, facts


def save_model(folder: Path, network: Network, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write model.safetensors: the network and what it takes to use it. Raises FileError."""
    facts = {
        "activation": settings.train.activation,
        "dtype": settings.dtype,
        "image_shape": json.dumps(list(dataset.train_images.shape[1:])),
        "class_names": json.dumps(list(dataset.class_names)),
    }
    _save(folder / MODEL, _network_tensors("network", network, backend), facts)


def load_model(folder: Path) -> Model:
    """The network of a run so far, on the host. Raises RunError."""
    read_config(folder)
    tensors, facts = _load(folder / MODEL)
    try:
        layers = [
            Layer(tensors[f"network.{i}.weights"], tensors[f"network.{i}.bias"]) for i in range(len(tensors) // 2)
        ]
        rows, columns = json.loads(facts["image_shape"])
        return Model(
            tuple(layers), facts["activation"], facts["dtype"], (rows, columns), tuple(json.loads(facts["class_names"]))
        )
    except KeyError as error:
        raise RunError(f"{str(folder / MODEL)!r}: lacks {error}; it is not a model of this program") from None


def backend_for(folder: Path, name: str, device: str | None = None) -> Backend:
    """Open a backend to use a run's model with, in the model's dtype. Raises BackendError or RunError."""
    return open_backend(name, device, load_model(folder).dtype)


def data_of(settings: Settings) -> str | Path:
    """What `load_dataset` takes for a run's data."""
    return Path(settings.data_dir) if settings.data_dir else settings.dataset


def check_classes(model: Model, dataset: Dataset) -> None:
    """Raise RunError unless the model tells as many classes apart as the data have."""
    if len(dataset.class_names) != len(model.class_names):
        raise RunError(
            f"the run's network tells {len(model.class_names)} classes apart, the data {dataset.name!r} have "
            f"{len(dataset.class_names)}; give the run's own data with --data-dir"
        )


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to a backend's device, in its dtype."""
    return tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in network)


def save_checkpoint(folder: Path, progress: Progress, settings: Settings, backend: Backend) -> None:
    """Write checkpoint.safetensors: all that it takes to go on to the same bits. Raises FileError."""
    network, kept = progress.state
    tensors = _network_tensors("network", network, backend)
    for j in range(len(kept[0])):
        tensors |= _network_tensors(f"kept.{j}", tuple(layers[j] for layers in kept), backend)
    if progress.best:
        tensors |= _network_tensors("best", progress.best.network, backend)
    position = {
        **{name: getattr(progress, name) for name in ("epoch", "sample", "step", "reports", "seconds", "loss")},
        "tally": list(progress.tally),
        "best": [progress.best.accuracy, progress.best.epoch] if progress.best else None,
    }
    _save(folder / CHECKPOINT, tensors, {"settings": json.dumps(flatten(settings)), "position": json.dumps(position)})


def load_checkpoint(folder: Path, settings: Settings, fresh: State, backend: Backend) -> Progress:
    """Where a run stands, its state on the device. Raises RunError, which names what differs from the configuration.

    fresh: a state of the configuration's network at its start, for names and shapes.
    """
    path = folder / CHECKPOINT
    tensors, facts = _load(path)
    if not {"settings", "position"} <= {*facts}:
        raise RunError(f"{str(path)!r}: is not a checkpoint; start the run over with --overwrite")
    saved, wanted = json.loads(facts["settings"]), json.loads(json.dumps(flatten(settings)))
    for name in wanted:
        if name not in FREE_SETTINGS and saved.get(name) != wanted[name]:
            raise RunError(
                f"{str(path)!r}: was made with {name} {saved.get(name)!r}, the run's configuration says "
                f"{wanted[name]!r}; resume with the settings of the checkpoint"
            )
    position = json.loads(facts["position"])

    def network(prefix: str) -> Network:
        layers = []
        for i, layer in enumerate(fresh.network):
            arrays = []
            for field, array in layer._asdict().items():
                name = f"{prefix}.{i}.{field}"
                if name not in tensors:
                    raise RunError(f"{str(path)!r}: lacks the array {name}; it does not fit the run's configuration")
                if tensors[name].shape != tuple(array.shape):
                    raise RunError(
                        f"{str(path)!r}: the array {name} has shape {tensors[name].shape}, the run's configuration "
                        f"makes it {tuple(array.shape)}"
                    )
                arrays.append(backend.asarray(tensors[name], backend.dtype))
            layers.append(Layer(*arrays))
        return tuple(layers)

    kept = [network(f"kept.{j}") for j in range(len(fresh.kept[0]))]
    state = State(network("network"), tuple(tuple(each[i] for each in kept) for i in range(len(fresh.network))))
    return Progress(
        **{name: position[name] for name in ("epoch", "sample", "step", "reports", "seconds", "loss")},
        state=state,
        tally=Tally(*position["tally"]),
        best=Best(network("best"), *position["best"]) if position["best"] else None,
        losses=np.empty(0),
        report=None,
        checkpoint=False,
    )
