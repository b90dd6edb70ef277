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
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import layer_sizes
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.records import HELD_OUT, RunError
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    Index,
    Member,
    SweepFolder,
)
from mlp_xp.sweeps._trials import Trials
from mlp_xp.sweeps._workers import KILLED, Workers, connect, this_machine, train_all
from mlp_xp.sweeps.member import OUT_OF_MEMORY, Ending, Work, key_of, load, of_data
from mlp_xp.sweeps.plan import Plan, examples
from mlp_xp.sweeps.summary import write_summary

# Bytes of a process beside its data and training. An open backend was measured to take
# 234 MiB with PyTorch, 174 MiB with JAX and 52 MiB with NumPy.
OF_A_PROCESS = 250 << 20
_SHORT_OF_MEMORY = [kind.__name__ for kind in OUT_OF_MEMORY]


def run_sweep(
    plan: Plan,
    *,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Generator[Ending, None, None]:
    """Train the members of a sweep, and yield how each one ends.

    Members from earlier calls come first.

    Args:
        plan: The members.
        stop: Called several times a second. Returns whether all members are to save
            and stop.
        say: Called with lines about the whole sweep.

    Raises:
        DatasetError: The data cannot be read. This error, ConfigError and BackendError
            are raised before anything is written.
        ConfigError: The data set is too small for the settings.
        BackendError: The array library is not available.
        RunError: The folder is in use, belongs to something else, or has a sweep with
            other data.
        FileError: A file cannot be written.
        ClusterError: The cluster cannot be used.
    """
    folder, options = plan.folder(), plan.options
    if options.optuna:
        import optuna  # noqa: F401  # where it is missing, nothing is written
    with contextlib.ExitStack() as held:
        if not options.cluster:
            share_devices()
        sums, jobs = survey(plan, say, is_new=not folder.exists())
        if options.cluster:
            workers = held.enter_context(connect(options.cluster))
            where = f"on {options.cluster}"
        else:
            workers = this_machine(jobs)
            where = "in processes of their own"
        index = held.enter_context(folder.opened(plan.record(sums, plan.members)))
        sweep = _Sweep(plan, folder, index, stop)
        earlier = list(sweep.earlier())
        left = plan.total - len(earlier)
        if left:
            say(f"at once  {min(workers.width or left, left)} of them, {where}\n")
        yield from earlier
        yield from sweep.train(workers, say)
        say(f"written: {', '.join(map(str, write_summary(folder)))}")
        fault = sweep.fault
        if fault:
            kind = FileError if fault.error == FileError.__name__ else RunError
            raise kind(
                f"member {fault.name}: {fault.reason}; then run the same command again "
                "to continue"
            )


def survey(
    plan: Plan, say: Callable[[str], None] = lambda line: None, *, is_new: bool = True
) -> tuple[dict[str, str], int]:
    """Check each member with its data and on its backend, before any is trained.

    Each data set is loaded once, with NumPy. The backends of a cluster are not checked,
    because they are on other machines.

    Args:
        plan: The members.
        say: Called with a line if the memory limits the number of members at once.
        is_new: Whether the weights to start from must all be there. Members that have
            begun do not need them.

    Returns:
        The checksums of the data, by `key_of`, and of the models to start from, and the
        number of members to train at once on this machine. It is `jobs`, or else one
        per core, and one on a GPU, but at most as many as the memory admits.

    Raises:
        DatasetError: The data cannot be read.
        ConfigError: The data set is too small for the settings.
        BackendError: The array library is not available.
        RunError: A run to start from has no model.
    """
    sums: dict[str, str] = {}
    largest, on_gpu = 0, False
    load.cache_clear()  # the files may have changed
    # Members on the same data follow one another: one data set is in memory at a time.
    ordered = sorted(examples(plan), key=lambda example: key_of(example[1]))
    for note, settings in ordered:
        try:
            if not plan.options.cluster:
                backend = open_backend(
                    settings.backend, settings.device, settings.dtype
                )
                on_gpu = on_gpu or backend.on_gpu
            on_host = replace(settings, backend="numpy", device=None)
            dataset, sums[key_of(settings)] = load(
                of_data(on_host), plan.options.cache_dir
            )
            train = settings.train.resolve(len(dataset.train))
            settings = replace(settings, train=train)
            start = settings.start_from
            if start and start not in sums and (is_new or Path(start).exists()):
                sums[start] = load_run(start).sha256
        except MlpXpError as error:
            error.notes.append(note)
            raise
        largest = max(largest, _bytes_of(dataset, settings))
    load.cache_clear()
    jobs = plan.options.jobs
    if jobs is None:
        jobs = 1 if on_gpu else available_cpus()
    if not plan.options.cluster:
        jobs = _fitting_jobs(jobs, largest + OF_A_PROCESS, say)
    return sums, jobs


def _fitting_jobs(jobs: int, need: int, say: Callable[[str], None]) -> int:
    """Return as many jobs as fit into memory, each with a need of so many bytes."""
    available = available_bytes()
    admitted = max(1, available // need)
    if admitted < jobs:
        say(
            f"memory   {in_units(available)}, for {admitted} at once of about "
            f"{in_units(need)} each"
        )
    return min(jobs, admitted)


def _bytes_of(dataset: Dataset, settings: Settings) -> int:
    """Return how many bytes the data and the training of a member take."""
    sizes = layer_sizes(settings.train, dataset.signature)
    total = training_bytes(settings.train, sizes, settings.dtype)
    for part in (dataset.train, dataset.test):
        if part is not None:
            total += part.inputs.nbytes + part.labels.nbytes
    return total


class _Sweep:
    """The members of a running sweep, and how they have ended."""

    def __init__(
        self, plan: Plan, folder: SweepFolder, index: Index, stop: Callable[[], bool]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.sums = index.sums
        self.stop = stop
        self.members = {member.name: member for member in index.members}
        self.trials = Trials(plan, index.members) if plan.options.optuna else None
        self.failures = folder.failures()
        if plan.options.retry_failed and self.failures:
            self.failures = {}
            folder.write_failures({})
        self.fault: Ending | None = None
        self._ended: set[str] = set()

    def earlier(self) -> Iterator[Ending]:
        """Yield the endings of members from earlier calls."""
        for name in self.members:
            ending = self._earlier_ending(name)
            if ending:
                yield self._note(ending._replace(earlier=True))

    def train(self, workers: Workers, say: Callable[[str], None]) -> Iterator[Ending]:
        """Train members, and yield how each one ends.

        The system may kill a process, for example when memory is short. Its member is
        then resumed after the rest, with no other one beside it. So is a member that
        found too little memory beside others. If the same happens again, the member has
        failed. A cluster has tried several times itself.
        """
        stop_file = self.folder.new_stop_file()
        set_aside: list[Member] = []
        with self._training(self._left(), workers, stop_file) as endings:
            for ending in endings:
                reason = ""
                if workers.width and ending.reason == KILLED:
                    reason = f"the process of member {ending.name} was killed"
                elif (workers.width or 1) > 1 and ending.error in _SHORT_OF_MEMORY:
                    reason = f"member {ending.name} found too little memory"
                if not reason:
                    yield self._note(ending)
                    continue
                set_aside.append(self.members[ending.name])
                if not self.stop():
                    say(f"{reason}; the member is resumed later, alone")
        alone = workers._replace(width=1)
        with self._training(iter(set_aside), alone, stop_file) as endings:
            for ending in endings:
                yield self._note(ending)

    def _earlier_ending(self, name: str) -> Ending | None:
        """Return how a member has ended in an earlier call, or None."""
        failure = self.failures.get(name)
        try:
            result = self.folder.run(name).result()
            if result:
                self.folder.check_member(self.members[name])
        except MlpXpError as error:  # not a success, but it stops no other member
            kind = type(error).__name__
            return Ending(name, FAILED, error=kind, reason=str(error))
        if result:
            return Ending(name, FINISHED, result)
        if failure:
            kind, reason = failure["error"], failure["reason"]
            return Ending(name, FAILED, error=kind, reason=reason)
        return None

    def _training(
        self, members: Iterator[Member], workers: Workers, stop_file: Path
    ) -> contextlib.closing[Generator[Ending, None, None]]:
        works = self._works(members, stop_file)
        return contextlib.closing(train_all(works, workers, stop_file, self.stop))

    def _left(self) -> Iterator[Member]:
        """Yield the members without an ending.

        Optuna chooses a member only when it is asked for.
        """
        members = list(self.members.values())
        yield from [member for member in members if member.name not in self._ended]
        while self.trials and len(self.members) < self.plan.total:
            asked = self.trials.ask()
            self.members |= {member.name: member for member in asked}
            members = list(self.members.values())
            self.folder.write(self.plan.record(self.sums, members))
            yield from asked

    def _works(self, members: Iterator[Member], stop_file: Path) -> Iterator[Work]:
        """Yield the work for each member, until no more is to begin."""
        options = self.plan.options
        while not (self.stop() or self.fault):
            member = next(members, None)
            if member is None:
                return
            settings = settings_of(self.plan.base, member.settings)
            yield Work(
                name=member.name,
                settings=settings,
                sweep_dir=self.folder.path.resolve(),
                crc32=self.sums.get(key_of(settings)),
                stop_file=stop_file,
                cache_dir=options.cache_dir,
                parent=None if options.cluster else os.getpid(),
            )

    def _note(self, ending: Ending) -> Ending:
        """Record how a member has ended, and return it with the varied settings."""
        member = self.members[ending.name]
        ending = ending._replace(settings=member.settings)
        if ending.state == INTERRUPTED:
            if ending.reason and not self.fault:
                self.fault = ending
            return ending
        self._ended.add(ending.name)
        if self.trials:
            result = ending.result or {}
            scores = [result[name] for name in HELD_OUT if name in result]
            self.trials.tell(member, scores[0] if scores else None)
        if ending.state == FAILED and not ending.earlier:
            failure = {"error": ending.error, "reason": ending.reason}
            self.failures[ending.name] = failure
            self.folder.write_failures(self.failures)
        return ending
