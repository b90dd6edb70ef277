"""Train with one function call, optionally with a run folder and a progress bar."""

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
    """Train, and yield the reports: one every `report_every` samples, and a closing one with the trained network.

    This is a generator, so you can draw while it trains, or stop early. run_dir: folder to write the run to, with its
    pictures at the end. An existing run in the folder is resumed; the result is bit for bit the same as without the
    interruption. bar: show a progress bar in a terminal or a notebook. Raises ConfigError if the data set is too small
    for the configuration, DivergenceError at the first loss that is not finite, RunError if the folder contains
    something else, and FileError if it cannot be written.
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
            with suppress(PlotError):  # without Matplotlib a run has no pictures, but is complete
                draw_run(Path(run_dir), dataset, backend)
        if event.report is not None:
            yield event.report
