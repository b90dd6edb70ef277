"""Train many networks: `mlp-xp sweep --recipe small --seed 0..7`.

Every member is a run in a folder of its own, as `train` writes it. Run the same command
again to continue a sweep.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mlp_xp.commands._summary import show_summary
from mlp_xp.commands.chosen import base_settings
from mlp_xp.commands.options import GROUPS, Recipe, only_one, with_settings
from mlp_xp.commands.process import print_errors
from mlp_xp.commands.stopping import Stop
from mlp_xp.declared import declared
from mlp_xp.errors import MlpXpError, more, quoted
from mlp_xp.runs.records import HELD_OUT, TESTED, check_foreign
from mlp_xp.runs.settings import Settings, described, shown, words
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED
from mlp_xp.runs.table import UNREADABLE
from mlp_xp.show import terminal
from mlp_xp.show.console import plain_console
from mlp_xp.show.numbers import loss_text, score_text, thousands
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.pictures import draw_sweep
from mlp_xp.sweeps.plan import REPEATS, Plan, Span, SweepOptions, make_plan
from mlp_xp.sweeps.run import run_sweep
from mlp_xp.sweeps.summary import summary_of

_MOST_VALUES = 12  # of a setting in one line
_HEADER = "member  state     train loss   held out  seconds  settings"
# For the folds of a single combination: nothing is chosen by their results.
_TEST_HEADER = _HEADER.replace("held out", "    test")


@with_settings(Settings, several=True)
@with_settings(SweepOptions, group="Sweep")
def sweep(
    *,
    recipe: Annotated[Recipe, Parameter(group=GROUPS["Run"])] = None,
    config: Annotated[Path | None, Parameter(group=GROUPS["Run"])] = None,
    **given: Any,
) -> int:
    """Train a network for every combination of settings, several at once.

    Every setting of `train` takes several values. A range such as 0..31 stands for all
    whole numbers in it.

    Repeat the command to continue with the members that have not ended. If a member
    fails, the others continue, and the exit code is 1.

        mlp-xp sweep --recipe small --seed 0..7 --validation 5000 --jobs 2
        mlp-xp sweep --recipe small --learning-rate 0.01 0.1 --hidden 64 256
        mlp-xp sweep --data-dir a.csv --label y --learning-rate 0.001..0.1 --optuna 9

    Args:
        config: Start from the settings in this file instead of a recipe. The file may
            be the config.json of a run.
    """
    only_one(recipe=recipe, config=config)
    names = [name for name in declared(SweepOptions) if name in given]
    options = SweepOptions(**{name: given.pop(name) for name in names})
    base = base_settings(recipe, config, given)
    if config:
        check_foreign(base, given, config)
    return train_members(make_plan(base, given, options))


def train_members(plan: Plan) -> int:
    """Train the members of a sweep, and print the end of each and a summary.

    Returns:
        The exit code: 1 if a member has failed or cannot be read, and else 0.

    Raises:
        MlpXpError: The training was stopped, or the output cannot be written.
    """
    console = plain_console()
    folder = plan.folder()
    stop = Stop(console)
    stop.say(f"{_described_plan(plan)}\nsweep    {folder.path}")
    states = _train_and_print(plan, stop)
    if stop:
        done = f"after {_number_done(states)} of {plan.total} members"
        raise stop.error_at(f"{done}; run the same command again to continue")
    finished = f"\n{states[FINISHED]} of {plan.total} members finished"
    for state, number in states.items():
        if state != FINISHED:
            finished += f", {number} {state}"
    stop.say(f"{finished}\n")
    summary = summary_of(folder)
    if states[FINISHED]:
        with stop.printing():
            show_summary(summary, console)
        try:
            stop.say(f"drawn    {', '.join(map(str, draw_sweep(folder)))}")
        except MlpXpError as error:  # the results are complete without pictures
            stop.say(f"not drawn: {error}")
    unreadable = print_errors(
        row.reason for row in summary.rows if row.state == UNREADABLE
    )
    if stop.error:
        complete = f"the sweep in {quoted(folder.path)} is complete"
        raise stop.error_at(f"after the end of the sweep; {complete}")
    return 1 if states[FAILED] else unreadable


def _train_and_print(plan: Plan, stop: Stop) -> Counter[str]:
    """Train the members, print a line for each, and return the number in each state."""
    states = Counter[str]()
    only_folds = "fold" in plan.varied and plan.varied.keys() <= set(REPEATS)
    header, scores = f"{_HEADER}\n", HELD_OUT
    if only_folds:
        header, scores = f"{_TEST_HEADER}\n", TESTED
    with stop.catching_signals(), terminal.progress_bar(stop.console) as bar:
        task = bar.add_task("", total=plan.total)
        endings = run_sweep(plan, stop=lambda: bool(stop), say=stop.say)
        with contextlib.closing(endings):
            for ending in endings:
                states[ending.state] += 1
                done = _number_done(states)
                said = f"{done} of {plan.total} done, {states[FAILED]} failed"
                bar.update(task, completed=done, description=said)
                if not ending.earlier:
                    stop.say(header + _member_line(ending, scores))
                    header = ""
    return states


def _number_done(states: Counter[str]) -> int:
    return states.total() - states[INTERRUPTED]


def _described_plan(plan: Plan) -> str:
    """Return the number of members of a sweep and the settings that vary, in lines."""
    choice = "all combinations"
    if plan.options.optuna:
        choice = "chosen by Optuna"
    if plan.options.optuna and len(plan.repeats) > 1:
        runs = len(plan.repeats)
        choice = f"{thousands(plan.options.optuna)} {choice}, with {runs} runs each"
    lines = [f"members  {thousands(plan.total)}, {choice}"]
    for name, values in plan.varied.items():
        listed = str(values)
        if not isinstance(values, Span):
            texts = [shown(value) for value in values]
            listed = " ".join(texts[:_MOST_VALUES]) + more(texts, _MOST_VALUES)
        lines.append(f"         {words(name)}: {listed}")
    return "\n".join(lines)


def _member_line(ending: Ending, scores: Sequence[str]) -> str:
    """Format the end of a member as a row under the header.

    Args:
        ending: The end of the member.
        scores: The names of results. The first one that the member has is shown.
    """
    loss = score = ""
    if ending.result:
        loss = loss_text(ending.result["train_loss"], 5)
        for name in scores:
            value = ending.result.get(name)
            if value is not None:
                score = score_text(name, value)
                break
    line = (
        f"{ending.name:>6}  {ending.state:9}{loss:>11} {score:>10} "
        f"{ending.seconds:8.1f}  {described(ending.settings)}"
    )
    if ending.reason:
        line += f"; {ending.reason}"
    return line
