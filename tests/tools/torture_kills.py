"""Random kills: a run that is stopped again and again, and resumed each time, ends in the bits of an undisturbed one.

A round draws the settings of a run, trains it undisturbed, then three times more with up to twelve stops each: SIGKILL
at a random call or after a random time, half a write and SIGKILL, SIGINT, SIGTERM or SIGHUP at a random call.
After each stop every file is whole, and no saved step is lost.
"""

import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torture_process as base
from torture_process import Outcome, Session

SEQUENCES, STOPS = 3, 12
SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}
# Signals that come before the training catches them end the process as usual. By this call the loop has begun.
STARTED = 16


def stop_once(session: Session, rng: random.Random, words: list[Any], calls: int) -> tuple[str, int, Outcome]:
    """Run the training and stop it. Return how, at which call if at one, and the outcome."""
    how = rng.choice(["KILL", "KILL", "KILL", "TORN", "time", "time", "INT", "TERM", "HUP"])
    at = rng.randint(1, max(2, calls))
    if how == "time":
        process = base.fork(session, *words)
        time.sleep(rng.random() * 0.2 if session.backend == "numpy" else rng.random() * 2)
        os.kill(process.pid, signal.SIGKILL)
        return how, 0, base.wait(process)
    return how, at, base.run(session, *words, at=at, number={"KILL": signal.SIGKILL, "TORN": base.TORN, **SIGNALS}[how])


def wrong_end(how: str, at: int, outcome: Outcome, finished: bool) -> str:
    """Return what is wrong with the end of a process that was stopped."""
    if how in SIGNALS:
        allowed = {0, 128 + SIGNALS[how]} | ({-SIGNALS[how]} if at < STARTED or finished else set())
    else:
        allowed = {0, -signal.SIGKILL}
    if outcome.code == base.HANGS:
        return "the process hangs"
    if outcome.code not in allowed or base.TRACEBACK in outcome.err:
        return f"{how} gives exit code {outcome.code}: {outcome.err[-300:]}"
    return ""


def sequence(session: Session, rng: random.Random, settings: dict[str, Any], calls: int, expected: Path) -> str:
    """Stop and resume a run until it ends. Return what is wrong."""
    for stops in range(1, STOPS + 1):
        before = base.progress(session.folder)
        how, at, outcome = stop_once(session, rng, base.go_on(session, settings), calls)
        if outcome.code == 0:
            return base.differs(session.folder, expected)
        session.counts["stops"] += 1
        session.counts[f"stops by {how}"] += 1
        finished = (session.folder / "result.json").exists()
        wrong = wrong_end(how, at, outcome, finished) or base.not_whole(session.folder)
        if not wrong and base.progress(session.folder) < before:
            wrong = f"the checkpoint went back from step {before} to {base.progress(session.folder)}"
        if wrong:
            return f"stop {stops}, {how} at call {at}: {wrong}"
    return base.goes_on_to(session, settings, expected)


def main(session: Session) -> None:
    """Run rounds until the time is over."""
    for number in [int(session.only)] if session.only else itertools.count(1):
        if not session.goes_on():
            break
        rng = random.Random(f"{session.seed}-{number}")
        settings = base.draw_settings(rng, session.backend)
        expected, outcome = base.reference(session, settings)
        if outcome.code:
            if "diverged" not in outcome.err:
                session.report(f"the undisturbed run fails: {outcome.err}", str(number))
            continue
        for _ in range(SEQUENCES):
            session.start_from(None)
            wrong = sequence(session, rng, settings, outcome.calls, expected)
            session.counts["runs compared"] += 1
            if wrong:
                session.report(wrong, str(number))
                break
        session.counts["rounds"] += 1
