"""Two processes in one folder: one trains, the other is refused, and the result is the undisturbed one.

In each round the first process is stopped (SIGSTOP) before its call 1, 2, 3, ...; a second one then tries the same
folder. If the first has begun to write the run, the second must be refused: exit code 2, one line that names the
process and its machine. Then the first is continued, or killed; after that a third gets the folder at once.
"""

import itertools
import os
import platform
import signal
import time
from pathlib import Path
from typing import Any

from torture_calls import Scene, make_scene, wrong_state
from torture_power import read_log
from torture_process import TRACEBACK, Process, Session, fork, run, unlike_an_error, wait

FILES = {"config.json", "metrics.jsonl", "model.safetensors", "checkpoint.safetensors", "result.json"}
STRIDE = 7
# What the first process does and what the second one.
COMBINATIONS = [pair.split() for pair in ("new new", "new resume", "resume resume", "resume overwrite",
                                          "overwrite resume", "overwrite overwrite")]  # fmt: skip


def words_of(session: Session, command: str, scene: Scene) -> list[Any]:
    """Return a command on the folder: resume, new or overwrite."""
    if command == "resume":
        return ["train", "--resume", session.folder]
    words = [word for word in scene.words if word != "--overwrite"]
    return [*words, *(["--overwrite"] if command == "overwrite" else [])]


def is_stopped(process: Process) -> bool:
    """Wait until a process has stopped or ended. Return whether it is stopped."""
    state = ""
    while state not in ("T", "Z"):
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        time.sleep(0.0005)
    return state == "T"


def stopped_round(session: Session, scene: Scene, pair: list[str], at: int) -> tuple[bool, str]:
    """Stop the first process before a call and start the second. Return whether it stopped, and what is wrong."""
    log = str(session.space / "log")
    first = fork(session, *words_of(session, pair[0], scene), at=at, number=signal.SIGSTOP, log=log)
    if not is_stopped(first):
        ended = wait(first)
        return False, f"the first process fails: {ended.err}" if ended.code else ""
    calls = [call for call in read_log(log) if call.op in "WRUT"]
    paths = [Path(path) for call in calls for path in (call.one, call.two) if path]
    written = {path.name for path in paths if path.is_relative_to(session.folder)} & FILES
    has_ended = any(call.two == str(session.folder / "result.json") for call in calls)
    second = run(session, *words_of(session, pair[1], scene))
    session.counts["second processes refused"] += second.code == 2
    wrong = ""
    if second.code == 0 and written and not has_ended:
        wrong = f"the second process is not refused, but the first has written {', '.join(sorted(written))}"
    elif second.code not in (0, 2) or TRACEBACK in second.err:
        wrong = f"the second process ends with {second.code}: {second.err[-300:]}"
    elif second.code == 2 and written:
        named = str(first.pid) in second.err and platform.node() in second.err
        # A new run is also refused because there is one, and one that ends takes its name away before the lock.
        named = named or (pair[1] == "new" and "already contains a run" in second.err)
        named = named or (has_ended and "in use by another process" in second.err)
        wrong = unlike_an_error(second, 2) if named else f"the refusal names no process and machine: {second.err}"
    is_killed = at % 2 == 0
    os.kill(first.pid, signal.SIGKILL if is_killed else signal.SIGCONT)
    ended = wait(first)
    if not wrong and not is_killed and (ended.code not in (0, 2) or TRACEBACK in ended.err):
        wrong = f"the first process ends with {ended.code}: {ended.err[-300:]}"
    return True, wrong or wrong_state(session, scene, -1)


def main(session: Session) -> None:
    """Go through all combinations, or as far as the time allows."""
    scenes: dict[str, Scene] = {}
    # Every STRIDE-th call of all combinations, then those between: a short time sees something of each.
    passes = [(*pair, i, STRIDE) for i, pair in itertools.product(range(1, STRIDE + 1), COMBINATIONS)]
    for first, second, at in session.every_call(passes):
        name = "overwrite" if "overwrite" in (first, second) else first
        scene = scenes[name] = scenes.get(name) or make_scene(session, name)
        session.start_from(scene.start)
        was_stopped, wrong = stopped_round(session, scene, [first, second], at)
        session.passed = not was_stopped
        if wrong:
            session.report(wrong, f"{first}:{second}:{at}")
