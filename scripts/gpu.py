"""Everything there is to check on an NVIDIA card, by one command: `make gpu`, or `python3 scripts/gpu.py`.

Installs what it needs into .venv-gpu and goes on there with `mlp-xp gpu`: GPU tests, parity check, benchmark; they are
written to docs/gpu.md. Exit code 0: all passed; 1: a check failed, or did not end in time; 2: no usable GPU, bad usage,
or what is needed cannot be installed. Standard library only.
"""

import argparse
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from start import start

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "mlp_xp" / "bench" / "card.py"
VENV = ROOT / ".venv-gpu"


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """The options of this script, and the rest, which are those of `mlp-xp gpu`."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu.py",
        description="GPU tests, parity check and benchmark on an NVIDIA card, written to docs/gpu.md.",
        epilog="Other options are those of `python -m mlp_xp gpu --help`.",
        allow_abbrev=False,
    )
    parser.add_argument("--cuda", help="CUDA to install for: 12 or 13; by default the driver's")
    parser.add_argument("--no-install", action="store_true", help="install nothing, run with this Python")
    return parser.parse_known_args()


def check_card(wanted: str | None) -> int:
    """The CUDA to install for. Ends the script where no GPU is usable."""
    card = runpy.run_path(str(CARD))
    try:
        return int(card["choose_cuda"](card["find_card"](), wanted))
    except card["CardError"] as error:
        fail(str(error))


def install(cuda: int) -> Path:
    """A virtual environment with everything; its Python."""
    python = VENV / "bin" / "python"
    pyproject = ROOT / "pyproject.toml"
    installed = VENV / f"installed-for-cuda{cuda}"  # its time says for which pyproject.toml
    if installed.exists() and installed.stat().st_mtime > pyproject.stat().st_mtime:
        return python
    if run(sys.executable, "-m", "venv", "--clear", VENV):
        fail(f"{sys.executable} cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)")
    print(f"installing CuPy, JAX and PyTorch for CUDA {cuda} into {VENV.name} ...", flush=True)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if run(*pip, "--editable", f"{ROOT}[gpu-cuda{cuda}]"):
        fail(
            "pip cannot install what is needed, for the reason above; fix that, or use a Python that has it: INSTALL=no"
        )
    installed.touch()
    return python


def run(*command: str | Path) -> int:
    """Run a command; its exit code."""
    return subprocess.run([*map(str, command)], check=False, cwd=ROOT).returncode


def fail(message: str) -> NoReturn:
    """End with one line and exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Check the card, install, and run the command."""
    if sys.version_info < (3, 11):  # noqa: UP036  (nothing has checked it yet)
        fail("mlp_xp needs Python 3.11 or newer; name one with: make PYTHON=python3.13 gpu")
    options, others = arguments()
    dry_run = any(word.split("=")[0] == "--stand-in" for word in others)
    cuda = None if dry_run else check_card(options.cuda)
    if cuda and not options.no_install:
        python = install(cuda)
        os.execv(python, [str(python), __file__, "--no-install", "--cuda", str(cuda), *others])
    # For a Python that has all but this package; its processes find it by the variable.
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sys.argv[1:] = others
    start("gpu")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
