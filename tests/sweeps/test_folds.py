"""Cross-validation: folds are test sets once.

Members have the bits of `train`, and a mean. For refusals see test_messages.py.
"""

import json
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from data_sets import arrays_in, write_samples
from helpers import assert_one_line, assert_same_run, call, output_of
from numerics import assert_all_equal
from sweeping import run_of

import mlp_xp
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.sweeps.member import Ending
from mlp_xp.sweeps.summary import summary_of

RANDOM = np.random.default_rng(5)
X, KINDS = RANDOM.normal(size=(47, 3)), np.array(["a"] * 30 + ["b"] * 12 + ["c"] * 5)
SHORT = "train --label kind --networks 1 --epochs 2 --hidden 4"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("own") / "own.csv", X, KINDS)


@pytest.mark.needs("polars")
def test_every_row_is_tested_on_once_and_trained_on_otherwise(table):
    """What is fitted to the training rows is fitted to those of the fold alone."""
    tested = []
    for fold in range(3):
        dataset = mlp_xp.load_dataset(table, label="kind", cv=3, fold=fold)
        trained, held = (
            [np.argwhere((row == X).all(axis=1)).item() for row in part]
            for part in (dataset.train.inputs, dataset.test.inputs)
        )
        assert sorted(trained + held) == [*range(len(X))]
        expected = mlp_xp.from_arrays(
            X[trained], KINDS[trained], (X[held], KINDS[held])
        )
        assert_all_equal(
            [*arrays_in(dataset), *dataset.signature.preparation.fitted],
            [*arrays_in(expected), *expected.signature.preparation.fitted],
        )
        tested += held
    assert sorted(tested) == [*range(len(X))]


@pytest.mark.needs("polars")
@pytest.mark.usefixtures("inline", "no_pictures")
def test_folds_have_the_bits_of_train_and_a_mean_and_go_on(table, tmp_path):
    words, folder = f"{SHORT} --cv 3", tmp_path / "s"
    out = output_of(words, data_dir=table, run_dir=folder)
    output_of(f"{words} --fold 1", data_dir=table, run_dir=tmp_path / "1")
    assert_same_run(run_of(folder, "0001"), tmp_path / "1")
    tested = [
        json.loads((run_of(folder, f"000{fold}") / "result.json").read_text())[
            "accuracy"
        ]
        for fold in range(3)
    ]
    mean, deviation = 100 * statistics.fmean(tested), 100 * statistics.stdev(tested)
    said = f"all runs: test % {mean:.2f} ± {deviation:.2f}, test loss"
    assert said in out
    shutil.rmtree(run_of(folder, "0001"))
    assert said in call(words, data_dir=table, run_dir=folder).out
    outcome = call(words, data_dir=table, run_dir=folder, cv=4)
    assert_one_line(outcome, 2, "cv was 3, and is now 4")


@pytest.mark.needs("polars")
@pytest.mark.usefixtures("inline", "no_pictures")
def test_the_test_set_comes_first_and_held_out_samples_are_explained(table, tmp_path):
    words = f"{SHORT} --cv 3 --validation 6"
    out = call(words, data_dir=table, run_dir=tmp_path / "s").out
    summary = summary_of(SweepFolder(tmp_path / "s"))
    lines = [line for line in out.splitlines() if "finished  " in line]
    for line, row in zip(lines, summary.rows, strict=True):
        assert f" {100 * row.metrics['test_accuracy']:.2f} % " in line
    assert "train loss       test  seconds  settings\n" in out
    assert re.search(r"\ntest % +held out % +runs", out)
    *_, table, explained = out.partition("members finished\n")[2].split("\n\n")
    assert explained.startswith(
        "mean ± standard deviation over the runs, each tested on"
    )
    assert "\nheld-out samples chose the epoch of each network; results on" in explained
    assert "not ranked" not in out
    assert re.match(r"run +test % +held out % +fold", output_of("runs", tmp_path / "s"))


def test_an_ending_is_printed_with_the_test_set_first() -> None:
    result = {"validation_accuracy": 0.75, "accuracy": 0.8125, "test_loss": 0.5}
    ending = Ending("0002", "finished", result, settings={"fold": 2})
    assert str(ending) == "0002 finished, fold 2, test 81.25 %, held out 75.00 %"
