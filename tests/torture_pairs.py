"""Two processes in one folder: one trains, the other is refused, and the result is the undisturbed one.

In a round of the first kind the first process is stopped (SIGSTOP) before its call 1, 2, 3, ...; a second one then
tries the same folder. If the first has begun to write the run, the second must be refused: exit code 2, one line that
names the process and its machine. Then the first is continued, or killed; after that a third gets the folder at once.
In a round of the second kind three processes start after random delays.
"""

import itertools
import os
import platform
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torture_calls import Scene, holds, make_scene
from torture_power import read_log
from torture_process import (
    TRACEBACK,
    Outcome,
    Session,
    differs,
    evaluates,
    fork,
    go_on,
    is_stopped,
    new_run,
    not_whole,
    preload,
    report,
    run,
    unlike_an_error,
    wait,
)

FILES = {"config.json", "metrics.jsonl", "model.safetensors", "checkpoint.safetensors", "result.json"}
STRIDE = 7
# What the first process does and what the second one.
COMBINATIONS = (
    ("new", "new"),
    ("new", "resume"),
    ("resume", "resume"),
    ("resume", "overwrite"),
    ("overwrite", "resume"),
    ("overwrite", "overwrite"),
)


def words_of(session: Session, command: str, scene: Scene, folder: Path) -> list[Any]:
    """Return the options of a command on the folder."""
    if command == "resume":
        return ["--resume", folder]
    return new_run(session, scene.settings, folder, *(["--overwrite"] if command == "overwrite" else []))


def touched(log: Path, folder: Path) -> set[str]:
    """Return the files of the run that a process has written, replaced or removed, from the log of its calls."""
    paths = {path for call in read_log(log) if call.op in "WRUT" for path in (call.one, call.two) if path}
    return {Path(path).name for path in paths if Path(path).is_relative_to(folder)} & FILES


def wrong_refusal(outcome: Outcome, pids: set[int]) -> str:
    """Return what is wrong with a refusal, which must name one of the processes and this machine."""
    if wrong := unlike_an_error(outcome, 2):
        return wrong
    if not any(str(pid) in outcome.err for pid in pids):
        return f"the refusal names no process: {outcome.err.strip()}"
    return "" if platform.node() in outcome.err else f"the refusal does not name the machine: {outcome.err.strip()}"


def wrong_result(session: Session, scene: Scene, folder: Path) -> str:
    """Let the run go on to its end, and return what is wrong with it."""
    if wrong := not_whole(folder):
        return wrong
    outcome = run(session, "train", *go_on(session, scene.settings, folder))
    if outcome.code:
        return f"the run cannot go on at once: {outcome.err.strip()}"
    wrong = differs(folder, scene.expected)
    return "" if wrong and scene.old and not differs(folder, scene.old) else wrong


def stopped_round(session: Session, scene: Scene, folder: Path, pair: tuple[str, str], at: int) -> tuple[bool, str]:
    """Stop the first process before a call and start the second. Return whether it stopped, and what is wrong."""
    log = session.space / "log"
    first = fork(session, "train", *words_of(session, pair[0], scene, folder), at=at, number=signal.SIGSTOP, log=log)
    if not is_stopped(first):
        ended = wait(first)
        return False, "" if ended.code == 0 else f"the first process fails: {ended.err.strip()}"
    here = touched(log, folder)
    has_begun, has_ended = bool(here), "result.json" in here and pair[0] != "overwrite"
    wrong = evaluates(session, folder) if folder.exists() else ""
    second = run(session, "train", *words_of(session, pair[1], scene, folder))
    session.counts["second processes refused"] += second.code == 2
    if second.code == -999:
        wrong = "the second process hangs"
    elif second.code == 0 and has_begun and not has_ended and not finished(log, folder):
        wrong = wrong or f"the second process is not refused, but the first has written {', '.join(sorted(here))}"
    elif second.code not in (0, 2) or TRACEBACK in second.err:
        wrong = wrong or f"the second process ends with {second.code}: {second.err.strip()[-300:]}"
    elif second.code == 2 and has_begun:
        # A new run is also refused because there is one.
        plain = pair[1] == "new" and "already contains a run" in second.err
        # One that has ended takes its name away before the lock.
        plain = plain or (finished(log, folder) and "in use by another process" in second.err)
        wrong = wrong or (unlike_an_error(second, 2) if plain else wrong_refusal(second, {first.pid}))
    is_killed = at % 2 == 0
    os.kill(first.pid, signal.SIGKILL if is_killed else signal.SIGCONT)
    session.counts["holders killed" if is_killed else "holders continued"] += 1
    ended = wait(first)
    if not wrong and not is_killed and (ended.code not in (0, 2) or TRACEBACK in ended.err):
        wrong = f"the first process ends with {ended.code}: {ended.err.strip()[-300:]}"
    if not wrong and is_killed and scene.old and not holds(folder, scene.old):
        wrong = "" if (folder / "checkpoint.safetensors").exists() else "neither the old nor the new run is left"
    return True, wrong or wrong_result(session, scene, folder)


def finished(log: Path, folder: Path) -> bool:
    """Return whether a process has written its result."""
    return any(call.op == "R" and call.two == str(folder / "result.json") for call in read_log(log))


def race(session: Session, scene: Scene, folder: Path, commands: list[str], rng: random.Random) -> str:
    """Start several processes after random delays. Return what is wrong."""
    processes = []
    for command in commands:
        processes.append(fork(session, "train", *words_of(session, command, scene, folder)))
        time.sleep(rng.choice([0, 0.002, 0.01, 0.03, 0.1]) * rng.random())
    pids = {process.pid for process in processes}
    outcomes = [wait(process) for process in processes]
    session.counts["processes refused in a race"] += sum(outcome.code == 2 for outcome in outcomes)
    for command, outcome in zip(commands, outcomes, strict=True):
        if outcome.code == 2:
            # The holder may not have written its number yet, and a new run is also refused because there is one.
            known = ("already contains a run", "is not a run", "in use by another process")
            is_plain = any(text in outcome.err for text in known)
            wrong = unlike_an_error(outcome, 2) if is_plain else wrong_refusal(outcome, pids)
        else:
            wrong = "" if outcome.code == 0 and TRACEBACK not in outcome.err else f"code {outcome.code}: {outcome.err}"
        if wrong:
            return f"race of {', '.join(commands)}: {command}: {wrong}"
    if not any(outcome.code == 0 for outcome in outcomes):
        return f"race of {', '.join(commands)}: all are refused"
    wrong = wrong_result(session, scene, folder)
    return wrong and f"race of {', '.join(commands)}: {wrong}"


def rounds(session: Session) -> Iterator[tuple[int, str, str, int]]:
    """Yield numbers and what to do: a pair of commands with a call, and a race after every fourth."""
    if session.only:
        first, second, at = session.only.split(":")
        yield 0, first, second, int(at)
        return
    number = 0
    # Every STRIDE-th call of all combinations, then those between: a short time sees something of each.
    for offset, (first, second) in itertools.product(range(1, STRIDE + 1), COMBINATIONS):
        for at in itertools.count(offset, STRIDE):
            number += 1
            yield number, first, second, at
            if number % 4 == 0:
                yield number, "race", "race", number
            if session.counts[f"passed {first} {second} {offset}"]:
                break
    for more in itertools.count(number + 1):
        yield more, "race", "race", more


def main(session: Session) -> None:
    """Go through all combinations, then race until the time is over."""
    preload(session.backend)
    folder = session.space / "root" / "run"
    folder.parent.mkdir(exist_ok=True)
    scenes: dict[str, Scene] = {}
    for _, first, second, at in rounds(session):
        if not session.goes_on():
            break
        rng = random.Random(f"{session.seed}-{at}")
        commands = rng.choice([["new"] * 3, ["resume"] * 3, ["overwrite"] * 3, ["resume", "overwrite", "resume"]])
        kind = first if first != "race" else "overwrite" if "overwrite" in commands else commands[0]
        kind = "overwrite" if second == "overwrite" else kind
        name = {"new": "new", "resume": "resume", "overwrite": "overwrite"}[kind]
        scene = scenes.get(name) or scenes.setdefault(name, make_scene(session, name, folder))
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir()
        if scene.start:
            shutil.copytree(scene.start, folder)
        if first == "race":
            session.counts["races"] += 1
            wrong = race(session, scene, folder, commands, rng)
        else:
            was_stopped, wrong = stopped_round(session, scene, folder, (first, second), at)
            if not was_stopped:
                session.counts[f"passed {first} {second} {(at - 1) % STRIDE + 1}"] = at
                session.counts["passes finished"] += 1
        session.counts["rounds"] += 1
        if wrong:
            report(session, "pairs", wrong, folder, f"{first}:{second}:{at}")
