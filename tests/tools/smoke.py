"""Test the built wheel: `python tests/tools/smoke.py [--tests] WHEEL`.

It is installed in a fresh environment outside the repository.

It is not a pytest test because pip needs the network; `make smoke` builds the wheel and
runs it. First without extras, then with `commands`, every command must work or say in
one line what to install. The commands run without network access. With --tests, the
quick tests must pass there too, if they need no files of the repository beside tests/.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

TRAIN = "mlp-xp train --epochs 1 --hidden 8 --batch-size 100 --report-every 60000"
PARITY = "mlp-xp parity --backends array_api_compat:numpy"
# Programs in Python.
LIBRARY = """
from mlp_xp import TrainConfig, load_dataset, open_backend, train
backend = open_backend("numpy")
dataset = load_dataset("mnist", backend)
config = TrainConfig(epochs=1, batch_size=100, hidden=(8,), report_every=60000)
*_, report = train(config, dataset, backend)
probabilities = report.model.predict_proba(dataset.test.inputs[:5])
assert probabilities.shape == (5, 10), probabilities.shape
print("trained")
"""
# The text for a package index has no dead links there.
LINKS = """
import re
from importlib.metadata import metadata
from markdown_it import MarkdownIt
page = MarkdownIt().render(metadata("mlp_xp")["Description"])
links = re.findall(r"<[^>]* (?:href|src)=.(.*?)[ \\"]", page)
assert links and all(link.startswith(("https://", "#")) for link in links), links
"""
DRAW = """
from PIL import Image
one = Image.new("L", (28, 28))
one.paste(255, (13, 5, 15, 22))
one.save("one.png")
"""
FIND = "from importlib import util; print(util.find_spec('benchmarks'))"
# Commands, their exit codes, and parts of the output.
WITHOUT_EXTRAS = [
    (["python", "-c", FIND], 0, "None"),
    ("mlp-xp --help", 0, "Usage: mlp-xp COMMAND", "train", "parity"),
    (
        "mlp-xp train --help",
        0,
        "Usage: mlp-xp train [OPTIONS]",
        "--epochs -e INT",
        "--debug",
    ),
    ("mlp-xp completion bash", 0, "mlp-xp", "learning-rate"),
    ("mlp-xp train --epcohs 3", 2, "Did you mean --epochs?"),
    (
        f"{TRAIN} --run-dir a",
        0,
        "test images right",
        "pip install matplotlib",
        "-m mlp_xp plot a",
    ),
    (
        "mlp-xp evaluate a",
        0,
        "test images right",
        "calibration error",
        "pip install scikit-learn",
    ),
    (f"{PARITY} --steps 50", 0, "array_api_compat", "agrees"),
    ("mlp-xp page a a.html", 0, "a.html: 0.1", "MB"),
    ("mlp-xp parity", 2, "nothing to compare", "pip install jax"),
    ("mlp-xp plot a", 2, "pip install matplotlib"),
    ("mlp-xp predict a one.png", 2, "pip install pillow"),
    (f"{PARITY} --report-dir p", 2, "pip install matplotlib"),
    ("mlp-xp train --backend jax", 2, "pip install jax"),
    ("mlp-xp train --dataset kmnist", 2, "pip install pooch[progress]"),
    ("mlp-xp sweep --seed 0..1 --epochs 1", 2, "pip install joblib psutil"),
    (["python", "-W", "error", "-c", LIBRARY], 0, "trained"),
    (["python", "-c", LINKS], 0),
]
# Commands to draw or read pictures, to download, and to train many networks.
WITH_COMMANDS = [
    ("mlp-xp train --dataset kmnist", 2, "check the network"),
    ("mlp-xp sweep --seed 0..1 --epochs 1 --recipe small", 0, "2 of 2 members"),
    (f"{TRAIN} --run-dir b", 0, "drawn in b: curves.png"),
    ("mlp-xp plot a", 0, "a/curves.png"),
    ("mlp-xp plot a b", 0, "curves.png"),
    (["python", "-c", DRAW], 0),
    (f"{PARITY} --steps 50 --report-dir p", 0, "agrees"),
]
PICTURES = ("a/weights.png", "b/confusion.png", "curves.png", "p/parity.png")
# tests of files in no wheel; other such tests have the mark `repository`
REPOSITORYS_OWN = "benchmarks", "test_docs.py"


def main() -> None:
    """Install and run, and stop at the first command with a wrong result."""
    *options, wheel = sys.argv[1:] or [""]
    if options not in ([], ["--tests"]) or not Path(wheel).is_file():
        sys.exit("usage: python tests/tools/smoke.py [--tests] WHEEL")
    path = Path(wheel).resolve()
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed(Path(folder).resolve())
        installed.install(str(path))
        check_the_installation(installed, version=path.name.split("-")[1])
        for command in WITHOUT_EXTRAS:
            installed.run(*command)
        installed.install(f"{path}[commands]")
        for command in WITH_COMMANDS:
            installed.run(*command)
        check_the_pictures(installed)
        if options:
            installed.install(f"{path}[test]")
            run_tests(installed)
    print("all commands passed")


class Installed:
    """A fresh environment, and a folder outside the repository for its commands."""

    def __init__(self, place: Path) -> None:
        """Create the environment."""
        venv.create(place / "venv", with_pip=True)
        self.bin, self.folder = place / "venv" / "bin", place / "work"
        self.folder.mkdir()
        self.env = {**os.environ}
        for name in ("PYTHONPATH", "MLP_XP_CACHE"):
            self.env.pop(name, None)
        self.offline = {**self.env, "NO_PROXY": "", "no_proxy": ""}
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            nowhere = "http://127.0.0.1:9"
            self.offline |= {name: nowhere, name.upper(): nowhere}

    def install(self, requirement: str) -> None:
        """Install with pip."""
        print(f"-- {Path(requirement).name}", flush=True)
        # bytecode takes as long as the rest
        options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run(
            [self.bin / "python", "-m", "pip", "install", *options, requirement],
            check=True,
            env=self.env,
        )

    def run(self, command: str | list[str], code: int = 0, *texts: str) -> str:
        """Run a command and return its standard output.

        Exits unless the exit code is `code`, the output contains all texts, and a usage
        error is one line.
        """
        words = shlex.split(command) if isinstance(command, str) else command
        print(*(word for word in words if "\n" not in word), flush=True)
        done = subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=self.folder,
            env=self.offline,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        missing = [text for text in texts if text not in said]
        has_one_line = code != 2 or done.stderr.count("\n") == 1
        is_right = done.returncode == code and not missing and has_one_line
        if not is_right or "Traceback" in said:
            sys.exit(
                f"code {done.returncode}, not {code}, or without {missing}:\n{said}"
            )
        return done.stdout


def check_the_installation(installed: Installed, version: str) -> None:
    """Check where the package is, and its version, and prepare an empty picture."""
    where = "import mlp_xp; print(mlp_xp.__file__)"
    installed.run(["python", "-c", where], 0, str(installed.bin.parent))
    for start in ("mlp-xp", "python -m mlp_xp"):
        installed.run(f"{start} --version", 0, version)
    (installed.folder / "one.png").touch()


def check_the_pictures(installed: Installed) -> None:
    """Check that a picture is read, and that pictures were written."""
    read = json.loads(installed.run("mlp-xp predict b one.png --json", 0, "one.png"))
    assert len(read["probabilities"]) == 10, read
    for path in PICTURES:
        assert (installed.folder / path).read_bytes().startswith(b"\x89PNG"), path


def run_tests(installed: Installed) -> None:
    """Run the quick tests on a copy of tests/, with the options in pyproject.toml."""
    root, copied = Path(__file__).resolve().parents[2], installed.folder / "copied"
    ignored = ignore_patterns(*REPOSITORYS_OWN, "__pycache__")
    copytree(root / "tests", copied / "tests", ignore=ignored)
    copy(root / "pyproject.toml", copied)
    words = "-m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile"
    quick = ["-m", "not slow and not repository"]
    done = subprocess.run(
        [installed.bin / "python", *words.split(), *quick],
        cwd=copied,
        env={**installed.env, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        sys.exit("the tests failed")


if __name__ == "__main__":
    main()
