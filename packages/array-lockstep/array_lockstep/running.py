"""The calls of `lockstep` that run now, in any thread, and what they replace.

Everything here is for the whole process: the built-in `isinstance`, the code of
`array_namespace`, the settings of libraries. So it is replaced when the first call
begins, and restored when the last call ends. What replaces it asks for the tracer of
the current thread (`active`), or of a traced array. A thread that no traced program has
started has neither, and gets the original answers.

`leave` may be interrupted anywhere, as by Ctrl-C, and then be called again.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from array_lockstep import settings
from array_lockstep.quiet import quiet
from array_lockstep.tracer import Tracer

_lock = threading.RLock()
"""Held for moments, never while code of a program or of a library runs."""
_calls: list["Call"] = []
"""The calls that run, the first one first."""
_replaced: list[tuple[Any, str, Any]] = []
"""Objects, the names of their replaced attributes, and the original values."""
_active: ContextVar[Tracer | None] = ContextVar("_active", default=None)
Replacement = tuple[Any, str, Any]
Result = TypeVar("Result")


class Call:
    """A call of `lockstep`: the settings of libraries when it began."""

    before: settings.Settings

    def __init__(self) -> None:
        self.before = {}


def enter(call: Call, replacements: Callable[[], Iterator[Replacement]]) -> None:
    """Begin a call: note the settings of libraries, and replace functions of Python.

    Args:
        call: The call.
        replacements: Yields an object, the name of an attribute, and its new value.
    """
    with _lock:
        _calls.append(call)
        call.before = settings.read()
        if not _replaced:
            for owner, name, value in (*replacements(), _starting()):
                _replaced.append((owner, name, getattr(owner, name)))
                setattr(owner, name, value)


def leave(call: Call) -> None:
    """End a call, and restore what it has changed.

    Settings that were changed before a later call began are restored by that call, if
    it still runs.
    """
    with _lock:
        if call in _calls:
            later = _calls[_calls.index(call) + 1 :]
            if later:
                later[0].before |= call.before
            else:
                settings.restore(call.before)
            _calls.remove(call)
        if not _calls:
            for owner, name, original in reversed(_replaced):
                setattr(owner, name, original)
            _replaced.clear()
            quiet.end()


def replacing(
    replacements: Callable[[], Iterator[Replacement]], body: Callable[[], Result]
) -> Result:
    """Return `body()`, called between `enter` and `leave`."""
    call = Call()
    try:
        try:
            enter(call, replacements)
            return body()
        finally:
            leave(call)
    finally:  # again, because Ctrl-C may have interrupted the first time
        leave(call)


def active() -> Tracer | None:
    """Return the tracer of the program that runs in this thread, if any."""
    tracer = _active.get()
    return None if tracer is None or tracer.is_over else tracer


def run_traced(tracer: Tracer | None, body: Callable[[], Result]) -> Result:
    """Return `body()`. It is traced, and so are the threads that it starts.

    None stands for a program that is not traced. This is no context manager, because
    Ctrl-C may come between `__enter__` and the block.
    """
    before = _active.get()
    try:
        _active.set(tracer)
        return body()
    finally:
        if tracer is not None:
            tracer.is_over = True
        _active.set(before)


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Trace a block, as `run_traced` traces a function."""
    before = _active.get()
    try:
        _active.set(tracer)
        yield
    finally:
        tracer.is_over = True
        _active.set(before)


def _starting() -> Replacement:
    """Return the replacement of `Thread.start`: a new thread belongs to its program."""
    original = threading.Thread.start

    @functools.wraps(original)
    def start(thread: threading.Thread) -> None:
        tracer, run = active(), thread.run

        def run_traced() -> None:
            _active.set(tracer)
            run()

        if tracer is not None:
            thread.run = run_traced  # type: ignore[method-assign]
        original(thread)

    return threading.Thread, "start", start
