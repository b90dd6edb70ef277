"""The notebook's own numbers: its printed lines, and the steps of its retelling."""

from typing import NamedTuple

import numpy as np
import pytest
from helpers import first_state
from numerics import assert_near, trajectory_tolerance

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job
from mlp_xp.data.datasets import load_dataset
from mlp_xp.parity import notebook
from mlp_xp.parity._steps import start

PIXELS = 28 * 28
# Backends for all printed steps within a minute.
FAST = ("numpy", "jax")


class Figures(NamedTuple):
    """One report: the loss of a step, and the test accuracy after it."""

    epoch: int
    sample: int  # the index of the sample in the shuffled epoch
    loss: float
    accuracy: float


# Printed by the notebook: the first output with nine significant digits, all losses in
# full, accuracies exact. Its copy ends in epoch 2; the rest of the five epochs is
# unknown.
FIRST_OUTPUT = [
    2.68663086e-08,
    4.59179373e-02,
    6.77974378e-04,
    2.75506586e-02,
    7.74795216e-01,
    1.94717364e-02,
    7.94041780e-05,
    5.08554970e-04,
    2.98237201e-02,
    1.01174772e-01,
]
WARM_UP = [
    9.16264812588529,
    7.223333161807007,
    5.830257800794516,
    4.705050411253215,
    3.731189480421831,
    2.895925896543204,
    2.213008228387067,
    1.6775624030332286,
    1.2733157905064107,
    0.9784849978958721,
]
PRINTED = """\
0     0 8.21996605027983      0.0892
0 10000 1.2390590076281032    0.7833
0 20000 0.16352187075209745   0.8358
0 30000 0.18625180174804273   0.8518
0 40000 0.017464559994938084  0.8649
0 50000 2.336440394287572     0.8795
1     0 0.03388167125926495   0.8892
1 10000 0.0003113355522074509 0.8915
1 20000 2.4832208308321015    0.8934
1 30000 3.5124014555825642    0.8997
1 40000 0.019325449800918094  0.9031
1 50000 3.402583545306575     0.9053
2     0 0.29551786162378396   0.9081
2 10000 0.00176281519735282   0.9067
2 20000 0.31044146769123204   0.9101
"""
REPORTS = [
    Figures(int(epoch), int(sample), float(loss), float(accuracy))
    for epoch, sample, loss, accuracy in map(str.split, PRINTED.splitlines())
]


@pytest.mark.every_backend
def test_the_untrained_network_has_the_first_output(mnist, backend):
    """It is printed with nine digits, so half of one in the ninth is allowed."""
    state = first_state(TrainConfig(), (PIXELS, 64, 10), backend)
    model = Job(TrainConfig(), mnist, backend).model(state.network)
    output = backend.to_numpy(model.predictions(mnist.train.inputs[:1, ...]))
    np.testing.assert_allclose(output, [FIRST_OUTPUT], rtol=5e-9)


@pytest.mark.every_backend
def test_the_first_lines_are_printed(mnist, backend):
    """On NumPy up to the second line, and elsewhere fewer steps, within seconds."""
    lines, _ = as_printed(mnist, backend, few_steps(backend))
    assert lines == 1 + (backend.name == "numpy")


@pytest.mark.slow
def test_the_losses_between_the_lines_are_the_retellings(mnist, backend, retold):
    """For its first steps see parity/test_parity_command.py."""
    _, losses = as_printed(mnist, backend, few_steps(backend))
    tolerance = trajectory_tolerance(len(losses), PIXELS)
    assert_near(losses, retold[: len(losses)], tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_every_line_is_printed(name):
    backend, last = open_backend(name), REPORTS[-1]
    steps = last.epoch * 60000 + last.sample + 1
    lines, _ = as_printed(load_dataset(backend=backend), backend, steps)
    assert lines == len(REPORTS) == 15


def test_the_number_of_epochs_is_the_notebooks():
    """All other settings show in the printed lines."""
    assert TrainConfig().epochs == 5


def few_steps(backend: Backend) -> int:
    return 10001 if backend.name == "numpy" else 1000


def as_printed(
    dataset: Dataset, backend: Backend, steps: int
) -> tuple[int, np.ndarray]:
    """Train with default settings, and compare with the printed lines.

    Return the number of compared reports, and all losses.
    """
    events = [*start(TrainConfig(), dataset, backend, steps)[1]]
    losses = np.concatenate([event.losses for event in events])
    np.testing.assert_allclose(losses[:10], WARM_UP, rtol=1e-12)
    reports = [event.report for event in events if event.report]
    assert_printed(
        [
            Figures(each.epoch, each.sample, each.loss, each.test.accuracy)
            for each in reports
        ]
    )
    return len(reports), losses


def assert_printed(reports: list[Figures]) -> None:
    """Losses to twelve digits, all else exactly: the promise to users."""
    for report, line in zip(reports, REPORTS[: len(reports)], strict=True):
        assert report._replace(loss=0.0) == line._replace(loss=0.0)
        assert report.loss == pytest.approx(line.loss, rel=1e-12, abs=0.0)


@pytest.fixture(scope="session")
def retold(mnist_dir) -> np.ndarray:
    """Losses of the warm-up and of the first steps by the retelling.

    Its reports are compared on the way.
    """
    dataset, network, reports = load_dataset(mnist_dir), notebook.Notebook(), []
    train_set, test = map(notebook.prepared, (dataset.train, dataset.test))

    def report(epoch: int, sample: int, loss: float) -> None:
        share = notebook.accuracy(network, test.inputs, test.labels)
        reports.append(Figures(epoch, sample, loss, share))

    losses = notebook.trajectory(
        network, train_set.inputs, train_set.labels, 10001, on_report=report
    )
    np.testing.assert_allclose(losses[0], WARM_UP, rtol=1e-12)
    assert len(reports) == 2
    assert_printed(reports)
    return np.concatenate(losses)
