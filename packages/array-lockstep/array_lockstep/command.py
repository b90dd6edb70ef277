"""The command: `array-lockstep my_module:program --backends torch jax`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from array_lockstep.allowances import Allowances, read_allowances, refuse_unexpected
from array_lockstep.errors import LockstepError
from array_lockstep.formats import FORMATS
from array_lockstep.programs import load_program, lockstep
from array_lockstep.records import Run


def main(words: Sequence[str] | None = None) -> int:
    """Run a program on libraries, and print what was found. Return the exit code."""
    options = _parser().parse_args(words)
    try:
        return _run(options)
    except LockstepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    allowances = read_allowances(Path.cwd()) if options.check else None
    codes = [0]
    for program in options.programs:
        function, args, kwargs = load_program(program)
        for name in options.backends:
            run = lockstep(
                function,
                args,
                kwargs,
                library=name,
                device=options.device,
                reproducers=options.report_dir,
            )
            run.program = program if len(options.programs) > 1 else ""
            print(FORMATS[options.format](run), flush=True)
            codes.append(_code_of(run, allowances))
    if allowances is not None:
        for line in allowances.unneeded():
            print(f"pyproject.toml: {line}", file=sys.stderr)
            codes.append(1)
    return 1 if 1 in codes else max(codes)


def _code_of(run: Run, allowances: Allowances | None) -> int:
    if allowances is None:
        if run.deviations:
            return 1
        return 3 if run.error or not run.operations else 0
    try:
        refuse_unexpected(run, allowances)
    except AssertionError:
        return 1
    return 0 if run.operations or run.error else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "array-lockstep",
        description="Run any array program on libraries, and repeat each operation on "
        "NumPy.",
        epilog="Exit codes: 1, an operation deviates; 3, the program fails, or calls "
        "no operation; 2, a library cannot be used. With --check: 1, anything is found "
        "that is not expected.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "programs",
        nargs="+",
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
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text, a line of JSON for each run, or annotations of GitHub",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="refuse all findings but those that tool.array-lockstep.allow in "
        "pyproject.toml expects, each of which must be found",
    )
    return parser
