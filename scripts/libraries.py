"""Run the parity check on many array libraries: `python scripts/libraries.py --update-docs docs/libraries.md`.

Each library of scripts/libraries.toml is installed, together with a wheel of this clone, into a virtual environment of
its own in a temporary folder. The check runs there in float64 and in float32, on a part of MNIST. Libraries with the
same requirements share an environment, which is deleted before the next one is made. Exit code 0: the table is
complete, whatever is in it; 2: a usage error. Uses the standard library and pip only.
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
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("float64", "float32")
BEGIN, END = "<!-- libraries: begin -->", "<!-- libraries: end -->"
COLUMNS = ("library", "version", "`--backends`", *DTYPES, "µs per step", "times NumPy", "measured")
# Enough for every class, and less than a megabyte: an evaluation takes no time, and Cubed takes no larger array.
PARTS = {"train": 1000, "t10k": 200}


class Outcome(NamedTuple):
    """What one check said."""

    verdict: str
    """One word, and the head-room where it agrees."""
    cause: str
    """Of anything but agreement; else empty."""
    microseconds: tuple[float, float] | None
    """Per step, of the library and of NumPy in the same process; None if it did not run to the end."""


def arguments() -> argparse.Namespace:
    """Return the options of this script."""
    parser = argparse.ArgumentParser(
        prog="scripts/libraries.py", description="Run the parity check on many array libraries.", allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="libraries of libraries.toml; by default all")
    parser.add_argument("--steps", type=int, default=200, help="steps of each check (default: 200)")
    parser.add_argument("--timeout", type=int, default=120, help="seconds of each check (default: 120)")
    parser.add_argument("--update-docs", type=Path, metavar="FILE", help="replace the rows in the table of this page")
    return parser.parse_args()


def main() -> None:
    """Check the libraries and print, or write, the table."""
    options = arguments()
    libraries = tomllib.loads((ROOT / "scripts" / "libraries.toml").read_text("utf-8"))["library"]
    known = [each["name"] for each in libraries]
    if options.update_docs and BEGIN not in (
        options.update_docs.read_text("utf-8") if options.update_docs.exists() else ""
    ):
        fail(f"--update-docs: {options.update_docs}: there is no file with the lines {BEGIN} and {END}")
    if unknown := {*options.names} - {*known}:
        fail(f"{', '.join(sorted(unknown))}: not known; choose from {', '.join(known)}")
    chosen = [each for each in libraries if not options.names or each["name"] in options.names]
    rows: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="mlp-xp-libraries-") as folder:
        data = write_part(Path(folder))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        for _, group in groupby(chosen, key=lambda each: each["requires"]):
            same = list(group)
            venv = Path(folder) / "venv"
            failure, versions = install(venv, wheel, same[0]["requires"])
            for library in same:
                print(f"{library['name']} ...", file=sys.stderr, flush=True)
                outcomes = [failure] * len(DTYPES) if failure else check(library, venv, data, options)
                name = library["name"]
                rows[name] = row(library, versions, outcomes)
                notes[name] = [
                    f"- {name}, {dtype}: {each.cause}"
                    for dtype, each in zip(DTYPES, outcomes, strict=True)
                    if each.cause
                ]
                print(rows[name], *notes[name], sep="\n", file=sys.stderr, flush=True)
            shutil.rmtree(venv, ignore_errors=True)
    if options.update_docs:
        update(options.update_docs, rows, notes, known)
    else:
        print(page(rows, notes, known))


def fail(text: str) -> NoReturn:
    """Print an error in one line and exit with code 2."""
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def write_part(folder: Path) -> Path:
    """Write the first images of MNIST as four files, and return their folder."""
    target = folder / "data"
    target.mkdir()
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
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [python(venv), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--quiet", f"{wheel}[plots]", *requires], capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr]
        return Outcome("not installed", one_line(errors[-1].removeprefix("ERROR:")), None), ""
    listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True)
    found = {normal(each["name"]): each["version"] for each in json.loads(listed.stdout)}
    return None, ", ".join(found.get(normal(each), "") for each in requires)


def normal(requirement: str) -> str:
    """Return the name of a requirement as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", requirement)[0]).lower()


def python(venv: Path) -> str:
    """Return the interpreter of an environment."""
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def check(library: dict[str, Any], venv: Path, data: Path, options: argparse.Namespace) -> list[Outcome]:
    """Run the parity check in each dtype."""
    outcomes = []
    for dtype in DTYPES:
        report = data.parent / "report"
        shutil.rmtree(report, ignore_errors=True)
        command = [
            python(venv), "-m", "mlp_xp", "parity", "--backends", library["backend"], "--dtype", dtype,
            "--steps", str(options.steps), "--report-every", "50", "--data-dir", str(data), "--report-dir", str(report),
        ]  # fmt: skip
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GITHUB_STEP_SUMMARY")}
        env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {name: value.format(venv=venv) for name, value in library.get("env", {}).items()}
        code, errors = run(command, env, options.timeout)
        outcomes.append(judge(library["backend"], code, errors, report / "parity.json", options))
    return outcomes


def run(command: list[str], env: dict[str, str], timeout: int) -> tuple[int | None, str]:
    """Run a command in the folder of the hooks. Return its exit code, None if it took too long, and its errors."""
    with subprocess.Popen(
        command, env=env, cwd=ROOT / "docs" / "hooks", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a library may have processes of its own
            return None, process.communicate()[1]
        return process.returncode, errors


def judge(backend: str, code: int | None, errors: str, path: Path, options: argparse.Namespace) -> Outcome:
    """Return the outcome of a check from its exit code, its errors and its report."""
    lines = [line for line in errors.splitlines() if line.strip()]
    if code is None:
        return Outcome("too slow", f"{options.steps} steps take more than {options.timeout} s", None)
    if code in (0, 1) and path.exists():
        record = json.loads(path.read_text("utf-8"))
        numpy, *others = record["backends"]
        if others:
            own = others[-1]
            times = own.get("microseconds"), numpy.get("microseconds")
            speed = None if None in times else times
            if code == 0:
                rooms = [own[name]["head_room"] for name in ("loss", "logits", "weights")]
                room = min((each for each in rooms if each is not None), default=None)
                return Outcome("agrees" + (f", {room:.3g} x" if room else ", equal"), "", speed)
            return Outcome("differs", one_line("; ".join(record["mismatches"]).replace(f"{backend}: ", "")), speed)
    if code == 2:
        cause = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "no message")
        return Outcome("refused", one_line(cause.removeprefix("error: ").replace(f"backend {backend}: ", "")), None)
    told = [line for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    return Outcome("fails", one_line((told or raised or lines or [f"exit code {code}"])[-1]), None)


def one_line(text: str, length: int = 400) -> str:
    """Return a text for one line of Markdown, without the folders of this machine."""
    text = " ".join(text.split()).replace("|", "/").replace(str(ROOT), ".")
    text = re.sub(r"\S*mlp-xp-libraries-\w+/", "", text)
    return text if len(text) <= length else f"{text[:length]}..."


def row(library: dict[str, Any], versions: str, outcomes: list[Outcome]) -> str:
    """Return a row of the table, in Markdown."""
    speed = next((each.microseconds for each in outcomes if each.microseconds), None)
    times = (f"{speed[0]:.0f}", f"{speed[0] / speed[1]:.2g}") if speed else ("", "")
    today = dt.datetime.now(dt.UTC).date().isoformat()
    cells = (library["name"], versions, f"`{library['backend']}`", *(each.verdict for each in outcomes), *times, today)
    return f"| {' | '.join(cells)} |"


def page(rows: dict[str, str], notes: dict[str, list[str]], order: list[str]) -> str:
    """Return the table and the causes, in the order of libraries.toml."""
    names = [name for name in order if name in rows]
    causes = [note for name in names for note in notes[name]]
    head = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    place = f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores, {platform.machine()}, by"
    command = "`python scripts/libraries.py --update-docs docs/libraries.md`:"
    return "\n".join([f"{place} {command}", "", *head, *(rows[name] for name in names), "", *causes])


def update(path: Path, rows: dict[str, str], notes: dict[str, list[str]], order: list[str]) -> None:
    """Replace the rows and causes of the libraries that were checked in a page, and keep those of the others."""
    text = path.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    for line in old.splitlines():
        name = line.removeprefix("| ").partition(" |")[0]
        if name in order and name not in rows:
            rows[name] = line
            notes[name] = [each for each in old.splitlines() if re.match(rf"- {re.escape(name)}, float", each)]
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(f"{before}{BEGIN}\n\n{page(rows, notes, order)}\n\n{END}{after}", "utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
