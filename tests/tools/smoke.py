"""Test the built wheel in a fresh environment outside the repository: `python
tests/tools/smoke.py [--tests] WHEEL`.

It is not a pytest test because pip needs the network; `make smoke` builds the wheel and
runs it. First without extras, then with `commands`, every command must work or say in
one line what to install. The commands run without network access. With --tests, the quick
tests must pass there too: those that need no other file of the repository than tests/.
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

RUN = [
    "--epochs",
    "1",
    "--hidden",
    "8",
    "--batch-size",
    "100",
    "--report-every",
    "60000",
    "--backend",
    "numpy",
]
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

# The text for a package index has no link that leads nowhere there.
LINKS = """
import re
from importlib.metadata import metadata
from markdown_it import MarkdownIt
page = MarkdownIt().render(metadata("mlp_xp")["Description"])
links = re.findall(r"<[^>]* (?:href|src)=.(.*?)[ \\"]", page)
assert links and all(link.startswith(("https://", "#")) for link in links), links
"""
# tests of what is in no wheel; others have the mark `repository`
REPOSITORYS_OWN = "benchmarks", "test_docs.py"


DRAW = "from PIL import Image; one = Image.new('L', (28, 28)); one.paste(255, (13, 5, 15, 22)); one.save('one.png')"


class Installed:
    """A fresh environment, and a folder outside the repository in which its commands
    run.
    """

    def __init__(self, place: Path) -> None:
        """Create the environment."""
        venv.create(place / "venv", with_pip=True)
        self.bin, self.folder = place / "venv" / "bin", place / "work"
        self.folder.mkdir()
        names = ("PYTHONPATH", "MLP_XP_CACHE")
        self.env = {
            name: value for name, value in os.environ.items() if name not in names
        }
        self.offline = {
            f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")
        }
        self.offline |= {
            name.upper(): value for name, value in self.offline.items()
        } | {"NO_PROXY": "", "no_proxy": ""}

    def install(self, requirement: str) -> None:
        """Install with pip."""
        # bytecode takes as long as the rest
        options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run(
            [self.bin / "python", "-m", "pip", "install", *options, requirement],
            check=True,
            env=self.env,
        )

    def run(self, command: str, *parts: str, code: int = 0) -> str:
        """Run a command and return its standard output.

        Exits unless the exit code is `code`, the output contains all parts, and a usage
        error is one line.
        """
        print(command, flush=True)
        program, *words = shlex.split(command)
        env = self.env | self.offline
        done = subprocess.run(
            [self.bin / program, *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        missing = [part for part in parts if part not in said]
        if (
            done.returncode != code
            or missing
            or "Traceback" in said
            or (code == 2 and done.stderr.count("\n") != 1)
        ):
            sys.exit(
                f"code {done.returncode}, not {code}, or without {missing}:\n{said}"
            )
        return done.stdout


def main() -> None:
    """Install and run, and stop at the first command with a wrong result."""
    *options, wheel = sys.argv[1:] or [""]
    if options not in ([], ["--tests"]) or not Path(wheel).is_file():
        sys.exit("usage: python tests/tools/smoke.py [--tests] WHEEL")
    wheel = Path(wheel).resolve()
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed(Path(folder).resolve())
        print("-- without extras", flush=True)
        installed.install(str(wheel))
        without_extras(installed, wheel.name.split("-")[1])
        print("-- with commands", flush=True)
        installed.install(f"{wheel}[commands]")
        with_commands(installed)
        if options:
            print("-- with test", flush=True)
            installed.install(f"{wheel}[test]")
            run_tests(installed)
    print("all commands passed")


def without_extras(installed: Installed, version: str) -> None:
    """Run what needs no extra, and check that the other commands say what to install."""
    run = installed.run
    run("python -c 'import mlp_xp; print(mlp_xp.__file__)'", str(installed.bin.parent))
    run(
        "python -c 'from importlib import util; print(util.find_spec(\"benchmarks\"))'",
        "None",
    )
    for program in ("mlp-xp", "python -m mlp_xp"):
        run(f"{program} --version", version)
        run(f"{program} --help", "Usage: mlp-xp COMMAND", "train", "parity")
        run(
            f"{program} train --help",
            "Usage: mlp-xp train [OPTIONS]",
            "--epochs -e INT",
            "--debug",
        )
        run(f"{program} train --epcohs 3", "Did you mean --epochs?", code=2)
    for name in ("evaluate", "predict", "plot", "parity"):
        run(f"mlp-xp {name} --help", f"Usage: mlp-xp {name} ", "--debug", "--version")
    for shell in ("bash", "zsh", "fish"):
        run(f"mlp-xp completion {shell}", "mlp-xp", "learning-rate")

    words = " ".join(RUN)
    run(
        f"mlp-xp train {words} --run-dir a",
        "test images right",
        "pip install matplotlib",
        "-m mlp_xp plot a",
    )
    run(
        "mlp-xp evaluate a",
        "test images right",
        "calibration error",
        "pip install scikit-learn",
    )
    run(
        "mlp-xp parity --backends array_api_compat:numpy --steps 50",
        "array_api_compat",
        "agrees",
    )
    run("mlp-xp page a a.html", "a.html: 0.0", "MB")
    run("mlp-xp parity", "nothing to compare", "pip install jax", code=2)
    run("mlp-xp plot a", "pip install matplotlib", code=2)
    (installed.folder / "one.png").touch()
    run("mlp-xp predict a one.png", "pip install pillow", code=2)
    run(
        "mlp-xp parity --backends array_api_compat:numpy --report-dir p",
        "pip install matplotlib",
        code=2,
    )
    run("mlp-xp train --backend jax", "pip install jax", code=2)
    run("mlp-xp train --dataset kmnist", "pip install pooch[progress]", code=2)
    run("mlp-xp sweep --seed 0..1 --epochs 1", "pip install joblib psutil", code=2)
    run(f"python -W error -c '{LIBRARY}'", "trained")
    run(f"python -c '{LINKS}'")


def with_commands(installed: Installed) -> None:
    """Run the commands that draw or read pictures, download, or train many networks."""
    run = installed.run
    run("mlp-xp train --dataset kmnist", "check the network", code=2)
    run("mlp-xp sweep --seed 0..1 --epochs 1 --recipe small", "2 of 2 members")
    run(f"mlp-xp train {' '.join(RUN)} --run-dir b", "drawn in b: curves.png")
    run("mlp-xp plot a", "a/curves.png")
    run("mlp-xp plot a b", "curves.png")
    run(f'python -c "{DRAW}"')
    read = json.loads(run("mlp-xp predict b one.png --json", "one.png"))
    assert len(read["probabilities"]) == 10, read
    run(
        "mlp-xp parity --backends array_api_compat:numpy --steps 50 --report-dir p",
        "agrees",
    )
    for path in ("a/weights.png", "b/confusion.png", "curves.png", "p/parity.png"):
        assert (installed.folder / path).read_bytes().startswith(b"\x89PNG"), path


def run_tests(installed: Installed) -> None:
    """Run the quick tests on a copy of tests/, with the options in pyproject.toml."""
    root, copied = Path(__file__).resolve().parents[2], installed.folder / "copied"
    copytree(
        root / "tests",
        copied / "tests",
        ignore=ignore_patterns(*REPOSITORYS_OWN, "__pycache__"),
    )
    copy(root / "pyproject.toml", copied)
    words = [
        "--numprocesses=logical",
        "--maxprocesses=4",
        "--dist=loadfile",
        "-m",
        "not slow and not repository",
    ]
    command = [installed.bin / "python", "-m", "pytest", *words]
    done = subprocess.run(
        command, cwd=copied, env={**installed.env, "OMP_NUM_THREADS": "1"}, check=False
    )
    if done.returncode:
        sys.exit("the tests failed")


if __name__ == "__main__":
    main()
