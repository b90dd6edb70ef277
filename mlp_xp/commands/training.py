"""Train in a run folder and show it: reports, progress, pictures, and what was saved when it is interrupted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mlp_xp.commands.data import naming_option
from mlp_xp.commands.process import called
from mlp_xp.commands.stopping import Stop, catch_signals
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.library import Backend
from mlp_xp.core.training import Event, Report
from mlp_xp.data.datasets import is_own, load_dataset
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.show import terminal


def run(folder: Path, settings: Settings, job: Job, console: Console, *, overwrite: bool) -> None:
    """Train in a folder that this process holds, and show it. A signal or a closed output saves and stops the run."""
    stop, dataset, backend = Stop(), job.dataset, job.backend
    hint = f"; resume with: {called('train', '--resume', folder)}"

    def say(text: str, indent: int = 2) -> None:
        with stop.printing():
            terminal.say(console, text, indent=indent)

    say(f"{terminal.describe(settings, job)}\nrun      {folder}\n", indent=9)
    with catch_signals(stop):
        events = recording.train_in_folder(
            folder, settings, job, overwrite=overwrite, save_now=lambda: bool(stop), resume_hint=hint
        )
        watched = terminal.watch(events, job, console)
        try:
            head = terminal.header(settings.train, dataset.task)
            for event in watched:
                if event.closing:
                    continue
                # The header comes with the first event, so that warnings of the start stand above the table.
                with stop.printing():
                    for line in filter(None, (head, event.report and terminal.report_line(event.report))):
                        console.print(line, soft_wrap=True)
                head = ""
                if stop:
                    stop_at(event, folder, stop, hint)
        finally:
            with stop.printing():  # the progress bar is removed, if its terminal is still there
                watched.close()
            events.close()
    report = event.report
    assert report is not None
    say(f"\n{terminal.summary(report, dataset)}")
    if event.position.best:
        say(terminal.selected(event.position.best, event.position.epoch, settings.train, dataset))
    if text := nothing_learned(report, settings, dataset, backend):
        say(text)
    if text := draw_pictures(folder, dataset, backend):
        say(text)
    if stop.error:
        raise stop.error_at(f"after the end of the training; the run in {str(folder)!r} is complete")


def stop_at(event: Event, folder: Path, stop: Stop, hint: str) -> None:
    """Raise MlpXpError if the training can stop after this event.

    It stops at a checkpoint. In the warm-up, and in a run that is to replace another, none is saved: there it stops
    after a signal.
    """
    epoch, sample = event.position.epoch, event.position.sample
    place = "in the warm-up" if epoch == WARM_UP_EPOCH else f"in epoch {epoch}, after {sample} samples"
    if event.checkpoint:
        raise stop.error_at(f"{place}{hint}")
    if (stop.signal and epoch == WARM_UP_EPOCH) or run_folder.is_replaced(folder):
        raise stop.error_at(f"{place}; {recording.what_is_kept(folder)}")


def nothing_learned(report: Report, settings: Settings, dataset: Dataset, backend: Backend) -> str:
    """Say that a network is no better than a guess without its inputs, and what to try; an empty string if it is."""
    guess, score = "predicting the mean", 0.0
    if dataset.task.exclusive and report.test:
        counts = np.bincount(backend.to_numpy(dataset.test_labels), minlength=len(dataset.class_names))
        score = counts.max() / counts.sum()
        name = dataset.class_names[int(counts.argmax())]
        guess = f"naming {name}, the most frequent class ({100 * score:.2f} %)"
    if not report.test or report.test.score > score or not (dataset.task.exclusive or dataset.task.floats):
        return ""
    return (
        f"no better than always {guess}; try a lower --learning-rate, such as {settings.train.learning_rate / 10:g}, "
        "more --epochs, another --seed, or more data"
    )


def draw_pictures(folder: Path, dataset: Dataset, backend: Backend) -> str:
    """Draw the pictures of a run, and say which, or why they cannot be drawn. A run without pictures is complete."""
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    try:
        paths = draw_run(folder, dataset, backend)
    except PlotError as error:
        command = called("plot", folder).replace(" ", terminal.GLUE)
        return f"no pictures: {error}, then: {command}"
    return f"drawn in {folder}: {', '.join(path.name for path in paths)}"


def load(
    settings: Settings, backend: Backend, resume: Path | None, given: Mapping[str, Any], cache_dir: Path | None
) -> Dataset:
    """Load the data set to the device. resume: the run to resume. given: the settings that the command line names."""
    place, origin = settings.data, settings.origin
    if resume and place == UNNAMED:
        raise run_folder.RunError(
            f"{str(resume)!r}: the run's data were in memory; resume it in Python, with "
            "train(..., run_dir=...) and the same data, or give them as files with --data-dir"
        )
    if resume and is_own(place, origin):  # what was guessed when the run began
        origin = replace(origin, task=run_folder.read_config(resume)[1].get("task", origin.task))
    with naming_option("data_dir" if settings.data_dir else "dataset", None if "data_dir" in given else resume):
        return load_dataset(place, backend, cache_dir=cache_dir, **vars(origin))
