"""The benchmark: its contestants compute the same numbers, and a wrong one is found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_sets import synthetic, write_idx_folder
from helpers import NAMESPACE, SCRIPTS

from benchmarks.contestants import CONTESTANTS, LAYERWISE, SIMULTANEOUS
from benchmarks.whole import make_contestant
from benchmarks.workloads import EPOCH, FIT, Job, Workload
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
