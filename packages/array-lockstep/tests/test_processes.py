"""Lockstep in anybody's process: threads, interruptions, and what is restored."""

import builtins
import gc
import importlib
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from array_api_compat import array_namespace
from array_api_compat.common import _helpers
from own_namespaces import Namespace

from array_lockstep import Run, lockstep, quiet, running
from array_lockstep.tracer import Namespace as TracedNamespace
from array_lockstep.tracer import Traced, calls_library

PATIENCE = 60  # seconds, for a thread that may never end
X = np.arange(6.0).reshape(2, 3)


def state() -> tuple[Any, ...]:
    """Everything of the process that a call replaces."""
    return (
        builtins.isinstance,
        builtins.issubclass,
        _helpers.array_namespace.__code__,
        threading.Thread.start,
        running.active(),
        calls_library.get(),
        is_free(running._lock),
        [x for x in warnings.filters if getattr(x[1], "pattern", "") == quiet._ANY],
        sys.gettrace(),
    )


def is_free(lock: Any) -> bool:
    """Return whether another thread can have a lock."""

    def ask() -> bool:
        free: bool = lock.acquire(blocking=False)
        if free:
            lock.release()
        return free

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


@pytest.fixture(autouse=True)
def restored():
    """After every test, all that was replaced is restored."""
    before = state()
    yield
    assert state() == before


def centred(x: Any) -> Any:
    xp = array_namespace(x)
    return x - xp.mean(x, axis=0)


def clean(run: Run, operations: int) -> None:
    assert (run.deviations, run.error, run.escaped) == ([], None, [])
    assert run.operations == operations


def together(*functions: Any) -> list[Any]:
    """Call functions in threads that begin at the same time."""
    barrier = threading.Barrier(len(functions))

    def begin(function: Any) -> Any:
        barrier.wait(PATIENCE)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(begin, function) for function in functions]
        return [future.result(PATIENCE) for future in futures]


@pytest.mark.parametrize("library", ["numpy", "array-api-strict", "torch"])
def test_calls_in_several_threads_find_what_they_find_alone(library):
    def call() -> list[Run]:
        return [lockstep(centred, (X,), library=library) for _ in range(10)]

    for runs in together(*[call] * 6):
        for run in runs:
            clean(run, 2)
            assert type(run.result) is not Traced


def test_threads_with_faulty_and_right_libraries_are_not_mixed_up():
    def called(scale: float) -> Any:
        mean = lambda x, **options: numpy_xp.mean(x, **options) * scale  # noqa: E731
        library = Namespace(mean=mean)
        return lambda: [lockstep(centred, (X,), library=library) for _ in range(10)]

    right, wrong, other = together(called(1), called(1 + 1e-9), called(1))
    assert not any(run.deviations for run in right + other)
    assert all([x.name for x in run.deviations] == ["mean"] for run in wrong)


def test_a_bystander_never_sees_a_traced_namespace():
    begun, seen = threading.Event(), threading.Event()
    found: list[Any] = []

    def bystander() -> None:
        assert begun.wait(PATIENCE)
        xp = array_namespace(X)
        found.extend([xp, type(xp.exp(X)), isinstance(X, np.ndarray)])
        seen.set()

    def program(x: Any) -> Any:
        begun.set()
        assert seen.wait(PATIENCE)
        return centred(x)

    thread = threading.Thread(target=bystander)
    thread.start()
    run = lockstep(program, (X,), library="numpy")
    thread.join(PATIENCE)
    clean(run, 2)
    assert found == [numpy_xp, np.ndarray, True]


def test_a_pool_that_began_before_is_traced_only_in_its_traced_arrays():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(PATIENCE)  # now its thread runs

        def program(x: Any) -> Any:
            own = pool.submit(array_namespace, X).result(PATIENCE)
            assert type(own) is not TracedNamespace
            return pool.submit(centred, x).result(PATIENCE)

        clean(lockstep(program, (X,), library="numpy"), 2)


@pytest.mark.parametrize("library", ["numpy", "array-api-strict"])
def test_threads_of_the_program_belong_to_the_call(library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        with ThreadPoolExecutor(3) as pool:
            rows = list(pool.map(lambda i: xp.exp(x[i, :]), range(2), timeout=PATIENCE))
        out: list[Any] = []
        thread = threading.Thread(target=lambda: out.append(centred(xp.stack(rows))))
        thread.start()
        thread.join(PATIENCE)
        return out[0]

    clean(lockstep(program, (X,), library=library), 7)


def test_threads_may_write_to_parts_of_one_array():
    def program(x: Any) -> Any:
        out = array_namespace(x).zeros_like(x)

        def fill(i: int) -> None:
            for _ in range(20):
                out[i % 2, :] = x[i % 2, :] * 2

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fill, range(4), timeout=PATIENCE))
        return out

    run = lockstep(program, (X,), library="numpy")
    clean(run, 1 + 4 * 20 * 3)
    assert run.end == "0 eps from NumPy's whole run"


def test_a_program_may_call_lockstep_also_in_threads():
    def inner(_: int = 0) -> Run:
        return lockstep(centred, (X,), library="numpy")

    def program(x: Any) -> Any:
        clean(inner(), 2)
        with ThreadPoolExecutor(3) as pool:
            for run in pool.map(inner, range(6), timeout=PATIENCE):
                clean(run, 2)
        return centred(x)

    clean(lockstep(program, (X,), library="numpy"), 2)


def test_a_thread_that_outlives_its_program_is_traced_no_more():
    go, found = threading.Event(), []

    def later(x: Any) -> None:
        go.wait(PATIENCE)
        found.append(type(x + 1))
        found.append(type(array_namespace(X)))

    def program(x: Any) -> Any:
        thread = threading.Thread(target=later, args=(x,))
        thread.start()
        threads.append(thread)
        return x + 1

    threads: list[threading.Thread] = []
    lockstep(program, (X,), library="numpy")
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert TracedNamespace not in found
    assert all(not issubclass(kind, Traced) for kind in found)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
def test_an_interruption_passes_through(kind):
    def program(x: Any) -> Any:
        raise kind

    with pytest.raises(kind):
        lockstep(program, (X,), library="numpy")


@pytest.mark.slow
def test_everything_is_restored_wherever_a_call_is_interrupted():
    """KeyboardInterrupt at each place where a signal arrives, one at a time.

    Python handles signals where functions begin and after calls, as if the call raised.
    """
    files = {"running.py", "quiet.py", "settings.py", "answers.py", "programs.py"}
    before, places, interrupted = state(), set(), True

    def interrupt(frame: Any, event: str, _: Any) -> None:
        place = frame.f_code, frame.f_lasti, event
        is_ours = Path(frame.f_code.co_filename).name in files
        if is_ours and event != "c_call" and place not in places:
            places.add(place)
            sys.setprofile(None)
            raise KeyboardInterrupt

    while interrupted:
        interrupted = False
        sys.setprofile(interrupt)
        try:
            lockstep(centred, (X,), library="numpy")
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(None)
        assert state() == before
    assert len(places) > 100


@pytest.mark.needs("jax")
def test_settings_are_restored_when_calls_end_in_any_order():
    import jax

    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first(x: Any) -> Any:
        first_is_in.set()
        assert second_is_in.wait(PATIENCE)
        return x

    def second(x: Any) -> Any:
        second_is_in.set()
        assert first_is_out.wait(PATIENCE)
        return x * 2

    def call_first() -> Run:
        run = lockstep(first, (X,), library="jax")
        first_is_out.set()
        return run

    def call_second() -> Run:
        assert first_is_in.wait(PATIENCE)
        return lockstep(second, (X,), library="jax")

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        for run in together(call_first, call_second):
            assert run.result.dtype == np.float64
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", before)


def test_a_debugger_and_a_coverage_tool_stay(monkeypatch):
    seen = []

    def watch(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is centred.__code__:
            seen.append(event)
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        run = lockstep(centred, (X,), library="numpy")
        assert sys.gettrace() is watch
    finally:
        sys.settrace(before)
    clean(run, 2)
    assert seen.count("call") == 2  # on the library, and on NumPy


def test_nothing_is_kept_after_a_call():
    """A namespace object, its arrays' class, and the tracer."""

    def call() -> list[Any]:
        kind = type("Array", (np.ndarray,), {})
        library = Namespace(
            asarray=lambda x, **options: numpy_xp.asarray(x, **options).view(kind)
        )
        run = lockstep(lambda x: x + 1, (X,), library=library)
        assert type(run.result) is kind
        return [weakref.ref(library), weakref.ref(kind)]

    kept = call()
    gc.collect()  # the class of traced arrays
    gc.collect()  # the class of arrays, which it holds
    assert [each() for each in kept] == [None, None]


def test_a_namespace_object_is_opened_without_a_list_of_all_packages(monkeypatch):
    def refuse() -> Any:
        raise AssertionError

    metadata = importlib.import_module("importlib.metadata")
    monkeypatch.setattr(metadata, "packages_distributions", refuse)
    clean(lockstep(lambda x: x + 1, (X,), library=Namespace()), 1)


def test_the_package_imports_nothing_but_numpy_and_compat():
    code = (
        "import sys, numpy, array_api_compat.numpy, array_api_compat.common; "
        "before = {*sys.modules}; import array_lockstep.command; "
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    others = {*done.stdout.split()} - {"array_lockstep", "array_api_compat", "numpy"}
    assert others <= sys.stdlib_module_names
