"""Begin a run with the trained weights of another one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY, array_of, on_device, varied, write_idx_folder
from helpers import (
    arrays_of,
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    options,
    small_settings,
)
from numerics import assert_all_equal

from mlp_xp import TrainConfig, load_dataset, load_run, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import ConfigError
from mlp_xp.core.network import initial_layers
from mlp_xp.data.arrays import from_arrays
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_pictures")
# Steps that change no weight, and a bias of 0 by less than 1e-28: what comes out is
# what a run begins with.
STILL = TrainConfig(
    epochs=1, hidden=(4,), learning_rate=1e-30, batch_size=10, warm_up_steps=0, seed=7
)


def start(
    data_dir: Path, source: Path, folder: Path, backend: str = "numpy"
) -> list[Any]:
    settings = options(
        small_settings(
            epochs=2,
            seed=5,
            optimizer="adam",
            batch_size=20,
            report_every=100,
            checkpoint_every=0,
        )
    )
    return [
        "--data-dir",
        data_dir,
        "--start-from",
        source,
        "--run-dir",
        folder,
        "--backend",
        backend,
        *settings,
    ]


def test_the_first_weights_are_those_of_the_other_run(small_run, backend: Backend):
    *_, last = train(STILL, on_device(TINY, backend), backend, start_from=small_run)
    expected = arrays_of(load_run(small_run).network, np.asarray)
    assert_all_equal(arrays_of(last.model.network, backend.to_numpy), expected)


@pytest.mark.parametrize("names", [tuple("abcdefghij"), (*"0123456789", "none")])
def test_for_other_classes_the_output_layer_is_drawn_by_the_seed(
    names, small_run, tmp_path
):
    dataset = varied(TINY, outputs=names)
    *_, last = train(
        STILL,
        dataset,
        open_backend(),
        start_from=str(small_run),
        run_dir=tmp_path / "run",
    )
    drawn = initial_layers(
        (36, 4, len(names)), np.random.RandomState(STILL.seed), STILL.init
    )
    for actual, wanted in zip(
        last.model.network, (load_run(small_run).network[0], drawn[1]), strict=True
    ):
        np.testing.assert_array_equal(actual.weights, wanted.weights)
        np.testing.assert_allclose(actual.bias, wanted.bias, rtol=0, atol=1e-28)
    assert load_run(tmp_path / "run").class_names == names


def test_without_hidden_layers_and_for_other_classes_all_layers_are_drawn(tmp_path):
    config = TrainConfig(epochs=1, hidden=(), batch_size=10, warm_up_steps=0)
    x = np.random.default_rng(0).normal(size=(30, 2))
    two, three = (from_arrays(x, np.arange(30) % classes) for classes in (2, 3))
    list(train(config, two, open_backend(), run_dir=tmp_path / "run"))
    *_, new = train(config, three, open_backend())
    *_, last = train(config, three, open_backend(), start_from=tmp_path / "run")
    for one, other in zip(last.model.network, new.model.network, strict=True):
        assert_all_equal(one, other)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_killed_it_is_resumed_without_the_other_run(
    backend, small_run, data_dir, tmp_path, monkeypatch
):
    other = shutil.copytree(small_run, tmp_path / "other")
    outcome = call("train", *start(data_dir, other, tmp_path / "whole", backend))
    assert (outcome.code, outcome.err) == (0, "")
    assert f"\nweights  taken from {other}\n" in outcome.out
    with monkeypatch.context() as patch:
        die_at(patch, RunFolder._append, 4)
        assert (
            call("train", *start(data_dir, other, tmp_path / "run", backend)).code
            == 130
        )
    shutil.rmtree(other)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    outcome = call("train", "--resume", tmp_path / "run")
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["settings"]["start_from"] == str(other)


def test_before_its_first_checkpoint_it_needs_the_other_run(
    small_run, data_dir, tmp_path, monkeypatch
):
    other, folder = shutil.copytree(small_run, tmp_path / "other"), tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(patch, RunFolder._begin, 1)
        assert call("train", *start(data_dir, other, folder)).code == 130
    other.rename(tmp_path / "moved")
    assert_one_line(
        call("train", "--resume", folder), 2, f"--start-from: '{other}': is not a run"
    )
    (tmp_path / "moved").rename(other)
    assert call("train", "--resume", folder).code == 0


def test_a_resumed_run_does_not_take_other_weights(
    small_run, data_dir, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    assert call("train", *start(data_dir, small_run, folder)).code == 0
    monkeypatch.chdir(small_run.parent)
    assert call("train", "--resume", folder, "--start-from", small_run.name).code == 0
    for run, other in (
        (folder, folder),
        (shutil.copytree(small_run, tmp_path / "plain"), folder),
    ):
        outcome = call("train", "--resume", run, "--start-from", other)
        assert_one_line(
            outcome,
            2,
            "--start-from: a resumed run keeps its settings (",
            f"not '{other}')",
        )
    config = TrainConfig(
        epochs=3, hidden=(4,), learning_rate=0.05, report_every=50, checkpoint_every=70
    )
    with pytest.raises(
        ConfigError, match=r"start_from: .*a resumed run keeps its settings"
    ):
        next(
            train(
                config,
                load_dataset(data_dir),
                open_backend(),
                run_dir=small_run,
                start_from=folder,
            )
        )


def test_weights_that_do_not_fit_are_refused_in_one_line(small_run, data_dir, tmp_path):
    def attempt(*arguments: Any, data: Path = data_dir) -> Any:
        common = [
            "--start-from",
            small_run,
            "--data-dir",
            data,
            "--run-dir",
            tmp_path / "run",
        ]
        return call("train", *common, *options(small_settings()), *arguments)

    has = f"--start-from: the network of '{small_run}' does not fit the new run"
    assert_one_line(attempt("--hidden", 5), 2, "hidden layers 4, not 5")
    assert_one_line(attempt("--activation", "relu"), 2, "activation sigmoid, not relu")
    cut = {
        name: array_of(TINY, name)[:, 1:] for name in ("train_inputs", "test_inputs")
    }
    other = write_idx_folder(tmp_path / "data", varied(TINY, **cut))
    assert_one_line(attempt(data=other), 2, f"{has}: inputs 36, not 30")
    nowhere = tmp_path / "nowhere"
    assert_one_line(
        attempt("--start-from", nowhere), 2, f"--start-from: '{nowhere}': is not a run"
    )
    damaged = shutil.copytree(small_run, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(
        (small_run / "model.safetensors").read_bytes()[:-1]
    )
    assert_one_line(
        attempt("--start-from", damaged), 2, "--start-from:", "is truncated or altered"
    )
    assert not (tmp_path / "run").exists()


def test_features_are_found_by_their_names(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    *_, last = train(
        STILL,
        from_arrays(x, y, feature_names="ab"),
        open_backend(),
        run_dir=tmp_path / "run",
    )
    other = from_arrays(x[:, ::-1], y, feature_names="ba")
    *_, still = train(STILL, other, open_backend(), start_from=tmp_path / "run")
    np.testing.assert_allclose(
        still.model.predict_proba(x[:, ::-1]), last.model.predict_proba(x), rtol=1e-12
    )
    other = from_arrays(x, y, feature_names="ac")
    with pytest.raises(
        RunError,
        match=r"start_from: .* does not fit the new run: columns a, b, not a, c",
    ):
        next(train(STILL, other, open_backend(), start_from=tmp_path / "run"))
