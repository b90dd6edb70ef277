"""Two processes in one folder: one is stopped before its call 1, 2, 3, ..., and a
second one tries the same folder.

It must be refused once the first has begun to write the run. Then the first is
continued, or killed.
"""

import itertools
import os
import platform
import signal
from pathlib import Path

import torture_process as base
from torture_calls import Scene, check_state, make_scene
from torture_power import read_log
from torture_process import Session

FILES = {
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "checkpoint.safetensors",
    "result.json",
}
STRIDE = 7
# What the first process does and what the second one.
COMBINATIONS = [
    ("new", "new"),
    ("new", "resume"),
    *itertools.product(("resume", "overwrite"), repeat=2),
]


def stopped_round(
    session: Session, scene: Scene, pair: tuple[str, str], at: int
) -> bool:
    """Stop the first process before a call and start the second. Return whether it
    stopped.
    """
    log = str(session.space / "log")
    first = base.fork(
        session,
        *base.command(session, scene.settings, pair[0]),
        at=at,
        number=signal.SIGSTOP,
        log=log,
    )
    state = os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if not state or state.si_code != os.CLD_STOPPED:
        base.check_end(base.wait(first), 0)
        return False
    calls = [call for call in read_log(log) if call.op in "WRUT"]
    paths = [Path(path) for call in calls for path in (call.one, call.two)]
    written = {
        path.name for path in paths if path.is_relative_to(session.folder)
    } & FILES
    has_ended = any(call.two == str(session.folder / "result.json") for call in calls)
    second = base.run(session, *base.command(session, scene.settings, pair[1]))
    session.counts["second processes refused"] += second.code == 2
    is_killed = at % 2 == 0
    os.kill(first.pid, signal.SIGKILL if is_killed else signal.SIGCONT)
    ended = base.wait(first)
    base.check_end(second, 0, 2)
    assert second.code == 2 or not written or has_ended, (
        f"the second is not refused, but the first has written {written}"
    )
    if second.code == 2 and written:
        named = str(first.pid) in second.err and platform.node() in second.err
        # A new run is also refused because there is one, and one that ends takes its
        # name away before the lock.
        named = named or (pair[1] == "new" and "already contains a run" in second.err)
        named = named or (has_ended and "in use by another process" in second.err)
        assert named, f"the refusal names no process and machine: {second.err}"
    base.check_end(ended, 0, -signal.SIGKILL if is_killed else 2)
    check_state(session, scene, -1)
    return True


def main(session: Session) -> None:
    """Go through all combinations, or as far as the time allows."""

    def attack(first: str, second: str, at: int) -> bool:
        scene = make_scene(
            session, "overwrite" if "overwrite" in (first, second) else first
        )
        session.start_from(scene.start)
        return stopped_round(session, scene, (first, second), at)

    # Every STRIDE-th call of all combinations, then those between: a short time sees
    # something of each.
    session.every_call(
        [(*pair, i, STRIDE) for i in range(1, STRIDE + 1) for pair in COMBINATIONS],
        attack,
    )
