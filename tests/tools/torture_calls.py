"""A fault at every call that changes a file: SIGKILL, or an error of the disk.

Each scenario is repeated with the fault at call 1, 2, 3, ... until it passes untouched.
"""

import errno
import functools
import itertools
import random
import signal
from pathlib import Path
from typing import Any, NamedTuple

import torture_process as base
from torture_process import Session

KILLS: dict[str, Any] = {
    "kill": {"number": signal.SIGKILL},
    "torn": {"number": base.TORN},
}
ERRORS: dict[str, Any] = {
    f"{errno.errorcode[number]}{'+' * stays}": {"error": number, "stays": stays}
    for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
    for stays in (False, True)
}
STRIDE = 5
SCENARIOS = ("new", "resume", "overwrite", "longer")


class Scene(NamedTuple):
    """A run before the command, and the expected run after it."""

    start: Path | None
    settings: dict[str, Any]
    expected: Path
    old: Path | None = None
    """The finished run to replace, or to train longer."""


@functools.cache
def make_scene(session: Session, name: str) -> Scene:
    """Prepare a scenario with all kinds of saves in few calls."""
    settings = base.draw_settings(
        random.Random(f"{session.options.seed}-calls"), session.backend
    )
    settings |= {
        "epochs": 2,
        "batch_size": 16,
        "report_every": 97,
        "checkpoint_every": 0,
        "validation": 30,
        "seed": 0,
    }
    if name == "longer":
        settings |= {"schedule": "constant", "patience": 0}
    expected, outcome = base.reference(session, settings, f"{name}-expected")
    assert outcome.code == 0, outcome
    if name == "new":
        return Scene(None, settings, expected)
    if name == "overwrite":
        start, _ = base.reference(session, {**settings, "seed": 1}, f"{name}-start")
        return Scene(start, settings, expected, old=start)
    if name == "longer":
        start, _ = base.reference(session, {**settings, "epochs": 1}, f"{name}-start")
        return Scene(start, settings, expected, old=start)
    session.start_from(None)
    words = base.command(session, settings)
    base.run(session, *words, at=outcome.calls // 2, number=signal.SIGKILL)
    start = session.folder.rename(session.space / f"{name}-start")
    return Scene(start, settings, expected)


def holds(folder: Path, old: Path) -> bool:
    """Return whether each file of an old run is in its folder, or moved aside there."""
    for name in (
        "model.safetensors",
        "checkpoint.safetensors",
        "result.json",
        "metrics.jsonl",
    ):
        paths = [folder / name, folder / ".replaced" / name]
        contents = [path.read_bytes() for path in paths if path.exists()]
        if (old / name).read_bytes() not in contents:
            return False
    return True


def check_state(session: Session, scene: Scene, before: int) -> None:
    """Check the files after a fault, and the rest of the run. before: a saved step."""
    base.check_whole(session.folder)
    reached = base.progress(session.folder)
    if scene.old is None:
        assert reached >= before, (
            f"the checkpoint of step {before} was complete, but now it is of {reached}"
        )
    elif reached < 0:
        assert holds(session.folder, scene.old), (
            "neither the old run nor a checkpoint of the new one is left"
        )
    base.check_goes_on(session, scene.settings, scene.expected, scene.old)


def main(session: Session) -> None:
    """Go through all scenarios and faults, or as far as the time allows."""

    def attack(name: str, how: str, at: int) -> bool:
        scene = make_scene(session, name)
        session.start_from(scene.start)
        before = base.progress(session.folder)
        words = base.command(session, scene.settings, name)
        outcome = base.run(session, *words, at=at, **{**KILLS, **ERRORS}[how])
        if outcome.calls < at:
            return False
        session.counts["kills" if how in KILLS else "errors"] += 1
        base.check_end(outcome, 0, -signal.SIGKILL if how in KILLS else 1)
        # the call did not matter, such as the removal of a temporary file
        if how in ERRORS and outcome.code == 0:
            base.check_same(session.folder, scene.expected)
        check_state(session, scene, before)
        return True

    # Kills at each call; errors at every STRIDE-th call of all scenarios, then at those
    # between.
    passes = [(name, how, 1, 1) for name, how in itertools.product(SCENARIOS, KILLS)]
    passes += [
        (name, how, i, STRIDE)
        for i, name, how in itertools.product(range(1, STRIDE + 1), SCENARIOS, ERRORS)
    ]
    session.every_call(passes, attack)
