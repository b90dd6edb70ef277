"""Training that writes a run folder, and exact resume from it."""

from collections.abc import Iterator
from pathlib import Path

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset, flatten_and_scale
from mlp_xp.device import initial_state
from mlp_xp.runs import checkpoints, run_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.training import Event, Position, layer_sizes, trajectory


def train_in_folder(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Iterator[Event]:
    """Resume the run in the folder, or start a new one, and yield the events of `trajectory`.

    Reports and checkpoints are written to disk before they are yielded; the closing report has its own file. Raises the
    same errors as `mlp_xp.train`.
    """
    if dataset.prepare is not flatten_and_scale:
        raise run_folder.RunError("the data set has a prepare function of its own, which a run folder cannot store")
    start = find_start(folder, settings, dataset, backend)
    if start is None:
        run_folder.check_new(folder, overwrite=True)
        run_folder.create_run(folder, settings, backend, dataset)
    else:
        run_folder.truncate_metrics(folder, start.reports)
    for event in trajectory(settings.train, dataset, backend, start):
        if event.report is not None and not event.closing:
            run_folder.append_metrics(folder, event.report)
        if event.checkpoint:
            save(folder, event.position, settings, dataset, backend)
        if event.report is not None and event.closing:
            run_folder.write_result(folder, event.report, event.position.best)
        yield event


def find_start(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Position | None:
    """Return the position of the run in the folder, with its state on the device, or None if there is no checkpoint.

    Raises RunError if the checkpoint does not match the settings and the data.
    """
    if not (folder / run_folder.CHECKPOINT).exists():
        return None
    run_folder.check_data(folder, run_folder.data_facts(settings, dataset, backend))
    checkpoints.check_settings(folder, settings)  # before a network of their size is made
    fresh, _ = initial_state(settings.train, layer_sizes(settings.train, dataset), backend)
    return checkpoints.load_checkpoint(folder, settings, fresh, backend)


def save(folder: Path, position: Position, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write a checkpoint and the model: the best network on the validation set, or else the current network."""
    network = position.best.network if position.best else position.state.network
    checkpoints.save_model(folder, network, settings, dataset, backend)
    checkpoints.save_checkpoint(folder, position, settings, backend)
