"""The benchmark: its contestants compute the same, one that does not is found out, each
table comes as it is ready.
"""

import gzip
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_sets import synthetic, write_idx_folder
from helpers import NAMESPACE, SCRIPTS, assert_one_line, call_main

from benchmarks import bench, own_recipe, report
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
HEAVY = {
    "mlp_xp-jax": "jax",
    "mlp_xp-torch": "torch",
    "pytorch": "torch",
    "keras-jax": "keras",
    "numba": "numba",
}
QUICK_ONES = ("notebook", "mlp_xp-numpy", "scikit-learn")
ON_CPU = [
    pytest.param(
        name,
        workload,
        marks=[pytest.mark.slow, pytest.mark.needs(package)] if package else [],
    )
    for name, package in (dict.fromkeys(QUICK_ONES) | HEAVY).items()
    # which takes long to compile each
    for workload in (SINGLE, BATCHES)[: 1 if name == "numba" else 2]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of 28 x 28 images, compressed as the notebook's own loader wants
    it.
    """
    folder = write_idx_folder(
        tmp_path_factory.mktemp("data"), synthetic(SAMPLES, 30, 28)
    )
    for path in folder.iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder


def by_the_notebook(
    workload: Workload, folder: Path, orders: list[np.ndarray], textbook: bool
) -> tuple[list, float]:
    """The losses of an epoch per permutation, and the loss on the test set after them,
    from the tests' oracle.
    """
    dataset = load_dataset(folder)
    train, test = map(notebook.prepared, (dataset.train, dataset.test))
    model = notebook.Notebook(
        hidden_size=16, learning_rate=workload.learning_rate, textbook=textbook
    )
    images, labels = train.inputs, train.labels
    losses = []
    for order in orders:
        images, labels = images[order], labels[order]
        for start in range(0, STEPS * workload.batch_size, workload.batch_size):
            rows = slice(start, start + workload.batch_size)
            losses.append(float(np.mean(model.train_step(images[rows], labels[rows]))))
    output = model.forward(test.inputs).output
    return losses, float(notebook.cross_entropy_loss(test.labels, output))


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize(
    ("name", "workload"), ON_CPU, ids=lambda value: getattr(value, "name", value)
)
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
        contestant = make_contestant(
            Job(name, SINGLE._replace(kind=kind), 1, str(folder))
        )
        contestant.train(0, 1)
        losses.append(contestant.loss())
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=6e-8)
    assert losses[0] < np.log(10) if kind == FIT else losses[0] > 0


def test_the_table_of_real_processes_and_a_planted_wrong_loss(
    folder: Path, tmp_path: Path
) -> None:
    """As README says: the notebook against a namespace in the current folder. This
    one's tanh is a little off.
    """
    planted = "xp = Namespace(tanh=lambda x: numpy.tanh(x) * 1.001)\n"
    (tmp_path / "my_lib.py").write_text(NAMESPACE + planted)
    words = [
        "--contestants",
        "notebook",
        "my_lib:xp",
        "--workloads",
        "one-float64",
        "--rounds",
        "2",
        "--steps",
        "20",
    ]
    command = [
        sys.executable,
        str(SCRIPTS / "bench.py"),
        *words,
        "--data-dir",
        str(folder),
        "--output-dir",
        "out",
    ]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    number = r"~?[\d.]+"
    assert re.search(
        rf"^\| notebook's loop +\| +{number} \| +1\.0 \| .* [\d.]+ \|$",
        done.stdout,
        re.MULTILINE,
    )
    assert re.search(
        rf"^\| mlp_xp, my_lib:xp +\| +{number} \| +{number} \| .* ≠ \|$",
        done.stdout,
        re.MULTILINE,
    )
    assert re.search(
        r"- ≠ mlp_xp, my_lib:xp: loss [\d.]+ is not the reference's [\d.]+", done.stdout
    )
    (workload,) = json.loads((tmp_path / "out" / "bench.json").read_text())["workloads"]
    assert all(
        each["peak_bytes"] > 1e6 and len(each["round_seconds"]) == 3
        for each in workload["results"]
    )
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_recipe_is_compared_with_scikit_learn() -> None:
    """On one split alone, whose epochs and scores are then the medians."""
    dataset = own_recipe.split("linnerud", "regression", 3)
    (score, epochs), others = (
        own_recipe.own(dataset),
        [f"{each:.4f}" for each in own_recipe.others(dataset)],
    )
    row = own_recipe.compare("linnerud", "regression", range(3, 4)).split()
    assert row == ["linnerud", "20", f"{score:.4f}", str(epochs), *others]


def result(name: str, *seconds: float, loss: float = 2.0) -> dict:
    return {
        "contestant": name,
        "round_seconds": [*seconds],
        "start_seconds": [1],
        "peak_bytes": 10**9,
        "loss": loss,
    }


def planted(workload: Workload, *results: dict) -> dict:
    return workload._asdict() | {
        "results": [*results],
        "reference_loss": dict.fromkeys(REFERENCES, 2.0),
    }


def test_the_arithmetic_of_a_table() -> None:
    """A ratio is taken within a round, and the first round is left out. The medians'
    ratio would be 1.5.
    """
    mine, theirs = result("mlp_xp-jax", 100, 1, 3, 8), result("notebook", 1, 2, 12, 2)
    assert report.ratios(mine, theirs) == [0.5, 0.25, 4]
    text = report.table(
        planted(
            SINGLE, theirs, mine, {"contestant": "numba", "unavailable": "no numba"}
        )
    )
    (row,) = [line for line in text.splitlines() if line.startswith("| mlp_xp, JAX")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["mlp_xp, JAX", "~250000", "~0.50", "1.0", "97.0", "1000", "2.0000"]
    assert "- not run: Numba loop: limit: no numba" in text
    assert report.figure([9, 9, 10, 11, 11], 3) == "10.0"
    # a fifth of the median, or more
    assert report.figure([8.9, 8.9, 10, 11.1, 11.1], 3) == "~10.0"


@pytest.mark.parametrize("words", [["--quick"], ["--curves"]])
def test_each_table_is_written_as_it_ends(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, titles = io.BytesIO(), []

    def measure(workload: Workload, names: list[str], **options: object) -> dict:
        said = raw.getvalue().decode().replace("\r\n", "\n")
        assert all(title in said for title in titles)
        titles.append(f"### {workload.title}\n")
        return planted(
            workload,
            *(
                result(name, 1, 2, 2, 2)
                for name in names
                if name in ("notebook", "mlp_xp-jax")
            ),
        )

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
    monkeypatch.setattr(
        sys, "argv", ["bench.py", *words, "--output-dir", str(tmp_path)]
    )
    assert bench.bench() == 0
    workloads = (
        [WORKLOADS[name] for name in QUICK]
        if words == ["--quick"]
        else [*CURVES["batch size"].values()]
    )
    assert titles[: len(workloads)] == [
        f"### {workload.title}\n" for workload in workloads
    ]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--contestants", "numby"], "'numby' is not known"),
        (["--rounds", "0"], "--rounds: 0 is out of range"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], part: str) -> None:
    assert_one_line(call_main(bench.bench, "scripts/bench.py", *words), 2, part)


def test_what_does_not_run_is_listed_and_fails_if_it_was_asked_for(
    folder: Path,
) -> None:
    words = [
        "--workloads",
        "one-float64",
        "--contestants",
        "no_such:xp",
        "--data-dir",
        folder,
    ]
    outcome = call_main(bench.bench, "scripts/bench.py", *words)
    assert_one_line(outcome, 2, "--contestants: no_such:xp gave no result")
    assert re.search(
        r"- not run: mlp_xp, no_such:xp: .* No module named 'no_such'", outcome.out
    )


@pytest.mark.posix
def test_make_gpu_fails_if_a_part_fails_and_says_in_one_line_that_there_is_no_gpu(
    tmp_path: Path,
) -> None:
    """On stand-ins for nvidia-smi and Python."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    command = [
        "make",
        "--no-print-directory",
        "gpu",
        f"PYTHON={tmp_path}/python",
        f"GPU_LOG={tmp_path}/log",
    ]

    def make(smi: str, python: str, *words: str) -> subprocess.CompletedProcess[str]:
        for name, lines in (("nvidia-smi", smi), ("python", python)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
            (tmp_path / name).chmod(0o755)
        return subprocess.run(
            [*command, *words],
            capture_output=True,
            text=True,
            check=False,
            env=env,
            cwd=SCRIPTS.parent,
        )

    done = make("exit 9", "")
    assert (done.returncode, done.stdout.partition(": ")[2][:16]) == (
        2,
        "nvidia-smi shows",
    )
    version = "echo '|  CUDA Version: 12.8  |'"
    done = make(version, "exit 1", "INSTALL=no")
    assert (
        done.stdout
        == f"no usable GPU: CuPy is missing in {tmp_path}/python, or finds none\n"
    )
    done = make(
        version, 'case "$*" in *"--dtype float32"*) exit 1;; esac', "INSTALL=no"
    )
    assert done.returncode
    assert done.stdout == (tmp_path / "log").read_text()
    parts = re.findall(r"^\$ python (.*)$", done.stdout, re.MULTILINE)
    assert [part.split()[0] for part in parts] == [
        "-m",
        *["scripts/parity.py"] * 2,
        *["scripts/bench.py"] * 2,
    ]
    assert re.findall(r"^FAILED: .*$", done.stdout, re.MULTILINE) == [
        f"FAILED: python {parts[2]}"
    ]
    assert make(version, "exit 0", "INSTALL=no").returncode == 0
