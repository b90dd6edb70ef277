"""Compare this checkout with another one: `.venv/bin/python tests/tools/compare.py REFERENCE [PART ...]`.

Both run on this machine, each with the interpreter in its own .venv, in turns. The parts are:

- weights: trained weights, records and figures of the trainings in compare_cases.py, to the bit
- files: the files of runs, sweeps and reports, the fields of their records, and the tensors
- errors: the exit code of every error that the documents promise, and that its one line names the place
- speed: time of a step, of the first epoch on JAX, of the import and the help, beside the reference against itself

Prints a line for each difference, and exits with code 1 if there is any.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare_cases as cases
import numpy as np

HERE = Path(__file__).resolve().parent
WORKER = HERE / "compare_worker.py"
TIMES = {"seconds", "samples_per_second", "epoch_seconds"}
REQUEST: dict[str, Any] = {
    "beside": None, "until": "", "output": "", "environment": {}, "largest_file": 0, "missing": [], "signal": 0,
}  # fmt: skip
LIMIT = 1.05  # of the time per step


class Checkout:
    """A checkout with a process that runs commands in it."""

    def __init__(self, name: str, path: Path, work: Path) -> None:
        self.name, self.path, self.work = name, path, work / name
        self.python = path / ".venv" / "bin" / "python"
        self.work.mkdir()
        self.process = self.worker("serve", str(path))

    def worker(self, *words: str) -> "subprocess.Popen[str]":
        """Start compare_worker.py in this checkout's interpreter, with one thread, and with no cache for JAX."""
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": "",
            "MPLBACKEND": "agg", "COLUMNS": "200",
        }  # fmt: skip
        return subprocess.Popen(
            [self.python, "-P", WORKER, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.work, env=environment,
        )  # fmt: skip

    def begin(self, folder: Path, words: str, **request: Any) -> None:
        """Begin a command in a folder."""
        ask(self.process, {**REQUEST, "folder": str(folder), "words": words.split(), **request})

    def end(self) -> dict[str, Any]:
        """Return the exit code and the output of the command that was begun."""
        return answer(self.process)


def ask(process: "subprocess.Popen[str]", request: object) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        sys.exit(f"the worker of {process.args} ended")
    return json.loads(line)


def run_all(
    both: list[Checkout], folders: list[Path], commands: list[str], **request: Any
) -> list[list[dict[str, Any]]]:
    """Run commands in a folder of each checkout, at the same time in both. Return the outcomes of each command."""
    outcomes = []
    for command in commands:
        words, stopped = command.removeprefix("stop "), command.startswith("stop ")
        stop = {"signal": signal.SIGTERM, "until": "run/metrics.jsonl"} if stopped else {}
        for checkout, folder in zip(both, folders, strict=True):
            checkout.begin(folder, words, **{**request, **stop})
        outcomes.append([checkout.end() for checkout in both])
    return outcomes


def tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return the dtype, shape and bytes of each tensor in a file, read without the package."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    return {
        name: (each["dtype"], each["shape"], content[start:][slice(*each["data_offsets"])])
        for name, each in header.items()
    }


def records(path: Path) -> list[Any]:
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def without_times(value: Any) -> Any:
    """Return a record without times, and without what `files` reports: fields that only one side has stay."""
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def outputs(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(pattern) if not path.is_symlink())


# weights


def compare_weights(both: list[Checkout], only: str) -> int:
    """Train each of WEIGHTS in both checkouts, without pictures."""
    problems = 0
    for name, commands in chosen(cases.WEIGHTS, only):
        folders = [fresh(checkout, "weights") for checkout in both]
        said: list[str] = []
        began = time.monotonic()
        for command, outcomes in zip(commands, run_all(both, folders, commands, missing=["matplotlib"]), strict=True):
            expected = 143 if command.startswith("stop ") else 0
            for checkout, outcome in zip(both, outcomes, strict=True):
                if outcome["code"] != expected:
                    said.append(f"{command}: {checkout.name} ended with {outcome['code']}: {outcome['err'].strip()}")
            if ("--json" in command or "--csv" in command) and outcomes[0]["out"] != outcomes[1]["out"]:
                said.append(f"{command}: the output differs: {first_difference(*(each['out'] for each in outcomes))}")
        counts = Counter[str]()
        kinds = ("*.safetensors", "metrics.jsonl", "result.json")
        for path in sorted({path for folder in folders for kind in kinds for path in outputs(folder, kind)}):
            if not all((folder / path).exists() for folder in folders):
                said.append(f"{path}: only in one of them")
            elif path.endswith(".safetensors"):
                mine, theirs = (tensors(folder / path) for folder in folders)
                counts["tensors"] += len(mine)
                said += [f"{path}: {each}" for each in in_one_line(tensor_differences(mine, theirs))]
            else:
                mine, theirs = (records(folder / path) for folder in folders)
                counts["records"] += len(mine)
                said += [f"{path}: {each}" for each in record_differences(mine, theirs)]
        problems += report("weights", name, said, f"{counts['tensors']} tensors, {counts['records']} records", began)
    return problems


def in_one_line(differences: Iterator[str]) -> Iterator[str]:
    """Yield the first difference, with the number of the others."""
    first, others = next(differences, None), len(list(differences))
    if first:
        yield first + (f"; and {others} others" if others else "")


def tensor_differences(mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    for name in sorted({*mine, *theirs}):
        if name not in mine or name not in theirs:
            yield f"tensor {name} is only in {'this' if name in mine else 'the reference'}"
        elif mine[name][:2] != theirs[name][:2]:
            yield f"tensor {name} is {mine[name][:2]}, in the reference {theirs[name][:2]}"
        elif mine[name][2] != theirs[name][2]:
            dtype = {"F64": np.float64, "F32": np.float32}.get(mine[name][0], np.uint8)
            a, b = (np.frombuffer(side[name][2], dtype=dtype).astype(np.float64) for side in (mine, theirs))
            yield f"tensor {name}: {np.sum(a != b)} of {a.size} differ, by up to {np.max(np.abs(a - b)):.2g}"


def record_differences(mine: list[Any], theirs: list[Any]) -> Iterator[str]:
    """Compare records in the fields that both have; `files` reports the others."""
    if len(mine) != len(theirs):
        yield f"{len(mine)} records, in the reference {len(theirs)}"
    for number, (one, other) in enumerate(zip(mine, theirs, strict=False), 1):
        for field in without_times(one):
            if field in other and without_times(one[field]) != without_times(other[field]):
                yield f"record {number}: {field} is {one[field]!r:.60}, in the reference {other[field]!r:.60}"
                return


def first_difference(mine: str, theirs: str) -> str:
    for one, other in itertools.zip_longest(mine.splitlines(), theirs.splitlines()):
        if one != other:
            return f"{one!r:.200} instead of {other!r:.200}"
    return "in its line ends"


# files


def compare_files(both: list[Checkout], only: str) -> int:
    """Compare the names of files, fields and tensors of each of FOLDERS."""
    problems = 0
    for name, commands in chosen(cases.FOLDERS, only):
        folders = [fresh(checkout, "files") for checkout in both]
        inputs = {path.name for path in folders[0].iterdir()}
        began = time.monotonic()
        said = []
        for command, (this, reference) in zip(commands, run_all(both, folders, commands), strict=True):
            if this["code"] != reference["code"]:
                said.append(f"{command}: exit code {this['code']}, of the reference {reference['code']}")
        mine, theirs = (set(names(folder, inputs)) for folder in folders)
        said += [f"added {each}" for each in sorted(mine - theirs)]
        said += [f"removed {each}" for each in sorted(theirs - mine)]
        problems += report("files", name, said, f"{len(mine)} names", began)
    return problems


def names(folder: Path, inputs: set[str]) -> Iterator[str]:
    """Yield every file below a folder, and every field and tensor in it. A number in a name, as of a member, is #."""
    for path in outputs(folder, "*"):
        place = re.sub(r"\d{4,}", "#", path)
        if place in ("out", "err", "__pycache__") or (folder / path).is_dir() or path.split("/")[0] in inputs:
            continue
        yield place
        if path.endswith((".json", ".jsonl")):
            for record in records(folder / path):
                yield from (f"{place}: {field}" for field in fields(record))
        elif path.endswith(".safetensors"):
            content = (folder / path).read_bytes()
            header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
            metadata = header.pop("__metadata__", {})
            yield from (f"{place}: tensor {each}" for each in header)
            yield from (f"{place}: metadata {each}" for each in metadata)
        elif path.endswith("summary.csv"):
            yield f"{place}: {(folder / path).read_text().splitlines()[0]}"


def fields(record: Any, before: str = "") -> Iterator[str]:
    for key, value in record.items() if isinstance(record, dict) else [("[]", each) for each in record]:
        name = before + ("." if before else "") + ("#" if key.isdigit() or "/" in key else key)  # not members, paths
        yield name
        if isinstance(value, (dict, list)):
            yield from fields(value, name)


# errors


def compare_errors(both: list[Checkout], only: str) -> int:
    """Run each of ERRORS in both checkouts, in a copy of the same folder."""
    folders = [fresh(checkout, "case") for checkout in both]
    for command, outcomes in zip(
        cases.PREPARED, run_all(both, folders, cases.PREPARED, missing=["matplotlib"]), strict=True
    ):
        for checkout, outcome in zip(both, outcomes, strict=True):
            if outcome["code"]:
                sys.exit(f"{checkout.name}: {command}: {outcome['err']}")
    for checkout, folder in zip(both, folders, strict=True):
        folder.rename(checkout.work / "base")
    problems = wrong = 0
    for case in cases.ERRORS:
        if only not in case["name"]:
            continue
        for checkout, folder in zip(both, folders, strict=True):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(checkout.work / "base", folder)  # at the place where its data were
            if case["change"]:
                case["change"](folder)
        [outcomes] = run_all(both, folders, [case["words"]], **case["request"])
        said = []
        for checkout, outcome in zip(both, outcomes, strict=True):
            faults = list(error_faults(case, outcome))
            wrong += bool(faults) and checkout.name == "reference"
            said += [f"{checkout.name}: {'; '.join(faults)}: {outcome['err'].strip()[-400:]!r}"] if faults else []
        problems += report("errors", case["name"], said, "", None)
    count = sum(only in case["name"] for case in cases.ERRORS)
    print(f"errors   {count} cases, {problems} with a fault, of which {wrong} in the reference too", flush=True)
    return problems


def error_faults(case: dict[str, Any], outcome: dict[str, Any]) -> Iterator[str]:
    code, err = outcome["code"], outcome["err"]
    if code != case["code"]:
        yield f"exit code {code} instead of {case['code']}"
    if "Traceback" in err + outcome["out"]:
        yield "a traceback"
    if err.count("\n") != case["lines"]:
        yield f"{err.count(chr(10))} lines of errors"
    for alternatives in case["said"]:
        if not any(
            re.search(rf"(?<!\w){re.escape(word)}(?!\w)", err, re.IGNORECASE) for word in alternatives.split("|")
        ):
            yield f"does not name {alternatives}"


# speed


WORKLOADS = {
    "one sample": {"hidden": [64], "batch": 1, "steps": 1000},
    "batches of 128": {"hidden": [512, 256], "batch": 128, "steps": 12},
    "2048-2048 at 1024": {"hidden": [2048, 2048], "batch": 1024, "steps": 1},
}


def compare_speed(both: list[Checkout], only: str, rounds: int) -> int:
    """Time steps and starts in turns: this checkout, the reference, and the reference in a second process."""
    three = [both[0], both[1], both[1]]
    problems = 0
    for library in ("numpy", "jax", "torch"):
        workers = []
        for (name, workload), dtype in itertools.product(WORKLOADS.items(), ("float64", "float32")):
            title = f"{library}, {name}, {dtype}"
            if only not in title:
                continue
            workers = workers or [checkout.worker("steps") for checkout in three]
            for worker in workers:
                ask(worker, {"library": library, "dtype": dtype, **workload})
                answer(worker)
            times = in_turns([lambda each=each: piece(each) for each in workers], rounds)
            problems += say_ratio(title, [[t / workload["steps"] for t in each] for each in times])
        for worker in workers:
            worker.communicate()
    first = "-m mlp_xp train --backend jax --threads 1 --epochs 1 --overwrite --run-dir jax"
    starts = {
        "import mlp_xp": ["-c", "import mlp_xp"],
        "train --help": ["-m", "mlp_xp", "train", "--help"],
        "first epoch on JAX": first.split(),
    }
    for title, words in chosen(starts, only):
        few = 5 if "JAX" in title else rounds
        places = [checkout.work / str(number) for number, checkout in enumerate(three)]
        calls = [
            lambda checkout=checkout, place=place, words=words: start_once(checkout, place, words)
            for checkout, place in zip(three, places, strict=True)
        ]
        problems += say_ratio(title, in_turns(calls, few))
    return problems


def piece(worker: "subprocess.Popen[str]") -> float:
    ask(worker, {})
    return float(answer(worker))


def start_once(checkout: Checkout, place: Path, words: list[str]) -> float:
    """Start Python in a checkout and return the seconds until it ends."""
    place.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    began = time.perf_counter()
    subprocess.run([checkout.python, *words], cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def in_turns(calls: list[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Call each once a round, in another order each time, and return the seconds of each."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        for i in range(len(calls)):
            index = (i + number) % len(calls)
            times[index].append(calls[index]())
    return times


def say_ratio(title: str, times: list[list[float]]) -> bool:
    """Print the median ratio of this to the reference, and of that to itself. Return whether this is too slow."""
    mine, reference, again = times
    ratios, itself = ([a / b for a, b in zip(each, reference, strict=True)] for each in (mine, again))
    low, middle, high = statistics.quantiles(ratios, n=4)
    bad = middle > LIMIT
    unit, factor = ("ms", 1e3) if statistics.median(reference) > 1e-3 else ("µs", 1e6)
    time_of = f"{statistics.median(mine) * factor:8.4g} {unit}"
    of_itself = f"reference against itself {statistics.median(itself):.3f}"
    warning = f"  ABOVE {LIMIT}" if bad else ""
    print(
        f"speed    {title:<36} {time_of}  ratio {middle:.3f} ({low:.3f} to {high:.3f})  {of_itself}{warning}",
        flush=True,
    )
    return bad


# all


def chosen(table: dict[str, list[str]], only: str) -> list[tuple[str, list[str]]]:
    return [(name, value) for name, value in table.items() if only in name]


def fresh(checkout: Checkout, name: str) -> Path:
    """Return an empty folder of a checkout with the inputs."""
    folder = checkout.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cases.write_inputs(folder)
    return folder


def report(part: str, name: str, said: list[str], counts: str, began: float | None) -> int:
    """Print what differs, or that all is equal. Return 1 if something differs."""
    took = f" ({counts}, {time.monotonic() - began:.0f} s)" if began is not None else ""
    if said or took:
        print(f"{part:<8} {name}: {'DIFFERS' if said else 'equal'}{took}", flush=True)
    for each in said[:20]:
        print(f"         {each}", flush=True)
    if len(said) > 20:
        print(f"         and {len(said) - 20} more", flush=True)
    return bool(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("weights", "files", "errors", "speed")
    parser.add_argument("reference", type=Path, help="a checkout with a .venv in which its package is installed")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; by default all")
    parser.add_argument("--only", default="", help="only what has this text in its name")
    parser.add_argument("--rounds", type=int, default=15, help="of speed")
    arguments = parser.parse_args()
    if unknown := {*arguments.parts} - {*parts}:
        parser.error(f"{', '.join(unknown)}: not a part; choose from {', '.join(parts)}")
    problems = 0
    with tempfile.TemporaryDirectory(prefix="compare-") as work:
        both = [
            Checkout("this", HERE.parent.parent, Path(work)),
            Checkout("reference", arguments.reference.resolve(), Path(work)),
        ]
        for part in arguments.parts or parts:
            began = time.monotonic()
            if part == "speed":
                problems += compare_speed(both, arguments.only, arguments.rounds)
            else:
                compare = {"weights": compare_weights, "files": compare_files, "errors": compare_errors}[part]
                problems += compare(both, arguments.only)
            print(f"{part:<8} took {time.monotonic() - began:.0f} s", flush=True)
        for checkout in both:
            checkout.process.communicate()
    print(f"{problems} differences" if problems else "no difference")
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(main())
