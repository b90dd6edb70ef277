"""Train in a run folder and show it: reports, progress, pictures, and what was saved when it is interrupted."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mlp_xp.backends.opening import Backend
from mlp_xp.commands.data import load_data
from mlp_xp.commands.process import as_argument, called
from mlp_xp.commands.stopping import Stop, catch_signals
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.training import WARM_UP_EPOCH, Event, Report
from mlp_xp.data.datasets import is_own
from mlp_xp.errors import printable
from mlp_xp.runs import checkpoints, recording, replacing, run_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.show import terminal
from mlp_xp.show.download_progress import show_downloads


def claim(folder: Path, overwrite: bool, held: contextlib.ExitStack) -> None:
    """Claim the folder of a new run until the command ends. Raises RunError and FileError."""
    try:
        held.enter_context(recording.open_folder(folder, existing=overwrite))
    except run_folder.RunError as error:
        if error.setting and (folder / run_folder.CONFIG).exists():
            error.text += " with --overwrite"
        raise


def run(
    folder: Path,
    settings: Settings,
    dataset: Dataset,
    backend: Backend,
    console: Console,
    *,
    overwrite: bool,
) -> None:
    """Train in a folder that this process holds, and show it. A signal or a closed output saves and stops the run."""
    stop = Stop()
    command = f"{called('train')} --resume {as_argument(folder)}"
    resume = f"; resume with: {command}"
    with stop.printing():
        terminal.say(console, f"{terminal.describe(settings, dataset, backend)}\nrun      {folder}\n", indent=9)

    def show(event: Event, first: bool) -> None:
        if first:  # not before, so that what the start of the training warns of stands above the table
            with stop.printing():
                if event.closing:
                    terminal.say(console, "this run had ended; --epochs N trains it longer")
                else:
                    console.print(terminal.header(settings.train, dataset.task), soft_wrap=True)
        if event.report is None:
            return
        if not event.closing:
            with stop.printing():
                console.print(terminal.report_line(event.report), soft_wrap=True)

    def stop_at(event: Event) -> None:
        epoch, sample = event.position[:2]
        if not stop or event.closing:
            return
        place = "in the warm-up" if epoch == WARM_UP_EPOCH else f"in epoch {epoch}, after {sample} samples"
        if event.checkpoint:
            raise stop.error_at(f"{place}{resume}")
        if (stop.signal and epoch == WARM_UP_EPOCH) or replacing.current(folder) != folder:
            raise stop.error_at(f"{place}; {recording.what_is_kept(folder)}")

    with catch_signals(stop):
        events = recording.train_in_folder(
            folder, settings, dataset, backend, overwrite=overwrite, save_now=lambda: bool(stop), resume_hint=resume
        )
        with contextlib.closing(events):
            watched = terminal.watch(events, settings.train, dataset, console)
            try:
                for i, event in enumerate(watched):
                    show(event, first=not i)
                    stop_at(event)
            finally:
                with stop.printing():  # the progress bar is removed, if its terminal is still there
                    watched.close()
    report = event.report
    assert report is not None
    rmses: tuple[float, ...] = ()  # of each output, which a report does not have
    if report.rmse is not None and len(dataset.class_names) > 1:
        rmses = checkpoints.evaluation_of(checkpoints.load_model(folder), dataset, backend).rmses
    with stop.printing():
        terminal.say(console, f"\n{terminal.summary(report, dataset, rmses)}")
        if event.position.best:
            best, epoch = event.position.best, event.position.epoch
            terminal.say(console, terminal.selected(best, epoch, settings.train, dataset))
        if text := nothing_learned(report, settings, dataset, backend):
            terminal.say(console, text)
    draw_pictures(folder, dataset, backend, console, stop)
    if stop.error:
        raise stop.error_at(f"after the end of the training; the run in {str(folder)!r} is complete")


def nothing_learned(report: Report, settings: Settings, dataset: Dataset, backend: Backend) -> str:
    """Say that a network is no better than a guess without its inputs, and what to try; an empty string if it is."""
    text = ""
    if report.r2 is not None and report.r2 <= 0:
        text = "no better than always predicting the mean"
    if report.accuracy is not None and dataset.task == "classes":
        counts = np.bincount(backend.to_numpy(dataset.test_labels), minlength=len(dataset.class_names))
        if report.accuracy <= (share := counts.max() / counts.sum()):
            name = printable(dataset.class_names[int(counts.argmax())])
            text = f"no better than always naming {name}, the most frequent class ({100 * share:.2f} %)"
    rate = settings.train.learning_rate / 10
    return (
        text and f"{text}; try a lower --learning-rate, such as {rate:g}, more --epochs, another --seed, or more data"
    )


def draw_pictures(folder: Path, dataset: Dataset, backend: Backend, console: Console, stop: Stop) -> None:
    """Draw the pictures of the run, or print why they cannot be drawn. A run without pictures is complete."""
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    try:
        paths = draw_run(folder, dataset, backend)
    except PlotError as error:
        command = f"{called('plot')} {as_argument(folder)}".replace(" ", terminal.GLUE)
        text = f"no pictures: {error}, then: {command}"
    else:
        text = f"drawn in {folder}: {', '.join(path.name for path in paths)}"
    with stop.printing():
        terminal.say(console, text)


def load(
    settings: Settings,
    backend: Backend,
    resume: Path | None,
    given: Mapping[str, Any],
    cache_dir: Path | None,
    console: Console,
) -> Dataset:
    """Load the data set to the device. resume: the run to resume. given: the settings that the command line names."""
    place, origin = run_folder.data_of(settings), settings.origin
    if resume and place == UNNAMED:
        raise run_folder.RunError(
            f"{str(resume)!r}: the run's data were in memory; resume it in Python, with "
            "train(..., run_dir=...) and the same data, or give them as files with --data-dir"
        )
    if resume and is_own(place, origin):  # what was guessed when the run began
        origin = origin._replace(task=run_folder.read_config(resume)[1].get("task", origin.task))
    with show_downloads(console) as progress:
        return load_data(
            place,
            backend,
            option="data_dir" if settings.data_dir else "dataset",
            run=None if "data_dir" in given else resume,
            cache_dir=cache_dir,
            progress=progress,
            **origin._asdict(),
        )
