"""A run may begin with the trained weights of another run.

Refusals are in test_messages.py.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY, on_device, varied
from helpers import (
    arrays_of,
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    output_of,
    small_settings,
)
from numerics import assert_all_equal

from mlp_xp import TrainConfig, load_run, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.network import initial_layers
from mlp_xp.data.arrays import from_arrays
from mlp_xp.runs.recording import RunWriter

pytestmark = pytest.mark.usefixtures("no_pictures")
# Steps that change no weight, and a bias of 0 by less than 1e-28: the trained network
# is the network at the beginning.
STILL = TrainConfig(
    epochs=1, hidden=(4,), learning_rate=1e-30, batch_size=10, warm_up_steps=0, seed=7
)


def trained(config: TrainConfig, dataset: Any, **options: Any) -> Model:
    """Train on NumPy, and return the last network."""
    *_, last = train(config, dataset, open_backend(), **options)
    return last.model


def test_the_first_weights_are_those_of_the_other_run(small_run, backend: Backend):
    *_, last = train(STILL, on_device(TINY, backend), backend, start_from=small_run)
    expected = arrays_of(load_run(small_run).network, np.asarray)
    assert_all_equal(arrays_of(last.model.network, backend.to_numpy), expected)


@pytest.mark.parametrize("names", [tuple("abcdefghij"), (*"0123456789", "none")])
def test_for_other_classes_the_output_layer_is_drawn_by_the_seed(
    names, small_run, tmp_path
):
    options = {"start_from": str(small_run), "run_dir": tmp_path / "run"}
    hidden, output = trained(STILL, varied(TINY, outputs=names), **options).network
    sizes, random = (36, 4, len(names)), np.random.RandomState(STILL.seed)
    _, drawn = initial_layers(sizes, random, STILL.init)
    source, _ = load_run(small_run).network
    for layer, expected in ((hidden, source), (output, drawn)):
        np.testing.assert_array_equal(layer.weights, expected.weights)
        np.testing.assert_allclose(layer.bias, expected.bias, rtol=0, atol=1e-28)
    assert load_run(tmp_path / "run").class_names == names


def test_without_hidden_layers_and_for_other_classes_all_layers_are_drawn(tmp_path):
    config = TrainConfig(epochs=1, hidden=(), batch_size=10, warm_up_steps=0)
    x, numbers = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30)
    trained(config, from_arrays(x, numbers % 2), run_dir=tmp_path / "run")
    three = from_arrays(x, numbers % 3, task="classes")
    found = trained(config, three, start_from=tmp_path / "run").network
    drawn = trained(config, three).network
    assert_all_equal(arrays_of(found, np.asarray), arrays_of(drawn, np.asarray))


X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2


def test_features_are_found_by_their_names(tmp_path):
    data = from_arrays(X, Y, feature_names=list("ab"))
    trained(STILL, data, run_dir=tmp_path)
    exchanged = from_arrays(X[:, ::-1], Y, feature_names=list("ba"))
    p = trained(STILL, exchanged, start_from=tmp_path).predict_proba(X[:, ::-1])
    np.testing.assert_allclose(p, load_run(tmp_path).predict_proba(X), rtol=1e-12)


# The command.


@pytest.fixture
def settings(data_dir, tmp_path) -> dict[str, Any]:
    """Settings of a run with the weights of another run."""
    return small_settings(
        epochs=2,
        seed=5,
        optimizer="adam",
        batch_size=20,
        report_every=100,
        checkpoint_every=0,
        data_dir=data_dir,
        start_from=tmp_path / "other",
        run_dir=tmp_path / "run",
    )


@pytest.fixture
def other(small_run, tmp_path) -> Path:
    return shutil.copytree(small_run, tmp_path / "other")


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_killed_it_is_resumed_without_the_other_run(
    backend, settings, other, tmp_path, monkeypatch
):
    folder, whole = tmp_path / "run", tmp_path / "whole"
    settings["backend"] = backend
    out = output_of("train", **{**settings, "run_dir": whole})
    assert f"\nweights  taken from {other}\n" in out
    with monkeypatch.context() as patch:
        die_at(patch, RunWriter.append, 4)
        assert call("train", **settings).code == 130
    shutil.rmtree(other)
    assert (folder / "checkpoint.safetensors").exists()
    output_of("train --resume", folder)
    assert_same_run(folder, whole)
    record = json.loads((folder / "config.json").read_text())
    assert record["settings"]["start_from"] == str(other)


def test_before_its_first_checkpoint_it_needs_the_other_run(
    settings, other, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        die_at(patch, RunWriter.begin, 1)
        assert call("train", **settings).code == 130
    moved = other.rename(tmp_path / "moved")
    outcome = call("train --resume", tmp_path / "run")
    assert_one_line(outcome, 2, f"--start-from: '{other}': is not a run")
    moved.rename(other)
    assert call("train --resume", tmp_path / "run").code == 0
