"""The notebook's own numbers: what it prints, and at every step what its retelling computes."""

from typing import NamedTuple

import numpy as np
import pytest
from numerics import assert_near, trajectory_tolerance
from printed import PRINTED

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import Dataset
from mlp_xp.device import initial_state
from mlp_xp.metrics import predict
from mlp_xp.parity import notebook
from mlp_xp.training import Report, trajectory

LAST = PRINTED.reports[-1]
STEPS = LAST.epoch * 60000 + LAST.sample + 1
PIXELS = 28 * 28

# Backends that take so many steps within seconds. The others take the first chunks.
TO_THE_LAST_LINE = {"numpy", "jax"}


class Run(NamedTuple):
    """Losses of the warm-up and of the epochs' steps, and the reports on the way."""

    warm_up: np.ndarray
    losses: np.ndarray
    reports: list[notebook.Report]


def package_report(report: Report) -> notebook.Report:
    return notebook.Report(report.epoch, report.sample, report.loss, report.accuracy)


def run_package(dataset: Dataset, backend: Backend, *, whole: bool) -> Run:
    """With default settings, up to the last line that the notebook prints, or over 2500 steps."""
    losses, reports = [], []
    end = len(PRINTED.warm_up) + (STEPS if whole else 2500)
    for event in trajectory(TrainConfig(), dataset, backend, stop_after=end):
        losses.append(event.losses)
        if event.report:
            reports.append(package_report(event.report))
    warm_up, losses = np.split(np.concatenate(losses), [len(PRINTED.warm_up)])
    return Run(warm_up, losses, reports)


@pytest.fixture(scope="session")
def retelling(mnist_dir) -> Run:
    """By the retelling, up to the last line that the notebook prints."""
    data = notebook.load(mnist_dir)
    network = notebook.Notebook()
    reports = []

    def report(epoch: int, sample: int, loss: float) -> None:
        share = notebook.accuracy(network, data.test_images, data.test_labels)
        reports.append(notebook.Report(epoch, sample, loss, share))

    warm_up, losses = notebook.trajectory(network, data.train_images, data.train_labels, STEPS, on_report=report)
    return Run(warm_up, losses, reports)


@pytest.fixture(scope="session")
def package(mnist: Dataset, backend: Backend) -> Run:
    """By the package, as far as the backend goes."""
    return run_package(mnist, backend, whole=backend.name in TO_THE_LAST_LINE)


def assert_printed(reports: list[notebook.Report], printed: tuple[notebook.Report, ...]) -> None:
    """Losses to a relative 1e-9, all else exactly: what is promised to users."""
    assert len(reports) == len(printed)
    for report, line in zip(reports, printed, strict=True):
        assert report._replace(loss=0.0) == line._replace(loss=0.0)
        assert report.loss == pytest.approx(line.loss, rel=1e-9, abs=0.0)


def test_the_retelling_tells_what_is_printed(retelling):
    """The oracle's own oracle."""
    np.testing.assert_allclose(retelling.warm_up, PRINTED.warm_up, rtol=1e-9)
    assert_printed(retelling.reports, PRINTED.reports)
    assert len(PRINTED.reports) == 15


def test_first_output(mnist, backend):
    """The untrained network on the first image: printed with nine digits, so half of one in the ninth is allowed."""
    state, _ = initial_state(TrainConfig(), (PIXELS, 64, 10), backend)
    image = mnist.train_images[:1, ...]
    output = backend.to_numpy(predict(state.network, image, activation="sigmoid", backend=backend))
    np.testing.assert_allclose(output, [PRINTED.first_output], rtol=5e-9)


def test_warm_up(package):
    np.testing.assert_allclose(package.warm_up, PRINTED.warm_up, rtol=1e-9)


def test_every_printed_line(package, backend):
    printed = PRINTED.reports if backend.name in TO_THE_LAST_LINE else PRINTED.reports[:1]
    assert_printed(package.reports, printed)


def test_the_loss_of_every_step(package, retelling, backend):
    steps = len(package.losses)
    assert steps == STEPS if backend.name in TO_THE_LAST_LINE else steps >= 1000
    assert_near(package.warm_up, retelling.warm_up, trajectory_tolerance(10, PIXELS))
    assert_near(package.losses, retelling.losses[:steps], trajectory_tolerance(10 + steps, PIXELS))


def test_the_default_settings_are_the_notebooks():
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.learning_rate, config.hidden) == (5, 1, 0.01, (64,))
    assert (config.seed, config.report_every, config.warm_up_steps) == (0, 10000, 10)
    assert (config.update_order, config.activation, config.init) == ("layerwise", "sigmoid", "notebook")
    assert (config.optimizer, config.schedule, config.weight_decay) == ("sgd", "constant", 0.0)
    assert config.validation == 0
