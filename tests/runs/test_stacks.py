"""Runs of several networks: what they are joined to, and that they resume.

Refusals of commands are in test_messages.py.
"""

import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import reference
from data_sets import TINY, on_device, write_samples
from helpers import (
    assert_same_run,
    killed_at,
    metrics,
    output_of,
    record_run,
    result,
)
from numerics import assert_all_equal

from mlp_xp import TrainConfig, from_arrays, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.job import Job
from mlp_xp.core.network import Layer, Network, forward, initial_layers
from mlp_xp.core.stack import joined, members, stack
from mlp_xp.core.step import to_device
from mlp_xp.core.training import trajectory
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings
from mlp_xp.show.gallery import read_curves

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(
    epochs=2,
    hidden=(4,),
    batch_size=10,
    learning_rate=0.05,
    report_every=90,
    optimizer="adam",
    validation=40,
    warm_up_steps=1,
    dropout=0.2,
    seed=2**32 - 1,
)
# As documented: 65536 from one to the next. They begin again after the largest.
SEEDS = [2**32 - 1, 65535, 131071]


def on_host(network: Network, backend: Backend) -> list[list[np.ndarray]]:
    return [[backend.to_numpy(array) for array in layer] for layer in network]


@pytest.mark.parametrize("hidden", [(), (5,), (6, 5), (4, 3, 5)])
def test_the_outputs_are_the_means_of_the_outputs(hidden, backend_of_each_dtype):
    """Compare the logits of an average with the means of the networks' logits.

    Each sum has at most M n + 1 terms, n the units below, and a division: as many
    roundings of eps, relative to the same sum with absolute values. The roundings of a
    layer add to those of the layers below it (Higham, 2002, section 3.5).
    """
    backend, count, sizes = backend_of_each_dtype, 3, (7, *hidden, 2)
    random = np.random.RandomState(1)
    networks = []
    for _ in range(count):
        layers = initial_layers(sizes, random, "he")
        networks.append(
            tuple(Layer(w, random.standard_normal(b.shape)) for w, b in layers)
        )
    several = to_device(stack(networks), backend)
    x = backend.asarray(random.standard_normal((9, 7)), backend.dtype)
    one = joined(several, backend)
    wide = (7, *(count * units for units in hidden), 2)
    assert [tuple(layer.weights.shape) for layer in one] == [*pairwise(wide)]
    logits, _ = forward(one, x, [ACTIVATIONS["relu"]] * len(hidden), xp=backend.xp)
    found, x = backend.to_numpy(logits), backend.to_numpy(x)
    each = [on_host(network, backend) for network in members(several)]
    expected = np.mean([reference.outputs(one, x, "relu") for one in each], axis=0)
    sums = []
    for member in each:
        absolute = [[abs(array) for array in layer] for layer in member]
        sums.append(reference.outputs(absolute, abs(x), "relu"))
    roundings = sum(count * units + 2 for units in sizes[:-1])
    eps = np.finfo(found.dtype).eps
    assert (abs(found - expected) <= 2 * roundings * eps * np.mean(sums, axis=0)).all()


def test_networks_begin_as_those_of_their_seeds(backend: Backend):
    """test_stack.py shows that they continue so."""
    job = Job(CONFIG, on_device(TINY, backend), backend, networks=3)
    found = members(job.initial_network(job.randoms()))
    for seed, network in zip(SEEDS, found, strict=True):
        alone = Job(replace(CONFIG, seed=seed), job.dataset, backend)
        expected = alone.initial_network(alone.randoms())
        assert_all_equal(sum(network, ()), sum(expected, ()))


def test_reports_are_about_the_mean_of_the_outputs(backend: Backend):
    dataset = on_device(TINY, backend)
    held_out = dataset.train.inputs[160:, ...], dataset.train.labels[160:, ...]
    test = dataset.test.inputs, dataset.test.labels
    count = 0
    for report in train(CONFIG, dataset, backend, networks=3):
        one = report.model.joined()
        for found, samples in ((report.test, test), (report.validation, held_out)):
            if found:
                count += 1
                expected = one.evaluate(*samples)
                assert found.accuracy == expected.accuracy
                np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert count == 7 + 3


def test_all_networks_hold_out_the_same_rows():
    """Each network's own rows would be rows that the others were trained on."""
    random = np.random.default_rng(0)
    data = from_arrays(random.normal(size=(60, 3)), random.integers(0, 2, 60))
    config = replace(CONFIG, validation=15)
    held_out = Job(config, data, open_backend()).held_out
    for report in train(config, data, networks=2):
        if report.validation:
            found = report.model.evaluate(held_out.inputs, held_out.labels)
            assert report.validation == found


SETTINGS = Settings(networks=3, train=replace(CONFIG, checkpoint_every=70))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of three networks."""
    folder = tmp_path_factory.mktemp("networks") / "run"
    record_run(folder, SETTINGS, TINY, open_backend())
    return folder


def test_a_run_killed_anywhere_and_resumed_ends_in_the_same_bits(whole, tmp_path):
    """Again and again: within networks, between them, and at the end."""

    def record(folder: Path) -> None:
        record_run(folder, SETTINGS, TINY, open_backend())

    with warnings.catch_warnings(action="ignore", category=MlpXpWarning):
        with killed_at(10**9) as done:  # it is not
            record(tmp_path / "undisturbed")
        for kill in range(1, 8):
            with killed_at(kill * len(done) // 8):
                record(tmp_path / "once")
            with killed_at(len(done) // 5):
                record(tmp_path / "again")
        for name in ("undisturbed", "once", "again"):
            for _ in range(2):  # when it is over, the same end is said again
                record(tmp_path / name)
                assert_same_run(tmp_path / name, whole)
            assert not [*(tmp_path / name).glob(".*")]


def test_networks_that_left_the_stack_are_resumed_and_trained_longer(tmp_path):
    """With patience, networks end at different epochs, one after the first four."""
    config = replace(
        SETTINGS.train, epochs=24, patience=1, learning_rate=0.2, checkpoint_every=0
    )
    settings, backend = replace(SETTINGS, train=config), open_backend()
    shorter = replace(settings, train=replace(config, epochs=4))
    for name in ("whole", "longer"):
        first = settings if name == "whole" else shorter
        record_run(tmp_path / name, first, TINY, backend)
    record_run(tmp_path / "longer", settings, TINY, backend)
    assert_same_run(tmp_path / "longer", tmp_path / "whole")
    job, sizes = Job(config, TINY, backend, 3), set()
    for event in trajectory(job):
        sizes.add(len(members(event.position.state.network)))
    assert sizes == {1, 2, 3}


def test_curves_show_the_average(whole):
    curves = read_curves(RunFolder(whole))
    expected = {}
    places = {(0, 0): 10, (0, 90): 100, (0, 160): 160, (1, 90): 260, (1, 160): 320}
    for record in metrics(whole):
        place = places.get((record["epoch"], record["sample"]))
        if place:
            expected[place] = record["test_loss"]
    drawn = curves.values("test_loss")
    assert {curves.place_of(stage): loss for stage, loss in drawn.items()} == expected


@pytest.mark.needs("polars")
def test_a_table_by_the_command_line(tmp_path, eighty_columns):
    random = np.random.default_rng(1)
    features = random.normal(size=(80, 2))
    labels = np.where(features.sum(axis=1) > 0, "high", "low")
    table, run = write_samples(tmp_path / "t.csv", features, labels), tmp_path / "run"
    command = "train --label kind --networks 2 --epochs 12 --hidden 6"
    out = output_of(command, data_dir=table, run_dir=run)
    lines = out.splitlines()
    assert lines[0].startswith("network  2 x 2-6-2, relu, 32 parameters")
    record = result(run)
    share = f"{100 * record['accuracy']:.2f} % of 16 test samples right"
    assert f"the average of 2 networks: {share}" in out
    share = f"{100 * record['validation_accuracy']:.2f} % of 6 held-out samples"
    assert f"their average: {share}" in out
    outcome = out.partition("average of 2 networks: ")[2].partition("\n")[0]
    assert output_of("evaluate", run).startswith(outcome)
