"""A fault at every call: SIGKILL before each call that changes a file, and an error of the disk in each.

Each scenario is repeated with the fault at call 1, 2, 3, ... until it passes untouched: a new run (its first, later and
closing checkpoint, its metrics), a resumed one, and one that replaces a finished run (--overwrite). After each fault
every file is whole, what was saved before is still there, and the run goes on to the same bits.
"""

import errno
import itertools
import random
import signal
from pathlib import Path
from typing import Any, NamedTuple

import torture_process as base
from torture_process import Outcome, Session

KILLS = {"kill": {"number": signal.SIGKILL}, "torn": {"number": base.TORN}}
ERRORS = {
    f"{errno.errorcode[number]}{'+' * stays}": {"error": number, "stays": stays}
    for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
    for stays in (False, True)
}
STRIDE = 5
SCENARIOS = ("new", "resume", "overwrite")


class Scene(NamedTuple):
    """A run as it is before the command, and what the command should make of it."""

    start: Path | None
    settings: dict[str, Any]
    words: list[Any]
    expected: Path
    old: Path | None = None
    """The finished run that the command replaces."""


def make_scene(session: Session, name: str) -> Scene:
    """Prepare a scenario, with settings with which all kinds of saves occur, in few calls."""
    settings = base.draw_settings(random.Random(f"{session.seed}-calls"), session.backend)
    settings |= {"epochs": 2, "batch_size": 16, "report_every": 97, "checkpoint_every": 0, "validation": 30, "seed": 0}
    expected, outcome = base.reference(session, settings, f"{name}-expected")
    assert outcome.code == 0, outcome
    words, start = base.new_run(session, settings), session.space / f"{name}-start"
    if name == "new":
        return Scene(None, settings, words, expected)
    if name == "overwrite":
        start, _ = base.reference(session, {**settings, "seed": 1}, start.name)
        return Scene(start, settings, [*words, "--overwrite"], expected, old=start)
    for share in (0.7, 0.5, 0.3):  # the latest that is before the end
        session.start_from(None)
        base.run(session, *words, at=int(outcome.calls * share), number=signal.SIGKILL)
        if not (session.folder / "result.json").exists():
            break
    session.folder.rename(start)
    return Scene(start, settings, ["train", "--resume", session.folder], expected)


def holds(root: Path, old: Path) -> bool:
    """Return whether all files of a run are in one of the folders below the root."""
    names = ("model.safetensors", "checkpoint.safetensors", "result.json", "metrics.jsonl")
    wanted = [(old / name).read_bytes() for name in names]
    places = [[model.with_name(name) for name in names] for model in root.rglob("model.safetensors")]
    return any(all(p.exists() for p in place) and [p.read_bytes() for p in place] == wanted for place in places)


def wrong_state(session: Session, scene: Scene, before: int) -> str:
    """Return what is wrong with what a fault has left, and with what comes of it. before: the step that was saved."""
    if wrong := base.not_whole(session.folder):
        return wrong
    reached = base.progress(session.folder)
    if scene.old is None and reached < before:
        return f"the checkpoint of step {before} was complete, but now there is that of step {reached}"
    if scene.old and reached < 0 and not holds(session.root, scene.old) and not base.is_replaced(session.folder):
        return "neither the old run nor a checkpoint of the new one is left"
    return base.goes_on_to(session, scene.settings, scene.expected, scene.old)


def wrong_end(outcome: Outcome, how: str, folder: Path, expected: Path) -> str:
    """Return what is wrong with the end of the process that had the fault."""
    if outcome.code == base.HANGS:
        return "the process hangs"
    if how in KILLS:
        return "" if outcome.code in (0, -signal.SIGKILL) else f"exit code {outcome.code}: {outcome.err}"
    if outcome.code:
        return base.unlike_an_error(outcome, 1)
    # The call did not matter, such as the removal of a temporary file.
    wrong = base.differs(folder, expected)
    return f"exit code 0, but {wrong}" if wrong else outcome.err if base.TRACEBACK in outcome.err else ""


def main(session: Session) -> None:
    """Go through all scenarios and faults, or as far as the time allows."""
    scenes: dict[str, Scene] = {}
    # Kills at each call; errors at every STRIDE-th call of all scenarios, then at those between.
    passes = [(name, how, 1, 1) for name, how in itertools.product(SCENARIOS, KILLS)]
    passes += [(name, how, i, STRIDE) for i, name, how in itertools.product(range(1, STRIDE + 1), SCENARIOS, ERRORS)]
    for name, how, at in session.every_call(passes):
        scene = scenes[name] = scenes.get(name) or make_scene(session, name)
        session.start_from(scene.start)
        before = base.progress(session.folder)
        control: dict[str, Any] = {**KILLS, **ERRORS}[how]
        outcome = base.run(session, *scene.words, at=at, **control)
        session.passed = outcome.calls < at
        if session.passed:
            continue
        session.counts["kills" if how in KILLS else "errors"] += 1
        wrong = wrong_end(outcome, how, session.folder, scene.expected) or wrong_state(session, scene, before)
        if wrong:
            session.report(wrong, f"{name}:{how}:{at}")
