"""Train the members of a sweep in processes of this machine.

One process imports what members on NumPy need, and is forked for each of the others, which so share that memory. It
trains nothing itself and has one thread, so that a fork is safe; the process of the sweep, which may have others and
may have used any library, is never forked.
"""

import contextlib
import gc
import itertools
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, Any

from mlp_xp.errors import MlpXpError
from mlp_xp.threads import VARIABLES, threads_chosen

if TYPE_CHECKING:
    from mlp_xp.sweeps.member import Ending, Task

OTHER_VARIABLES = ("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


class ProcessError(MlpXpError):
    """A process that the system does not start."""

    exit_code = 1


def _cannot_start(error: OSError) -> ProcessError:
    return ProcessError(
        f"cannot start a process for a member: {error.strerror}; the same command goes on when there is room, or with "
        "fewer jobs"
    )


def in_processes(
    work: "Iterable[tuple[Task, tuple[Any, ...]]]", width: int
) -> "Iterator[tuple[tuple[Task, tuple[Any, ...]], Ending | None]]":
    """Train members in `width` processes at once, and yield each task as it ends, with its ending.

    work: tasks, each with the arrays of its data set, which are maps of files, or None. The ending is None if the
    process was killed. Raises ProcessError, and RuntimeError, with the traceback, for a bug in a member. When the
    generator is closed, members that are running save and stop, and it waits for them.
    """
    work, idle = iter(work), list[Connection]()
    running: dict[Connection, tuple[Task, tuple[Any, ...]]] = {}
    with contextlib.ExitStack() as held:
        start = held.enter_context(_fork_server())
        while True:
            for task, arrays in itertools.islice(work, width - len(running)):
                worker = idle.pop() if idle else held.enter_context(start())
                running[worker] = task, arrays
                files = [None if array is None else array.filename for array in arrays]
                with contextlib.suppress(OSError):  # a process that was killed is found below
                    worker.send((task, files))
            while idle:  # there is nothing left for them, and they would keep their memory
                idle.pop().close()
            if not running:
                return
            ready: list[Any] = wait([*running])
            for worker in ready:
                try:
                    answer = worker.recv()
                except (EOFError, OSError):
                    answer = None
                    worker.close()
                else:
                    idle.append(worker)
                if isinstance(answer, OSError):
                    raise _cannot_start(answer)
                if isinstance(answer, str):
                    raise RuntimeError(f"in the process of member {running[worker][0].name}:\n{answer}")
                yield running.pop(worker), answer


@contextlib.contextmanager
def _fork_server() -> Iterator[Callable[[], Connection]]:
    """Yield a function that starts a process for members, and returns the connection to it."""
    with contextlib.ExitStack() as held:
        opened: list[tuple[subprocess.Popen[bytes], socket.socket]] = []

        def start() -> Connection:
            if not opened or opened[-1][0].poll() is not None:  # it was killed; those that it started go on
                opened.append(_start_server(held))
            ours, its = Pipe()
            with its, contextlib.suppress(OSError):  # it has just been killed, which the connection will show
                socket.send_fds(opened[-1][1], [b"1"], [its.fileno()])
            return ours

        yield start


def _start_server(held: contextlib.ExitStack) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, its = socket.socketpair()
    # Another program, not `multiprocessing`, which would run the caller's script again, and whose own server belongs to
    # the whole process.
    places = [os.fsdecode(each) for each in sys.path]
    code = f"import sys; sys.path[:] = {places!r}; from mlp_xp.sweeps.workers import serve; serve({its.fileno()})"
    with its, _signals_blocked():
        try:
            server = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], env=_environment()
            )
        except OSError as error:
            ours.close()
            raise _cannot_start(error) from error
    held.enter_context(server)
    held.enter_context(ours)  # is closed first, so that the server ends
    return server, ours


def member_threads() -> int | None:
    """Return the number of threads in each process: 1, or what variables say; None where these differ."""
    numbers = {int(value.partition(",")[0]) for value in threads_chosen().values()}
    return numbers.pop() if len(numbers) == 1 else None if numbers else 1


def _environment() -> dict[str, str]:
    """Return the variables of the processes."""
    number = member_threads()
    if number is None:
        return dict(os.environ)
    # NPROC is JAX's.
    return {"NPROC": str(number), **os.environ, **dict.fromkeys((*VARIABLES, *OTHER_VARIABLES), str(number))}


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that stop a sweep; processes that start meanwhile never get them.

    A terminal sends Ctrl-C to all processes. This one handles it, and the others look for the file that says so.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(handle: int) -> None:
    """Fork this process for each connection that is received through a socket, until that is closed.

    This is the main function of a process of its own.
    """
    # Not on macOS, whose libraries must not be used on both sides of a fork, nor with threads of BLAS, which start when
    # it is loaded.
    if sys.platform == "linux" and {*threads_chosen().values()} == {"1"}:
        preload()
    gc.freeze()  # else the garbage collector writes to all shared memory
    with socket.socket(fileno=handle) as orders:
        while handles := socket.recv_fds(orders, 1, 1)[1]:
            os.set_inheritable(handles[0], False)
            try:
                child = os.fork()
            except OSError as error:  # a limit of processes, say
                with Connection(handles[0]) as connection:
                    connection.send(OSError(error.errno, error.strerror))
                continue
            if child == 0:
                try:
                    orders.close()
                    _work(Connection(handles[0]))
                finally:
                    os._exit(0)
            os.close(handles[0])
    with contextlib.suppress(ChildProcessError):  # when there are no more
        while True:
            os.wait()


def preload() -> None:
    """Import what members on NumPy need, and nothing else."""
    import filelock  # noqa: F401
    import safetensors.numpy  # noqa: F401

    from mlp_xp.backend import open_backend
    from mlp_xp.sweeps import member  # noqa: F401

    open_backend("numpy")


def _work(orders: Connection) -> None:
    """Train the members that are received, until the process of the sweep closes the connection or is gone."""
    import numpy as np

    from mlp_xp.sweeps.member import train_member

    while True:
        try:
            task, files = orders.recv()
        except (EOFError, OSError):
            return
        except BaseException:  # a task of classes that this process does not know
            _answer(orders, traceback.format_exc())
            continue
        try:
            arrays = [None if file is None else np.load(file, mmap_mode="c") for file in files]
            # During training nothing is sent but the end of the connection.
            answer: Any = train_member(task._replace(gone=orders.poll), *arrays)
        except BaseException:
            answer = traceback.format_exc()
        _answer(orders, answer)


def _answer(orders: Connection, answer: Any) -> None:
    with contextlib.suppress(OSError):  # the process of the sweep is gone
        orders.send(answer)
