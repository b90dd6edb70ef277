"""Run a program on array libraries, and repeat each operation on NumPy."""

from pathlib import Path

from mlp_xp.parity.programs import load_program
from mlp_xp.parity.programs import lockstep as run_in_lockstep
from mlp_xp.show.console import plain_console, say


def lockstep(
    program: str,
    /,
    *,
    backends: tuple[str, ...] = ("torch",),
    device: str | None = None,
    report_dir: Path | None = None,
) -> int:
    """Run any array program on libraries, and repeat each operation on NumPy.

    If an operation deviates, the exit code is 1. If the program fails, or calls no
    operation, the exit code is 3.

        mlp-xp lockstep my_module:program
        mlp-xp lockstep my_module:program --backends torch jax --report-dir report

    Args:
        program: `module:function`. The module may be in the current folder. The
            function returns a program and a tuple of its arguments, with NumPy arrays.
            It may also return a dictionary of keyword arguments.
        backends: Names, or `module:namespace` for any other module that implements the
            standard.
        device: The library's own name of a device, by default its default device.
        report_dir: Folder for a script that shows the first deviation.
    """
    console = plain_console()
    function, args, kwargs = load_program(program)
    code = 0
    for name in backends:
        run = run_in_lockstep(
            function,
            args,
            kwargs,
            library=name,
            device=device,
            reproducers=report_dir,
        )
        say(console, str(run))
        if run.deviations:
            code = 1
        elif run.error or not run.operations:
            code = code or 3
    return code
