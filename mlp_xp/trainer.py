"""Training with its run folder: files written as it goes, and exact resume from them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlp_xp import checkpoints, runs
from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.datasets import Dataset
from mlp_xp.gallery import draw_run
from mlp_xp.plots import PlotError
from mlp_xp.registry import DATASETS
from mlp_xp.settings import Settings
from mlp_xp.steps import initial_state
from mlp_xp.training import Progress, Report, layer_sizes, trajectory


def train(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    *,
    run_dir: str | Path | None = None,
    bar: bool = False,
) -> Iterator[Report]:
    """Train, and yield the reports: one at every `report_every` samples, and a closing one with the trained network.

    A generator: draw live, or stop when you like. run_dir: a folder to write the run to, its pictures at the end; a run
    that is there already is gone on with, to the same bits as if it had not been interrupted. bar: show a progress bar,
    in a terminal or a notebook. Raises ConfigError for a data set too small for the configuration, DivergenceError at
    the first loss that is not finite, RunError for a folder that holds something else, FileError where it cannot be
    written.
    """
    if run_dir is None:
        progresses = trajectory(config, dataset, backend)
    else:
        place = {"dataset": dataset.name} if dataset.name in DATASETS else {"data_dir": dataset.name}
        settings = Settings(backend.name, backend.device_name, backend.dtype_name, **place, train=config)
        progresses = train_in_folder(Path(run_dir), settings, dataset, backend)
    if bar:
        from mlp_xp.display import watch

        progresses = watch(progresses, config, dataset)
    for progress in progresses:
        if run_dir is not None and progress.closing:
            with suppress(PlotError):  # without Matplotlib a run has no pictures, and is whole
                draw_run(Path(run_dir), dataset, backend)
        if progress.report is not None:
            yield progress.report


def train_in_folder(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Iterator[Progress]:
    """Train from where the run in the folder stands, or from the start of a new one; yield as `trajectory` does.

    Reports and checkpoints are on the disk before they are yielded, the closing report in a file of its own. Raises as
    `train` does.
    """
    start = find_start(folder, settings, dataset, backend)
    if start is None:
        runs.check_new(folder, overwrite=True)
        runs.create_run(folder, settings, backend, dataset)
    else:
        runs.truncate_metrics(folder, start.reports)
    for progress in trajectory(settings.train, dataset, backend, start):
        if progress.report is not None and not progress.closing:
            runs.append_metrics(folder, progress.report)
        if progress.checkpoint:
            save(folder, progress, settings, dataset, backend)
        if progress.report is not None and progress.closing:
            runs.write_result(folder, progress.report, progress.best)
        yield progress


def find_start(folder: Path, settings: Settings, dataset: Dataset, backend: Backend) -> Progress | None:
    """Where the run in the folder stands, its state on the device; None for no run, or one without a checkpoint.

    Raises RunError when the checkpoint there is not one of these settings and data.
    """
    if not (folder / runs.CHECKPOINT).exists():
        return None
    runs.check_data(folder, settings, dataset, backend)
    fresh, _ = initial_state(settings.train, layer_sizes(settings.train, dataset), backend)
    return checkpoints.load_checkpoint(folder, settings, fresh, backend)


def save(folder: Path, progress: Progress, settings: Settings, dataset: Dataset, backend: Backend) -> None:
    """Write the network so far, the best by validation where there is one, and a checkpoint to go on from."""
    network = progress.best.network if progress.best else progress.state.network
    checkpoints.save_model(folder, network, settings, dataset, backend)
    checkpoints.save_checkpoint(folder, progress, settings, backend)
