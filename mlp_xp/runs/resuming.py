"""The checks of a run's folder before the run is resumed: each names what is wrong."""

from typing import Any

from mlp_xp.core.backend import Backend
from mlp_xp.core.training import Position
from mlp_xp.errors import first_difference, quoted
from mlp_xp.runs import records
from mlp_xp.runs._checkpoints import read_position, read_settings
from mlp_xp.runs.experiment import Experiment, Source
from mlp_xp.runs.names import CHECKPOINT, CONFIG, METRICS, MODEL, RESULT
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, check_unchanged

CHECKSUMS = ("data_crc32", "rows_crc32")  # of the facts about data


def check_data(run: RunFolder, facts: dict[str, Any]) -> None:
    """Raise RunError if facts about data differ from the data of a run.

    Args:
        run: The run.
        facts: All or some of `Experiment.data_facts`.
    """
    then, now = _flat(run.record()), _flat(facts)
    changed = [name for name, value in now.items() if value != then.get(name)]
    if not changed:
        return
    name = changed[0]
    difference = first_difference([(name, then.get(name), now[name])])
    if name in CHECKSUMS:
        difference = "values, weights, rows or their order have changed since"
    fault = f"the run started with other data: {difference}"
    raise RunError(fault, file=run.path / CONFIG, remedy="give the run's own data")


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts about data, with the facts of the signature at the same level."""
    flat = {**facts, **facts.get("signature", {})}
    flat.pop("signature", None)
    if flat.get("columns"):
        # Without `decimal_commas`, because other files may write the same numbers with
        # other decimal points, and without `seen`, because it describes the rows, which
        # have checksums.
        flat["columns"] = flat["columns"]["columns"]
    return flat


def check_ended(run: RunFolder) -> None:
    """Raise RunError if a run that has ended is damaged.

    Its model, checkpoint, result and training rows are read, and the settings of
    training in config.json are compared with those in the checkpoint.
    """
    saved = read_settings(run.path / CHECKPOINT)
    check_unchanged(saved, run.settings(), run.path / CONFIG)
    run.result()
    run.model()
    run.trained_rows()


def find_position(
    run: RunFolder, experiment: Experiment, source: Source
) -> Position | None:
    """Return the position to resume from, or None if the run is to begin.

    A run begins if the folder has none, or if its run has no checkpoint yet.

    Raises:
        ConfigError: The run has other settings.
        RunError: The run has other data, or a file is damaged or lost.
    """
    if not run.exists():
        return None
    settings = experiment.settings
    check_unchanged(run.settings(), settings, run.path / CONFIG)
    check_data(run, experiment.data_facts())
    run.result()  # refuses a damaged result
    if run.has_ended():
        run.model()  # refuses a damaged model
    if run.has_checkpoint():
        return read_checkpoint(run, settings, experiment.backend)
    _check_start_over(run, experiment, source)
    return None


def _check_start_over(run: RunFolder, experiment: Experiment, source: Source) -> None:
    """Raise RunError unless a run without a checkpoint can begin again."""
    if run.record().get("start_from_sha256") != source.sha256:
        path = quoted(experiment.settings.start_from)
        fault = f"{path} has another network now than when this run began"
        raise RunError(fault, file=run.path, remedy="begin a new run")
    for name in (RESULT, MODEL):
        if run.has(name):
            fault = (
                f"the run has {name} but no {CHECKPOINT}, so it cannot be resumed, "
                "and starting it over would destroy it"
            )
            remedy = f"restore {CHECKPOINT}, or train in another folder"
            raise RunError(fault, file=run.path, remedy=remedy)


def read_checkpoint(run: RunFolder, settings: Settings, backend: Backend) -> Position:
    """Return the position in the checkpoint of a run with these settings.

    Raises:
        ConfigError: The run has other settings.
        RunError: The checkpoint is damaged, or the run has begun more epochs.
    """
    path = run.path / CHECKPOINT
    position, saved = read_position(path, backend)
    check_unchanged(saved, settings, path)
    epochs = settings.train.epochs
    if position.epoch >= epochs:
        fault = (
            f"{epochs} is too few: the run in {quoted(run.path)} has already "
            f"begun {position.epoch + 1} epochs"
        )
        remedy = "give at least as many, or start a new run"
        raise RunError(fault, remedy=remedy, setting="epochs")
    return position


def kept_lines(run: RunFolder, count: int) -> list[bytes]:
    """Return the first lines of metrics.jsonl, as many as the checkpoint counts.

    Raises:
        RunError: There are fewer.
    """
    lines = run.lines()
    if len(lines) < count:
        fault = f"has {len(lines)} reports, the checkpoint expects {count}"
        raise RunError(fault, file=run.path / METRICS, remedy=records.REMEDY)
    return lines[:count]
