"""Run the parity check on many array libraries: `python scripts/libraries.py --update-docs docs/libraries.md`.

Each library of scripts/libraries.toml is installed, together with a wheel of this clone, into a virtual environment of
its own in a temporary folder. There `mlp-xp parity` checks it in float64 and in float32 on a part of MNIST, and
`mlp-xp parity --trace` finds the first operation that deviates or raises. Libraries with the same requirements share an
environment. With --update-docs, the page is written after each library, and small reproducers are kept in the folder
`reproducers` beside it. Exit code 0: the table is complete, whatever is in it; 2: a usage error. Uses the standard
library and pip only.
"""

import argparse
import datetime as dt
import gzip
import json
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import tomllib
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from start import end

ROOT = Path(__file__).resolve().parent.parent
HOOKS = ROOT / "docs" / "hooks"
DTYPES = ("float64", "float32")
BEGIN, END = "<!-- libraries: begin -->", "<!-- libraries: end -->"
COLUMNS = ("library", "version", "`--backends`", "steps", *DTYPES, "cause", "µs per step", "times NumPy", "measured")
VERDICTS = {0: "agrees", 1: "differs", 2: "refused", None: "too slow"}
# Enough for every class, and less than a megabyte: an evaluation takes no time, and Cubed takes no larger array.
PARTS = {"train": 1000, "t10k": 200}
SMALL = 10_000  # bytes of inputs, up to which a reproducer is kept


class Outcome(NamedTuple):
    """What one check said."""

    verdict: str
    """One word, and the head-room where it agrees."""
    note: str = ""
    """Why it does not agree: the tracer's or the library's own line."""


def main() -> None:
    """Check the libraries and print, or write, the table."""
    parser = argparse.ArgumentParser(description="Run the parity check on many array libraries.", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help="libraries of libraries.toml; by default all")
    parser.add_argument("--steps", type=int, default=200, help="steps of each check (200; slow libraries have fewer)")
    parser.add_argument("--timeout", type=int, default=300, help="seconds of each check (300)")
    parser.add_argument("--update-docs", type=Path, metavar="FILE", help="replace the rows in the table of this page")
    options = parser.parse_args()
    libraries = tomllib.loads((ROOT / "scripts" / "libraries.toml").read_text("utf-8"))["libraries"]
    known = [each["name"] for each in libraries]
    if unknown := {*options.names} - {*known}:
        end(f"error: {', '.join(sorted(unknown))}: not known; choose from {', '.join(known)}", 2)
    page = options.update_docs
    if page and not (page.exists() and BEGIN in page.read_text("utf-8")):
        end(f"error: --update-docs: {page}: there is no file with the lines {BEGIN} and {END}", 2)
    lines: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="mlp-xp-libraries-") as place:
        folder = Path(place)
        kept = page.resolve().parent / "reproducers" if page else folder / "kept"
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, str(ROOT)]
        subprocess.run(command, check=True)
        chosen = [each for each in libraries if each["name"] in (options.names or known)]
        for requires, group in groupby(chosen, key=lambda each: each["requires"]):
            failure, versions = install(folder / "venv", next(folder.glob("*.whl")), requires)
            for library in group:
                print(f"{library['name']} ...", file=sys.stderr, flush=True)
                env = {name: value.format(venv=folder / "venv") for name, value in library.get("env", {}).items()}
                given = {"steps": options.steps, **library, "env": env}
                outcomes = [failure or check(given, each, folder, kept, options.timeout) for each in DTYPES]
                ran = [
                    dtype
                    for dtype, each in zip(DTYPES, outcomes, strict=True)
                    if each.verdict[:6] in ("agrees", "differ")
                ]
                times = speed(given, ran[0], folder, options.timeout) if ran else ("", "")
                lines[library["name"]] = [row(given, versions, outcomes, times), *notes(library["name"], outcomes)]
                print(*lines[library["name"]], sep="\n", file=sys.stderr, flush=True)
                if page:
                    update(page, lines, known)
    if not page:
        print(table(lines, known))


def write_part(folder: Path) -> Path:
    """Write the first images of MNIST as four files, and return their folder."""
    target = folder / "data"
    target.mkdir(exist_ok=True)
    for path in sorted((ROOT / "data" / "mnist").glob("*.gz")):
        content = gzip.decompress(path.read_bytes())
        dimensions = content[3]
        start = 4 + 4 * dimensions
        _, *shape = struct.unpack(f">{dimensions}I", content[4:start])
        count = PARTS[path.name.partition("-")[0]]
        size = count * (shape[0] * shape[1] if shape else 1)
        header = content[:4] + struct.pack(f">{dimensions}I", count, *shape)
        (target / path.stem).write_bytes(header + content[start : start + size])
    return target


def install(venv: Path, wheel: Path, requires: list[str]) -> tuple[Outcome | None, str]:
    """Make an environment with this package and the library. Return pip's reason if it fails, and the versions."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pip = [python(venv), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--quiet", f"{wheel}[plots]", *requires], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return Outcome("not installed", (done.stderr.strip().splitlines() or [""])[-1].removeprefix("ERROR: ")), ""
    listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True)
    found = {normal(each["name"]): each["version"] for each in json.loads(listed.stdout)}
    return None, ", ".join(found.get(normal(each), "") for each in requires)


def normal(requirement: str) -> str:
    """Return the name of a requirement as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", requirement)[0]).lower()


def python(venv: Path) -> str:
    """Return the interpreter of an environment."""
    return str(venv / "bin" / "python")


def check(
    library: dict[str, Any], dtype: str, folder: Path, kept: Path, timeout: float, hooks: Path = HOOKS
) -> Outcome:
    """Check a library in a dtype, in the folder of the hooks, and trace it if it does not agree."""
    data, backend, report = write_part(folder), library["backend"], folder / "report"
    words = ["--steps", str(library["steps"]), "--dtype", dtype, "--data-dir", str(data), "--report-dir", str(report)]
    command = [python(folder / "venv"), "-m", "mlp_xp", "parity", *words, "--backends"]
    shutil.rmtree(report, ignore_errors=True)
    code, _, errors = run([*command, backend], library["env"], timeout, hooks)
    verdict, note = VERDICTS.get(code, "fails"), (errors.strip().splitlines() or [f"exit code {code}"])[-1]
    path = report / "parity.json"
    found = json.loads(path.read_text("utf-8"))["backends"] if path.exists() else []
    mine = next((each for each in found if each["backend"] == backend), None)
    if code == 0 and mine:
        quantities = [each for each in mine.values() if isinstance(each, dict)]
        room = min((each["head_room"] for each in quantities if each["head_room"]), default=None)
        return Outcome(f"{verdict}, {figure(room, 3)} x" if room else f"{verdict}, equal")
    alone = ""
    if code in (1, 3):
        shutil.rmtree(report)
        _, said, errors = run([*command, backend, "--trace"], library["env"], timeout, hooks)
        note = (errors.strip().splitlines() or [note])[-1]
        target = kept / re.sub(r"\W+", "-", f"{library['name']} {dtype}").lower()
        shutil.rmtree(target, ignore_errors=True)
        shown = re.search(r"^reproducer: .* shows it in a process of its own: (.*)", said, re.MULTILINE)
        made = next(report.glob("*/reproduce.py"), None)
        if made and shown and (made.parent / "inputs.npz").stat().st_size <= SMALL:
            link = f"{kept.name}/{target.name}/{made.name}"
            # The folder of the hooks lies beside it, wherever that will be.
            there = f"__file__.replace('{link}', '{hooks.name}')"
            made.write_text(made.read_text("utf-8").replace(repr(str(hooks.resolve())), there), "utf-8")
            shutil.copytree(made.parent, target)
            call = " ".join([*(f"{name}={value}" for name, value in library["env"].items()), "python"])
            alone = f". Alone, `{call}` [{link}]({link}) printed: `` {shown[1]} ``"
    return Outcome(verdict, f"`` {lasting(note)} ``{alone}")


def speed(library: dict[str, Any], dtype: str, folder: Path, timeout: float, hooks: Path = HOOKS) -> tuple[str, str]:
    """Return the microseconds of a step and the ratio to NumPy's, from interleaved rounds; empty if it did not end."""
    report = folder / "speed"
    shutil.rmtree(report, ignore_errors=True)
    words = ["--workloads", f"one-{dtype}", "--contestants", "mlp_xp-numpy", library["backend"], "--rounds", "5"]
    words += ["--steps", str(library["steps"]), "--data-dir", str(write_part(folder)), "--output-dir", str(report)]
    command = [python(folder / "venv"), str(ROOT / "scripts" / "bench.py"), *words]
    run(command, library["env"], timeout, hooks)
    if not (report / "bench.json").exists():
        return "", ""
    (workload,) = json.loads((report / "bench.json").read_text("utf-8"))["workloads"]
    numpy, mine = (each.get("round_seconds", [])[1:] for each in workload["results"])
    if not mine:
        return "", ""
    ratio = median(one / other for one, other in zip(mine, numpy, strict=True))
    return f"{1e6 * median(mine) / library['steps']:.0f}", figure(ratio, 2)


def run(command: list[str], env: dict[str, str], timeout: float, folder: Path) -> tuple[int | None, str, str]:
    """Run a command in a folder. Return its exit code, None if it took too long, its output and its errors."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **env}
    with subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, errors = process.communicate(timeout=timeout)
        except BaseException as stop:  # Ctrl-C does not reach a session of its own
            os.killpg(process.pid, signal.SIGKILL)  # a library may have processes of its own
            if not isinstance(stop, subprocess.TimeoutExpired):
                raise
            return None, *process.communicate()
        return process.returncode, said, errors


def lasting(line: str) -> str:
    """Return the tracer's line without what changes with the package's source: an operation's number and its place."""
    return re.sub(r"operation \d+, |; called at .*| at mlp_xp/\S+:\d+", "", line).replace("|", "/")


def figure(number: float, digits: int) -> str:
    """Return a number with this number of digits, or more where it has more before the point."""
    return f"{number:.{digits}g}" if number < 10**digits else f"{number:.0f}"


def row(library: dict[str, Any], versions: str, outcomes: list[Outcome], times: tuple[str, str]) -> str:
    """Return a row of the table, in Markdown."""
    causes = dict.fromkeys(re.findall(r"\bxp\.(\w+)\(", " ".join(each.note for each in outcomes)))
    cells = (
        *(library["name"], versions, f"`{library['backend']}`", str(library["steps"])),
        *(each.verdict for each in outcomes),
        *("; ".join(f"`{name}`" for name in causes), *times, dt.date.today().isoformat()),
    )
    return f"| {' | '.join(cells)} |"


def notes(name: str, outcomes: list[Outcome]) -> list[str]:
    """Return the list items about a library."""
    return [f"- {name}, {dtype}: {each.note}." for dtype, each in zip(DTYPES, outcomes, strict=True) if each.note]


def table(lines: dict[str, list[str]], order: list[str]) -> str:
    """Return the table and the causes, in the order of libraries.toml. lines: by library its row, and its causes."""
    rows = [lines[name] for name in order if name in lines]
    head = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    place = f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores by"
    command = "`python scripts/libraries.py --update-docs docs/libraries.md`:"
    causes = [cause for _, *each in rows for cause in each]
    return "\n".join([f"{place} {command}", "", *head, *(first for first, *_ in rows), "", *causes])


def update(path: Path, lines: dict[str, list[str]], order: list[str]) -> None:
    """Replace the rows and causes of the libraries that were checked in a page, and keep those of the others."""
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    for name in order:
        kept = [line for line in old.splitlines() if line.startswith((f"| {name} |", f"- {name}, float"))]
        if name not in lines and kept:
            lines = {**lines, name: kept}
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(f"{before}{BEGIN}\n\n{table(lines, order)}\n\n{END}{after}", "utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
