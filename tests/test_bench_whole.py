"""Whole programs in the benchmark: all compute the same, and the times are taken at the right events."""

import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers import call
from rich.console import Console
from test_bench import SAMPLES, folder, keras_backend  # noqa: F401  (fixtures)

from mlp_xp.bench import measure, report, whole
from mlp_xp.bench.contestants import WARM
from mlp_xp.bench.measure import Process
from mlp_xp.bench.programs import PROGRAMS, Event, initial_layers, load
from mlp_xp.bench.whole import WHOLE, Figure
from mlp_xp.commands import bench
from mlp_xp.network import initial_layers as own_initial_layers

EPOCHS = 3
ACCURACY = WHOLE["to-accuracy"]


@pytest.fixture
def job(folder: Path) -> dict:  # noqa: F811
    """Batches that leave a smaller one, and a rate at which momentum shows."""
    return {
        "hidden": (16,),
        "batch_size": 25,
        "learning_rate": 0.05,
        "dtype": "float64",
        "epochs": EPOCHS,
        "seed": 3,
        "threads": None,
        "data_dir": str(folder),
    }


def by_hand(job: dict) -> list[tuple[float, float]]:
    """The accuracy and loss on the test set after each epoch, in plain NumPy."""
    x, y, test_x, test_y = load(job)
    random = np.random.RandomState(job["seed"])
    (w0, b0), (w1, b1) = own_initial_layers((784, *job["hidden"], 10), random, "he")
    parameters = [w0, b0, w1, b1]
    velocities = [np.zeros_like(each) for each in parameters]

    def logits_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.maximum(rows @ w0 + b0, 0)
        return hidden, hidden @ w1 + b1

    def softmax(logits: np.ndarray) -> np.ndarray:
        exponentials = np.exp(logits)
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    order, found = np.arange(SAMPLES), []
    for _ in range(job["epochs"]):
        order = order[random.permutation(SAMPLES)]
        for start in range(0, SAMPLES, job["batch_size"]):
            rows = order[start : start + job["batch_size"]]
            hidden, logits = logits_of(x[rows])
            error = (softmax(logits) - np.eye(10)[y[rows]]) / len(rows)
            below = (error @ w1.T) * (hidden > 0)
            gradients = x[rows].T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0)
            for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                velocity[...] = 0.9 * velocity + gradient
                parameter -= job["learning_rate"] * velocity
        _, logits = logits_of(test_x)
        right = (logits.argmax(axis=1) == test_y).mean()
        found.append((right, -np.log(softmax(logits)[np.arange(len(test_y)), test_y]).mean()))
    return found


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize(
    ("name", "library"), [("pytorch", "torch"), ("keras_on_jax", "keras"), ("scikit_learn", "sklearn")]
)
def test_program_trains_the_same_network(name: str, library: str, job: dict) -> None:
    pytest.importorskip(library)
    first, *events = PROGRAMS[name](job)
    assert first == {"ready": True}
    assert [event["epochs"] for event in events] == [1, 2, 3]
    expected = by_hand(job)
    np.testing.assert_allclose(
        [(event["accuracy"], event["loss"]) for event in events], expected, rtol=report.tolerance("float64")
    )


def test_the_command_trains_the_same_network_and_is_read(job: dict, tmp_path: Path) -> None:
    words = [*ACCURACY.train, "--backend", "numpy", "--run-dir", tmp_path / "run", "--data-dir", job["data_dir"]]
    words += ["--hidden", 16, "--batch-size", 25, "--learning-rate", 0.05, "--dtype", "float64", "--epochs", EPOCHS]
    outcome = call("train", *words, "--seed", job["seed"])
    assert outcome.code == 0, outcome.err
    events = [event for line in outcome.out.splitlines() if (event := whole.read_train(line, tmp_path / "run"))]
    ready, *reports, end = events
    assert ready == {"ready": True}
    assert not whole.read_train("epoch  sample       loss  accuracy", tmp_path / "run"), "steps have been taken by then"
    assert [each["epochs"] for each in reports] == [0, 1, 2]
    accuracy, loss = by_hand(job)[-1]
    assert end["accuracy"] == accuracy
    assert end["loss"] == pytest.approx(loss, rel=report.tolerance("float64"))


def test_initial_layers_are_those_of_the_package(job: dict) -> None:
    layers = initial_layers(job, np.random.RandomState(1))
    expected = own_initial_layers((784, 16, 10), np.random.RandomState(1), "he")
    for layer, other in zip(layers, expected, strict=True):
        for array, wanted in zip(layer, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_both_estimators_fit_to_the_same_loss(job: dict) -> None:
    pytest.importorskip("sklearn")
    losses = []
    for name in ("scikit-learn", "mlp_xp-numpy"):
        program, arguments = WHOLE["fit-float64"].programs[name]
        with warnings.catch_warnings(action="ignore"):
            _, end = PROGRAMS[program](job, **arguments)
        assert end["epochs"] == EPOCHS
        losses.append(end["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=report.tolerance("float64"))


def test_real_programs_are_timed_and_agree(folder: Path) -> None:  # noqa: F811
    workload = WHOLE["first-epoch"]
    names = ["notebook", "mlp_xp-numpy", "no_such_module:xp", "numba"]
    records = whole.measure_whole(workload, names, rounds=1, data_dir=folder)
    assert [record["name"] for record in records] == ["first-epoch", "first-epoch-process"]
    since_ready, since_start = (report.measured(record) for record in records)
    assert list(since_ready) == names[:2]
    for name in names[:2]:
        for short, long in zip(since_ready[name]["round_seconds"], since_start[name]["round_seconds"], strict=True):
            assert 0 < short < long
        assert report.agrees(since_ready[name], records[0])
    reference = since_ready["notebook"]["loss"]
    assert (records[0]["reference"], records[0]["reference_loss"]) == ("notebook", reference)
    assert not report.agrees(since_ready["mlp_xp-numpy"] | {"loss": reference * (1 + 1e-6)}, records[0])
    assert "no_such_module" in records[0]["results"][2]["unavailable"]
    assert len(records[0]["results"]) == 3


# Seconds and events of a program that reaches 97 % after two epochs and 98 % after four.
USUAL: list[tuple[float, Event]] = [
    (2.0, {"ready": True}),
    (3.0, {"epochs": 1, "accuracy": 0.95, "loss": 0.5}),
    (4.0, {"epochs": 2, "accuracy": 0.97, "loss": 0.4}),
    (5.0, {"epochs": 3, "accuracy": 0.969, "loss": 0.4}),
    (6.0, {"epochs": 4, "accuracy": 0.9801, "loss": 0.3}),
    (7.0, {"epochs": 5, "accuracy": 0.99, "loss": 0.2}),
]


def test_a_figure_ends_at_its_event() -> None:
    fit = [(2.0, {"ready": True}), (9.0, {"end": True, "epochs": 40, "loss": 0.1})]
    assert whole.time_of(Figure("", "", "start", 0.97), USUAL) == {"seconds": 4.0, "epochs": 2, "accuracy": 0.97}
    assert whole.time_of(Figure("", "", "ready", 0.98), USUAL) == {"seconds": 4.0, "epochs": 4, "accuracy": 0.9801}
    assert whole.time_of(Figure("", "", "ready"), fit) == {"seconds": 7.0, "epochs": 40}
    assert whole.time_of(Figure("", "", "start"), fit) == {"seconds": 9.0, "epochs": 40}
    assert whole.time_of(Figure("", "", "start", 0.995), USUAL) is None


def test_time_to_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int, Path]] = []
    ended = []

    def run(name: str, workload: whole.Whole, *, seed: int, cache: Path, **others: object) -> Iterator:
        asked.append((name, seed, workload.settings["epochs"], cache))
        try:
            if workload.settings["epochs"] == 1:
                assert workload.settings["dtype"] == "float64"
                loss = 0.5 + (name == "scikit-learn") * 1e-6
                yield from [(1.0, {"ready": True}), (2.0, {"end": True, "loss": loss})]
                return
            slow = 2.0 if name == "pytorch" else 1.0
            for seconds, event in USUAL[:-3] if name == "keras-jax" else USUAL:
                yield seconds * slow, event
        finally:
            ended.append(name)

    monkeypatch.setattr(whole, "run", run)
    names = [*ACCURACY.programs, "my_lib:xp"]
    records = whole.measure_whole(ACCURACY, names, rounds=99)
    rounds = ACCURACY.rounds + 1
    # Interleaved, with a seed for each round, and then the checks.
    assert [name for name, *_ in asked] == names * rounds + names[:-1]
    assert [seed for _, seed, *_ in asked] == [i for i in range(rounds) for _ in names] + [0] * len(names[:-1])
    assert len(ended) == len(asked), "each process is ended"
    # Only the warm cache is kept from round to round.
    timed = asked[: rounds * len(names)]
    caches = {each: {cache for name, *_, cache in timed if name == each} for each in ("mlp_xp-jax", WARM)}
    assert (len(caches["mlp_xp-jax"]), len(caches[WARM])) == (rounds, 1)

    to_97, to_98 = (report.measured(record) for record in records)
    assert len(to_97["pytorch"]["round_seconds"]) == rounds
    assert report.step_seconds(to_97["pytorch"], records[0]) == pytest.approx(8, abs=0.1)
    assert report.step_seconds(to_98["pytorch"], records[1]) == pytest.approx(12, abs=0.1)
    assert to_98["mlp_xp-jax"]["epochs"] == [4] * rounds
    assert set(to_97) - set(to_98) == {"keras-jax"}
    wrong = {name for record in records for name, x in report.measured(record).items() if not report.agrees(x, record)}
    assert wrong == {"scikit-learn"}
    assert to_97["my_lib:xp"]["loss"] is None

    record = {**measure.circumstances(threads=1, rounds=5), "workloads": records}
    console = Console(width=80, record=True, file=io.StringIO())
    report.show(record, console)
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "not run: Keras on JAX: reached 97.00% in 15 epochs, not 98%" in shown
    assert "median of 5 rounds, a new process in each" in shown
    assert "≠ scikit-learn: loss 0.500001 is not the mlp_xp, NumPy reference's 0.5" in shown
    headings, (row, *_) = report.table_of(records[0])
    assert ["".join(lines) for lines in headings] == [
        *("contestant", "times", "÷ Py-Torch", "÷Keras", "÷ sci-kit", "starts", "epochs", "loss")
    ]
    assert row == ["mlp_xp, NumPy", "4.00", "0.50", "1.0", "1.0", "2.0", "2", "0.5000"]
    assert "†" not in shown
    pytest.importorskip("matplotlib")
    assert report.draw(record).startswith(b"\x89PNG")


def test_the_round_that_is_not_counted_is_short_and_the_loss_is_that_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def run(name: str, workload: whole.Whole, *, seed: int, **others: object) -> Iterator:
        asked.append((workload.settings["epochs"], seed))
        # 10 epochs without an improvement by 1e-4 determine a loss up to 1e-3.
        loss = {"scikit-learn": 0.01, "mlp_xp-numpy": 0.0109, "mlp_xp-jax": 0.0111}[name] + 0.1 * (len(asked) <= 3)
        yield from [(1.0, {"ready": True}), (len(asked), {"end": True, "epochs": 50, "loss": loss})]

    monkeypatch.setattr(whole, "run", run)
    workload = WHOLE["fit-float32"]
    (record,) = whole.measure_whole(workload, workload.programs, rounds=2)
    assert asked == [(1, 0)] * 3 + [(200, 1)] * 3 + [(200, 2)] * 3
    results = report.measured(record)
    assert results["mlp_xp-jax"]["round_seconds"] == [1, 4, 7]
    assert [name for name, each in results.items() if not report.agrees(each, record)] == ["mlp_xp-jax"]
    assert [report.ratios(results["mlp_xp-numpy"], results["scikit-learn"])] == [[3 / 5, 6 / 8]]


def test_whole_programs_are_part_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(bench, "measure", lambda workload, names, **options: {"name": workload.name})
    monkeypatch.setattr(
        bench, "measure_whole", lambda workload, names, **options: asked.append((workload, [*names], options)) or []
    )
    console = Console(quiet=True)
    bench.measure_all(bench.Options(), console)
    assert [(workload, names) for workload, names, _ in asked] == [(each, [*each.programs]) for each in WHOLE.values()]
    asked.clear()
    bench.measure_all(bench.Options(workloads=("first-epoch",), contestants=("a:b",), threads="all"), console)
    ((workload, names, options),) = asked
    assert (workload, names, options["threads"]) == (WHOLE["first-epoch"], ["a:b"], None)


SHOW = "import json, os; print(json.dumps([len(os.sched_getaffinity(0)), dict(os.environ)]))"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_setaffinity")
@pytest.mark.parametrize(("threads", "pinned"), [(1, True), (1, False), (None, True)])
def test_a_process_has_its_threads_or_all(threads: int | None, pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = os.sched_getaffinity(0)
    variables = {"HOME": None, "LANG": "C"}
    with closing(Process([sys.executable, "-c", SHOW], threads, variables, pinned=pinned)) as process:
        processors, environment = json.loads(process.line())
    assert os.sched_getaffinity(0) == before
    assert processors == (1 if threads and pinned else len(before))
    assert environment.get("OMP_NUM_THREADS") == environment.get("NPROC") == (threads and str(threads))
    assert "HOME" not in environment
    assert environment["LANG"] == "C"
