"""Train all members of a sweep on this machine, or on a cluster."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

from mlp_xp.backends.memory import (
    available_bytes,
    in_units,
    share_devices,
    training_bytes,
)
from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import available_cpus
from mlp_xp.core.job import layer_sizes
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError
from mlp_xp.runs.records import HELD_OUT, RunError
from mlp_xp.runs.run_folder import load_run
from mlp_xp.runs.settings import settings_of, with_fitting_batches
from mlp_xp.runs.sweep_folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    Index,
    Member,
    SweepFolder,
)
from mlp_xp.sweeps._trials import Trials
from mlp_xp.sweeps._workers import KILLED, Place, connect, this_machine, train_all
from mlp_xp.sweeps.member import Ending, Work, key_of, load, of_data
from mlp_xp.sweeps.plan import Plan, examples
from mlp_xp.sweeps.summary import write_summary

# Bytes of the interpreter and the libraries of a process, which `survey` does not
# count.
OF_A_PROCESS = 100 << 20


def run_sweep(
    plan: Plan,
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Generator[Ending, None, None]:
    """Train the members that have not ended, and yield how each one ends; first those
    that had ended before.

    stop: asked several times a second whether all members are to save and stop. say:
    called with lines about the sweep as a whole.

    Raises the errors of the plan's data and backends before anything is written,
    RunError for a folder that is in use, belongs to something else, or began with other
    data, FileError if a file cannot be written, and ClusterError.
    """
    folder, how = plan.folder(), plan.how
    if how.optuna:
        import optuna  # noqa: F401  # where it is missing, nothing is written
    with contextlib.ExitStack() as held:
        if not how.cluster:
            share_devices()
        sums, jobs = survey(plan, say, is_new=not folder.exists())
        place = (
            held.enter_context(connect(how.cluster))
            if how.cluster
            else this_machine(jobs)
        )
        index = held.enter_context(folder.opened(plan.record(sums, plan.members)))
        sweep = _Sweep(plan, folder, index, stop)
        earlier = [*sweep.earlier()]
        left = plan.total - len(earlier)
        if left:
            where = f"on {how.cluster}" if how.cluster else "in processes of their own"
            say(f"at once  {min(place.width or left, left)} of them, {where}\n")
        yield from earlier
        yield from sweep.train(place, say)
        say(f"written: {', '.join(map(str, write_summary(folder)))}")
        if sweep.fault:
            kind = FileError if sweep.fault.error == FileError.__name__ else RunError
            raise kind(
                f"member {sweep.fault.name}: {sweep.fault.reason}; then the same command goes on"
            )


def survey(
    plan: Plan, say: Callable[[str], None] = lambda line: None, *, is_new: bool = True
) -> tuple[dict[str, str], int]:
    """Check that each member can be trained on its own, with its data and on its
    backend.

    Each data set is loaded once, with NumPy. The backends are those of this machine, so
    they are not opened for a cluster. is_new: whether the weights to start from must
    all be there; members that have begun do not need them.

    Returns the checksums of the data, by `key_of`, and of the models to start from; and
    how many members to train at once on this machine: one per core, or as many as the
    memory admits, and one on a GPU. Raises DatasetError, ConfigError, BackendError,
    RunError and what `load_dataset` does.
    """
    sums: dict[str, str] = {}
    largest, on_gpu = 0, False
    load.cache_clear()  # the files may have changed
    # Members on the same data follow one another, so that one data set is in memory at
    # a time.
    for place, settings in sorted(examples(plan), key=lambda member: key_of(member[1])):
        try:
            on_gpu |= (
                not plan.how.cluster
                and open_backend(
                    settings.backend, settings.device, settings.dtype
                ).on_gpu
            )
            on_host = replace(settings, backend="numpy", device=None)
            dataset, sums[key_of(settings)] = load(of_data(on_host), plan.how.cache_dir)
            if plan.fit_batches:
                settings = with_fitting_batches(settings, len(dataset.train))
            settings.train.check_fits(len(dataset.train))
            start = settings.start_from
            if start and start not in sums and (is_new or Path(start).exists()):
                sums[start] = load_run(start).sha256
        except MlpXpError as error:
            error.notes.append(place)
            raise
        parts = [part for part in (dataset.train, dataset.test) if part is not None]
        need = sum(part.inputs.nbytes + part.labels.nbytes for part in parts)
        sizes = layer_sizes(settings.train, dataset.signature)
        largest = max(
            largest, need + training_bytes(settings.train, sizes, settings.dtype)
        )
    load.cache_clear()
    jobs = plan.how.jobs or (1 if on_gpu else available_cpus())
    need, available = largest + OF_A_PROCESS, available_bytes()
    admitted = max(1, available // need)
    if admitted < jobs and not plan.how.cluster:
        say(
            f"memory   {in_units(available)}, for {admitted} at once of about {in_units(need)} each"
        )
    return sums, min(jobs, admitted)


class _Sweep:
    """What is known about the members of a running sweep."""

    def __init__(
        self, plan: Plan, folder: SweepFolder, index: Index, stop: Callable[[], bool]
    ) -> None:
        self.plan, self.folder, self.sums, self.stop = plan, folder, index.sums, stop
        self.members = {member.name: member for member in index.members}
        self.trials = Trials(plan, index.members) if plan.how.optuna else None
        self.failures = folder.failures()
        if plan.how.retry_failed and self.failures:
            self.failures = {}
            folder.write_failures({})
        self.fault: Ending | None = None
        self._ended: set[str] = set()

    def earlier(self) -> Iterator[Ending]:
        """Yield the members that have ended before."""
        for name in self.members:
            failure = self.failures.get(name)
            try:
                result = self.folder.run(name).result()
            except MlpXpError as error:  # not a success, but it stops no other member
                result, failure = (
                    None,
                    {"error": type(error).__name__, "reason": str(error)},
                )
            if result:
                yield self._note(Ending(name, FINISHED, result, earlier=True))
            elif failure:
                yield self._note(
                    Ending(
                        name,
                        FAILED,
                        None,
                        failure["error"],
                        failure["reason"],
                        earlier=True,
                    )
                )

    def train(self, place: Place, say: Callable[[str], None]) -> Iterator[Ending]:
        """Train members, and yield how each one ends.

        One whose process is killed, for example by the system when memory is short,
        goes on after the rest, with no other one beside it. If it is killed again, it
        has failed. A cluster has tried several times itself.
        """
        stop_file = self.folder.new_stop_file()
        killed: list[Member] = []
        for members, where in (
            (self._left(), place),
            (iter(killed), place._replace(width=1)),
        ):
            training = train_all(
                self._works(members, stop_file), where, stop_file, self.stop
            )
            with contextlib.closing(training) as endings:
                for ending in endings:
                    member = self.members[ending.name]
                    if ending.reason == KILLED and place.width and member not in killed:
                        killed.append(member)
                        say(
                            f"the process of member {member.name} was killed; it goes on later, alone"
                        )
                    else:
                        yield self._note(ending)

    def _left(self) -> Iterator[Member]:
        """Yield the members that have not ended. Optuna chooses the next one only when
        it is asked for.
        """
        yield from [
            member for member in self.members.values() if member.name not in self._ended
        ]
        while self.trials and len(self.members) < self.plan.total:
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            self.folder.write(self.plan.record(self.sums, [*self.members.values()]))
            yield from asked

    def _works(self, members: Iterator[Member], stop_file: Path) -> Iterator[Work]:
        """Yield what is to be done for each member, until none is to begin any more."""
        how, parent = self.plan.how, None if self.plan.how.cluster else os.getpid()
        while not (self.stop() or self.fault) and (member := next(members, None)):
            settings = settings_of(self.plan.base, member.settings)
            place = (
                self.folder.path.resolve(),
                self.sums.get(key_of(settings)),
                stop_file,
                how.cache_dir,
                parent,
            )
            yield Work(member.name, settings, self.plan.fit_batches, *place)

    def _note(self, ending: Ending) -> Ending:
        """Record how a member has ended, and add its settings."""
        member = self.members[ending.name]
        if ending.state == INTERRUPTED:
            self.fault = self.fault or (ending if ending.reason else None)
        else:
            self._ended.add(ending.name)
            if self.trials:
                result = ending.result or {}
                self.trials.tell(
                    member,
                    next((result[name] for name in HELD_OUT if name in result), None),
                )
        if ending.state == FAILED and not ending.earlier:
            self.failures[ending.name] = {
                "error": ending.error,
                "reason": ending.reason,
            }
            self.folder.write_failures(self.failures)
        return ending._replace(settings=member.settings)
