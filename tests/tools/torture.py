"""Attack training until something breaks: `make torture`, or `python
tests/tools/torture.py [PART...] [OPTIONS]`.

docs/reliability.md says what each part does and which promise it tests. A fault is
printed with the command that shows it again, its folder is kept, and the exit code is
1. Linux and a C compiler are required.
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
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; by default all"
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        help=f"{', '.join(BACKENDS)}; by default those installed",
    )
    parser.add_argument(
        "--minutes", type=float, default=20, help="for all parts together"
    )
    parser.add_argument(
        "--rounds", type=int, default=0, help="at most this many rounds of each part"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default="", help="a single round, as a fault names it"
    )
    parser.add_argument(
        "--plant",
        default="",
        help="a fault to plant in the program, from torture_faults.py",
    )
    options = parser.parse_args()
    options.rounds = 1 if options.only else options.rounds
    return options


def with_shim() -> None:
    """Start this program again with the shim, unless it has it."""
    shim = BUILD / "torture.so"
    if os.environ.get("LD_PRELOAD") == str(shim):
        return
    BUILD.mkdir(exist_ok=True)
    aside = shim.with_suffix(f".{os.getpid()}")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", aside, HERE / "torture_shim.c"],
        check=True,
    )
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
    """Run one part, and print what it has done. Return 1 if it has found a fault."""
    from torture_process import Session, preload

    # In memory where possible: a killed process loses nothing that the kernel has.
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="torture-", dir=memory, ignore_cleanup_errors=True
    ) as space:
        end = began + 60 * minutes
        session = Session(Path(space).resolve(), part, backend, options, end)
        preload(session)
        if options.plant:
            getattr(
                importlib.import_module("torture_faults"),
                options.plant.replace("-", "_"),
            )()
        importlib.import_module(f"torture_{part}").main(session)
    counts = ", ".join(f"{name} {n}" for name, n in session.counts.items())
    seconds = time.monotonic() - began
    print(
        f"{part} on {backend}: {seconds:.0f} s, {counts}, faults {session.faults}",
        flush=True,
    )
    return min(session.faults, 1)


def main() -> int:
    """Run each part in a process of its own, because a library that has started threads
    cannot be forked.
    """
    options = parse()
    with_shim()
    backends = options.backends or [
        name for name in BACKENDS if importlib.util.find_spec(name)
    ]
    jobs = [
        (part, name)
        for part in options.parts or PARTS
        for name in backends
        if part == "kills" or name == "numpy"
    ]
    end, failed = time.monotonic() + 60 * options.minutes, 0
    for i, (part, backend) in enumerate(jobs):
        # a part that has done all ends earlier
        minutes = (end - time.monotonic()) / 60 / len(jobs[i:])
        child = os.fork()
        if child == 0:
            return run_part(part, backend, options, minutes)
        failed |= os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
