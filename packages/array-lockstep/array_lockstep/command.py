"""The command: `array-lockstep my_module:program --backends torch jax`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from array_lockstep.errors import LockstepError
from array_lockstep.programs import load_program, lockstep


def main(words: Sequence[str] | None = None) -> int:
    """Run a program on libraries, and print what was found. Return the exit code."""
    options = _parser().parse_args(words)
    code = 0
    try:
        function, args, kwargs = load_program(options.program)
        for name in options.backends:
            run = lockstep(
                function,
                args,
                kwargs,
                library=name,
                device=options.device,
                reproducers=options.report_dir,
            )
            print(run, flush=True)
            if run.deviations:
                code = 1
            elif run.error or not run.operations:
                code = code or 3
    except LockstepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "array-lockstep",
        description="Run any array program on libraries, and repeat each operation on "
        "NumPy.",
        epilog="Exit codes: 1, an operation deviates; 3, the program fails, or calls "
        "no operation; 2, a library cannot be used.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "program",
        metavar="MODULE:FUNCTION",
        help="a function that returns a program and a tuple of its arguments, with "
        "NumPy arrays, and perhaps a dictionary of keyword arguments; the module may "
        "be in the current folder",
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["torch"],
        metavar="NAME",
        help="numpy, cupy, jax, torch, array-api-strict, or MODULE:NAMESPACE for any "
        "other that implements the standard; by default torch",
    )
    parser.add_argument(
        "--device", help="the library's own name of a device; by default its default"
    )
    parser.add_argument(
        "--report-dir",
        type=Path,
        help="a folder for a script that shows the first deviation",
    )
    return parser
