"""Train all members of a sweep on this machine, or on a cluster."""

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from mlp_xp.backends.memory import available_bytes, in_units
from mlp_xp.backends.opening import processes_share_devices
from mlp_xp.backends.threads import available_cpus
from mlp_xp.files import FileError
from mlp_xp.runs import sweep_index
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import settings_of
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INTERRUPTED, Index, Member
from mlp_xp.sweeps import folder as places
from mlp_xp.sweeps.data import key_of, survey
from mlp_xp.sweeps.grid import Plan
from mlp_xp.sweeps.member import Ending, Work
from mlp_xp.sweeps.options import SweepOptions
from mlp_xp.sweeps.summary import write_summary
from mlp_xp.sweeps.trials import Trials
from mlp_xp.sweeps.workers import Place, connect, this_machine, train_all

# Bytes of the interpreter and the libraries of a process, which `survey` does not count.
OF_A_PROCESS = 100 << 20
KILLED = "its process was killed; probably it needs more memory than there is"


def run(
    plan: Plan,
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Generator[Ending, None, None]:
    """Train the members that have not ended, and yield how each one ends; first those that had ended before.

    stop: asked several times a second whether all members are to save and stop. say: called with lines about the sweep
    as a whole.

    Raises the errors of the plan's data and backends before anything is written, RunError for a folder that is in use,
    belongs to something else, or began with other data, FileError if a file cannot be written, and ClusterError.
    """
    folder, how = places.folder_of(plan), plan.how
    with contextlib.ExitStack() as held:
        if not how.cluster:
            held.enter_context(processes_share_devices())
        sums, largest, on_gpu = survey(plan, is_new=not sweep_index.is_sweep(folder))
        if how.cluster:
            place = held.enter_context(connect(how.cluster))
        else:
            place = this_machine(how.jobs or 1 if on_gpu else processes(how, largest, say))
        sweep = _Sweep(plan, folder, held.enter_context(places.open_sweep(folder, plan, sums)), stop)
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


def processes(how: SweepOptions, largest: int, say: Callable[[str], None]) -> int:
    """Return how many members to train at once on CPUs: one per core, or as many as the memory admits.

    largest: the bytes that the largest one needs.
    """
    jobs, need, available = how.jobs or available_cpus(), largest + OF_A_PROCESS, available_bytes()
    admitted = max(1, available // need)
    if admitted < jobs:
        members = "1 member" if admitted == 1 else f"{admitted} members"
        say(f"memory   {in_units(available)} admit {members} of about {in_units(need)} at once")
    return min(jobs, admitted)


class _Sweep:
    """What is known about the members of a running sweep."""

    def __init__(self, plan: Plan, folder: Path, index: Index, stop: Callable[[], bool]) -> None:
        self.plan, self.folder, self.sums, self.stop = plan, folder, index.sums, stop
        self.members = {member.name: member for member in index.members}
        self.trials = Trials(plan, index.members) if plan.how.optuna else None
        self.failures = sweep_index.read_failures(folder)
        if plan.how.retry_failed and self.failures:
            self.failures = {}
            places.write_failures(folder, {})
        self.fault: Ending | None = None
        self._ended: set[str] = set()

    def earlier(self) -> Iterator[Ending]:
        """Yield the members that have ended before."""
        for name in self.members:
            try:
                result = sweep_index.read_result(places.run_of(self.folder, name))
                failure = self.failures.get(name)
            except RunError as error:  # it is no success, but stops no other member
                result, failure = None, {"error": type(error).__name__, "reason": str(error)}
            if result or failure:
                facts: dict[str, Any] = failure if failure and not result else {"result": result}
                yield self._ended_with(Ending(name, FINISHED if result else FAILED, **facts, earlier=True))

    def train(self, place: Place, width: int, say: Callable[[str], None]) -> Generator[Ending, None, None]:
        """Train members, and yield how each one ends. Those that are running save and stop after `stop`, or `close`.

        One whose process is killed, such as by the system when memory is short, is trained again after the rest, with
        no other one beside it; if its process is killed again, it has failed. A cluster has tried several times itself.
        """
        # The name is new, because a machine of a cluster may see a removed file for a while.
        stop_file = self.folder.resolve() / f"{places.STOP}{uuid.uuid4().hex[:8]}"
        killed: list[Work] = []
        try:
            for works, at_once in ((self._works(stop_file), width), (killed, 1)):
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

    def _works(self, stop_file: Path) -> Iterator[Work]:
        """Yield what is left to do. Optuna chooses the next member only when it is asked for."""
        how, parent = self.plan.how, None if self.plan.how.cluster else os.getpid()
        for member in self._members_left():
            settings = settings_of(self.plan.base, member.settings)
            place = self.folder.resolve(), self.sums[key_of(settings)], stop_file, how.cache_dir, parent
            yield Work(member.name, settings, self.plan.fit_batches, *place)

    def _members_left(self) -> Iterator[Member]:
        yield from [member for member in self.members.values() if member.name not in self._ended]
        while self.trials and len(self.members) < self.plan.total and not self._stops():
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            places.write_index(self.folder, self.plan, [*self.members.values()], self.sums)
            yield from asked

    def _note(self, ending: Ending) -> Ending:
        """Record how a member has ended."""
        if ending.state == INTERRUPTED:
            self.fault = self.fault or (ending if ending.reason else None)
            return ending._replace(settings=self.members[ending.name].settings)
        if ending.state == FAILED:
            self.failures[ending.name] = {"error": ending.error, "reason": ending.reason}
            places.write_failures(self.folder, self.failures)
        return self._ended_with(ending)

    def _ended_with(self, ending: Ending) -> Ending:
        self._ended.add(ending.name)
        member = self.members[ending.name]
        if self.trials:
            self.trials.tell(member, sweep_index.held_out(ending.result) if ending.result else None)
        return ending._replace(settings=member.settings)
