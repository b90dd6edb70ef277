"""Random kills: a run that is stopped again and again, and resumed each time, ends in the bits of an uninterrupted one.

A round draws the settings of a run, trains it undisturbed, then three times more with up to twelve stops each: SIGKILL
at a random call or after a random time, half a write and SIGKILL, SIGINT, SIGTERM or SIGHUP at a random call, or a
reader that closes the pipe of the output. After each stop every file is whole, and no saved step is lost.
"""

import itertools
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from torture_process import (
    SIGNALS,
    TORN,
    TRACEBACK,
    Outcome,
    Session,
    UnavailableError,
    differs,
    draw_settings,
    fork,
    go_on,
    not_whole,
    preload,
    progress,
    reference,
    report,
    run,
    wait,
)

SEQUENCES, STOPS = 3, 12
# Signals that come before the training catches them end the process as usual. By this call the loop has begun.
STARTED = 16


def stop_once(session: Session, rng: random.Random, words: list[Any], calls: int) -> tuple[str, int, Outcome]:
    """Run the training and stop it. Return how, at which call if at one, and the outcome."""
    how = rng.choice(["KILL", "KILL", "KILL", "TORN", "time", "time", "INT", "TERM", "HUP", "pipe"])
    at = rng.randint(1, max(2, calls))
    if how == "time":
        process = fork(session, "train", *words)
        time.sleep(rng.random() * 0.2 if session.backend == "numpy" else rng.random() * 2)
        os.kill(process.pid, signal.SIGKILL)
        return how, 0, wait(process)
    if how == "pipe":
        process = fork(session, "train", *words, broken_pipe=True)
        wanted = rng.choice([0, 1, 300, 700, 1000])
        while wanted > 0 and (piece := os.read(process.pipe, wanted)):
            wanted -= len(piece)
        os.close(process.pipe)
        return how, 0, wait(process._replace(pipe=-1))
    number = {"KILL": signal.SIGKILL, "TORN": TORN, **SIGNALS}[how]
    return how, at, run(session, "train", *words, at=at, number=number)


def wrong_end(how: str, at: int, outcome: Outcome, finished: bool) -> str:
    """Return what is wrong with the end of a process that was stopped."""
    if outcome.code == -999:
        return "the process hangs"
    if TRACEBACK in outcome.err:
        return f"a traceback: {outcome.err.strip().splitlines()[-1]}"
    if how in ("KILL", "TORN", "time"):
        return "" if outcome.code in (0, -signal.SIGKILL) else f"exit code {outcome.code}: {outcome.err.strip()}"
    if how == "pipe":
        return (
            "" if outcome.code in (0, 141) else f"a broken pipe gives exit code {outcome.code}: {outcome.err.strip()}"
        )
    number = SIGNALS[how]
    allowed = {0, 128 + number}
    if at < STARTED or finished:
        allowed.add(-number)
    return "" if outcome.code in allowed else f"SIG{how} gives exit code {outcome.code}: {outcome.err.strip()}"


def sequence(
    session: Session, rng: random.Random, settings: dict[str, Any], calls: int, folder: Path, expected: Path
) -> str:
    """Stop and resume a run until it ends. Return what is wrong."""
    counts = session.counts
    place = ""
    for stops in range(1, STOPS + 1):
        before = progress(folder)
        how, at, outcome = stop_once(session, rng, go_on(session, settings, folder), calls)
        if outcome.code == 0:
            wrong = differs(folder, expected)
            return wrong and f"{how}: exit code 0, but {wrong}"
        counts["stops"] += 1
        counts[f"stops by {how}"] += 1
        place = f"stop {stops}, {how}{f' at call {at}' if at else ''}: "
        wrong = wrong_end(how, at, outcome, (folder / "result.json").exists()) or not_whole(folder)
        if not wrong and progress(folder) < before:
            wrong = f"the checkpoint went back from step {before} to {progress(folder)}"
        if wrong:
            return place + wrong
    outcome = run(session, "train", *go_on(session, settings, folder))
    if outcome.code:
        return f"{place}the run cannot be resumed: {outcome.err.strip()}"
    return ""


def main(session: Session) -> None:
    """Run rounds until the time is over."""
    preload(session.backend)
    folder = session.space / "root" / "run"
    folder.parent.mkdir(exist_ok=True)
    numbers = [int(session.only)] if session.only else itertools.count(1)
    for number in numbers:
        if not session.goes_on():
            break
        rng = random.Random(f"{session.seed}-{number}")
        settings = draw_settings(rng, session.backend)
        settings["defer_updates"] = rng.random() < 0.7
        try:
            expected, calls = reference(session, settings)
        except UnavailableError as error:
            if "diverged" not in str(error):
                raise
            session.counts["drawn settings that diverge"] += 1
            continue
        for _ in range(SEQUENCES):
            shutil.rmtree(folder, ignore_errors=True)
            wrong = sequence(session, rng, settings, calls, folder, expected)
            wrong = wrong or differs(folder, expected)
            session.counts["runs compared"] += 1
            if wrong:
                report(session, "kills", wrong, folder, str(number))
                break
        session.counts["rounds"] += 1
