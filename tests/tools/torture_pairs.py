"""Two processes in one folder.

One process is stopped before its call 1, 2, 3, ..., and a second process tries the same
folder.

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
# The commands of the first process and of the second.
COMBINATIONS = [
    ("new", "new"),
    ("new", "resume"),
    *itertools.product(("resume", "overwrite"), repeat=2),
]


def stopped_round(
    session: Session, scene: Scene, pair: tuple[str, str], at: int
) -> bool:
    """Stop the first process before a call and start the second.

    Return whether it stopped.
    """
    log, settings = str(session.space / "log"), scene.settings
    one = base.command(session, settings, pair[0])
    first = base.fork(session, *one, at=at, number=signal.SIGSTOP, log=log)
    state = os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if not state or state.si_code != os.CLD_STOPPED:
        base.check_end(base.wait(first), 0)
        return False
    written, has_ended = written_by(session, log)
    second = base.run(session, *base.command(session, settings, pair[1]))
    session.counts["second processes refused"] += second.code == 2
    is_killed = at % 2 == 0
    os.kill(first.pid, signal.SIGKILL if is_killed else signal.SIGCONT)
    ended = base.wait(first)
    base.check_end(second, 0, 2)
    assert second.code == 2 or not written or has_ended, (
        f"the second is not refused, but the first has written {written}"
    )
    if second.code == 2 and written:
        is_told = names_process(second.err, first.pid)
        # A new run is also refused because of the old run, and a process at its end
        # takes its name away before the lock.
        if pair[1] == "new":
            is_told |= "already contains a run" in second.err
        if has_ended:
            is_told |= "in use by another process" in second.err
        assert is_told, f"the refusal names no process and machine: {second.err}"
    base.check_end(ended, 0, -signal.SIGKILL if is_killed else 2)
    check_state(session, scene, -1)
    return True


def written_by(session: Session, log: str) -> tuple[set[str], bool]:
    """Return the files written by a process, and whether it has ended the run."""
    calls = [call for call in read_log(log) if call.op in "WRUT"]
    paths = [Path(path) for call in calls for path in (call.one, call.two)]
    names = {path.name for path in paths if path.is_relative_to(session.folder)}
    result = str(session.folder / "result.json")
    return names & FILES, any(call.two == result for call in calls)


def names_process(line: str, pid: int) -> bool:
    return str(pid) in line and platform.node() in line


def main(session: Session) -> None:
    """Go through all combinations, or as far as the time allows."""

    def attack(first: str, second: str, at: int) -> bool:
        name = "overwrite" if "overwrite" in (first, second) else first
        scene = make_scene(session, name)
        session.start_from(scene.start)
        return stopped_round(session, scene, (first, second), at)

    # Every STRIDE-th call of all combinations, then those between: a short time sees
    # something of each.
    passes = [(*pair, i, STRIDE) for i in range(1, STRIDE + 1) for pair in COMBINATIONS]
    session.every_call(passes, attack)
