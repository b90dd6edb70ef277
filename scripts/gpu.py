"""Run all GPU checks on an NVIDIA card with one command: `make gpu`, or `python3 scripts/gpu.py`.

It installs the dependencies into .venv-gpu and runs `mlp-xp gpu` there: GPU tests, parity check and benchmark, with the
results in docs/gpu.md. Exit code 0: all passed; 1: a check failed or did not finish in time; 2: no usable GPU, a usage
error, or a failed installation. Uses the standard library only.
"""

import argparse
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from start import end, start

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "mlp_xp" / "bench" / "card.py"
VENV = ROOT / ".venv-gpu"


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return the options of this script, and the other arguments, which are for `mlp-xp gpu`."""
    from mlp_xp import __version__
    from mlp_xp.commands.command_line import Parser, WholeWords

    parser = Parser(
        prog="scripts/gpu.py",
        formatter_class=WholeWords,
        description="Run GPU tests, parity check and benchmark on an NVIDIA card, and write docs/gpu.md.",
        epilog="For all other options, see `python -m mlp_xp gpu --help`.",
        allow_abbrev=False,
    )
    parser.add_argument("--cuda", help="CUDA version to install for: 12 or 13; by default the version of the driver")
    parser.add_argument("--no-install", action="store_true", help="install nothing, and run with this Python")
    parser.add_argument("--version", action="version", version=f"mlp-xp {__version__}", help="show the version")
    return parser.parse_known_args()


def check_card(wanted: str | None) -> int:
    """Return the CUDA version to install for. Exits with an error if no GPU is usable."""
    card = runpy.run_path(str(CARD))
    try:
        return int(card["choose_cuda"](card["find_card"](), wanted))
    except card["CardError"] as error:
        fail(str(error))


def install(cuda: int) -> Path:
    """Create a virtual environment with all dependencies, unless it is up to date. Return its Python."""
    python = VENV / "bin" / "python"
    pyproject = ROOT / "pyproject.toml"
    installed = VENV / f"installed-for-cuda{cuda}"  # its time shows whether it is older than pyproject.toml
    if installed.exists() and installed.stat().st_mtime > pyproject.stat().st_mtime:
        return python
    if run(sys.executable, "-m", "venv", "--clear", VENV):
        fail(f"{sys.executable} cannot create a virtual environment (Debian, Ubuntu: apt install python3-venv)")
    print(f"installing CuPy, JAX and PyTorch for CUDA {cuda} into {VENV.name} ...", flush=True)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if run(*pip, "--editable", f"{ROOT}[gpu-cuda{cuda}]"):
        fail("pip cannot install the dependencies, see above; fix that, or use a Python that has them, with INSTALL=no")
    installed.touch()
    return python


def run(*command: str | Path) -> int:
    """Run a command and return its exit code."""
    return subprocess.run([*map(str, command)], check=False, cwd=ROOT).returncode


def fail(message: str) -> NoReturn:
    """Print one line and exit with code 2."""
    end(f"error: {message}", 2)


def main() -> None:
    """Check the card, install the dependencies, and run the command."""
    options, others = arguments()
    dry_run = any(word.split("=")[0] == "--stand-in" for word in others)
    cuda = None if dry_run else check_card(options.cuda)
    if cuda and not options.no_install:
        python = install(cuda)
        os.execv(python, [str(python), __file__, "--no-install", "--cuda", str(cuda), *others])
    # This Python may have all dependencies but not this package; child processes find it through PYTHONPATH.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sys.argv[1:] = others
    start("gpu")


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  (nothing has checked it yet)
        fail("mlp_xp needs Python 3.11 or newer; choose one with: make PYTHON=python3.13 gpu")
    sys.path.insert(0, str(ROOT))
    from mlp_xp.commands.command_line import run as run_and_exit

    run_and_exit(main)
