"""Loss of power: what a disk may hold when the computer stops, rebuilt from the log of a run's calls.

The model is a strict reading of POSIX, as SQLite's crash tests have it: what is written to a file is on the disk after
its fsync; a new, renamed or removed name is on the disk after fsync of its folder. Whatever was not synchronised
may be there or not: names one by one, a file's bytes as they were before, cut off anywhere, or as zeros. For every call
of a run, states are drawn from these and given to the checks of torture_calls.py.
"""

import itertools
import os
import random
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

from torture_calls import SCENARIOS, Scene, make_scene, wrong_state
from torture_process import Session, differs, progress, run


class Call(NamedTuple):
    """One call of the shim's log. op: Open, Write, Fsync, Rename, Unlink, Mkdir, Truncate, N: link, L: lock."""

    op: str
    one: str
    two: str
    number: int
    """Flags of an open, offset of a write, size of a truncation."""
    data: bytes


def read_log(path: str) -> list[Call]:
    """Read the calls that succeeded."""
    content, place, calls = Path(path).read_bytes(), 0, []
    while place + 40 <= len(content):
        op, n_one, n_two, number, size = struct.unpack_from("5q", content, place)
        place += 40
        fields = []
        for length in (n_one, n_two, size):
            fields.append(content[place : place + length])
            place += length
        calls.append(Call(chr(op), os.fsdecode(fields[0]), os.fsdecode(fields[1]), number, fields[2]))
    return calls


class File:
    """The bytes of a file, as the processes see them and as they are on the disk at least."""

    def __init__(self, data: bytes = b"") -> None:
        self.now, self.safe = data, data


class Disk:
    """Files and names below one folder. names: as the processes see them; pending: their changes that may be lost."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, File | None] = {}
        self.pending: list[tuple[str, File | None, bool]] = []
        for path in sorted(root.rglob("*")):
            self.names[str(path)] = None if path.is_dir() else File(path.read_bytes())
        self.safe = dict(self.names)

    def put(self, name: str, file: File | None, there: bool = True) -> None:
        """Change a name, which is not on the disk yet."""
        if there:
            self.names[name] = file
        else:
            self.names.pop(name, None)
        self.pending.append((name, file, there))

    def apply(self, call: Call) -> None:
        """Do what a call did."""
        file = self.names.get(call.one)
        if call.op == "O":
            if file is None and call.number & os.O_CREAT:
                self.put(call.one, File())
            elif file is not None and call.number & os.O_TRUNC:
                file.now = b""
        elif call.op == "W" and file is not None:
            now = file.now.ljust(call.number, b"\0")
            file.now = now[: call.number] + call.data + now[call.number + len(call.data) :]
        elif call.op == "T" and file is not None:
            file.now = file.now[: call.number].ljust(call.number, b"\0")
        elif call.op == "M":
            self.put(call.one, None)
        elif call.op == "U":
            self.put(call.one, file, there=False)
        elif call.op == "N":
            self.put(call.two, file)
        elif call.op == "R":
            moved = [name for name in self.names if name == call.one or name.startswith(f"{call.one}/")]
            renamed = [(call.two + name[len(call.one) :], self.names[name], name) for name in moved]
            # One operation: both names or neither, so they are one entry, and a folder takes along what it holds.
            for new, content, old in renamed:
                self.names.pop(old)
                self.names[new] = content
            self.pending.append((f"{call.one}\0{call.two}", None, True))
        elif call.op == "F":
            if file is not None:
                file.safe = file.now
            else:
                self.sync_folder(call.one)

    def sync_folder(self, folder: str) -> None:
        """The names in a folder are on the disk: all changes of them, in their order."""
        rest = []
        for change in self.pending:
            parents = {str(Path(name).parent) for name in change[0].split("\0")}
            if folder in parents:
                do(self.safe, change)
            else:
                rest.append(change)
        self.pending = rest

    def after_a_loss(self, rng: random.Random, how: str) -> dict[str, bytes | None]:
        """Return names and bytes that the disk may hold. how: nothing, names, zeros, or random."""
        names = dict(self.safe)
        for change in self.pending:
            if how in ("names", "zeros") or (how == "random" and rng.random() < 0.5):
                do(names, change)
        # A name whose folder is lost is lost.
        for name in sorted(names):
            parent = str(Path(name).parent)
            if parent != str(self.root) and parent not in names:
                del names[name]
        return {name: file and self.bytes_of(file, rng, how) for name, file in names.items()}

    def bytes_of(self, file: File, rng: random.Random, how: str) -> bytes:
        """Return the bytes of a file that the disk may hold."""
        if file.now == file.safe or how == "nothing":
            return file.safe
        # Appending does not endanger what was safe, but writing over it does.
        kept = len(file.safe) if file.now.startswith(file.safe) else 0
        if how == "names":
            return file.now[:kept]
        if how == "zeros":
            return file.now[:kept] + bytes(len(file.now) - kept)
        lost = file.now[: rng.randint(kept, len(file.now))]
        return rng.choice([file.safe, file.now, lost, lost.ljust(len(file.now), b"\0")])


def do(names: dict[str, File | None], change: tuple[str, File | None, bool]) -> None:
    """Apply one change of names. A change of a name that is not there does nothing."""
    name, file, there = change
    old, _, new = name.partition("\0")
    if new:
        for each in [each for each in names if each == old or each.startswith(f"{old}/")]:
            names[new + each[len(old) :]] = names.pop(each)
    elif there:
        names[name] = file
    else:
        names.pop(name, None)


def write_state(root: Path, state: dict[str, bytes | None]) -> None:
    """Replace what is below the root by a state of the disk."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in sorted(state):
        path, data = Path(name), state[name]
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def reached_by(session: Session, disk: Disk, call: Call, reached: int) -> int:
    """Return the step of the newest checkpoint that is saved: the program has gone on to another file after it."""
    file = disk.names.get(str(session.folder / "checkpoint.safetensors"))
    if call.op != "O" or file is None:
        return reached
    aside = session.space / "look"
    aside.mkdir(exist_ok=True)
    (aside / "checkpoint.safetensors").write_bytes(file.now)
    return max(reached, progress(aside))


def prepare(session: Session, name: str) -> tuple[Scene, list[Call]]:
    """Return a scenario and the log of its calls, which must give exactly what the run has left."""
    scene, log = make_scene(session, name), str(session.space / "log")
    session.start_from(scene.start)
    disk = Disk(session.root)
    outcome = run(session, *scene.words, log=log)
    assert outcome.code == 0, outcome
    calls = read_log(log)
    for call in calls:
        disk.apply(call)
    rebuilt = {name: file is not None and file.now for name, file in disk.names.items()}
    there = {str(path): path.is_file() and path.read_bytes() for path in session.root.rglob("*")}
    names = [name for name in {*rebuilt, *there} if rebuilt.get(name) != there.get(name)]
    # A call that the shim does not know, such as sendfile, or the model is wrong.
    assert not names, f"the log does not give what the run has left: {names}"
    return scene, calls


def main(session: Session) -> None:
    """Go through the calls of each scenario, with four states for each, then with further random ones."""
    prepared: dict[str, tuple[Scene, list[Call]]] = {}
    seen: set[int] = set()
    wanted = session.only.split(":") if session.only else []
    for turn in [int(wanted[3])] if wanted else itertools.count():
        for name in wanted[:1] or SCENARIOS:
            scene, calls = prepared[name] = prepared.get(name) or prepare(session, name)
            # In the first turn the extreme states, in the others random ones.
            for how in ("nothing", "names", "zeros", "random") if turn == 0 else ("random",):
                session.start_from(scene.start)
                disk, reached = Disk(session.root), -1
                for i, call in enumerate(calls, 1):
                    disk.apply(call)
                    reached = -1 if scene.old else reached_by(session, disk, call, reached)
                    if wanted and [str(i), how] != wanted[1:3]:
                        continue
                    if not session.goes_on():
                        return
                    state = disk.after_a_loss(random.Random(f"{session.seed}-{name}-{i}-{how}-{turn}"), how)
                    has_ended = i == len(calls)
                    session.counts["rounds"] += 1
                    key = hash((name, reached, has_ended, *sorted(state.items())))
                    if key in seen:
                        continue
                    seen.add(key)
                    session.counts["different states"] += 1
                    write_state(session.root, state)
                    wrong = has_ended and differs(session.folder, scene.expected)
                    wrong = f"the run had ended: {wrong}" if wrong else wrong_state(session, scene, reached)
                    if wrong:
                        write_state(session.root, state)
                        session.report(wrong, f"{name}:{i}:{how}:{turn}")
