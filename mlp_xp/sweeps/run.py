"""Train all members of a sweep in processes of this machine, or on a cluster."""

import contextlib
import itertools
import math
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backend import processes_share_devices
from mlp_xp.config import ConfigError
from mlp_xp.errors import MlpXpError, MlpXpWarning, not_installed
from mlp_xp.files import FileError, file_errors, make_folder, write_whole
from mlp_xp.memory import available_bytes, in_units, training_bytes
from mlp_xp.runs import run_folder, sweep_index
from mlp_xp.runs.lock import locked
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_index import OPTUNA, Member
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps.cluster import MOST_LOSSES, ClusterError, Start, Work, WorkersLostError, connect
from mlp_xp.sweeps.data import Sources, check_begun, key_of, load_sources, map_sources
from mlp_xp.sweeps.grid import Plan, examples, settings_of
from mlp_xp.sweeps.member import Ending, Task, claim
from mlp_xp.sweeps.summary import write_summary
from mlp_xp.sweeps.trials import Trials
from mlp_xp.sweeps.workers import ProcessError, in_processes

# Bytes that a process takes in addition to what `training_memory` counts, which is a lower bound: on the host the
# interpreter and the libraries, on a device its context and the libraries there. Neither was measured on a GPU.
ON_HOST, ON_DEVICE = 100 << 20, 512 << 20
# Seconds between two writes of the records of failures, and between two looks at whether to stop.
SAVE_EVERY, LOOK_EVERY = 1.0, 0.1
AGAIN = "remove the member's folder to train it again"
KILLED = (
    "its process was killed, the second time while no other member was running; probably it needs more memory than "
    "there is"
)


class How(NamedTuple):
    """How to run a sweep; this changes no result."""

    jobs: int | None = None
    """Processes at once; by default one for each core."""
    device_memory: float | None = None
    """GiB of a device that all processes together may use; by default what is available."""
    cluster: str | None = None
    """Address of a cluster, such as dask://host:8786."""
    cache_dir: Path | None = None
    """Folder for downloaded data sets, as for `load_dataset`."""
    retry_failed: bool = False
    """Train failed members again."""
    pictures: bool = False
    """Draw the pictures of each member's run."""


def run(
    plan: Plan,
    folder: Path,
    how: How = How(),  # noqa: B008  (never changed)
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
    opened: Callable[[int], None] = lambda width: None,
    whole: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    progress: Any = None,
) -> Generator[Ending, None, None]:
    """Train the members that have not ended, and yield how each one ends; first those that had ended before.

    stop: asked several times a second whether to save all members and stop; on a cluster after each ending, and its
    running members go on. say: called with lines about the sweep as a
    whole. opened: called with the number of members that are trained at once, 0 if all have ended. whole: a context in
    which endings are recorded, so that no signal ends the command meanwhile. progress: of downloads, as for
    `load_dataset`.

    Raises the errors of the plan's data and backends before anything is written, RunError for a folder that is in use,
    belongs to something else, or has members that began with other data, FileError if a file cannot be written, and
    ClusterError.
    """
    check(plan, how)
    sources = load_sources(examples(plan), how.cache_dir, progress)
    with contextlib.ExitStack() as held:
        start = None
        if how.cluster:
            start, width = held.enter_context(connect(how.cluster))
        else:
            held.enter_context(processes_share_devices())
            width = processes(plan, sources, how, say)
        index = held.enter_context(places.open_sweep(folder, plan))
        check_begun(folder, plan, index.members, sources)
        sweep = _Sweep(plan, folder, how, index.members)
        earlier = [*sweep.earlier()]
        left = plan.total - len(earlier)
        width = max(1, min(width, left))
        opened(min(width, left))
        try:
            yield from earlier
            if start:
                endings = _on_cluster(sweep.tasks(sources, stop), start, sources, say, stop)
            else:
                held.callback(places.forget_data, folder)
                sources = map_sources(folder, sources)
                held.enter_context(_stop_file(folder / places.STOP, lambda: stop() or bool(sweep.fault)))
                endings = _on_this_machine(sweep.tasks(sources, stop), width, say)
            with contextlib.closing(endings):
                for ending in endings:
                    with whole():
                        noted = sweep.note(ending)
                    yield noted
        finally:
            with whole():
                sweep.save()
        say(f"written: {', '.join(map(str, write_summary(folder)))}")
        if sweep.fault:
            kind = FileError if sweep.fault.error == FileError.__name__ else RunError
            raise kind(f"member {sweep.fault.name}: {sweep.fault.reason}; then the same command goes on")


class _Sweep:
    """What is known about the members of a running sweep."""

    def __init__(self, plan: Plan, folder: Path, how: How, members: tuple[Member, ...]) -> None:
        self.plan, self.folder, self.how = plan, folder, how
        self.trials = Trials(folder, plan) if plan.kind == OPTUNA else None
        begun = self.trials.members(members) if self.trials else members
        if begun != members:
            places.write_index(folder, plan, begun)
        self.members = {member.name: member for member in begun}
        self.endings = {file: places.read_endings(folder, file) for file in sweep_index.ENDINGS}
        self._written = {file: dict(endings) for file, endings in self.endings.items()}
        if how.retry_failed:
            self.endings[sweep_index.FAILURES] = {}
        self.fault: Ending | None = None
        self._earlier: set[str] = set()
        self._saved = time.monotonic()

    def earlier(self) -> Iterator[Ending]:
        """Yield the members that have ended before, and tell Optuna what a killed process did not."""
        for member in self.members.values():
            ending = self._ended(member)
            if ending is not None:
                self._earlier.add(member.name)
                if self.trials:
                    self._tell(ending)
                yield ending

    def _ended(self, member: Member) -> Ending | None:
        facts: dict[str, Any] = {"settings": member.settings, "earlier": True}
        if places.is_finished(self.folder, member.name):
            try:
                result = sweep_index.read_result(places.run_of(self.folder, member.name), AGAIN)
            except RunError as error:  # it is no success, but stops no other member
                return Ending(member.name, sweep_index.FAILED, error=type(error).__name__, reason=str(error), **facts)
            return Ending(member.name, sweep_index.FINISHED, result, **facts)
        for file, state in sweep_index.ENDINGS.items():
            if member.name in self.endings[file]:
                record = self.endings[file][member.name]
                return Ending(member.name, state, error=record["error"], reason=record["reason"], **facts)
        if self.trials and self.trials.is_pruned(member):
            reason = "pruned before a command was killed"
            self.endings[sweep_index.PRUNINGS][member.name] = {"error": "Pruned", "reason": reason}
            return Ending(member.name, sweep_index.PRUNED, error="Pruned", reason=reason, **facts)
        return None

    def tasks(self, sources: Sources, stop: Callable[[], bool]) -> Iterator[tuple[Task, tuple[Any, ...]]]:
        """Yield what is left to do, until `stop`."""
        for member in self._left():
            if stop() or self.fault:
                return
            settings = settings_of(self.plan.base, member.settings)
            source = sources[key_of(settings)]
            run = places.run_of(self.folder, member.name)
            task = Task(member.name, settings, None, source.facts, pictures=self.how.pictures)
            if self.how.cluster:
                task = task._replace(files=self._files_of(run))
            else:
                task = task._replace(folder=run, stop_file=self.folder / places.STOP)
            if self.trials:
                task = task._replace(trial=self.trials.trial(member), pruned=self.trials.is_pruned(member))
            yield task, source.arrays

    def _files_of(self, run: Path) -> dict[str, bytes]:
        """Read what there is of a run. Raises InUseError and FileError."""
        with contextlib.ExitStack() as held:
            if not run.exists():
                return {}
            claim(held, lambda: locked(run))
            with file_errors(run, "read"):
                found = [path for path in (run / name for name in run_folder.RUN_FILES) if path.exists()]
                return {path.name: path.read_bytes() for path in found}

    def _left(self) -> Iterator[Member]:
        yield from [member for member in self.members.values() if member.name not in self._earlier]
        while self.trials and len(self.members) < self.plan.total:
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            places.write_index(self.folder, self.plan, tuple(self.members.values()))
            yield from asked

    def note(self, ending: Ending) -> Ending:
        """Record how a member has ended."""
        ending = ending._replace(settings=self.members[ending.name].settings)
        for note in ending.notes:
            warnings.warn(note, MlpXpWarning, stacklevel=2)
        if ending.files:
            self._receive(ending)
        file = {sweep_index.FAILED: sweep_index.FAILURES, sweep_index.PRUNED: sweep_index.PRUNINGS}.get(ending.state)
        if file:
            self.endings[file][ending.name] = {"error": ending.error, "reason": ending.reason}
            # A failure that is lost by a kill happens again. One that Optuna has been told of cannot.
            if self.trials or time.monotonic() > self._saved + SAVE_EVERY:
                self.save()
        if ending.state == sweep_index.INTERRUPTED and ending.reason:
            self.fault = self.fault or ending
        if self.trials:
            self._tell(ending)
        return ending._replace(files={}, notes=())

    def _tell(self, ending: Ending) -> None:
        assert self.trials
        score = sweep_index.held_out(ending.result) if ending.result else None
        if ending.state != sweep_index.INTERRUPTED:
            self.trials.tell(self.members[ending.name], score, pruned=ending.state == sweep_index.PRUNED)

    def _receive(self, ending: Ending) -> None:
        """Put the files of a run from another machine in place, as a whole. Raises FileError."""
        run, aside = places.run_of(self.folder, ending.name), places.aside_of(self.folder, ending.name)
        with contextlib.ExitStack() as held:
            if run.exists():
                claim(held, lambda: locked(run))
            if places.is_finished(self.folder, ending.name):
                return
            with file_errors(run, "write"):
                shutil.rmtree(aside, ignore_errors=True)
                make_folder(aside)
                # The result is the last, because with it the run is whole.
                for name in (*run_folder.RUN_FILES, *run_folder.PICTURES, run_folder.RESULT):
                    if name in ending.files:
                        write_whole(aside / name, ending.files[name])
                places.put_in_place(self.folder, ending.name)

    def save(self) -> None:
        """Write the records of failures that have changed."""
        for file, endings in self.endings.items():
            if endings != self._written[file]:
                places.write_endings(self.folder, endings, file)
                self._written[file] = dict(endings)
        self._saved = time.monotonic()


def check(plan: Plan, how: How) -> None:
    """Raise MlpXpError for what contradicts itself, or lacks a library."""
    if how.cluster:
        try:
            import joblib  # noqa: F401
        except ModuleNotFoundError as error:
            raise MlpXpError(f"joblib, which runs the members, {not_installed('joblib')}", setting="cluster") from error
    elif not hasattr(os, "fork"):
        raise MlpXpError("this system cannot fork processes for the members; use a cluster", setting="cluster")
    if how.jobs is not None and how.jobs < 1:
        raise ConfigError(f"{how.jobs} is out of range; it must be at least 1", setting="jobs")
    if how.device_memory is not None and not how.device_memory > 0:
        raise ConfigError(f"{how.device_memory} is out of range; it must be above 0", setting="device_memory")
    if how.cluster and plan.kind == OPTUNA:
        raise ConfigError("Optuna's trials run on this machine only; leave out one of both", setting="cluster")
    for name in ("jobs", "device_memory"):
        if how.cluster and getattr(how, name) is not None:
            raise ConfigError("a cluster has its own number of processes; leave this out", setting=name)


def processes(plan: Plan, sources: Sources, how: How, say: Callable[[str], None]) -> int:
    """Return how many members to train at once: one for each core, or as many as the memory admits.

    Opens the backends. Raises BackendError, which names the member.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = how.jobs or cores
    needs: dict[Any, int] = {}
    for place, settings in examples(plan):
        # What changes neither the memory nor the backend.
        config = replace(settings.train, seed=0, learning_rate=1.0, weight_decay=0.0, activation="relu")
        key = replace(settings, train=config)
        if key not in needs:
            needs[key] = 0
            try:
                jobs = min(jobs, _admitted(settings, sources, how, say, jobs))
            except MlpXpError as error:
                error.text += place
                raise
    return jobs


def _admitted(settings: Settings, sources: Sources, how: How, say: Callable[[str], None], wanted: int) -> int:
    """Return how many members with these settings fit into the memory at once, at least 1; say why it is less."""
    backend, source = settings.open_backend(), sources[key_of(settings)]
    arrays = [array for array in source.arrays if array is not None]
    _, *shape = arrays[0].shape
    sizes = (math.prod(shape), *settings.train.hidden, len(source.facts.class_names))
    each = training_bytes(settings.train, sizes, backend.itemsize)
    if backend.on_gpu:
        each += sum(array.nbytes for array in arrays) + ON_DEVICE
        bound = each if how.device_memory is None else int(how.device_memory * 2**30)
    else:
        each, bound = each + ON_HOST, available_bytes()
    admitted = max(1, bound // each)
    if admitted < wanted:
        members = "1 member" if admitted == 1 else f"{admitted} members"
        say(f"memory   {in_units(bound)} of {backend.device_name} admit {members} of about {in_units(each)} at once")
    return int(admitted)


@contextlib.contextmanager
def _stop_file(path: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Create a file, which all processes look for, when it is time to stop."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_EVERY):
            if stop():
                with contextlib.suppress(OSError):
                    path.touch()
                return

    thread = threading.Thread(target=watch, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ProcessError(f"the system refuses a thread for the sweep: {error}; end other programs") from error
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _on_this_machine(work: Work, width: int, say: Callable[[str], None]) -> Generator[Ending, None, None]:
    """Train members in `width` processes at once.

    One whose process is killed, such as by the system when memory is short, is trained again after the rest, with no
    other one beside it; if its process is killed again, it has failed.
    """
    suspects: list[tuple[Task, tuple[Any, ...]]] = []
    for each, ending in in_processes(work, width):
        if ending is None:
            suspects.append(each)
            say(f"the process of member {each[0].name} was killed; it goes on later, alone")
        else:
            yield ending
    for each, ending in in_processes(suspects, 1):
        yield ending or Ending(each[0].name, sweep_index.FAILED, error="Killed", reason=KILLED)


def _noted(work: Work, running: dict[str, tuple[Task, tuple[Any, ...]]]) -> Work:
    for each in work:
        running[each[0].name] = each
        yield each


def _on_cluster(
    work: Work,
    start: Start,
    sources: Sources,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> Generator[Ending, None, None]:
    """Train members on a cluster, and those again that it has lost."""
    arrays = [array for source in sources.values() for array in source.arrays if array is not None]
    losses = 0
    while True:
        running: dict[str, tuple[Task, tuple[Any, ...]]] = {}
        try:
            for ending in start(_noted(work, running), arrays):
                del running[ending.name]
                losses = 0
                yield ending
                if stop():
                    return
            return
        except WorkersLostError as error:
            losses += 1
            if losses == MOST_LOSSES:
                raise ClusterError(
                    f"the cluster has lost its workers {losses} times with no member done in between ({error}); when "
                    "it is well, the same command goes on",
                    setting="cluster",
                ) from error
            work = itertools.chain([*running.values()], work)
            say("workers were lost; their members start again elsewhere")
