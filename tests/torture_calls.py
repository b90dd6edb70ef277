"""A fault at every call: SIGKILL before each call that changes a file, and an error of the disk in each.

Each scenario is repeated with the fault at call 1, 2, 3, ... until it passes untouched: a new run (its first, later and
closing checkpoint, its metrics), a resumed one, one that replaces a finished run (--overwrite), and the pictures. After
each fault every file is whole, what was saved before is still there, and the run goes on to the same bits.
"""

import errno
import itertools
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torture_process import (
    TORN,
    TRACEBACK,
    Outcome,
    Session,
    differs,
    draw_settings,
    evaluates,
    go_on,
    is_replaced,
    new_run,
    not_whole,
    preload,
    progress,
    reference,
    report,
    run,
    unlike_an_error,
)

KILLS = {"kill": {"number": signal.SIGKILL}, "torn": {"number": TORN}}
ERRORS = {
    f"{errno.errorcode[number]}{'+' * stays}": {"error": number, "stays": stays}
    for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
    for stays in (False, True)
}
STRIDE = 5
SCENARIOS = ("new", "resume", "overwrite", "pictures")


class Scene(NamedTuple):
    """A folder as it is before the command, and what the command should make of it."""

    start: Path | None
    settings: dict[str, Any]
    words: list[Any]
    expected: Path
    old: Path | None = None
    """The finished run that the command replaces."""
    pictures: bool = False


def fixed_settings(session: Session, seed: int = 0) -> dict[str, Any]:
    """Return settings with which all kinds of saves occur, in few calls."""
    return {
        **draw_settings(random.Random(f"{session.seed}-calls"), session.backend),
        "epochs": 2,
        "batch_size": 16,
        "report_every": 97,
        "checkpoint_every": 0,
        "validation": 30,
        "patience": 0,
        "seed": seed,
    }


def make_scene(session: Session, name: str, folder: Path) -> Scene:
    """Prepare the folders of a scenario, outside the root."""
    settings = fixed_settings(session)
    made = session.space / f"scene-{name}"
    shutil.rmtree(made, ignore_errors=True)
    expected, calls = reference(session, settings)
    expected = Path(shutil.copytree(expected, made / "expected"))
    words = new_run(session, settings, folder)
    if name == "new":
        return Scene(None, settings, words, expected)
    shutil.rmtree(folder, ignore_errors=True)
    if name == "resume":
        at = calls
        while at > 1 and ((folder / "result.json").exists() or at == calls):
            shutil.rmtree(folder, ignore_errors=True)
            at = at * 2 // 3
            run(session, "train", *words, at=at, number=signal.SIGKILL)
        start = Path(shutil.copytree(folder, made / "start"))
        return Scene(start, settings, ["--resume", folder], expected)
    if name == "pictures":
        return Scene(expected, settings, ["--resume", folder], expected, pictures=True)
    other = fixed_settings(session, seed=1)
    run(session, "train", *new_run(session, other, folder))
    start = Path(shutil.copytree(folder, made / "start"))
    return Scene(start, settings, new_run(session, settings, folder, "--overwrite"), expected, old=start)


def holds(place: Path, run_folder: Path) -> bool:
    """Return whether the model and the checkpoint of a run are in a folder, or in a folder in it or beside it."""
    names = ("model.safetensors", "checkpoint.safetensors", "result.json", "metrics.jsonl")
    wanted = [(run_folder / name).read_bytes() for name in names]
    for model in place.parent.rglob("model.safetensors"):
        here = [model.with_name(name) for name in names]
        if all(path.exists() for path in here) and [path.read_bytes() for path in here] == wanted:
            return True
    return False


def wrong_after(session: Session, scene: Scene, folder: Path, before: int, is_error: bool) -> str:
    """Return what is wrong with what a fault has left, and with what comes of it."""
    if wrong := not_whole(folder):
        return wrong
    if scene.old is None and progress(folder) < before:
        return f"the checkpoint went back from step {before} to {progress(folder)}"
    if scene.old and not holds(folder, scene.old) and not is_replaced(folder) and progress(folder) < 0:
        return "neither the old run nor a checkpoint of the new one is left"
    if not is_error and (wrong := evaluates(session, folder)):
        return wrong
    outcome = run(session, "train", *go_on(session, scene.settings, folder), pictures=scene.pictures)
    if outcome.code:
        return f"cannot go on: {outcome.err.strip()}"
    if wrong := not_whole(folder):
        return f"after going on, {wrong}"
    wrong = differs(folder, scene.expected)
    if wrong and scene.old and not differs(folder, scene.old):
        return ""
    if scene.pictures and len([*folder.glob("*.png")]) < 4:
        return "pictures are missing after going on"
    return wrong


def wrong_end(outcome: Outcome, control: dict[str, Any], folder: Path, expected: Path) -> str:
    """Return what is wrong with the end of the process that had the fault."""
    if outcome.code == -999:
        return "the process hangs"
    if "number" in control:
        return "" if outcome.code in (0, -signal.SIGKILL) else f"exit code {outcome.code}: {outcome.err.strip()}"
    if outcome.code == 0:  # the call did not matter, such as the removal of a temporary file
        wrong = differs(folder, expected)
        wrong = wrong and f"exit code 0, but {wrong}"
        return f"a traceback: {outcome.err.strip()}" if TRACEBACK in outcome.err else wrong
    return unlike_an_error(outcome, 1)


def attempts(session: Session) -> Iterator[tuple[str, int, str]]:
    """Yield scenario, call and fault: those of --only, or all, until each scenario has passed untouched."""
    if session.only:
        name, at, how = session.only.split(":")
        yield name, int(at), how
        return
    for name, how in itertools.product(SCENARIOS, KILLS):
        yield from until_untouched(session, name, how, 1, 1)
    # Errors: every STRIDE-th call of all scenarios, then those between. Drawing is slow, so it has one error only.
    for offset, name, how in itertools.product(range(1, STRIDE + 1), SCENARIOS, ERRORS):
        if name != "pictures" or how == "ENOSPC+":
            yield from until_untouched(session, name, how, offset, STRIDE)


def until_untouched(session: Session, name: str, how: str, first: int, stride: int) -> Iterator[tuple[str, int, str]]:
    """Yield the calls first, first + stride, ... until `main` has noted that the fault came after the last call."""
    for at in itertools.count(first, stride):
        yield name, at, how
        if session.counts[f"passed {name} {how} {at % STRIDE}"]:
            return


def main(session: Session) -> None:
    """Go through all scenarios and faults, or as far as the time allows."""
    preload(session.backend, pictures=True)
    folder = session.space / "root" / "run"
    folder.parent.mkdir(exist_ok=True)
    scenes: dict[str, Scene] = {}
    for name, at, how in attempts(session):
        if not session.goes_on():
            session.counts["cut short"] = 1
            break
        scene = scenes.get(name) or scenes.setdefault(name, make_scene(session, name, folder))
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir()
        if scene.start:
            shutil.copytree(scene.start, folder)
        before = progress(folder)
        control: dict[str, Any] = {**KILLS, **ERRORS}[how]
        outcome = run(session, "train", *scene.words, at=at, pictures=scene.pictures, **control)
        session.counts["rounds"] += 1
        if outcome.calls < at:
            session.counts[f"passed {name} {how} {at % STRIDE}"] = at
            session.counts["passes finished"] += 1
            continue
        session.counts["kills" if how in KILLS else "errors"] += 1
        wrong = wrong_end(outcome, control, folder, scene.expected) or wrong_after(
            session, scene, folder, before, how in ERRORS
        )
        if wrong:
            report(session, "calls", wrong, folder.parent, f"{name}:{at}:{how}")
