"""Time whole programs: a round is a new process of each contestant, one after another.

The other libraries' programs are in `programs`; `mlp_xp` is the command `train` itself. Times are taken where an event
of the program arrives, see `programs`.
"""

import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.bench.contestants import NOTEBOOK, WARM, contestant_of, is_foreign
from mlp_xp.bench.measure import Process, WorkerError
from mlp_xp.bench.programs import Event
from mlp_xp.bench.report import Record
from mlp_xp.data.datasets import MNIST_DIR
from mlp_xp.data.downloads import CACHE_VARIABLE

PYTHON = (sys.executable, "-m")
Events = list[tuple[float, Event]]
"""With the seconds since the start of the process."""


class Figure(NamedTuple):
    """A time that is taken in each round, and shown as a workload of its own."""

    name: str
    title: str
    since: str
    """"start": of the process; or "ready": when the data are loaded and the model is built."""
    goal: float | None = None
    """Until this accuracy on the test set is reached; None for the end of the program."""


class Whole(NamedTuple):
    """A workload of which the whole process is timed."""

    figures: tuple[Figure, ...]
    settings: dict[str, Any]
    """What `programs.Job` has."""
    programs: dict[str, tuple[str, dict[str, str]]]
    """The contestants: a function of `programs`, with its arguments; or the command `train`, with none."""
    foreign: Callable[[str], tuple[str, dict[str, str]]]
    """The same for any array API namespace."""
    train: tuple[str, ...] = ()
    """Options of the command `train`."""
    reference: str = ""
    """The contestant whose loss all others must have."""
    loss_tolerance: float | None = None
    """Largest absolute difference of the losses. None for rounding errors."""
    check: dict[str, Any] | None = None
    """Settings that replace others in a program of each contestant which is not timed, for the loss after an epoch."""
    rounds: int = 5
    """The largest number of rounds."""
    first: dict[str, Any] = {}  # noqa: RUF012  (nothing changes it)
    """Settings that replace others in the first round, which is not counted."""
    seeds: bool = False
    """Whether each round has another seed, so that no contestant is lucky in all rounds."""


TRAIN: tuple[str, dict[str, str]] = ("train", {})
EPOCHS = 15
# scikit-learn's defaults: after this many epochs in a row without an improvement by TOL, `fit` ends. So a loss is
# determined up to their product: another order of a sum may make it end that much earlier or later.
EPOCHS_WITHOUT, TOL = 10, 1e-4


def estimator(backend: str) -> tuple[str, dict[str, str]]:
    """Return the program that fits the package's estimator on a backend."""
    return "fit", {"module": "mlp_xp.estimator", "backend": backend}


def _fit(dtype: str) -> Whole:
    return Whole(
        (Figure(f"fit-{dtype}", f"MLPClassifier().fit on MNIST, {dtype}", "ready"),),
        {"hidden": (100,), "batch_size": 200, "learning_rate": 0.001, "dtype": dtype, "epochs": 200},
        {
            "mlp_xp-numpy": estimator("numpy"),
            "mlp_xp-jax": estimator("jax"),
            "scikit-learn": ("fit", {"module": "sklearn.neural_network"}),
        },
        estimator,
        reference="scikit-learn",
        loss_tolerance=EPOCHS_WITHOUT * TOL,
        rounds=3,
        first={"epochs": 1},
        # In float64 all need the same number of epochs. In float32 rounding decides about the last ones.
        seeds=dtype == "float32",
    )


WHOLE = {
    "to-accuracy": Whole(
        tuple(
            Figure(f"to-{goal}", f"784-256-10, batches of 128, float32: start to {goal} %", "start", goal / 100)
            for goal in (97, 98)
        ),
        {"hidden": (256,), "batch_size": 128, "learning_rate": 0.1, "dtype": "float32", "epochs": EPOCHS},
        {
            "mlp_xp-numpy": TRAIN,
            "mlp_xp-jax": TRAIN,
            WARM: TRAIN,
            "pytorch": ("pytorch", {}),
            "keras-jax": ("keras_on_jax", {}),
            "scikit-learn": ("scikit_learn", {}),
        },
        lambda name: TRAIN,
        # The recipe has ReLU, He's weights, and the momentum and update order that are usual.
        ("--recipe", "small", "--schedule", "constant", "--report-every", str(2**31 - 1)),
        reference="mlp_xp-numpy",
        # In float32, rounding moves some input of a ReLU across 0 after a few steps. From there on, the runs differ.
        check={"dtype": "float64", "epochs": 1},
        seeds=True,
    ),
    "first-epoch": Whole(
        (
            Figure("first-epoch", "784-64-10, one sample a step, float64: the first epoch, with reports", "ready"),
            Figure("first-epoch-process", "784-64-10, the same, from the start of the process", "start"),
        ),
        {"hidden": (64,), "batch_size": 1, "learning_rate": 0.01, "dtype": "float64", "epochs": 1},
        {NOTEBOOK: ("notebook", {}), "mlp_xp-numpy": TRAIN, "mlp_xp-jax": TRAIN, WARM: TRAIN},
        lambda name: TRAIN,
        reference=NOTEBOOK,
    ),
    "fit-float64": _fit("float64"),
    "fit-float32": _fit("float32"),
}


def run(
    name: str, workload: Whole, *, seed: int, threads: int | None, data_dir: Path, cache: Path
) -> Generator[tuple[float, Event]]:
    """Run the program of a contestant, and yield its events with the seconds since the start of the process.

    cache: the folder where `mlp_xp` keeps what JAX compiled. Raises WorkerError if the process ends too early. Closing
    the generator ends the process.
    """
    settings = workload.settings
    program, arguments = workload.programs[name] if name in workload.programs else workload.foreign(name)
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "run"
        if program == "train":
            backend, device = contestant_of(name).arguments[:2]
            command = ["mlp_xp", "train", *workload.train, "--backend", backend, "--run-dir", str(run_dir)]
            command += ["--device", device] if device else []
            for option in ("hidden", "batch_size", "learning_rate", "dtype", "epochs"):
                value = settings[option]
                words = map(str, value) if isinstance(value, tuple) else [str(value)]
                command += [f"--{option.replace('_', '-')}", *words]
            command += ["--seed", str(seed)]
            command += ["--data-dir", str(data_dir)] if data_dir != MNIST_DIR else []
        else:
            job = {**settings, "seed": seed, "threads": threads, "data_dir": str(data_dir)}
            command = ["mlp_xp.bench.programs", json.dumps([program, arguments, job])]
        # Of what the user's own cache of compiled functions holds, nothing is known.
        variables = dict.fromkeys(("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"))
        variables |= {CACHE_VARIABLE: str(cache), "PYTHONUNBUFFERED": "1"}
        with closing(Process([*PYTHON, *command], threads, variables)) as process:
            while True:
                line = process.line()
                seconds = time.perf_counter() - process.began
                event = read_train(line, run_dir) if program == "train" else json.loads(line)
                if event:
                    yield seconds, event
                if event.get("end"):
                    return


def read_train(line: str, run_dir: Path) -> Event:
    """Return the event in a line that `train` printed, or {} if there is none. See `programs`."""
    words = line.split()
    if words == ["run", str(run_dir)]:  # the last line before the first step, and so before JAX compiles it
        return {"ready": True}
    if len(words) == 7 and words[0].isdecimal() and words[1].isdecimal():
        # A report comes after a step of the next epoch.
        return {"epochs": int(words[0]), "accuracy": float(words[3]), "loss": float(words[5])}
    if re.match("trained in ", line):
        result = json.loads((run_dir / "result.json").read_text())
        return {"end": True, "accuracy": result["accuracy"], "loss": result["test_loss"]}
    return {}


def time_of(figure: Figure, events: Events) -> Record | None:
    """Return the seconds of a figure, with the epochs that it took and the accuracy then; None if not reached."""
    start = next((seconds for seconds, event in events if event.get("ready")), 0.0) if figure.since == "ready" else 0.0
    for seconds, event in events:
        if event.get("end") if figure.goal is None else event.get("accuracy", 0.0) >= figure.goal:
            return {"seconds": seconds - start, **{key: event[key] for key in ("epochs", "accuracy") if key in event}}
    return None


def measure_whole(
    workload: Whole,
    names: Iterable[str],
    *,
    rounds: int,
    threads: int | None = 1,
    data_dir: Path = MNIST_DIR,
    say: Callable[[str], None] = lambda text: None,
) -> list[Record]:
    """Run the programs of contestants in turn, and return a record as `measure` does for each figure of the workload.

    Contestants without a program for it are left out. The first round, which is not counted, fills the caches of the
    system, and the one of WARM.
    """
    runs: dict[str, list[Events]] = {}
    losses: dict[str, float] = {}
    faults: dict[str, str] = {}
    names = [name for name in names if name in workload.programs or is_foreign(name)]
    rounds = min(rounds, workload.rounds)
    what = workload.figures[-1].name
    with tempfile.TemporaryDirectory() as place:

        def start(name: str, label: str, seed: int = 0, **others: Any) -> Generator[tuple[float, Event]]:
            cache = Path(place) / label.replace("/", "_")
            changed = workload._replace(settings={**workload.settings, **others})
            return run(name, changed, seed=seed, threads=threads, data_dir=data_dir, cache=cache)

        for i in range(rounds + 1):
            for name in [each for each in names if each not in faults]:
                say(f"{what}: round {i} of {rounds}, {name}")
                label = name if name == WARM else f"{name}-{i}"
                try:
                    with closing(
                        start(name, label, i if workload.seeds else 0, **({} if i else workload.first))
                    ) as events:
                        runs.setdefault(name, []).append(until_done(workload, events))
                except WorkerError as error:
                    faults[name] = str(error)
        if workload.check:
            # Whether a foreign namespace computes the same is a question for the parity check.
            for name in {workload.reference: None} | {each: None for each in names if each in workload.programs}:
                if name not in faults:
                    say(f"{what}: check, {name}")
                    try:
                        with closing(start(name, f"{name}-check", **workload.check)) as events:
                            losses[name] = loss_of(events)
                    except WorkerError as error:
                        faults[name] = str(error)
        else:
            losses = {name: loss_of(found[1]) for name, found in runs.items() if name not in faults}
    records = []
    for figure in workload.figures:
        results: list[Record] = []
        for name in names:
            if name in faults:
                results.append({"contestant": name, "unavailable": faults[name]})
            else:
                result = result_of(name, figure, runs[name])
                results.append(result | ({} if "unavailable" in result else {"loss": losses.get(name)}))
        dtype = (workload.check or workload.settings)["dtype"]
        records.append(
            {
                "name": figure.name,
                "title": figure.title,
                "dtype": dtype,
                "steps": 1,
                "unit": "s",
                "rounds": rounds,
                "reference": workload.reference,
                "reference_loss": losses.get(workload.reference),
                "loss_tolerance": workload.loss_tolerance,
                "checked": bool(workload.check),
                "results": results,
            }
        )
    return records


def until_done(workload: Whole, events: Iterable[tuple[float, Event]]) -> Events:
    """Return the events of a program up to the one at which all figures of the workload are known."""
    found = []
    for each in events:
        found.append(each)
        if all(time_of(figure, found) for figure in workload.figures):
            break
    return found


def loss_of(events: Iterable[tuple[float, Event]]) -> float:
    """Return the loss after one epoch, or else at the end."""
    return float(next(event for _, event in events if event.get("epochs") == 1 or event.get("end"))["loss"])


def result_of(name: str, figure: Figure, runs: list[Events]) -> Record:
    """Return a contestant's result for a figure. runs: the events of all rounds, the first one included."""
    times = [time_of(figure, events) for events in runs]
    if None in times:
        events = runs[times.index(None)]
        best = max((event.get("accuracy", 0.0) for _, event in events), default=0.0)
        return {"contestant": name, "unavailable": f"reached {best:.2%} in {EPOCHS} epochs, not {figure.goal:.0%}"}
    found = [each for each in times if each]
    return {
        "contestant": name,
        "round_seconds": [each["seconds"] for each in found],
        "start_seconds": statistics.median(ready(events) for events in runs[1:]),
        **({"epochs": [each["epochs"] for each in found]} if "epochs" in found[0] else {}),
    }


def ready(events: Events) -> float:
    """Return the seconds from the start of the process until all was loaded and built."""
    return next(seconds for seconds, event in events if event.get("ready"))
