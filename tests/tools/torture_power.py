"""Loss of power: the possible content of a disk, rebuilt from the log of a run.

The model is a strict reading of POSIX, as SQLite's crash tests have it. Bytes are on
the disk after fsync of the file, and names after fsync of the folder. All else may be
there or not: names one by one, bytes cut off anywhere, or zeros.
"""

import functools
import itertools
import os
import random
import struct
from pathlib import Path
from typing import NamedTuple

import torture_process as base
from torture_calls import SCENARIOS, Scene, check_state, make_scene
from torture_process import Session

HOW = ("nothing", "names", "zeros", "random")


class Call(NamedTuple):
    """A call in the shim's log. op: Open, Write, Fsync, Rename, Unlink, Mkdir, Lock."""

    op: str
    one: str
    two: str
    number: int
    """Flags of an open, offset of a write."""
    data: bytes


def read_log(path: str) -> list[Call]:
    """Read the successful calls."""
    calls = []
    with Path(path).open("rb") as file:
        while head := file.read(40):
            op, one, two, number, size = struct.unpack("5q", head)
            names = os.fsdecode(file.read(one)), os.fsdecode(file.read(two))
            calls.append(Call(chr(op), *names, number, file.read(size)))
    return calls


class File:
    """The bytes of a file: as processes see them, and as they are safe on the disk."""

    def __init__(self, data: bytes = b"") -> None:
        self.now, self.safe = data, data


Names = dict[str, File | None]
"""The names below one folder; None is a folder."""
Change = tuple[str, str, File | None]
"""The old and the new name, and the file. A new file has no old name, and a removed
file no new name.
"""


def change(names: Names, old: str, new: str, file: File | None) -> None:
    """Change a name, or do nothing if the old name is missing.

    A folder takes its content along.
    """
    if old and new:
        for each in [*names]:
            if f"{each}/".startswith(f"{old}/"):
                names[new + each.removeprefix(old)] = names.pop(each)
    elif new:
        names[new] = file
    else:
        names.pop(old, None)


class Disk:
    """Files and names below one folder.

    `names` are as the processes see them, `pending` the changes not yet on the disk.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.pending = root, list[Change]()
        self.names: Names = {
            str(each): None if each.is_dir() else File(each.read_bytes())
            for each in root.rglob("*")
        }
        self.safe = dict(self.names)

    def contents(self) -> set[tuple[str, bytes | None]]:
        """Return all names and bytes as the processes see them."""
        return {(name, file and file.now) for name, file in self.names.items()}

    def rename(self, old: str, new: str, file: File | None = None) -> None:
        """Change a name, but not yet on the disk."""
        change(self.names, old, new, file)
        self.pending.append((old, new, file))

    def apply(self, call: Call) -> None:
        """Repeat a call."""
        file, number = self.names.get(call.one), call.number
        match call.op:
            case "O" if not file and number & os.O_CREAT:
                self.rename("", call.one, File())
            case "O" if file and number & os.O_TRUNC:
                file.now = b""
            case "W" if file:
                end = file.now[number + len(call.data) :]
                file.now = file.now[:number].ljust(number, b"\0") + call.data + end
            case "M":
                self.rename("", call.one)
            case "U":
                self.rename(call.one, "")
            case "R":
                self.rename(call.one, call.two)
            case "F" if file:
                file.safe = file.now
            case "F":  # of a folder: all changes of names in it, in their order
                for each in [*self.pending]:
                    if call.one in [str(Path(name).parent) for name in each[:2]]:
                        self.pending.remove(each)
                        change(self.safe, *each)

    def after_a_loss(self, rng: random.Random, how: str) -> dict[str, bytes | None]:
        """Return possible names and bytes on the disk.

        how: nothing, names, zeros, or random.
        """
        names, state = dict(self.safe), dict[str, bytes | None]()
        for each in self.pending:
            if how in ("names", "zeros") or (how == "random" and rng.random() < 0.5):
                change(names, *each)
        for name, file in sorted(names.items()):
            folder = Path(name).parent
            if folder == self.root or str(folder) in state:  # else it is lost as well
                state[name] = file and bytes_of(file, rng, how)
        return state


def bytes_of(file: File, rng: random.Random, how: str) -> bytes:
    """Return possible bytes of a file on the disk."""
    if file.now == file.safe or how == "nothing":
        return file.safe
    # Appending does not endanger safe bytes, but writing over them does.
    kept = len(file.safe) if file.now.startswith(file.safe) else 0
    if how in ("names", "zeros"):
        return file.now[:kept] + bytes(len(file.now) - kept if how == "zeros" else 0)
    lost = file.now[: rng.randint(kept, len(file.now))]
    return rng.choice([file.safe, file.now, lost, lost.ljust(len(file.now), b"\0")])


def write_state(session: Session, state: dict[str, bytes | None]) -> None:
    """Replace the content of the root by a state of the disk."""
    session.start_from(None)
    for name, data in state.items():  # a folder comes before its content
        if data is None:
            Path(name).mkdir()
        else:
            Path(name).write_bytes(data)


def reached_by(session: Session, disk: Disk, call: Call, reached: int) -> int:
    """Return the step of the newest saved checkpoint.

    It is saved when the program has gone on to another file.
    """
    file = disk.names.get(str(session.folder / "checkpoint.safetensors"))
    if call.op != "O" or file is None:
        return reached
    aside = session.space / "look"
    aside.mkdir(exist_ok=True)
    (aside / "checkpoint.safetensors").write_bytes(file.now)
    return max(reached, base.progress(aside))


@functools.cache
def prepare(session: Session, name: str) -> tuple[Scene, list[Call]]:
    """Return a scenario and the log of its calls.

    The log must give exactly the files of the run.
    """
    scene, log = make_scene(session, name), str(session.space / "log")
    session.start_from(scene.start)
    disk = Disk(session.root)
    outcome = base.run(session, *base.command(session, scene.settings, name), log=log)
    assert outcome.code == 0, outcome
    calls = read_log(log)
    for call in calls:
        disk.apply(call)
    names = [name for name, _ in disk.contents() ^ Disk(session.root).contents()]
    # The shim misses a call, such as sendfile, or the model is wrong.
    assert not names, f"the log does not give what the run has left: {names}"
    return scene, calls


def main(session: Session) -> None:
    """Go through the calls of each scenario.

    First with four states for each, then with further random states.
    """
    seen: set[int] = set()
    if session.options.only:
        name, at, how, turn = session.options.only.split(":")
        lose_power(session, seen, name, how, int(turn), only=int(at))
        return
    for turn in itertools.count():
        # In the first turn the extreme states, in the others random ones.
        for name, how in itertools.product(SCENARIOS, HOW if turn == 0 else HOW[-1:]):
            if not session.goes_on():
                return
            lose_power(session, seen, name, how, turn)


def lose_power(
    session: Session, seen: set[int], name: str, how: str, turn: int, only: int = 0
) -> None:
    """Lose power after each call of a scenario, or after one.

    Check the new states of the disk.
    """
    scene, calls = prepare(session, name)
    session.start_from(scene.start)
    disk, reached = Disk(session.root), -1
    for i, call in enumerate(calls, 1):
        disk.apply(call)
        if not scene.old:
            reached = reached_by(session, disk, call, reached)
        if only and i != only:
            continue
        if not session.goes_on():
            return
        rng = random.Random(f"{session.options.seed}-{name}-{i}-{how}-{turn}")
        state = disk.after_a_loss(rng, how)
        has_ended = i == len(calls)
        session.counts["rounds"] += 1
        key = hash((name, reached, has_ended, *state.items()))
        if key in seen:
            continue
        seen.add(key)
        session.counts["different states"] += 1
        write_state(session, state)
        with session.judged(f"{name}:{i}:{how}:{turn}"):
            if has_ended:
                base.check_same(session.folder, scene.expected)
            check_state(session, scene, reached)
