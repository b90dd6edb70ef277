"""Watch code that creates its own arrays, such as a test, from a traced namespace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from array_lockstep.allowances import Allow, Allowances, refuse_unexpected
from array_lockstep.answers import replacements
from array_lockstep.libraries import open_library
from array_lockstep.programs import ProgramTracer
from array_lockstep.records import Run
from array_lockstep.running import Call, enter, leave, tracing


class Watch:
    """A traced namespace, and what was found so far: see `watch`."""

    def __init__(self, tracer: ProgramTracer) -> None:
        self.xp: Any = tracer.xp
        """The traced namespace."""
        self._tracer = tracer

    @property
    def run(self) -> Run:
        """The findings so far, without a result and without NumPy's whole run."""
        run = Run(str(self._tracer.library))
        self._tracer.add_findings(run)
        return run


@contextmanager
def watch(library: Any = "torch", *, device: str | None = None) -> Iterator[Watch]:
    """Trace the code of a block, which creates its arrays from the namespace `xp`.

    Each operation is repeated on NumPy, as by `lockstep`. There is no whole run on
    NumPy, and so no `result` and no `differs`. The findings are not asserted:
    `assert_watched` does this.

    Args:
        library: The library, as for `lockstep`.
        device: The device. Arrays are created there only if the code asks for it.

    Yields:
        An object with the traced namespace `xp`, and the findings so far as `run`.

    Raises:
        LockstepError: The library or the device is not available.

    Examples:
        >>> with watch("numpy") as seen:
        ...     x = seen.xp.asarray([4.0, 9.0])
        ...     y = seen.xp.sqrt(x) if bool(seen.xp.all(x > 0)) else x
        >>> [each.name for each in seen.run.syncs]
        ['bool']
        >>> seen.run.operations
        4
    """
    call = Call()
    try:
        try:
            enter(call, replacements)
            tracer = ProgramTracer(open_library(library, device), None)
            with tracing(tracer):
                yield Watch(tracer)
        finally:
            leave(call)
    finally:  # again, because Ctrl-C may have interrupted the first time
        leave(call)


@contextmanager
def assert_watched(
    library: Any = "torch", *, device: str | None = None, allow: Allow | None = None
) -> Iterator[Watch]:
    """Watch the code of a block, and assert at its end that nothing was found.

    Args:
        library: The library, as for `lockstep`.
        device: The device, as for `watch`.
        allow: Expected findings, as for `assert_lockstep`.

    Yields:
        What `watch` yields.

    Raises:
        AssertionError: There are other findings, or a word of `allow` matches nothing
            any more.
        LockstepError: As from `watch` and `assert_lockstep`.

    Examples:
        >>> with assert_watched("numpy") as seen:
        ...     y = seen.xp.sqrt(seen.xp.asarray([4.0, 9.0]))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    allowances = Allowances(allow)
    with watch(library, device=device) as seen:
        yield seen
    refuse_unexpected(seen.run, allowances)
    allowances.refuse_unneeded()
