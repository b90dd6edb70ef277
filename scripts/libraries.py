"""Run the parity check on many array libraries: `python scripts/libraries.py --update-docs docs/libraries.md`.

Each library of scripts/libraries.toml is installed, together with a wheel of this clone, into a virtual environment of
its own in a temporary folder. There libraries_worker.py checks it in float64 and in float32, on a part of MNIST, and
traces what does not agree. Libraries with the same requirements share an environment, which is deleted before the next
one is made. With --update-docs, the page is written after each library, and reproducers are kept in the folder
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
import textwrap
import time
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("float64", "float32")
BEGIN, END = "<!-- libraries: begin -->", "<!-- libraries: end -->"
COLUMNS = ("library", "version", "`--backends`", "steps", *DTYPES, "cause", "µs per step", "times NumPy", "measured")
HOOKS = ROOT / "docs" / "hooks"
# Enough for every class, and less than a megabyte: an evaluation takes no time, and Cubed takes no larger array.
PARTS = {"train": 1000, "t10k": 200}


class Outcome(NamedTuple):
    """What one check said."""

    verdict: str
    """One word, and the head-room where it agrees."""
    cause: str = ""
    """Of anything but agreement, in a few words; empty if it is not known."""
    note: str = ""
    """The same in full; empty only where it agrees."""
    speed: tuple[float, float] | None = None
    """Microseconds of a step, and the ratio to NumPy's; None if it did not run to the end."""


def arguments() -> argparse.Namespace:
    """Return the options of this script."""
    parser = argparse.ArgumentParser(
        prog="scripts/libraries.py", description="Run the parity check on many array libraries.", allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="libraries of libraries.toml; by default all")
    parser.add_argument(
        "--steps", type=int, default=200, help="steps of each check (default: 200; slow ones have fewer)"
    )
    parser.add_argument("--timeout", type=int, default=300, help="seconds of each check (default: 300)")
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
    began = time.time(), busy_seconds()
    with tempfile.TemporaryDirectory(prefix="mlp-xp-libraries-") as folder:
        data = write_part(Path(folder))
        kept = options.update_docs.resolve().parent / "reproducers" if options.update_docs else Path(folder) / "kept"
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        for _, group in groupby(chosen, key=lambda each: each["requires"]):
            same = list(group)
            venv = Path(folder) / "venv"
            failure, versions = install(venv, wheel, same[0]["requires"])
            for library in same:
                print(f"{library['name']} ...", file=sys.stderr, flush=True)
                environment = {name: value.format(venv=venv) for name, value in library.get("env", {}).items()}
                library = {**library, "steps": library.get("steps", options.steps), "env": environment}
                if failure:
                    outcomes = [failure for _ in DTYPES]
                else:
                    outcomes = check(library, python(venv), data, kept, options.timeout)
                name = library["name"]
                rows[name] = row(library, versions, outcomes)
                notes[name] = list_notes(name, outcomes)
                print(rows[name], *notes[name], sep="\n", file=sys.stderr, flush=True)
                if options.update_docs:
                    update(options.update_docs, {**rows}, {**notes}, known, others_share(*began))
            shutil.rmtree(venv, ignore_errors=True)
    if not options.update_docs:
        print(page(rows, notes, known, others_share(*began)))


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
        [*pip, "install", "--quiet", str(wheel), *requires], capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr]
        return Outcome("not installed", note=one_line(errors[-1].removeprefix("ERROR:"))), ""
    listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True)
    found = {normal(each["name"]): each["version"] for each in json.loads(listed.stdout)}
    return None, ", ".join(found.get(normal(each), "") for each in requires)


def normal(requirement: str) -> str:
    """Return the name of a requirement as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", requirement)[0]).lower()


def python(venv: Path) -> str:
    """Return the interpreter of an environment."""
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def check(
    library: dict[str, Any], interpreter: str, data: Path, kept: Path, timeout: float, hooks: Path = HOOKS
) -> list[Outcome]:
    """Check a library in each dtype, in the folder of the hooks. Reproducers go to folders in `kept`."""
    outcomes = []
    for dtype in DTYPES:
        folder = kept / re.sub(r"\W+", "-", f"{library['name']} {dtype}").lower()
        shutil.rmtree(folder, ignore_errors=True)
        target = data.parent / "result.json"
        target.unlink(missing_ok=True)
        worker = Path(__file__).with_name("libraries_worker.py")
        command = [
            interpreter, str(worker), library["backend"], dtype, str(library["steps"]), str(data), str(folder),
            str(target),
        ]  # fmt: skip
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **library["env"]}
        code, errors = run(command, env, timeout, hooks)
        result = json.loads(target.read_text("utf-8")) if target.exists() else {}
        outcomes.append(judge(library, dtype, code, errors, result, timeout, folder.name))
    return outcomes


def run(command: list[str], env: dict[str, str], timeout: float, folder: Path) -> tuple[int | None, str]:
    """Run a command in a folder. Return its exit code, None if it took too long, and its errors."""
    with subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a library may have processes of its own
            return None, process.communicate()[1]
        except BaseException:  # Ctrl-C does not reach a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, errors


def judge(
    library: dict[str, Any], dtype: str, code: int | None, errors: str, result: dict[str, Any], timeout: float,
    folder: str,
) -> Outcome:  # fmt: skip
    """Return the outcome of a check from how the worker ended and what it wrote. folder: the reproducer's name."""
    lines = [line for line in errors.splitlines() if line.strip()]
    too_slow = f"{library['steps']} steps take more than {timeout:.0f} s"
    if not result:
        if code is None:
            return Outcome("too slow", note=f"{too_slow}.")
        raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
        return Outcome("fails", note=f"{one_line((raised or lines or [f'exit code {code}'])[-1])}.")
    verdict, speed = result["verdict"], (result["microseconds"], result["ratio"])
    measured = None if None in speed else speed
    if verdict == "agrees":
        room = f", {figure(result['head_room'], 3)} x" if result["head_room"] else ", equal"
        return Outcome(verdict + room, speed=measured)
    if not result["deviation"]:
        ended = f"; no trace: {too_slow}" if code is None else f"; no trace: {one_line(lines[-1])}" if code else ""
        return Outcome(verdict, note=f"{one_line(result['said'])}{ended}.", speed=measured)
    operation = result["operation"]
    of_hook = result["whose"] == library["backend"].partition(":")[0] and result["whose"].endswith("_hook")
    cause = f"{'our hook' if of_hook else 'the library'}'s own" + (f", in `{operation}`" if operation else "")
    note = f"{cause}: `` {one_line(lasting(result['deviation']))} ``."
    if result["reproducer"]:
        words = " ".join([*(f"{name}={value}" for name, value in library["env"].items()), "python"])
        path = f"reproducers/{folder}/reproduce.py"
        note += f" Alone, `{words}` [{path}]({path}) printed: `` {one_line(result['reproducer'])} ``."
    return Outcome(verdict, cause, note, measured)


def list_notes(name: str, outcomes: list[Outcome]) -> list[str]:
    """Return the list items about a library, one for all dtypes with the same note."""
    notes = {each.note: "" for each in outcomes if each.note}
    for note in notes:
        dtypes = [dtype for dtype, each in zip(DTYPES, outcomes, strict=True) if each.note == note]
        notes[note] = f"- {name}, {' and '.join(dtypes)}: {note}"
    return [*notes.values()]


def lasting(line: str) -> str:
    """Return the tracer's line without the operation's number and its place, which change with the package's source."""
    return re.sub(r"^operation \d+, |; called at .*| at mlp_xp/\S+:\d+", "", line)


def one_line(text: str, length: int = 500) -> str:
    """Return a text for one line of Markdown, without the folders of this machine; of a long one whole words."""
    text = text.replace("|", "/").replace(str(ROOT), ".").strip().removesuffix(".")
    return textwrap.shorten(re.sub(r"\S*mlp-xp-libraries-\w+/", "", text), length, placeholder=" ...")


def figure(number: float, digits: int) -> str:
    """Return a number with so many digits, or more where it has more before the point."""
    return f"{number:.{digits}g}" if number < 10**digits else f"{number:.0f}"


def busy_seconds() -> float | None:
    """Return the seconds that the machine's processors have worked, but for this process and its children."""
    try:
        user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    except OSError:
        return None
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def others_share(began: float, busy: float | None) -> str:
    """Return in words how much other work ran on the machine; empty if that is not known."""
    now = busy_seconds()
    if busy is None or now is None:
        return ""
    return f", where other work took {(now - busy) / (time.time() - began):.1f} cores"


def row(library: dict[str, Any], versions: str, outcomes: list[Outcome]) -> str:
    """Return a row of the table, in Markdown."""
    speed = next((each.speed for each in outcomes if each.speed), None)
    times = (f"{speed[0]:.0f}", figure(speed[1], 2)) if speed else ("", "")
    causes = "; ".join(dict.fromkeys(each.cause for each in outcomes if each.cause))
    today = dt.datetime.now(dt.UTC).date().isoformat()
    cells = (
        library["name"], versions, f"`{library['backend']}`", str(library["steps"]),
        *(each.verdict for each in outcomes), causes, *times, today,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def page(rows: dict[str, str], notes: dict[str, list[str]], order: list[str], beside: str = "") -> str:
    """Return the table and the causes, in the order of libraries.toml."""
    names = [name for name in order if name in rows]
    causes = [note for name in names for note in notes[name]]
    head = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    place = f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores, {processor()}{beside}, by"
    command = "`python scripts/libraries.py --update-docs docs/libraries.md`:"
    return "\n".join([f"{place} {command}", "", *head, *(rows[name] for name in names), "", *causes])


def processor() -> str:
    """Return the processor's name, or else its architecture."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text("utf-8")) if path.exists() else None
    return found[1] if found else platform.machine()


def update(path: Path, rows: dict[str, str], notes: dict[str, list[str]], order: list[str], beside: str = "") -> None:
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
    temporary.write_text(f"{before}{BEGIN}\n\n{page(rows, notes, order, beside)}\n\n{END}{after}", "utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
