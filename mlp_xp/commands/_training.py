"""The work of the command `train`: begin or resume a run, and print its progress."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.commands.chosen import base_settings, recipe_for, resumed_settings
from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import shell_command
from mlp_xp.commands.stopping import Stop
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.stack import joined_sizes
from mlp_xp.core.training import Event
from mlp_xp.errors import Argument, MlpXpError, quoted
from mlp_xp.export.page import check_page
from mlp_xp.files import FileError
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.names import PAGE
from mlp_xp.runs.recording import end_replacement, open_training
from mlp_xp.runs.records import check_foreign
from mlp_xp.runs.resuming import check_ended
from mlp_xp.runs.run_folder import Existing, RunFolder
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.show import terminal
from mlp_xp.show.console import plain_console, say
from mlp_xp.show.gallery import draw_end


def begin(
    recipe: str | None,
    config: Path | None,
    given: Mapping[str, Any],
    *,
    run_dir: Path | None,
    overwrite: bool,
    threads: int | None,
    cache_dir: Path | None,
    page: bool,
) -> int:
    """Begin a run, or with --cv a sweep, and return the exit code."""
    settings = settings_of(base_settings(recipe, config, given), given)
    if config:
        check_foreign(settings, given, config)
    data_options = settings.data_options
    if data_options.cv is not None and data_options.fold is None:
        only_one(cv=True, test_fraction=given.get("test_fraction"))
        only_one(cv=True, overwrite=overwrite)
        only_one(cv=True, threads=threads)
        only_one(cv=True, page=page)
        return _train_folds(settings, run_dir, cache_dir)
    if run_dir:
        run = RunFolder(run_dir)
    elif overwrite:
        remedy = ("give ", Argument("run_dir"))
        raise MlpXpError("is for an existing run", remedy=remedy, setting="overwrite")
    else:
        name = config or recipe_for(recipe, given)
        run = RunFolder.named(settings, name, dt.datetime.now())

    def make() -> Experiment:
        return Experiment.from_settings(settings, threads=threads, cache_dir=cache_dir)

    existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
    _train(run, make, existing, page=page)
    return 0


def resume(
    folder: Path,
    given: Mapping[str, Any],
    threads: int | None,
    cache_dir: Path | None,
    *,
    page: bool,
) -> None:
    """Continue a run with its own settings, and with the options that may change."""
    run = RunFolder(folder)
    with run.opened():
        settings = resumed_settings(run, given)
        check_foreign(settings, given, run.path)
        has_no_more_epochs = run.settings().train.epochs == settings.train.epochs
        # Even a run that has ended is opened to note the new place of its data.
        if run.has_ended() and has_no_more_epochs and "data_dir" not in given:
            check_ended(run)
            _say_that_it_has_ended(run, page=page)
            return

        def make() -> Experiment:
            return Experiment.from_settings(
                settings,
                threads=threads,
                threads_before=run.threads(settings.backend),
                cache_dir=cache_dir,
            )

        _train(run, make, Existing.RESUME, page=page)


def _say_that_it_has_ended(run: RunFolder, *, page: bool) -> None:
    console = plain_console()
    text = f"the run in {run.path} has ended"
    say(console, f"{text}; with a constant schedule, --epochs N trains it longer")
    if page:
        from mlp_xp.api import export_page  # here, as it is slow

        say(console, f"written: {export_page(run.path, run.path / PAGE)}")


def _train_folds(
    settings: Settings,
    sweep_dir: Path | None,
    cache_dir: Path | None,
) -> int:
    """Train a network for each fold of a cross-validation, as a sweep."""
    # Imported here, so that runs without folds start sooner.
    from mlp_xp.commands.sweep import train_members
    from mlp_xp.sweeps.plan import SweepOptions, make_plan

    folder = str(sweep_dir) if sweep_dir else None
    cache = str(cache_dir) if cache_dir else None
    options = SweepOptions(folder, cache_dir=cache)
    return train_members(make_plan(settings, {}, options))


def _train(
    run: RunFolder, make: Callable[[], Experiment], existing: Existing, *, page: bool
) -> None:
    """Train in the folder of a run, and print the training and its end.

    A signal or a closed output saves and stops the run.
    """
    stop = Stop(plain_console())
    training = open_training(run, make, existing=existing, save_now=lambda: bool(stop))
    with training as (experiment, events):
        if page:  # otherwise the page would be refused at the end
            job = experiment.job
            sizes = joined_sizes(job.sizes, job.networks)
            check_page(experiment.dataset.signature, sizes)
        description = terminal.describe(experiment.settings, experiment.job)
        stop.say(f"{description}\nrun      {run.path}\n")
        try:
            with stop.catching_signals():
                last = _train_and_print(run, experiment, events, stop)
        except (FileError, BackendFailure) as error:
            if run.has_checkpoint() and not run.has_ended():
                error.notes.append(_how_to_resume(run))
            raise
        _finish(run, experiment, last, stop, page=page)


def _train_and_print(
    run: RunFolder,
    experiment: Experiment,
    events: Iterator[Event],
    stop: Stop,
) -> Event:
    """Train, print the table of reports as they come, and return the closing event."""
    watched = terminal.watch(events, experiment.job, stop.console)
    try:
        for event in _with_rows(watched, experiment.job, stop.say):
            if stop and not event.closing:
                _stop_at(event, run, stop)
    finally:
        # the progress bar is removed, if its terminal is still there
        with stop.printing():
            watched.close()
    return event


def _with_rows(
    events: Iterator[Event], job: Job, say: Callable[[str], None]
) -> Iterator[Event]:
    """Yield the events, and print the row of a report before its event.

    The heads come with the first row, below the warnings at the start. Some reports
    have no row. The last report has a row, printed when the training ends.
    """
    heads = f"{terminal.header(job.config, job.dataset.signature.task)}\n"
    waiting, has_held_out = "", bool(job.held_out)
    for event in events:
        report = event.report
        # With held-out samples, the closing report is about the best network.
        if report and not (event.closing and has_held_out):
            best = event.position.best
            waiting = terminal.report_line(report, is_validated=has_held_out, best=best)
        is_shown = report and (event.closing or terminal.is_shown(report, job))
        if is_shown and waiting:
            say(heads + waiting)
            heads = waiting = ""
        yield event


def _how_to_resume(run: RunFolder) -> str:
    """Return how to resume a run, which is open: opening may rename its folder."""
    return f"resume with: {shell_command('train', '--resume', run.path)}"


def _stop_at(event: Event, run: RunFolder, stop: Stop) -> None:
    """Raise MlpXpError if the training can stop after this event.

    Training stops at a checkpoint. The warm-up has no checkpoint: there, training stops
    after a signal. A run that is to replace an existing run stops at once.
    """
    epoch, sample = event.position.epoch, event.position.sample
    is_warm_up = epoch == WARM_UP_EPOCH
    progress = f"in epoch {epoch}, after {sample} samples"
    if is_warm_up:
        progress = "in the warm-up"
    if event.checkpoint:
        raise stop.error_at(f"{progress}; {_how_to_resume(run)}")
    if (stop.signal and is_warm_up) or run.is_being_replaced():
        raise stop.error_at(f"{progress}; {end_replacement(run)}")


def _finish(
    run: RunFolder,
    experiment: Experiment,
    event: Event,
    stop: Stop,
    *,
    page: bool,
) -> None:
    """Print the summary of a run that has ended, and draw its pictures and its page."""
    job, report = experiment.job, event.report
    assert report
    stop.say(f"\n{terminal.summary(report)}")
    if report.validation:
        stop.say(terminal.selected(report, job))
    drawn = draw_end(run, job.dataset, job.backend, page=page)
    if drawn.paths:
        names = ", ".join(path.name for path in drawn.paths)
        stop.say(f"drawn in {run.path}: {names}")
    for command, error in drawn.faults.items():
        words = (run.path, run.path / PAGE) if command == "page" else (run.path,)
        stop.say(f"not drawn: {error}; then: {shell_command(command, *words)}")
    if stop.error:
        complete = f"the run in {quoted(run.path)} is complete"
        raise stop.error_at(f"after the end of the training; {complete}")
