"""Whether a run can have the position that its checkpoint gives: the file may come from anybody."""

from pathlib import Path
from typing import NoReturn

from mlp_xp.dataset import Dataset
from mlp_xp.network import count_parameters
from mlp_xp.plan import plan_epoch
from mlp_xp.runs import run_folder
from mlp_xp.runs.settings import Settings
from mlp_xp.training import Position, layer_sizes

# A hundred years: a position whose clock is beyond them was not saved by a run.
LONGEST_SECONDS = 3.2e9


def check_position(folder: Path, position: Position, settings: Settings, dataset: Dataset) -> None:
    """Raise RunError unless a run with these settings and data has this position: the message names what differs."""
    config = settings.train
    samples = dataset.train_images.shape[0] - config.validation
    plan = plan_epoch(samples, config, count_parameters(layer_sizes(config, dataset)))
    where = repr(str(folder / run_folder.CHECKPOINT))

    def refuse(name: str, value: object, wanted: str) -> NoReturn:
        raise run_folder.RunError(
            f"{where}: is damaged: the field {name!r} is {value!r}, but {wanted}; start the run again"
        )

    done = [chunk for chunk in plan if chunk.stop <= position.sample]
    if not done or done[-1].stop != position.sample:
        refuse("sample", position.sample, "no chunk of the run's epochs ends there")
    step = config.warm_up_steps + position.epoch * sum(chunk.steps for chunk in plan) + sum(c.steps for c in done)
    if position.step != step:
        refuse("step", position.step, f"a run has done {step} steps there")
    per_epoch, given = ([chunk.report is not None for chunk in chunks].count(True) for chunks in (plan, done))
    reports = position.epoch * per_epoch + given
    if position.reports != reports:
        refuse("reports", position.reports, f"a run has given {reports} reports there")
    # The tally reaches from the chunk after the last report, which may be of the epoch before, to this position.
    since, begins = 0, True
    for chunk in [*plan * min(position.epoch, 1), *done]:
        since = chunk.stop - chunk.start if begins else since + chunk.stop - chunk.start
        begins = chunk.report is not None
    loss, tallied, seconds = position.tally
    if tallied != since:
        refuse("tally", list(position.tally), f"{since} samples have followed the last report there")
    for name, value in (("tally", loss), ("loss", position.loss)):
        if value < 0:
            refuse(name, value, "no loss is below 0")
    for name, value in (("tally", seconds), ("seconds", position.seconds)):
        if value > LONGEST_SECONDS:
            refuse(name, value, f"no run takes more than {LONGEST_SECONDS:g} seconds")
