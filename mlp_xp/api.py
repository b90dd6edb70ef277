"""What a command does, as one call."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.registry import DATASETS
from mlp_xp.dataset import Dataset
from mlp_xp.runs.recording import train_in_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.show.gallery import draw_run
from mlp_xp.show.plots import PlotError
from mlp_xp.training import Report, trajectory


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
        events = trajectory(config, dataset, backend)
    else:
        place = {"dataset": dataset.name} if dataset.name in DATASETS else {"data_dir": dataset.name}
        settings = Settings(backend.name, backend.device_name, backend.dtype_name, **place, train=config)
        events = train_in_folder(Path(run_dir), settings, dataset, backend)
    if bar:
        from mlp_xp.show.terminal import watch

        events = watch(events, config, dataset)
    for event in events:
        if run_dir is not None and event.closing:
            with suppress(PlotError):  # without Matplotlib a run has no pictures, and is whole
                draw_run(Path(run_dir), dataset, backend)
        if event.report is not None:
            yield event.report
