"""Train all members of a sweep on this machine, or on a cluster."""

import contextlib
import itertools
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlp_xp.backends.memory import available_bytes, in_units
from mlp_xp.backends.opening import processes_share_devices
from mlp_xp.backends.threads import available_cpus
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import sweep_index
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings, settings_of, with_fitting_batches
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INTERRUPTED, OPTUNA, Index, Member
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps.data import key_of, sums_of_starts, survey
from mlp_xp.sweeps.folder import default_folder
from mlp_xp.sweeps.grid import Plan, examples, make_plan
from mlp_xp.sweeps.member import Ending, Work
from mlp_xp.sweeps.options import SweepOptions
from mlp_xp.sweeps.summary import write_summary
from mlp_xp.sweeps.trials import Trials
from mlp_xp.sweeps.workers import Place, connect, this_machine, train_all

# Bytes of the interpreter and the libraries of a process, which `survey` does not count.
OF_A_PROCESS = 100 << 20
KILLED = "its process was killed; probably it needs more memory than there is"


def planned(base: Settings, values: Mapping[str, Any], options: SweepOptions, *, is_recipe: bool) -> tuple[Plan, Path]:
    """Return the plan of a sweep and its folder. values: see `make_plan`. Raises ConfigError.

    is_recipe: whether the base is a recipe, whose batches become as small as a small training set, as in `train`.
    """
    plan = make_plan(base, values, samples=options.random, trials=options.optuna, seed=options.sampling_seed)
    plan = plan._replace(fit_batches=is_recipe and "batch_size" not in values)
    return plan, Path(options.sweep_dir) if options.sweep_dir else default_folder(plan)


def run(
    plan: Plan,
    folder: Path,
    how: SweepOptions = SweepOptions(),  # noqa: B008  (never changed)
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
    progress: Any = None,
) -> Generator[Ending, None, None]:
    """Train the members that have not ended, and yield how each one ends; first those that had ended before.

    stop: asked several times a second whether all members are to save and stop. say: called with lines about the sweep
    as a whole. progress: shows downloads, as for `load_dataset`.

    Raises the errors of the plan's data and backends before anything is written, RunError for a folder that is in use,
    belongs to something else, or began with other data, FileError if a file cannot be written, and ClusterError.
    """
    sums, samples, largest = survey(examples(plan), how.cache_dir, progress, fit_batches=plan.fit_batches)
    sums |= sums_of_starts(examples(plan), required=not sweep_index.is_sweep(folder))
    with contextlib.ExitStack() as held:
        if how.cluster:
            place = held.enter_context(connect(how.cluster))
        else:
            held.enter_context(processes_share_devices())
            place = this_machine(processes(plan, largest, how, say))
        index = held.enter_context(places.open_sweep(folder, plan, sums))
        sweep = _Sweep(plan, folder, how, index, samples, stop)
        earlier = [*sweep.earlier()]
        left = plan.total - len(earlier)
        if left:
            where = f"on {how.cluster}" if how.cluster else "in processes of their own"
            say(f"at once  {min(place.width, left)} of them, {where}\n")
        yield from earlier
        # A cluster gets all members at once, because the number of its workers may grow.
        with contextlib.closing(sweep.train(place, place.width if place.is_here else left, say)) as endings:
            yield from endings
        say(f"written: {', '.join(map(str, write_summary(folder)))}")
        if sweep.fault:
            kind = FileError if sweep.fault.error == FileError.__name__ else RunError
            raise kind(f"member {sweep.fault.name}: {sweep.fault.reason}; then the same command goes on")


class _Sweep:
    """What is known about the members of a running sweep."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        how: SweepOptions,
        index: Index,
        samples: Mapping[str, int],
        stop: Callable[[], bool],
    ) -> None:
        self.plan, self.folder, self.how, self.sums, self.stop = plan, folder, how, index.sums, stop
        self.samples = samples  # for training, by the keys of data sets
        self.members = {member.name: member for member in index.members}
        self.trials = Trials(plan, index.members) if plan.kind == OPTUNA else None
        self.failures = sweep_index.read_failures(folder)
        if how.retry_failed and self.failures:
            self.failures = {}
            places.write_failures(folder, {})
        self.fault: Ending | None = None
        self._ended: set[str] = set()

    def earlier(self) -> Iterator[Ending]:
        """Yield the members that have ended before."""
        for member in self.members.values():
            run = places.run_of(self.folder, member.name)
            try:
                result = sweep_index.read_result(run)
                failed = self.failures.get(member.name)
            except RunError as error:  # it is no success, but stops no other member
                result, failed = None, {"error": type(error).__name__, "reason": str(error)}
            if result is not None:
                ending = Ending(member.name, FINISHED, result)
            elif failed is not None:
                ending = Ending(member.name, FAILED, error=failed["error"], reason=failed["reason"])
            else:
                continue
            self._end(ending)
            yield ending._replace(settings=member.settings, earlier=True)

    def train(self, place: Place, width: int, say: Callable[[str], None]) -> Generator[Ending, None, None]:
        """Train members, and yield how each one ends. Those that are running save and stop after `stop`, or `close`.

        One whose process is killed, such as by the system when memory is short, is trained again after the rest, with
        no other one beside it; if its process is killed again, it has failed. A cluster has tried several times itself.
        """
        # The name is new, because a machine of a cluster may see a removed file for a while.
        stop_file = self.folder.resolve() / f"{places.STOP}{uuid.uuid4().hex[:8]}"
        killed: list[Work] = []
        try:
            for works, at_once in ((self._left(stop_file), width), (killed, 1)):
                going_on = itertools.takewhile(lambda _: not self._stops(), works)
                training = train_all(going_on, place, at_once, stop_file, self.stop)
                with contextlib.closing(training) as endings:
                    for work, ending in endings:
                        if ending is None and place.is_here and works is not killed:
                            killed.append(work)
                            say(f"the process of member {work.name} was killed; it goes on later, alone")
                        else:
                            yield self._note(ending or Ending(work.name, FAILED, error="Killed", reason=KILLED))
        finally:
            if place.is_here:  # a member on a cluster may look for it later; the next command removes it
                with contextlib.suppress(OSError):
                    stop_file.unlink(missing_ok=True)

    def _stops(self) -> bool:
        """Return whether no other member is to begin."""
        return self.stop() or self.fault is not None

    def _left(self, stop_file: Path) -> Iterator[Work]:
        """Yield what is left to do. Optuna chooses the next member only when it is asked for."""
        for member in self._members_left():
            settings = settings_of(self.plan.base, member.settings)
            parent = None if self.how.cluster else os.getpid()
            if self.plan.fit_batches:
                settings = with_fitting_batches(settings, self.samples[key_of(settings)])
            crc32 = self.sums[key_of(settings)]
            yield Work(member.name, settings, self.folder.resolve(), crc32, stop_file, self.how.cache_dir, parent)

    def _members_left(self) -> Iterator[Member]:
        yield from [member for member in self.members.values() if member.name not in self._ended]
        while self.trials and len(self.members) < self.plan.total and not self._stops():
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            places.write_index(self.folder, self.plan, [*self.members.values()], self.sums)
            yield from asked

    def _note(self, ending: Ending) -> Ending:
        """Record how a member has ended."""
        for note in ending.notes:
            warnings.warn(note, MlpXpWarning, stacklevel=2)
        if ending.state == FAILED:
            self.failures[ending.name] = {"error": ending.error, "reason": ending.reason}
            places.write_failures(self.folder, self.failures)
        elif ending.state == INTERRUPTED and ending.reason:
            self.fault = self.fault or ending
        if ending.state != INTERRUPTED:
            self._end(ending)
        return ending._replace(settings=self.members[ending.name].settings)

    def _end(self, ending: Ending) -> None:
        self._ended.add(ending.name)
        if self.trials:
            score = sweep_index.held_out(ending.result) if ending.result else None
            self.trials.tell(self.members[ending.name], score)


def processes(plan: Plan, largest: int, how: SweepOptions, say: Callable[[str], None]) -> int:
    """Return how many members to train at once: one per core, or as many as the memory admits; one on a GPU.

    Opens the backends, and raises BackendError, which names the member. largest: the bytes that the largest one needs.
    """
    backends: dict[Any, Any] = {}
    for place, settings in examples(plan):
        key = settings.backend, settings.device, settings.dtype
        try:
            backends[key] = backends.get(key) or settings.open_backend()
        except MlpXpError as error:
            error.notes.append(place)
            raise
    if any(backend.on_gpu for backend in backends.values()):
        return how.jobs or 1
    jobs, need, available = how.jobs or available_cpus(), largest + OF_A_PROCESS, available_bytes()
    admitted = max(1, available // need)
    if admitted < jobs:
        members = "1 member" if admitted == 1 else f"{admitted} members"
        say(f"memory   {in_units(available)} admit {members} of about {in_units(need)} at once")
    return min(jobs, admitted)
