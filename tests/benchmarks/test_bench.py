"""The benchmark: its contestants compute the same numbers.

A wrong one is found out, and each table is written when it is ready.
"""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import synthetic, write_idx_folder
from helpers import NAMESPACE, SCRIPTS, assert_one_line, call_main

from benchmarks import bench, pictures, report
from benchmarks.contestants import CONTESTANTS, LAYERWISE, REFERENCES, SIMULTANEOUS
from benchmarks.whole import make_contestant
from benchmarks.workloads import CURVES, EPOCH, FIT, QUICK, WORKLOADS, Job, Workload
from mlp_xp.data.datasets import load_dataset
from mlp_xp.parity import notebook

SAMPLES, STEPS = 60, 12
SINGLE = Workload(
    "single", "one sample a step", 1, (16,), "float64", "notebook", 0.5, STEPS
)
BATCHES = SINGLE._replace(name="batches", title="batches of 5", batch_size=5)
# The contestants on a CPU, and their packages.
QUICK_ONES = ("notebook", "mlp_xp-numpy", "scikit-learn")
HEAVY = {
    "mlp_xp-jax": "jax",
    "mlp_xp-torch": "torch",
    "pytorch": "torch",
    "keras-jax": "keras",
    "numba": "numba",
}
ON_CPU = [
    pytest.param(
        name,
        workload,
        marks=[pytest.mark.slow, pytest.mark.needs(HEAVY[name])]
        if name in HEAVY
        else [],
        id=f"{name}-{workload.name}",
    )
    for name in (*QUICK_ONES, *HEAVY)
    for workload in (SINGLE, BATCHES)
    # which takes long to compile
    if (name, workload) != ("numba", BATCHES)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of 28 x 28 images, compressed for the notebook's own loader."""
    place = tmp_path_factory.mktemp("data")
    return write_idx_folder(place, synthetic(SAMPLES, 30, 28), packed=True)


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize(("name", "workload"), ON_CPU)
def test_contestant_computes_the_losses_of_its_update_order(
    name: str, workload: Workload, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # undone after the test; the contestant sets it
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    contestant = make_contestant(Job(name, workload, 1, str(folder)))
    random = np.random.default_rng(4)
    orders, losses = [random.permutation(SAMPLES) for _ in range(2)], []
    for order in orders:
        contestant.shuffle(order)
        losses.append(contestant.train(0, STEPS))
    order = CONTESTANTS[name].order
    expected, loss = by_the_notebook(workload, folder, orders, order == SIMULTANEOUS)
    other, _ = by_the_notebook(workload, folder, orders, order == LAYERWISE)
    assert not np.allclose(expected, other, rtol=1e-4)
    # 4 sqrt(eps)
    np.testing.assert_allclose(np.concatenate(losses), expected, rtol=6e-8)
    assert contestant.loss() == pytest.approx(loss, rel=6e-8)


def by_the_notebook(
    workload: Workload, folder: Path, orders: list[np.ndarray], textbook: bool
) -> tuple[list[float], float]:
    """Return the losses of an epoch per permutation, and the final test loss.

    They come from the tests' oracle.
    """
    dataset, size = load_dataset(folder), workload.batch_size
    train, test = map(notebook.prepared, (dataset.train, dataset.test))
    model = notebook.Notebook(
        hidden_size=16, learning_rate=workload.learning_rate, textbook=textbook
    )
    losses, rows = [], np.arange(SAMPLES)
    for order in orders:
        rows = rows[order]
        for start in range(0, STEPS * size, size):
            batch = rows[start : start + size]
            loss = model.train_step(train.inputs[batch], train.labels[batch])
            losses.append(float(np.mean(loss)))
    output = model.forward(test.inputs).output
    return losses, float(notebook.cross_entropy_loss(test.labels, output))


@pytest.mark.filterwarnings("ignore")  # of scikit-learn: not converged
@pytest.mark.parametrize(
    ("kind", "first"),
    [(EPOCH, "notebook"), pytest.param(FIT, "scikit-learn", marks=pytest.mark.slow)],
)
def test_whole_programs_end_with_the_same_loss(
    kind: str, first: str, folder: Path
) -> None:
    losses = []
    for name in (first, "mlp_xp-numpy", "array_api_compat:numpy"):
        job = Job(name, SINGLE._replace(kind=kind), 1, str(folder))
        contestant = make_contestant(job)
        contestant.train(0, 1)
        losses.append(contestant.loss())
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=6e-8)
    assert losses[0] > 0
    assert kind == EPOCH or losses[0] < np.log(10)


@pytest.mark.slow
def test_the_table_of_real_processes_and_a_planted_wrong_loss(
    folder: Path, tmp_path: Path
) -> None:
    """As README says: the notebook against a namespace in the current folder.

    This one's tanh is a little off.
    """
    planted = "xp = Namespace(tanh=lambda x: numpy.tanh(x) * 1.001)\n"
    (tmp_path / "my_lib.py").write_text(NAMESPACE + planted)
    words = "--contestants notebook my_lib:xp --workloads one-float64 --rounds 2"
    script = [sys.executable, SCRIPTS / "bench.py", "--data-dir", folder]
    done = subprocess.run(
        [*script, *words.split(), "--steps", "20", "--output-dir", "out"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    figure = r"\| +~?[\d.]+"
    for line in (
        rf"\| notebook's loop +{figure} \| +1\.0 \| .* [\d.]+ \|",
        rf"\| mlp_xp, my_lib:xp +{figure} {figure} \| .* ≠ \|",
        r"- ≠ mlp_xp, my_lib:xp: loss [\d.]+ is not the reference's [\d.]+.*",
    ):
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), line
    out = tmp_path / "out"
    (workload,) = json.loads((out / "bench.json").read_text())["workloads"]
    for each in workload["results"]:
        assert each["peak_bytes"] > 1e6
        assert len(each["round_seconds"]) == 3
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


# Tables of planted results.


def result(name: str, *seconds: float) -> dict:
    return {
        "contestant": name,
        "round_seconds": [*seconds],
        "start_seconds": [1],
        "peak_bytes": 10**9,
        "loss": 2.0,
    }


def planted(workload: Workload, *results: dict) -> dict:
    references = dict.fromkeys(REFERENCES, 2.0)
    return {
        **workload._asdict(),
        "results": [*results],
        "reference_loss": references,
    }


def test_a_ratio_is_taken_within_a_round_and_the_first_round_is_left_out() -> None:
    """The medians' ratio would be 1.5."""
    mine, theirs = result("mlp_xp-jax", 100, 1, 3, 8), result("notebook", 1, 2, 12, 2)
    assert report.ratios(mine, theirs) == [0.5, 0.25, 4]
    missing = {"contestant": "numba", "unavailable": "no numba"}
    said = set[str]()
    text = report.table(planted(SINGLE, theirs, mine, missing), said)
    (row,) = [line for line in text.splitlines() if line.startswith("| mlp_xp, JAX")]
    assert re.split(r" *\| +", row.rstrip("| "))[1:] == [
        "mlp_xp, JAX",
        "~250000",
        "~0.50",
        "1.0",
        "97.0",
        "1000",
        "2.0000",
    ]
    assert "- not run: Numba loop: limit: no numba" in text
    again = report.table(planted(BATCHES, mine, missing), said)
    assert "\n- " not in again
    assert BATCHES.title in again


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([9, 9, 10, 11, 11], "10.0"),
        # a fifth of the median, or more
        ([8.9, 8.9, 10, 11.1, 11.1], "~10.0"),
    ],
)
def test_a_figure_that_varies_is_marked(values: list[float], said: str) -> None:
    assert report.figure(values, 3) == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "workloads"),
    [
        ("--quick", [WORKLOADS[name] for name in QUICK]),
        ("--curves", [*CURVES["batch size"].values()]),
    ],
    ids=["--quick", "--curves"],
)
def test_each_table_is_written_as_it_ends(
    option: str,
    workloads: list[Workload],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw, titles = io.BytesIO(), []

    def measure(workload: Workload, names: list[str], **options: object) -> dict:
        said = raw.getvalue().decode().replace("\r\n", "\n")
        assert all(title in said for title in titles)
        titles.append(title_of(workload))
        ran = [name for name in ("notebook", "mlp_xp-jax") if name in names]
        return planted(workload, *(result(name, 1, 2, 2, 2) for name in ran))

    words = [option, "--output-dir", str(tmp_path)]
    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
    monkeypatch.setattr(sys, "argv", ["bench.py", *words])
    assert bench.bench() == 0
    assert titles[: len(workloads)] == [*map(title_of, workloads)]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png"}


def test_each_panel_of_the_bars_has_the_unit_of_its_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(pictures, "png", figures.append)
    heavy, whole = SINGLE._replace(steps=1), SINGLE._replace(kind=FIT, steps=1)
    spread = result("mlp_xp-jax", 9, 3e-4, 3e-4)
    panels = [
        planted(SINGLE, result("notebook", 9, 6e-4, 6e-4), spread),
        planted(heavy, result("notebook", 9, 0.05, 0.05), result("pytorch", 9, 1, 1)),
        planted(whole, result("scikit-learn", 9, 4, 4)),
    ]
    pictures.draw_bars({"workloads": panels})
    (figure,) = figures
    found = [
        (axes.get_xlabel(), [bar.get_width() for bar in axes.patches])
        for axes in figure.axes
    ]
    assert [label for label, _ in found] == [
        "µs per step",
        "ms per step, logarithmic axis",
        "seconds",
    ]
    expected = [6e-4 / STEPS * 1e6, 3e-4 / STEPS * 1e6], [50, 1000], [4]
    for (_, widths), lengths in zip(found, expected, strict=True):
        assert widths == pytest.approx(lengths)


def title_of(workload: Workload) -> str:
    return f"### {workload.title}\n"


# Refusals and missing libraries.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--contestants numby", "'numby' is not known"),
        ("--rounds 0", "--rounds: 0 is out of range"),
    ],
)
def test_a_wrong_option_is_one_line(words: str, said: str) -> None:
    outcome = call_main(bench.bench, "scripts/bench.py", *words.split())
    assert_one_line(outcome, 2, said)


@pytest.mark.slow
def test_what_does_not_run_is_listed_and_fails_if_it_was_asked_for(
    folder: Path,
) -> None:
    words = "scripts/bench.py --workloads one-float64 --contestants no_such:xp"
    outcome = call_main(bench.bench, *words.split(), "--data-dir", folder)
    assert_one_line(outcome, 2, "--contestants: no_such:xp gave no result")
    said = r"- not run: mlp_xp, no_such:xp: .* No module named 'no_such'"
    assert re.search(said, outcome.out)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.996, "1.0"), (9.96, "10"), (0.0967, "0.097"), (250.4, "250"), (8.77, "8.8")],
)
def test_a_number_has_two_digits_also_after_rounding(number, shown):
    assert report.digits(number, 2) == shown
