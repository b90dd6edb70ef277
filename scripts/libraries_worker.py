"""Check one array library in one dtype, in the environment of the library: what scripts/libraries.py runs.

`python libraries_worker.py BACKEND DTYPE STEPS DATA REPRODUCER RESULT` writes the file RESULT, JSON with the fields of
`Result`: first the verdict, then the speed, at last the cause of anything but agreement. So a library that is too slow
for all of it leaves what is known. REPRODUCER is the folder for the script that shows the deviation.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mlp_xp.backend import Backend, BackendError, open_backend
from mlp_xp.commands.data import load_data
from mlp_xp.commands.trace import deviation_line, to_trace
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Dataset
from mlp_xp.errors import with_colon
from mlp_xp.files import write_whole
from mlp_xp.parity.compare import Failure, check
from mlp_xp.parity.report import mismatches
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.trace import Tracer, trace
from mlp_xp.training import WARM_UP_EPOCH, Tally, trajectory

# A measurement ends after so many rounds, or so many seconds.
ROUNDS, SECONDS = 15, 10.0
# Bytes of inputs up to which a reproducer is kept.
SMALL = 10_000


@dataclass
class Result:
    """What is known of a library in one dtype."""

    verdict: str
    """agrees, differs, fails or refused."""
    said: str = ""
    """The library's message, or the first quantity that differs."""
    head_room: float | None = None
    """Where it agrees: how many times smaller the deviations are than allowed; None if there are none."""
    microseconds: float | None = None
    """Of a step."""
    ratio: float | None = None
    """Of a step's time to NumPy's in the same dtype."""
    operation: str = ""
    """The name of the first operation that deviates or raises, as in `tanh`."""
    deviation: str = ""
    """The tracer's line about it."""
    whose: str = ""
    """The module that defines the operation, if it is a function."""
    reproducer: str = ""
    """What the reproducer that is kept printed; empty if none shows the deviation with small inputs."""


def main(name: str, dtype: str, steps: int, data: Path, folder: Path, target: Path) -> None:
    """Check a library, and write what is known of it to the file `target`, each time that there is more."""

    def keep(result: Result) -> None:
        write_whole(target, json.dumps(asdict(result)).encode())

    try:
        backend = open_backend(name, dtype=dtype)
    except BackendError as error:
        keep(Result("refused", error.text.removeprefix(f"backend {with_colon(name)} ")))
        return
    dataset = load_data(data)
    config = TrainConfig(report_every=min(50, max(3, steps // 4)))
    # In float64 a second NumPy is compared too, under another name.
    _, outcome = check(config, dataset, [backend], steps)
    if isinstance(outcome, Failure):
        result = Result("fails", outcome.reason.removeprefix(f"backend {with_colon(name)} "))
    else:
        room = outcome.head_room if np.isfinite(outcome.head_room) else None
        faults = [fault.removeprefix(f"{with_colon(name)} ") for fault in mismatches(outcome, config)]
        result = Result("differs", faults[0]) if faults else Result("agrees", head_room=room)
        keep(result)
        result.microseconds, result.ratio = speed(config, dataset, backend)
    keep(result)
    if result.verdict == "agrees":
        return
    results = ([], [outcome]) if isinstance(outcome, Failure) else ([outcome], [])
    enough = next((count for _, count in to_trace(*results, [backend], config, steps)), steps)
    explain(result, backend, trace(config, dataset, backend, enough), folder)
    keep(result)


def speed(config: TrainConfig, dataset: Dataset, backend: Backend) -> tuple[float, float]:
    """Return the microseconds of a step, and the ratio to NumPy's in the same dtype.

    Both train in turns, a chunk of steps each, and both numbers are medians over the rounds: what else runs on the
    machine slows down both.
    """
    numpy = open_backend("numpy", dtype=backend.dtype_name)
    ends = time.perf_counter() + SECONDS
    rounds: list[tuple[float, float]] = []
    for own, reference in zip(step_times(config, dataset, backend), step_times(config, dataset, numpy), strict=True):
        rounds.append((own, reference))
        if len(rounds) > ROUNDS or (len(rounds) > 1 and time.perf_counter() > ends):
            break
    own_times, ratios = zip(*((own, own / other) for own, other in rounds[1:] or rounds), strict=True)
    return 1e6 * float(np.median(own_times)), float(np.median(ratios))


def step_times(config: TrainConfig, dataset: Dataset, backend: Backend) -> Iterator[float]:
    """Train, and yield after every chunk of the usual length the seconds of a step, without evaluation.

    In the first of them a library may have compiled.
    """
    arrays = {name: backend.asarray(x) for name, x in dataset._asdict().items() if isinstance(x, np.ndarray)}
    tally, longest = Tally(), 0
    for event in trajectory(config, dataset._replace(**arrays), backend):
        now, steps = event.position.tally, len(event.losses)
        # The epoch begins with a chunk of one step.
        if event.position.epoch != WARM_UP_EPOCH and steps > 1 and steps >= longest:
            longest = steps
            yield (now.seconds - tally.seconds) / steps
        tally = Tally() if event.report or event.position.epoch == WARM_UP_EPOCH else now


def explain(result: Result, backend: Backend, run: Tracer, folder: Path) -> None:
    """Add the first operation that deviates or raises to a result, and its reproducer."""
    operation = run.first or run.raised
    if run.first:
        result.deviation = deviation_line(backend, run.first).removeprefix(f"{with_colon(backend.name)} ")
    elif run.failure:
        said = getattr(run.failure, "text", repr(run.failure))
        result.deviation = said.removeprefix(f"backend {with_colon(backend.name)} ")
    if operation is None:
        return
    result.operation = operation.name
    result.whose = str(getattr(getattr(backend.xp, operation.name, None), "__module__", None) or "")
    made = write_reproducer(backend, operation, folder)
    if not made.shows or (folder / "inputs.npz").stat().st_size > SMALL:
        shutil.rmtree(folder, ignore_errors=True)
        return
    # It is kept beside the hooks, wherever that will be.
    hooks = Path.cwd().resolve()
    text = made.script.read_text("utf-8")
    if folder.parent.parent.resolve() == hooks.parent:
        place = f"__file__.replace('{folder.parent.name}/{folder.name}/reproduce.py', '{hooks.name}')"
        text = text.replace(repr(str(hooks)), place)
    write_whole(made.script, text.encode())
    done = subprocess.run([sys.executable, made.script], capture_output=True, text=True, check=False)
    result.reproducer = " ".join([*done.stdout.split(), *done.stderr.strip().rpartition("\n")[2].split()])


if __name__ == "__main__":
    _, backend_name, dtype_name, steps_wanted, *paths = sys.argv
    main(backend_name, dtype_name, int(steps_wanted), Path(paths[0]), Path(paths[1]), Path(paths[2]))
