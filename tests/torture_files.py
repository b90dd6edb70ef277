"""Mutate run folders and data folders, and count what the commands do with them.

    python tests/torture_files.py SECONDS [SEED]

Each case is a copy of a sound folder with one fault, given to evaluate, predict, plot or train --resume in a process of
its own, with a limit on its memory and its time. It must end well, with the same result as the sound folder if nothing
but a checksum could tell, or with one line and exit code 2 (1 where one of several runs is skipped). All else is a
fault of the package, and its case is kept.
"""

import collections
import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data_sets import IDX_NAMES, TINY, csv_text, write_idx_folder
from helpers import Outcome, call, load_script
from PIL import Image

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.datasets import load_dataset
from mlp_xp.runs.checkpoints import read_tensors, write_tensors

# Beyond what the process has: bytes, seconds of computing, and seconds of waiting, on a machine that is busy.
MEMORY, COMPUTING, WAITING = 1 << 30, 20, 200
JSON_FILES = ("config.json", "metrics.jsonl", "result.json")
TENSOR_FILES = ("model.safetensors", "checkpoint.safetensors")
NESTED: Any = []
for _ in range(60):
    NESTED = [NESTED]
NASTY = [
    *(None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 0.5, 2**31, 2**53 + 1, 2**64, -(2**63), 10**400, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", "a", "1", "\x1b[31mred\x07", "\ud800", "a\0b", "two\nlines"),
    *("../../x", "/dev/zero", "/dev/stdin", "evil:x", "evil_module:x", "é", "x" * 3000, [], {}, [[]], [1], [1, 2, 3]),
    *([100000, 100000], [6, 6], [0, 0], [-6, -6], [4, 9], [1, 36], [36, 1], [6.0, 6.0], [True, 6], ["6", "6"], [4]),
    *([10**9], ["a"] * 10, [None] * 10, {"a": 1}, {"settings": {}}, NESTED, "float32", "relu", "float16"),
]  # fmt: skip


class Folders(NamedTuple):
    """Sound folders to start from."""

    finished: Path
    interrupted: Path
    data: Path
    tables: Path
    picture: Path


class Case(NamedTuple):
    """A mutation that was made."""

    name: str
    silent: bool
    """Whether another result than that of the sound folder may be right, because what was changed has no checksum."""


def make_folders(place: Path) -> Folders:
    """Write the sound folders: a run with momentum and held-out samples, finished and interrupted, and its data."""
    data = write_idx_folder(place / "data", TINY)
    tables = place / "tables"
    tables.mkdir()
    (tables / "train.csv").write_text(csv_text(TINY.train_images, TINY.train_labels))
    (tables / "test.csv").write_text(csv_text(TINY.test_images, TINY.test_labels))
    Image.fromarray(np.kron(TINY.test_images[0], np.ones((9, 9), np.uint8))).save(place / "picture.png")
    backend = open_backend()
    config = TrainConfig(
        epochs=2, hidden=(4,), optimizer="momentum", validation=40, report_every=50, checkpoint_every=70, batch_size=8
    )
    dataset = load_dataset(data, backend)
    for name, reports in (("finished", 99), ("interrupted", 4)):
        with contextlib.closing(train(config, dataset, backend, run_dir=place / name)) as run:
            for _ in itertools.islice(run, reports):
                pass
    return Folders(place / "finished", place / "interrupted", data, tables, place / "picture.png")


# Mutations. Each changes a folder in place, and returns its case.


def change_bytes(rng: random.Random, path: Path) -> Case:
    """Flip bits, cut, insert, repeat, or clear bytes."""
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice([1, 2, 8, 100, 10**9]))
    kind = rng.choice(["flip", "cut", "insert", "repeat", "clear", "truncate", "empty"])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 1, 2, 9])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[start:stop]
    elif kind == "insert":
        content[start:start] = rng.choice([b"\0", b"\n", b"\xef\xbb\xbf", b"\r", b"{}", b"\xff\xfe", rng.randbytes(20)])
    elif kind == "repeat":
        content[start:start] = content[start:stop]
    elif kind == "clear":
        content[start:stop] = bytes(stop - start)
    elif kind == "truncate":
        del content[start:]
    else:
        content.clear()
    path.write_bytes(content)
    # A flipped bit may turn one digit of a record into another.
    return Case(f"{kind} {path.name}", path.name not in TENSOR_FILES)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value, except its own."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, each in inside for path in ((*at, key), *places(each, (*at, key)))]


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with the one at a path replaced, or removed (new is `...`)."""
    if not at:
        return new
    copy = value.copy()
    if len(at) == 1 and new is ...:
        del copy[at[0]]
    else:
        copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


def change_value(rng: random.Random, value: Any) -> tuple[Any, str]:
    """Replace one of the values inside by a nasty one, remove it, or replace all."""
    new = rng.choice([..., *NASTY])
    at = rng.choice([*places(value), ()])
    if not at and new is ...:
        new = None
    shown = "removed" if new is ... else repr(new)[:40]
    return replaced(value, at, new), f"{'.'.join(map(str, at))} = {shown}"


def change_json(rng: random.Random, path: Path) -> Case:
    """Replace a value in a JSON file, or give a field twice, or change the form of the file."""
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    number = rng.randrange(len(lines))
    kind = rng.randrange(12)
    if kind == 0:
        lines[number] = lines[number].replace("{", '{"epoch": 1, "epoch": 1, "settings": {}, "settings": {}, ', 1)
        name = "twice"
    elif kind == 1:
        lines[number] = "[" * 200_000
        name = "deep"
    elif kind == 2:
        lines[number] = lines[number].rstrip() + "\r"
        name = "carriage return"
    elif kind == 3:
        lines[number] = ""
        name = "empty line"
    else:
        value, name = change_value(rng, json.loads(lines[number]))
        lines[number] = json.dumps(value)
    path.write_text("".join(line + "\n" for line in lines))
    return Case(f"{path.name}:{number}: {name}", True)


def change_header(rng: random.Random, path: Path) -> Case:
    """Change the header of a safetensors file, and correct its length."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, name = change_value(rng, json.loads(content[8 : 8 + length]))
    text = json.dumps(header).encode()
    length = rng.choice([len(text)] * 9 + [0, len(text) - 1, len(text) + 1, 10**8, 2**63, 2**64 - 1])
    path.write_bytes(struct.pack("<Q", length) + text + content[8 + struct.unpack("<Q", content[:8])[0] :])
    return Case(f"header of {path.name}: {name}", False)


def change_facts(rng: random.Random, path: Path) -> Case:
    """Change the metadata of a file of tensors, and correct its checksum."""
    tensors, facts = read_tensors(path)
    name = rng.choice([*facts])
    try:
        value, shown = change_value(rng, json.loads(facts[name]))
        facts[name] = json.dumps(value)
    except ValueError:
        shown = repr(new := rng.choice(NASTY))[:40]
        facts[name] = new  # type: ignore[assignment]
    if rng.random() < 0.1:
        del facts[name]
    with contextlib.suppress(ValueError, TypeError, OverflowError):  # what cannot be written is no case
        write_tensors(path, tensors, facts)
    return Case(f"facts of {path.name}: {name}: {shown}", True)


def change_arrays(rng: random.Random, path: Path) -> Case:
    """Change the arrays of a file of tensors, and correct its checksum."""
    tensors, facts = read_tensors(path)
    name = rng.choice([*tensors])
    array = tensors[name]
    changes: dict[str, Callable[[], Any]] = {
        "nan": lambda: np.full_like(array, np.nan),
        "inf": lambda: np.where(np.arange(array.size).reshape(array.shape) == 0, np.inf, array),
        "huge": lambda: np.full_like(array, 1e308),
        "float32": lambda: array.astype(np.float32),
        "float16": lambda: array.astype(np.float16),
        "int64": lambda: array.astype(np.int64),
        "bool": lambda: array > 0,
        "flat": array.ravel,
        "deeper": lambda: array[None],
        "turned": lambda: np.ascontiguousarray(array.T),
        "wider": lambda: np.concatenate([array, array]),
        "empty": lambda: array[:0],
        "scalar": lambda: np.array(1.0),
    }
    kind = rng.choice([*changes, "removed", "renamed", "added"])
    if kind == "removed":
        del tensors[name]
    elif kind == "renamed":
        tensors[rng.choice(["x", "network.9.weights", "network.0.bias.x", "\x1b[31m"])] = tensors.pop(name)
    elif kind == "added":
        tensors["network.2.weights"] = np.zeros((10, 10))
    else:
        tensors[name] = changes[kind]()
    write_tensors(path, tensors, facts)
    return Case(f"array {name} of {path.name}: {kind}", True)


def change_kind(rng: random.Random, path: Path) -> Case:
    """Put something else in the place of a file."""
    path.unlink()
    kind = rng.choice(["fifo", "directory", "zero", "stdin", "loop", "dangling", "gone", "large"])
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 1 << 40)
    elif kind != "gone":
        targets = {"zero": "/dev/zero", "stdin": "/dev/stdin", "loop": path.name, "dangling": "nowhere"}
        path.symlink_to(targets[kind])
    return Case(f"{path.name} is {kind}", kind == "gone" and path.suffix in (".json", ".jsonl"))


READ = {
    "evaluate": ("config.json", "model.safetensors"),
    "predict": ("config.json", "model.safetensors"),
    "plot": JSON_FILES,
    "plot one": (*JSON_FILES, "model.safetensors"),
    "config": ("config.json",),
    "resume": ("config.json", "metrics.jsonl", "checkpoint.safetensors", "checkpoint.safetensors"),
}


def change_run(rng: random.Random, folder: Path, command: str) -> Case:
    """Make one fault in a file of a run's folder that a command reads."""
    path = folder / rng.choice(READ[command])
    if path.name in JSON_FILES:
        return rng.choice([change_json] * 6 + [change_bytes] * 3 + [change_kind])(rng, path)
    return rng.choice([change_bytes, change_header, change_facts, change_facts, change_arrays, change_kind])(rng, path)


def change_data(rng: random.Random, folder: Path) -> Case:
    """Make one fault in a folder of data."""
    path = rng.choice(sorted(folder.iterdir()))
    if path.name in IDX_NAMES and rng.random() < 0.4:
        content = bytearray(path.read_bytes())
        content[4 * rng.randrange(1, content[3] + 1) - rng.randrange(4) + 3] = rng.choice([0, 1, 255])
        path.write_bytes(content)
        return Case(f"size in {path.name}", True)
    if path.suffix == ".csv" and rng.random() < 0.5:
        lines = path.read_text().splitlines()
        number = rng.randrange(len(lines))
        fields = lines[number].split(",")
        fields[rng.randrange(len(fields))] = rng.choice(
            ['"', '""', "", "256", "-1", "1.5", "nan", "1e2", "\0", "٣", "x" * 999]
        )
        lines[number] = ",".join(fields)
        path.write_text("\n".join(lines))
        return Case(f"{path.name}, line {number + 1}", True)
    return rng.choice([change_bytes, change_bytes, change_kind])(rng, path)._replace(silent=True)


# Cases.


def judge(outcome: Outcome, result: bytes, sound: bytes, case: Case) -> str:
    """Return the kind of an outcome. Upper case: a fault of the package."""
    if "Traceback" in outcome.err:
        return "TRACEBACK"
    if outcome.code == 0:
        return "fine" if result == sound else "another result" if case.silent else "WRONG RESULT"
    if outcome.code in (1, 2) and outcome.err.count("\n") == 1 and outcome.err.strip().isprintable():
        return "refused"
    return "ODD"


def run_case(number: int, seed: int, folders: Folders, place: Path) -> tuple[Case, str, Outcome, bytes]:
    """Make a case and run its command in this process. Return the case, the command, its outcome and its result."""
    rng = random.Random(f"{seed} {number}")
    command = rng.choice([*READ, "evaluate", "plot", "resume", "data"])
    run = shutil.copytree(folders.interrupted if command == "resume" else folders.finished, place / "run")
    if command == "data":
        data = shutil.copytree(rng.choice([folders.data, folders.tables]), place / "data")
        case = change_data(rng, data)
        outcome = call("evaluate", run, "--data-dir", data)
        return case, f"data {data}", outcome, outcome.out.encode()
    case = change_run(rng, run, command)
    return case, command, *run_command(command, run, folders)


def run_command(command: str, run: Path, folders: Folders) -> tuple[Outcome, bytes]:
    """Run a command on a run's folder; return its outcome and what of its result must not change."""
    if command == "resume":
        outcome = call("train", "--resume", run)
        return outcome, (run / "model.safetensors").read_bytes() if outcome.code == 0 else b""
    if command == "plot one":
        return call("plot", run), b""
    if command == "config":
        return call("train", "--config", run / "config.json", "--run-dir", run.parent / "new", "--epochs", 1), b""
    if command == "plot":
        return call("plot", run, folders.finished, "--output", run.parent / "curves.png"), b""
    outcome = call(command, run, *([folders.picture] if command == "predict" else []))
    return outcome, outcome.out.encode()


def sound_results(folders: Folders, place: Path) -> dict[str, bytes]:
    """Return the results for the sound folders."""
    results = {}
    for command in READ:
        (place / command).mkdir()
        run = shutil.copytree(folders.interrupted if command == "resume" else folders.finished, place / command / "run")
        outcome, results[command] = run_command(command, run, folders)
        assert outcome.code == 0, outcome
    return results


def in_a_child(number: int, seed: int, folders: Folders, sound: dict[str, bytes], place: Path) -> tuple[str, str]:
    """Run a case in a child process. Return the kind of its outcome, and a description."""
    answer = place / "answer"
    child = os.fork()
    if child == 0:
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + COMPUTING, resource.RLIM_INFINITY))
            signal.alarm(WAITING)
            with Path(os.devnull).open("w") as null:
                os.dup2(null.fileno(), 2)  # matplotlib's log
            case, command, outcome, result = run_case(number, seed, folders, place)
            kind = judge(outcome, result, sound.get(command, result), case)
            answer.write_text(json.dumps([kind, f"{command}: {case.name}: {outcome.code} {outcome.err}"]))
        except BaseException as error:
            # A defect leaves `call` as its exception.
            answer.write_text(json.dumps(["TRACEBACK", "".join(traceback.format_exception(error))[-1200:]]))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if not answer.exists():
        number_of = os.waitstatus_to_exitcode(status)
        kinds = {-signal.SIGALRM: "HANG", -signal.SIGXCPU: "SLOW"}
        return kinds.get(number_of, "KILLED"), f"status {number_of}"
    kind, text = json.loads(answer.read_text())
    return kind, text


def main(seconds: float, seed: int = 0) -> int:
    """Run cases for some seconds, print the counts and the faults, and return the number of faults."""
    load_script("training").draw_pictures = lambda *_: None
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        folders = make_folders(base)
        sound = sound_results(folders, base)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            place = base / str(number)
            place.mkdir()
            kind, text = in_a_child(number, seed, folders, sound, place)
            counts[kind] += 1
            if kind.isupper():
                print(f"{kind} in case {number} of seed {seed}: {text[:1500]}", flush=True)
            shutil.rmtree(place)
            number += 1
    print(f"seed {seed}: {number} cases: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}")
    return sum(count for kind, count in counts.items() if kind.isupper())


if __name__ == "__main__":
    sys.exit(min(1, main(float(sys.argv[1]), *map(int, sys.argv[2:]))))
