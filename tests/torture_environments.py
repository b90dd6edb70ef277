"""Run every command in every odd environment, and print what went wrong: `python tests/torture_environments.py`.

It takes some minutes, so it is not a test. A command must not print a traceback, must not hang, and must exit with one
of the codes that it may have there. Words on the command line select the environments whose names contain one of them.
"""

import math
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_sets import TINY, write_idx_folder
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120
FAULTS = ("Traceback", "Exception ignored", "Exception in thread", "AttributeError")
STRANGE = os.fsdecode(b"caf\xe9")  # not UTF-8
BAD_INPUT, BROKEN_PIPE = 2, 141


@dataclass(frozen=True)
class Case:
    """A command that ends with a known code in a usual environment."""

    name: str
    words: tuple[str, ...]
    code: int = 0
    makes: tuple[str, ...] = ()
    """Files that must exist afterwards, where the output has been closed as well."""


@dataclass(frozen=True)
class Environment:
    """What is odd."""

    name: str
    variables: dict[str, str | None] = field(default_factory=dict)
    shell: str = '"$@"'
    """A line of bash that runs the command, "$@"."""
    pipe: bool = False
    """Whether the reader of an output goes away, so that a command that writes to it ends with 141."""


def cases(place: Path, name: str) -> Iterator[Case]:
    """Yield all commands. place: a folder with data and a run; name: the name of the new folders."""
    scripts, run, new = str(ROOT / "scripts"), str(place / name / "run"), place / name / "new"
    data, picture = str(place / name / "data"), str(place / name / "picture.png")
    package = (sys.executable, "-m", "mlp_xp")

    def script(command: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, f"{scripts}/{command}.py", *words)

    for command in ("train", "evaluate", "predict", "plot", "parity"):
        yield Case(f"{command} --help", script(command, "--help"))
        yield Case(f"{command} --version", script(command, "--version"))
        yield Case(f"{command} --unknown", script(command, "--unknown"), BAD_INPUT)
    yield Case("--help", (*package, "--help"))
    yield Case("completion", (*package, "completion", "bash"))
    yield Case("train", script("train", "--data-dir", data, "--run-dir", str(new), "--epochs", "1", "--hidden", "4"),
               makes=(str(new / "model.safetensors"),))  # fmt: skip
    yield Case("resume", script("train", "--resume", run), makes=(f"{run}/curves.png",))
    yield Case("evaluate", script("evaluate", run))
    yield Case("predict", script("predict", run, picture))
    yield Case("predict --json", script("predict", run, picture, "--json", "--device", "cpu"))
    yield Case("predict nothing", script("predict", run, picture + STRANGE), 1)
    yield Case("plot", script("plot", run), makes=(f"{run}/curves.png", f"{run}/weights.png"))
    both = str(place / name / "both.png")
    yield Case("plot two", script("plot", run, run, "--output", both), makes=(both,))
    parity = script("parity", "--backends", "array_api_compat:numpy", "--steps", "3", "--data-dir", data)
    report = str(place / name / "parity")
    yield Case("parity", (*parity, "--report-dir", report), makes=(f"{report}/parity.json", f"{report}/parity.png"))
    yield Case("parity mismatch", (*parity, "--dtype", "float32", "--tolerance", "1e-30"), 1)
    yield Case("no run", script("evaluate", data), BAD_INPUT)


def environments(place: Path) -> Iterator[Environment]:
    """Yield all environments."""
    yield Environment("usual")
    for columns in ("0", "1", "5", "40", "-3", "abc", "", "²", "1000000000", "9" * 5000):
        yield Environment(f"COLUMNS={columns[:9]}", {"COLUMNS": columns})
    yield Environment("LINES=0", {"LINES": "0"})
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield Environment("PYTHONIOENCODING=ascii", {"PYTHONIOENCODING": "ascii"})
    yield Environment("PYTHONIOENCODING=latin-1", {"PYTHONIOENCODING": "latin-1"})
    yield Environment("LC_ALL=C", {"LC_ALL": "C"})
    yield Environment("ASCII file names", plain)
    for closed in ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"):
        yield Environment(f"closed {closed}", shell=f'"$@" {closed}')
    yield Environment("pipe | true", shell='{ sleep 0.2; "$@"; } | true; exit "${PIPESTATUS[0]}"', pipe=True)
    yield Environment("pipe 2>&1 | true", shell='{ sleep 0.2; "$@" 2>&1; } | true; exit "${PIPESTATUS[0]}"', pipe=True)
    yield Environment("pipe | head -1", shell='"$@" | head -1; exit "${PIPESTATUS[0]}"', pipe=True)
    yield Environment("pipe | head -2", shell='"$@" | head -2; exit "${PIPESTATUS[0]}"', pipe=True)
    yield Environment("colours in a broken pipe", {"FORCE_COLOR": "1"}, '"$@" | true; exit "${PIPESTATUS[0]}"', True)
    for backend in ("module://matplotlib_inline.backend_inline", "nonsense", "", "tkagg", "svg"):
        yield Environment(f"MPLBACKEND={backend}", {"MPLBACKEND": backend})
    (place / "matplotlibrc").write_text("text.usetex: True\nfont.family: nowhere\nsavefig.format: svg\nbackend: none\n")
    yield Environment("matplotlibrc", {"MATPLOTLIBRC": str(place / "matplotlibrc")})
    (place / "damaged").write_bytes(b"\xff\xfe: \xe9\n")
    yield Environment("damaged matplotlibrc", {"MATPLOTLIBRC": str(place / "damaged")})
    yield Environment("TERM=dumb", {"TERM": "dumb"})
    yield Environment("NO_COLOR", {"NO_COLOR": "1"})
    yield Environment("no HOME", {"HOME": None})
    yield Environment("HOME is not there", {"HOME": "/nowhere/at/all"})
    yield Environment("HOME is a file", {"HOME": "/dev/null"})
    yield Environment("TMPDIR is not there", {"TMPDIR": "/nowhere/at/all"})
    yield Environment("MLP_XP_CACHE=", {"MLP_XP_CACHE": ""})
    gone = shlex.quote(str(place / "gone"))
    yield Environment("current folder deleted", shell=f'mkdir -p {gone}$$; cd {gone}$$; rmdir {gone}$$; "$@"')


def allowed(case: Case, environment: Environment) -> set[int]:
    """Return the exit codes that a command may have in an environment."""
    if environment.pipe:
        # The mismatches and errors are on stderr, which only some of the pipes take; and a short output may be read.
        return {case.code, BROKEN_PIPE}
    if environment.name == "current folder deleted" and case.words[1] == "-m":
        return {case.code, 1}  # Python itself does not find the package
    if environment.name == "damaged matplotlibrc" and case.name in ("plot", "plot two", "parity"):
        return {1}
    return {case.code}


def fault(case: Case, environment: Environment) -> str | None:
    """Run a command in an environment, and return what is wrong, or None."""
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment.variables}
    env = {k: v for k, v in {**os.environ, **variables}.items() if v is not None}
    command = ["bash", "-c", environment.shell, "bash", *case.words]
    with tempfile.TemporaryFile() as said:
        try:
            code = subprocess.run(command, env=env, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL,
                                  stdout=said, stderr=said).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return "hangs"
        said.seek(0)
        text = said.read().decode(errors="backslashreplace")
    traces = [word for word in FAULTS if word in text]
    if traces and not (code == 1 and "No module named mlp_xp" in text):
        return f"exit {code}, {traces[0]}: {text.strip().splitlines()[-1]}"
    if code not in allowed(case, environment):
        return f"exit {code}, not {case.code}: {' / '.join(text.strip().splitlines()[-3:])}"
    silent = not text and not environment.pipe and ">&-" not in environment.name
    if silent:
        return "prints nothing"
    if code in (0, 1) and environment.name != "damaged matplotlibrc":
        missing = [path for path in case.makes if not Path(path).exists()]
        if missing:
            return f"{missing[0]!r} is missing"
    return None


def prepare(place: Path, name: str) -> None:
    """Write data, a picture and a run into a folder."""
    folder = place / name
    folder.mkdir(parents=True)
    write_idx_folder(folder / "data", TINY)
    Image.new("L", (28, 28), 255).save(folder / "picture.png")
    with Image.open(folder / "picture.png") as picture:
        picture.putpixel((14, 14), 0)
        picture.save(folder / "picture.png")
    words = ("--data-dir", folder / "data", "--run-dir", folder / "run", "--epochs", "1", "--hidden", "4")
    command = [sys.executable, ROOT / "scripts" / "train.py", *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)


def attack(place: Path, environment: Environment, name: str) -> list[str]:
    """Run all commands in an environment, and return what is wrong."""
    folder = place / f"{abs(hash((environment.name, name)))}"
    shutil.copytree(place / "first", folder)
    found = []
    for case in cases(folder, name):
        wrong = fault(case, environment)
        if wrong:
            found.append(f"{environment.name}, {name!a}, {case.name}: {wrong}")
    return found


def main() -> int:
    """Run everything, print the faults and their number, and return 1 if there are any.

    Arguments: the seconds after which no environment is begun, if the first is a number; then parts of the names of
    environments, to run only those.
    """
    asked = sys.argv[1:]
    end = time.monotonic() + float(asked.pop(0)) if asked and asked[0].replace(".", "").isdecimal() else math.inf
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        names = ("plain", "é-数字", STRANGE)
        for name in names:
            prepare(place / "first", name)
        odd = [each for each in environments(place) if not asked or any(word in each.name for word in asked)]
        # The names matter only where something is encoded.
        encode = ("usual", "ENCODING", "LC_ALL", "file names")
        pairs = [
            (each, name) for each in odd for name in names if name == "plain" or any(x in each.name for x in encode)
        ]
        count, faults = 0, 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            random.shuffle(pairs)  # where the time does not suffice for all, others each time
            for found in pool.map(lambda pair: attack(place, *pair) if time.monotonic() < end else None, pairs):
                if found is None:
                    continue
                count += 1
                faults += len(found)
                for line in found:
                    print(ascii(line)[1:-1], flush=True)
    print(f"{count} environments with {len([*cases(place, 'x')])} commands each: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
