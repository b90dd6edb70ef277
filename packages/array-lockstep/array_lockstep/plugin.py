"""Fixtures for pytest: `pytest_plugins = ["array_lockstep.plugin"]` in `conftest.py`.

The fixture `lockstep_xp` opens a library and returns its traced namespace. The findings
are asserted after the test function, and again after the fixtures that use it. Expected
findings are those of the table `tool.array-lockstep.allow` in `pyproject.toml`. A word
of the table that matches nothing fails a whole run: without failures, of folders, with
no test deselected.

From the call of `lockstep_xp` to the end of the test's fixtures, pytest itself runs
with the replaced functions of Python: see `running`. They answer as before for anything
but traced arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from array_lockstep.allowances import Allowances, read_allowances, refuse_unexpected
from array_lockstep.records import Record
from array_lockstep.watching import Watch, watch


class _Session:
    """The expected findings of a session, which all of its tests share."""

    def __init__(self, folder: Path) -> None:
        self.allowances = read_allowances(folder)
        self.is_used = False
        self.is_partial = False
        self.unneeded: list[str] = []


class _OfTests(Allowances):
    """Expected findings of one test, in which its own file may read results."""

    def __init__(self, shared: Allowances, path: Path) -> None:
        super().__init__(shared.reasons)
        self.needed = shared.needed
        self._path = str(path)

    def allow(self, kind: str, record: Record) -> bool:
        is_own = kind != "deviations" and record.place.path == self._path
        return super().allow(kind, record) or is_own


_SESSION = pytest.StashKey[_Session]()
_WATCHES = pytest.StashKey[list[Watch]]()
_IS_CLEAN = pytest.StashKey[bool]()
_OUTPUT = "array_lockstep"


def pytest_configure(config: pytest.Config) -> None:
    """Read the expected findings. Raises LockstepError if their table is wrong."""
    session = config.stash[_SESSION] = _Session(config.rootpath)
    named = [Path(str(each)) for each in config.option.file_or_dir]
    session.is_partial = not all(each.is_dir() for each in named)


@pytest.fixture
def lockstep_xp(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return a function that returns the traced namespace of a library.

    It takes the library, as `lockstep` does, and `device`. Findings other than
    deviations are not asserted for lines in the test's own file, where a test reads its
    results.
    """
    watches = request.node.stash[_WATCHES] = []
    with ExitStack() as stack:

        def open_namespace(library: Any = "torch", *, device: str | None = None) -> Any:
            seen = stack.enter_context(watch(library, device=device))
            watches.append(seen)
            return seen.xp

        yield open_namespace
        if request.node.stash.get(_IS_CLEAN, False):  # what fixtures found since then
            _refuse(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Assert the findings after the test function, unless it failed."""
    __tracebackhide__ = True
    item.stash[_IS_CLEAN] = False
    result = yield
    _refuse(item)
    item.stash[_IS_CLEAN] = True
    return result


def _refuse(item: Any) -> None:
    """Raise AssertionError if a test has findings that are not expected."""
    __tracebackhide__ = True
    session = item.config.stash[_SESSION]
    for seen in item.stash.get(_WATCHES, []):
        session.is_used = True
        refuse_unexpected(seen.run, _OfTests(session.allowances, item.path))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note that a run is not whole."""
    if items:
        items[0].config.stash[_SESSION].is_partial = True


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a whole run in which an expected finding is found no more."""
    own = session.config.stash[_SESSION]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # of pytest-xdist: the controller decides
        needed = sorted(own.allowances.needed)
        output[_OUTPUT] = [own.is_used, own.is_partial, [list(x) for x in needed]]
    elif exitstatus == pytest.ExitCode.OK and own.is_used and not own.is_partial:
        own.unneeded = list(own.allowances.unneeded())
        if own.unneeded:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """Take what a process of pytest-xdist has seen."""
    own = node.config.stash[_SESSION]
    output = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if output is None:  # it crashed
        own.is_partial = True
        return
    is_used, is_partial, needed = output
    own.is_used |= is_used
    own.is_partial |= is_partial
    own.allowances.needed.update((kind, word) for kind, word in needed)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the expected findings that are found no more."""
    unneeded = config.stash[_SESSION].unneeded
    if unneeded:
        terminalreporter.section("array-lockstep", red=True)
        for line in unneeded:
            terminalreporter.line(f"pyproject.toml: {line}")
