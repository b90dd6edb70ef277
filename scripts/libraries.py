"""Run the parity check on many array libraries, for the table of docs/libraries.md.

Each library of scripts/libraries.toml is installed, together with a wheel of this
clone, into a virtual environment of its own in a temporary folder. There `mlp-xp
parity` checks it in float64 and in float32 on a part of MNIST, and `mlp-xp parity
--trace` finds the first operation that deviates or raises. Libraries with the same
requirements share an environment. The page is written after each library, and small
reproducers are kept in docs/reproducers. Exit code 0: the table is complete, whatever
is in it; 2: a usage error. Uses the standard library, pip and `timeout` only.
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
import subprocess
import sys
import tempfile
import tomllib
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DTYPES = ("float64", "float32")
BEGIN, END = "<!-- libraries: begin -->", "<!-- libraries: end -->"
COLUMNS = (
    "library",
    "version",
    "`--backends`",
    "steps",
    *DTYPES,
    "cause",
    "µs per step",
    "times NumPy",
    "measured",
)
# seconds of a check and of a trace, and the exit code of a command that took longer
TIMEOUT, TRACE_TIMEOUT, KILLED = 300, 3600, -9
VERDICTS = {0: "agrees", 1: "differs", 2: "refused", KILLED: "too slow"}
# Enough for every class, and less than a megabyte: an evaluation takes no time, and
# Cubed takes no larger array.
PARTS = {"train": 1000, "t10k": 200}
SMALL = 10_000  # bytes of inputs, up to which a reproducer is kept


class Outcome(NamedTuple):
    """What one check said."""

    verdict: str
    """One word, or `agrees, equal`."""
    note: str = ""
    """Why it does not agree: the tracer's or the library's own line."""


def main() -> None:
    """Check the libraries, and write the page after each."""
    libraries = tomllib.loads((ROOT / "scripts" / "libraries.toml").read_text("utf-8"))[
        "libraries"
    ]
    known = [each["name"] for each in libraries]
    parser = argparse.ArgumentParser(
        description="Run the parity check on many array libraries.", allow_abbrev=False
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="libraries of libraries.toml; by default all",
    )
    names = parser.parse_args().names or known
    if unknown := {*names} - {*known}:
        parser.error(
            f"{', '.join(sorted(unknown))}: not known; choose from {', '.join(known)}"
        )
    with tempfile.TemporaryDirectory(prefix="mlp-xp-libraries-") as place:
        folder = Path(place)
        write_part(folder / "data")
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            place,
            str(ROOT),
            str(ROOT / "packages" / "array-lockstep"),
        ]
        subprocess.run(command, check=True)
        chosen = [
            {"steps": 200, "env": {}, **each}
            for each in libraries
            if each["name"] in names
        ]
        for requires, group in groupby(chosen, key=lambda each: each["requires"]):
            failure, versions = install(
                folder / "venv", sorted(folder.glob("*.whl")), requires
            )
            for library in group:
                print(f"{library['name']} ...", file=sys.stderr, flush=True)
                outcomes = [
                    failure or check(library, dtype, folder) for dtype in DTYPES
                ]
                pairs = zip(DTYPES, outcomes, strict=True)
                ran = [
                    dtype
                    for dtype, each in pairs
                    if each.verdict.startswith(("agrees", "differs"))
                ]
                times = speed(library, ran[0], folder) if ran else ("", "")
                lines = [
                    row(library, versions, outcomes, times),
                    *notes(library["name"], outcomes),
                ]
                print(*lines, sep="\n", file=sys.stderr, flush=True)
                update(DOCS / "libraries.md", library["name"], lines, known)


def write_part(folder: Path) -> None:
    """Write the first images of MNIST as four files."""
    folder.mkdir()
    for path in sorted((ROOT / "data" / "mnist").glob("*.gz")):
        content = gzip.decompress(path.read_bytes())
        start, total = 4 + 4 * content[3], int.from_bytes(content[4:8])
        count = PARTS[path.name.partition("-")[0]]
        stop = start + count * (len(content) - start) // total
        (folder / path.stem).write_bytes(
            content[:4] + count.to_bytes(4) + content[8:stop]
        )


def install(
    venv: Path, wheels: list[Path], requires: list[str]
) -> tuple[Outcome | None, str]:
    """Make an environment with this package and the library.

    Return pip's reason if it fails, and the versions.
    """
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    command = [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    done = subprocess.run(
        [*command, *map(str, wheels), "mlp_xp[plots]", "psutil", *requires],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return Outcome("not installed", last_line(done).removeprefix("ERROR: ")), ""
    code = (
        "import sys; from importlib.metadata import version; "
        "print(*map(version, sys.argv[1:]), sep=', ')"
    )
    names = [re.split(r"[\[<>=!~ ]", each)[0] for each in requires]
    return None, subprocess.check_output(
        [venv / "bin" / "python", "-c", code, *names], text=True
    ).strip()


def check(
    library: dict[str, Any], dtype: str, folder: Path, docs: Path = DOCS
) -> Outcome:
    """Check a library in a dtype, and trace it if it does not agree."""
    report = folder / "report"
    shutil.rmtree(report, ignore_errors=True)
    words = [
        "-m",
        "mlp_xp",
        "parity",
        "--dtype",
        dtype,
        "--report-dir",
        str(report),
        "--backends",
        library["backend"],
    ]
    done = run(library, folder, *words)
    verdict, note = VERDICTS.get(done.returncode, "fails"), last_line(done)
    if done.returncode == 0:
        compared = json.loads((report / "parity.json").read_text("utf-8"))["backends"]
        (mine,) = (each for each in compared if each["backend"] == library["backend"])
        quantities = [each for each in mine.values() if isinstance(each, dict)]
        differs = any(each["head_room"] for each in quantities)
        return Outcome(verdict if differs else f"{verdict}, equal")
    alone = ""
    if done.returncode in (1, 3):
        shutil.rmtree(report)
        done = run(library, folder, *words, "--trace", seconds=TRACE_TIMEOUT)
        note = next(
            (
                x
                for x in done.stderr.splitlines()
                if x.startswith(("deviates: ", "error: "))
            ),
            last_line(done),
        )
        target = (
            docs
            / "reproducers"
            / re.sub(r"\W+", "-", f"{library['name']} {dtype}").lower()
        )
        shutil.rmtree(target, ignore_errors=True)
        found = re.search(r"^reproducer: python (\S+)$", done.stdout, re.MULTILINE)
        made, printed = Path(found[1]) if found else None, ""
        if made:
            alone_run = run(library, folder, str(made))
            printed = f"{alone_run.stdout.strip()} {last_line(alone_run)}".strip()
            shows = alone_run.returncode != 0
        if made and shows and (made.parent / "inputs.npz").stat().st_size <= SMALL:
            link = f"reproducers/{target.name}/{made.name}"
            # A hook is in this clone, wherever that will be.
            clone = f"sys.path.append(__file__.replace('docs/{link}', ''))"
            made.write_text(
                made.read_text("utf-8").replace('sys.path.append("")', clone), "utf-8"
            )
            shutil.copytree(made.parent, target)
            call = " ".join(
                [
                    *(f"{name}={value}" for name, value in library["env"].items()),
                    "python",
                ]
            )
            alone = f". Alone, `{call}` [{link}]({link}) printed: `` {printed} ``"
    # Without what changes with the package's source: an operation's number and its
    # place.
    changing = (
        r"^(deviates|error): (backend )?\S+: |; at .*|"
        r" at mlp_xp/\S+:\d+ .*(?= raised )"
    )
    note = re.sub(changing, "", note).replace("|", "/")
    return Outcome(verdict, f"`` {note} ``{alone}")


def speed(library: dict[str, Any], dtype: str, folder: Path) -> tuple[str, str]:
    """Return the microseconds of a step and the ratio to NumPy's.

    Both are of interleaved rounds; empty if the program did not end.
    """
    report = folder / "speed"
    shutil.rmtree(report, ignore_errors=True)
    words = [
        "--workloads",
        f"one-{dtype}",
        "--rounds",
        "5",
        "--output-dir",
        str(report),
        "--contestants",
    ]
    contestants = "mlp_xp-numpy", library.get("contestant", library["backend"])
    run(library, folder, str(ROOT / "scripts" / "bench.py"), *words, *contestants)
    if not (report / "bench.json").exists():
        return "", ""
    (workload,) = json.loads((report / "bench.json").read_text("utf-8"))["workloads"]
    numpy, mine = (each.get("round_seconds", [])[1:] for each in workload["results"])
    if not mine:
        return "", ""
    ratio = median(one / other for one, other in zip(mine, numpy, strict=True))
    return f"{1e6 * median(mine) / library['steps']:.0f}", figure(ratio, 2)


def run(
    library: dict[str, Any], folder: Path, *words: str, seconds: int = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run Python in a library's environment and in the folder.

    It gets the steps and the data of all checks.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {
        name: value.format(venv=folder / "venv")
        for name, value in library["env"].items()
    }
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # `timeout` also kills the processes that a library has started.
    command = [
        "timeout",
        "--signal=KILL",
        str(seconds),
        str(folder / "venv" / "bin" / "python"),
        *words,
    ]
    command += ["--steps", str(library["steps"]), "--data-dir", str(folder / "data")]
    return subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, check=False
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on a process's standard error, or the signal that ended it.

    `timeout` ends a process by SIGKILL.
    """
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def figure(number: float, digits: int) -> str:
    """Return a number with this number of digits, or all digits before the point."""
    return f"{number:.{digits}g}" if number < 10**digits else f"{number:.0f}"


def row(
    library: dict[str, Any],
    versions: str,
    outcomes: list[Outcome],
    times: tuple[str, str],
) -> str:
    """Return a row of the table, in Markdown."""
    said = " ".join(each.note for each in outcomes)
    # or an operator
    causes = dict.fromkeys(
        map("".join, re.findall(r"\bxp\.(\w+)\(|\) ([-+*/@<>=!]{1,2}) ", said))
    )
    cells = (
        *(library["name"], versions, f"`{library['backend']}`", str(library["steps"])),
        *(each.verdict for each in outcomes),
        *(
            "; ".join(f"`{name}`" for name in causes),
            *times,
            dt.date.today().isoformat(),
        ),
    )
    return f"| {' | '.join(cells)} |"


def notes(name: str, outcomes: list[Outcome]) -> list[str]:
    """Return the list items about a library."""
    return [
        f"- {name}, {dtype}: {each.note}."
        for dtype, each in zip(DTYPES, outcomes, strict=True)
        if each.note
    ]


def update(path: Path, name: str, lines: list[str], order: list[str]) -> None:
    """Replace the row and the causes of a library in a page.

    The rows of all libraries stand in this order.
    """
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    entries = {
        each: [
            x
            for x in old.splitlines()
            if x.startswith((f"| {each} |", f"- {each}, float"))
        ]
        for each in order
    }
    rows = [each for each in {**entries, name: lines}.values() if each]
    place = (
        f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores by"
    )
    head = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    causes = [cause for _, *each in rows for cause in each]
    made = "\n".join(
        [
            f"{place} `python scripts/libraries.py`:",
            "",
            *head,
            *(first for first, *_ in rows),
            "",
            *causes,
        ]
    )
    path.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
