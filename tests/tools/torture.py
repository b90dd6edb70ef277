"""Attack training until something breaks: `make torture`.

Or `python tests/tools/torture.py [PART...] [OPTIONS]`.

docs/reliability.md describes each part and its promise. A fault is printed with the
command to repeat it, its folder is kept, and the exit code is 1. Linux and a C compiler
are required.
"""

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
PARTS = ("kills", "calls", "power", "pairs")
# of kills; the other parts do not depend on the library
BACKENDS = ("numpy", "jax", "torch")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="torture.py", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    parts = ", ".join(PARTS)
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    add("parts", nargs="*", metavar="PART", help=f"{parts}; by default all")
    add("--backends", nargs="+", choices=installed, default=installed)
    add("--minutes", type=float, default=20, help="for all parts together")
    add("--rounds", type=int, default=0, help="at most this many rounds of each part")
    add("--seed", type=int, default=0)
    add("--only", default="", help="a single round, as a fault names it")
    add("--plant", default="", help="a fault of torture_faults.py to plant")
    options = parser.parse_args()
    if options.only:
        options.rounds = 1
    return options


def with_shim() -> None:
    """Start this program again with the shim, unless it has it."""
    shim = BUILD / "torture.so"
    if os.environ.get("LD_PRELOAD") == str(shim):
        return
    BUILD.mkdir(exist_ok=True)
    aside = shim.with_suffix(f".{os.getpid()}")
    command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", aside]
    subprocess.run([*command, HERE / "torture_shim.c"], check=True)
    aside.replace(shim)
    env = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE.parent))),
        "OMP_NUM_THREADS": "1",  # a process with threads must not be forked
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(BUILD / "torture-jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], env)


def run_part(
    part: str, backend: str, options: argparse.Namespace, minutes: float
) -> int:
    """Run one part, and print its figures. Return 1 if it has found a fault."""
    from torture_process import Session, preload

    # In memory where possible: the kernel keeps the files of a killed process.
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="torture-", dir=memory, ignore_cleanup_errors=True
    ) as space:
        end = began + 60 * minutes
        session = Session(Path(space).resolve(), part, backend, options, end)
        preload(session)
        if options.plant:
            faults = importlib.import_module("torture_faults")
            getattr(faults, options.plant.replace("-", "_"))()
        importlib.import_module(f"torture_{part}").main(session)
    counts = ", ".join(f"{name} {n}" for name, n in session.counts.items())
    seconds = f"{time.monotonic() - began:.0f} s"
    print(f"{part} on {backend}: {seconds}, {counts}, faults {session.faults}")
    return min(session.faults, 1)


def main() -> int:
    """Run each part in its own process: a process with threads cannot be forked."""
    options = parse()
    with_shim()
    jobs = [
        (part, name)
        for part in options.parts or PARTS
        for name in options.backends
        if part == "kills" or name == "numpy"
    ]
    end, failed = time.monotonic() + 60 * options.minutes, 0
    for i, (part, backend) in enumerate(jobs):
        # a finished part ends earlier
        minutes = (end - time.monotonic()) / 60 / len(jobs[i:])
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            return run_part(part, backend, options, minutes)
        _, status = os.waitpid(child, 0)
        failed |= os.waitstatus_to_exitcode(status) != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
