"""Train many networks: `python scripts/sweep.py --recipe small --seed 0..7
--learning-rate 0.01 0.1 --validation 5000`.

Every member is a run in a folder of its own, as `train` writes it. The same command
goes on with what is not done.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlp_xp.commands.chosen import base_settings
from mlp_xp.commands.options import Recipe, only_one, with_settings
from mlp_xp.commands.process import end_with
from mlp_xp.commands.runs import show_summary
from mlp_xp.commands.stopping import Stop
from mlp_xp.declared import declared
from mlp_xp.errors import MlpXpError, some
from mlp_xp.runs.records import HELD_OUT, TESTED, check_foreign
from mlp_xp.runs.settings import Settings, described, words
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED
from mlp_xp.runs.table import UNREADABLE
from mlp_xp.show import terminal
from mlp_xp.show.console import plain_console
from mlp_xp.show.numbers import score_text, thousands
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.pictures import draw_sweep
from mlp_xp.sweeps.plan import REPEATS, Plan, Span, SweepOptions, make_plan
from mlp_xp.sweeps.run import run_sweep
from mlp_xp.sweeps.summary import summary_of

HEADER = "member  state     train loss   held out  seconds  settings"
# Of a cross-validation of one setting, where nothing is chosen by the results.
TEST_HEADER = HEADER.replace("held out", "    test")


@with_settings(Settings, several=True)
@with_settings(SweepOptions, group="Parameters")
def sweep(*, recipe: Recipe = None, config: Path | None = None, **given: Any) -> int:
    """Train a network for every combination of settings, several at once.

    Every setting of `train` takes several values. A range such as 0..31 stands for all
    whole numbers in it. --hidden 64 256 is two values, of one layer each; --hidden
    512,256 64 is two values, of two layers and of one.

    Repeat the command to continue with the members that have not ended. If a member
    fails, the others continue, and the exit code is 1.

    Args:
        config: Start from the settings in this file instead, such as the config.json of
            a run.
    """
    only_one(recipe=recipe, config=config)
    options = SweepOptions(
        **{name: given.pop(name) for name in declared(SweepOptions) if name in given}
    )
    base = base_settings(recipe, config, given)
    if config:
        named = given.get("backend")
        for backend in named or (base.backend,):
            check_foreign(Settings(backend=backend), named and backend, config)
    return show(make_plan(base, given, options, is_recipe=not config))


def show(plan: Plan) -> int:
    """Train the members and show how each one ends. Returns 1 if a member failed."""
    console, folder, states = plain_console(), plan.folder(), Counter[str]()
    only_folds = "fold" in plan.options and not {*plan.options} - {*REPEATS}
    header = f"{TEST_HEADER if only_folds else HEADER}\n"
    scores = TESTED if only_folds else HELD_OUT
    stop, done = Stop(console), 0
    stop.say(f"{describe(plan)}\nsweep    {folder.path}")
    with stop.catching_signals(), terminal.progress_bar(console) as bar:
        task = bar.add_task("", total=plan.total)
        endings = run_sweep(plan, stop=lambda: bool(stop), say=stop.say)
        with contextlib.closing(endings):
            for ending in endings:
                states[ending.state] += 1
                done = states.total() - states[INTERRUPTED]
                said = f"{done} of {plan.total} done, {states[FAILED]} failed"
                bar.update(task, completed=done, description=said)
                if not ending.earlier:
                    stop.say(header + _member_line(ending, scores))
                    header = ""
    if stop:
        raise stop.error_at(
            f"after {done} of {plan.total} members; the same command goes on"
        )
    others = (
        f", {number} {state}" for state, number in states.items() if state != FINISHED
    )
    stop.say(
        f"\n{states[FINISHED]} of {plan.total} members finished{''.join(others)}\n"
    )
    summary = summary_of(folder)
    if states[FINISHED]:
        with stop.printing():
            show_summary(summary, console)
        try:
            stop.say(f"drawn    {', '.join(map(str, draw_sweep(folder)))}")
        except MlpXpError as error:  # the results are complete without pictures
            stop.say(f"not drawn: {error}")
    unreadable = end_with(row.reason for row in summary.rows if row.state == UNREADABLE)
    return 1 if states[FAILED] else unreadable


def describe(plan: Plan) -> str:
    """Describe what varies in a sweep, and the number of its members."""
    how = (
        "chosen by Optuna"
        if plan.how.optuna
        else "drawn at random"
        if plan.how.random
        else "all combinations"
    )
    if plan.samples and len(plan.repeats) > 1:
        how = f"{thousands(plan.samples)} {how}, with {len(plan.repeats)} runs each"
    lines = [f"members  {thousands(plan.total)}, {how}"]
    for name, values in plan.options.items():
        lines.append(
            f"         {words(name)}: {values if isinstance(values, Span) else some(values)}"
        )
    return "\n".join(lines)


def _member_line(ending: Ending, scores: Sequence[str]) -> str:
    """Format how a member has ended as a row under the header.

    scores: the names of the figures of which one is shown.
    """
    result, score = ending.result or {}, ""
    for name in scores:
        if result.get(name) is not None:
            score = score_text(name, result[name])
    loss = f"{result['train_loss']:.5f}" if result else ""
    reason = f"; {ending.reason}" if ending.reason else ""
    figures = f"{loss:>11} {score:>10} {ending.seconds:8.1f}"
    return f"{ending.name:>6}  {ending.state:9}{figures}  {described(ending.settings)}{reason}"
