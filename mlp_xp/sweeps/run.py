"""Train all members of a sweep on this machine, or on a cluster."""

import contextlib
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.memory import available_bytes, in_units, training_bytes
from mlp_xp.backends.opening import processes_share_devices
from mlp_xp.backends.threads import available_cpus
from mlp_xp.core.config import ConfigError
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import sweep_index
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_index import OPTUNA, Index, Member
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps.data import Source, key_of, load_sources, sums_of_starts
from mlp_xp.sweeps.grid import Plan, examples
from mlp_xp.sweeps.member import Ending, Task
from mlp_xp.sweeps.summary import write_summary
from mlp_xp.sweeps.trials import Trials
from mlp_xp.sweeps.workers import Place, connect, this_machine, train_all

# Bytes that a process takes in addition to what `training_bytes` counts, which is a lower bound: on the host the
# interpreter and the libraries, on a device its context and the libraries there. Neither was measured on a GPU.
ON_HOST, ON_DEVICE = 100 << 20, 512 << 20
AGAIN = "remove the member's folder to train it again"
KILLED = "its process was killed; probably it needs more memory than there is"


class How(NamedTuple):
    """How to run a sweep; this changes no result."""

    jobs: int | None = None
    """Processes at once; by default one for each core."""
    device_memory: float | None = None
    """GiB of a GPU that all processes together may use; without it, one trains at a time on a GPU."""
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
    progress: Any = None,
) -> Generator[Ending, None, None]:
    """Train the members that have not ended, and yield how each one ends; first those that had ended before.

    stop: asked several times a second whether to save all members and stop. say: called with lines about the sweep as a
    whole. opened: called with the number of members that are trained at once, 0 if all have ended. progress: of
    downloads, as for `load_dataset`.

    Raises the errors of the plan's data and backends before anything is written, RunError for a folder that is in use,
    belongs to something else, or began with other data, FileError if a file cannot be written, and ClusterError.
    """
    check(plan, how)
    sources = load_sources(examples(plan), how.cache_dir, progress)
    is_new = not sweep_index.is_sweep(folder)
    sums = {key: source.crc32 for key, source in sources.items()} | sums_of_starts(examples(plan), required=is_new)
    with contextlib.ExitStack() as held:
        if how.cluster:
            place = held.enter_context(connect(how.cluster))
        else:
            held.enter_context(processes_share_devices())
            place = this_machine(processes(plan, sources, how, say))
        index = held.enter_context(places.open_sweep(folder, plan, sums))
        sweep = _Sweep(plan, folder, how, index)
        earlier = [*sweep.earlier()]
        left = plan.total - len(earlier)
        opened(min(place.width, left))
        yield from earlier
        # A machine of a cluster may know a file of the same name for a while after it was removed.
        stop_file = folder.resolve() / f"{places.STOP}{uuid.uuid4().hex[:8]}"
        tasks = sweep.tasks(sources, stop_file, stop)
        with contextlib.closing(_endings(tasks, place, left, stop_file, stop, say)) as endings:
            for ending in endings:
                yield sweep.note(ending)
        say(f"written: {', '.join(map(str, write_summary(folder)))}")
        if sweep.fault:
            kind = FileError if sweep.fault.error == FileError.__name__ else RunError
            raise kind(f"member {sweep.fault.name}: {sweep.fault.reason}; then the same command goes on")


def _endings(
    tasks: Iterable[Task],
    place: Place,
    left: int,
    stop_file: Path,
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> Generator[Ending, None, None]:
    """Train members, and yield how each one ends. Those that are running save and stop after `stop`, or `close`.

    One whose process is killed, such as by the system when memory is short, is trained again after the rest, with no
    other one beside it; if its process is killed again, it has failed. A cluster has tried that several times itself.
    """

    def request() -> None:
        with contextlib.suppress(OSError):
            stop_file.touch()

    def look() -> None:
        if stop():
            request()

    killed: list[Task] = []
    try:
        # A cluster gets all members at once, for the number of its workers may grow.
        width = place.width if place.is_here else left
        with contextlib.closing(train_all(tasks, place, width, look, request)) as endings:
            for task, ending in endings:
                if ending is None and place.is_here:
                    killed.append(task)
                    say(f"the process of member {task.name} was killed; it goes on later, alone")
                else:
                    yield ending or _killed(task)
        stop_file.unlink(missing_ok=True)
        again = (task for task in killed if not stop())
        with contextlib.closing(train_all(again, place, 1, look, request)) as endings:
            for task, ending in endings:
                yield ending or _killed(task)
    finally:
        if place.is_here:  # a member on a cluster may look for it later; the next command removes it
            with contextlib.suppress(OSError):
                stop_file.unlink(missing_ok=True)


def _killed(task: Task) -> Ending:
    return Ending(task.name, sweep_index.FAILED, error="Killed", reason=KILLED)


class _Sweep:
    """What is known about the members of a running sweep."""

    def __init__(self, plan: Plan, folder: Path, how: How, index: Index) -> None:
        self.plan, self.folder, self.how, self.sums = plan, folder, how, index.sums
        self.trials = Trials(folder, plan) if plan.kind == OPTUNA else None
        begun = self.trials.members(index.members) if self.trials else index.members
        if begun != index.members:
            places.write_index(folder, plan, begun, self.sums)
        self.members = {member.name: member for member in begun}
        self.endings = {file: places.read_endings(folder, file) for file in sweep_index.ENDINGS}
        if how.retry_failed and self.endings[sweep_index.FAILURES]:
            self.endings[sweep_index.FAILURES] = {}
            places.write_endings(folder, {})
        self.fault: Ending | None = None
        self._earlier: set[str] = set()

    def earlier(self) -> Iterator[Ending]:
        """Yield the members that have ended before, and tell Optuna what a killed process did not."""
        for member in self.members.values():
            ending = self._ended(member)
            if ending is not None:
                self._earlier.add(member.name)
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
            ending = Ending(member.name, sweep_index.PRUNED, error="Pruned", reason="pruned before a kill", **facts)
            self._record(ending)
            return ending
        return None

    def tasks(self, sources: Mapping[str, Source], stop_file: Path, stop: Callable[[], bool]) -> Iterator[Task]:
        """Yield what is left to do, until `stop`. Optuna chooses the next member only when it is asked for."""
        for member in self._left():
            if stop() or self.fault:
                return
            settings = settings_of(self.plan.base, member.settings)
            yield Task(
                member.name,
                settings,
                self.folder.resolve(),
                sources[key_of(settings)].crc32,
                stop_file,
                cache_dir=self.how.cache_dir,
                parent=None if self.how.cluster else os.getpid(),
                pictures=self.how.pictures,
                trial=self.trials.trial(member) if self.trials else None,
                pruned=bool(self.trials and self.trials.is_pruned(member)),
            )

    def _left(self) -> Iterator[Member]:
        yield from [member for member in self.members.values() if member.name not in self._earlier]
        while self.trials and len(self.members) < self.plan.total:
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            places.write_index(self.folder, self.plan, tuple(self.members.values()), self.sums)
            yield from asked

    def note(self, ending: Ending) -> Ending:
        """Record how a member has ended."""
        ending = ending._replace(settings=self.members[ending.name].settings)
        for note in ending.notes:
            warnings.warn(note, MlpXpWarning, stacklevel=2)
        self._record(ending)
        if ending.state == sweep_index.INTERRUPTED and ending.reason:
            self.fault = self.fault or ending
        self._tell(ending)
        return ending

    def _record(self, ending: Ending) -> None:
        """Write why a member failed or was pruned, before Optuna is told."""
        for file, state in sweep_index.ENDINGS.items():
            if ending.state == state:
                self.endings[file][ending.name] = {"error": ending.error, "reason": ending.reason}
                places.write_endings(self.folder, self.endings[file], file)

    def _tell(self, ending: Ending) -> None:
        if self.trials and ending.state != sweep_index.INTERRUPTED:
            score = sweep_index.held_out(ending.result) if ending.result else None
            self.trials.tell(self.members[ending.name], score, pruned=ending.state == sweep_index.PRUNED)


def check(plan: Plan, how: How) -> None:
    """Raise ConfigError for what contradicts itself or is out of range."""
    if how.jobs is not None and how.jobs < 1:
        raise ConfigError(f"{how.jobs} is out of range; it must be at least 1", setting="jobs")
    if how.device_memory is not None and not how.device_memory > 0:
        raise ConfigError(f"{how.device_memory} is out of range; it must be above 0", setting="device_memory")
    if how.cluster and plan.kind == OPTUNA:
        raise ConfigError("Optuna's trials run on this machine only; leave out one of both", setting="cluster")
    for name in ("jobs", "device_memory"):
        if how.cluster and getattr(how, name) is not None:
            raise ConfigError("a cluster has its own number of processes; leave this out", setting=name)


def processes(plan: Plan, sources: Mapping[str, Source], how: How, say: Callable[[str], None]) -> int:
    """Return how many members to train at once: one for each core, or as many as the memory admits.

    Opens the backends. Raises BackendError, which names the member.
    """
    jobs = how.jobs or available_cpus()
    seen = set()
    for place, settings in examples(plan):
        # What changes neither the memory nor the backend.
        config = replace(settings.train, seed=0, learning_rate=1.0, weight_decay=0.0, activation="relu")
        key = replace(settings, train=config)
        if key in seen:
            continue
        seen.add(key)
        try:
            jobs = min(jobs, _admitted(settings, sources[key_of(settings)], how, say, jobs))
        except MlpXpError as error:
            error.notes.append(place)
            raise
    return jobs


def _admitted(settings: Settings, source: Source, how: How, say: Callable[[str], None], wanted: int) -> int:
    """Return how many members with these settings fit into the memory at once, at least 1; say why it is less."""
    backend = settings.open_backend()
    sizes = (source.features, *settings.train.hidden, source.outputs)
    each = training_bytes(settings.train, sizes, backend.itemsize) + source.nbytes
    if backend.on_gpu:
        each += ON_DEVICE
        bound = each if how.device_memory is None else int(how.device_memory * 2**30)
    else:
        each, bound = each + ON_HOST, available_bytes()
    admitted = max(1, bound // each)
    if admitted < wanted:
        members = "1 member" if admitted == 1 else f"{admitted} members"
        say(f"memory   {in_units(bound)} of {backend.device_name} admit {members} of about {in_units(each)} at once")
    return int(admitted)
