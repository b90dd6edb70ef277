"""Training with its run folder: files written as it goes, and exact resume from them."""

from collections.abc import Iterator
from pathlib import Path

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset
from mlp_xp.runs import checkpoints, run_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.steps import initial_state
from mlp_xp.training import Progress, layer_sizes, trajectory


def train_in_folder(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Iterator[Progress]:
    """Train from where the run in the folder stands, or from the start of a new one; yield as `trajectory` does.

    Reports and checkpoints are on the disk before they are yielded, the closing report in a file of its own. Raises as
    `mlp_xp.train` does.
    """
    start = find_start(folder, settings, dataset, backend)
    if start is None:
        run_folder.check_new(folder, overwrite=True)
        run_folder.create_run(folder, settings, backend, dataset)
    else:
        run_folder.truncate_metrics(folder, start.reports)
    for progress in trajectory(settings.train, dataset, backend, start):
        if progress.report is not None and not progress.closing:
            run_folder.append_metrics(folder, progress.report)
        if progress.checkpoint:
            save(folder, progress, settings, dataset, backend)
        if progress.report is not None and progress.closing:
            run_folder.write_result(folder, progress.report, progress.best)
        yield progress


def find_start(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Progress | None:
    """Where the run in the folder stands, its state on the device; None for no run, or one without a checkpoint.

    Raises RunError when the checkpoint there is not one of these settings and data.
    """
    if not (folder / run_folder.CHECKPOINT).exists():
        return None
    run_folder.check_data(folder, settings, dataset, backend)
    fresh, _ = initial_state(settings.train, layer_sizes(settings.train, dataset), backend)
    return checkpoints.load_checkpoint(folder, settings, fresh, backend)


def save(folder: Path, progress: Progress, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write the network so far, the best by validation where there is one, and a checkpoint to go on from."""
    network = progress.best.network if progress.best else progress.state.network
    checkpoints.save_model(folder, network, settings, dataset, backend)
    checkpoints.save_checkpoint(folder, progress, settings, backend)
