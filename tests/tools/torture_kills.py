"""Random kills: a run, stopped and resumed again and again, ends in the same bits.

A round draws the settings of a run, trains it undisturbed, then three times more with
up to twelve stops each.
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
# Signals before the training catches them end the process as usual. By this
# call the loop has begun.
STARTED = 16


def stop_once(
    session: Session, rng: random.Random, words: list[Any], calls: int
) -> tuple[str, int, Outcome]:
    """Run the training and stop it.

    Return how, the number of the call or 0, and the outcome.
    """
    how = rng.choice(
        ["KILL", "KILL", "KILL", "TORN", "time", "time", "INT", "TERM", "HUP"]
    )
    at = rng.randint(1, max(2, calls))
    if how == "time":
        process = base.fork(session, *words)
        longest = 0.2 if session.backend == "numpy" else 2
        time.sleep(rng.random() * longest)
        os.kill(process.pid, signal.SIGKILL)
        return how, 0, base.wait(process)
    numbers = {"KILL": signal.SIGKILL, "TORN": base.TORN, **SIGNALS}
    return how, at, base.run(session, *words, at=at, number=numbers[how])


def sequence(
    session: Session,
    rng: random.Random,
    settings: dict[str, Any],
    calls: int,
    expected: Path,
) -> None:
    """Stop and resume a run until it ends."""
    session.start_from(None)
    for _ in range(STOPS):
        before = base.progress(session.folder)
        how, at, outcome = stop_once(session, rng, base.go_on(session, settings), calls)
        if outcome.code == 0:
            break
        session.counts["stops"] += 1
        session.counts[f"stops by {how}"] += 1
        has_ended = (session.folder / "result.json").exists()
        base.check_end(outcome, *codes_of(how, at < STARTED or has_ended))
        base.check_whole(session.folder)
        reached = base.progress(session.folder)
        assert reached >= before, (
            f"{how} at call {at}: the checkpoint went back from {before} to {reached}"
        )
    base.check_goes_on(session, settings, expected)


def codes_of(how: str, is_outside: bool) -> list[int]:
    """Return the possible exit codes of a stop.

    is_outside: it may have come before or after the training.
    """
    if how not in SIGNALS:
        return [-signal.SIGKILL]
    number = SIGNALS[how]
    return [128 + number, -number] if is_outside else [128 + number]


def main(session: Session) -> None:
    """Run rounds until the time is over."""
    for number in itertools.count(int(session.options.only or 1)):
        if not session.goes_on():
            break
        rng = random.Random(f"{session.options.seed}-{number}")
        settings = base.draw_settings(rng, session.backend)
        expected, outcome = base.reference(session, settings)
        if "diverged" in outcome.err:
            continue
        with session.judged(str(number)):
            base.check_end(outcome, 0)
            for _ in range(SEQUENCES):
                session.counts["runs compared"] += 1
                sequence(session, rng, settings, outcome.calls, expected)
        session.counts["rounds"] += 1
