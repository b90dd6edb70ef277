"""Cross-validation: folds are test sets once, members have the bits of `train`; their mean, and what is refused."""

import json
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from data_sets import mixed, write_csv, write_samples
from helpers import assert_one_line, assert_same_run, call
from sweeping import run_of, state_of_files

import mlp_xp
from mlp_xp import from_arrays, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.settings import RECIPES, settings_of
from mlp_xp.sweeps.grid import SweepOptions, make_plan
from mlp_xp.sweeps.summary import summary_of

RANDOM = np.random.default_rng(5)
X, KINDS = RANDOM.normal(size=(47, 3)), np.array(["a"] * 30 + ["b"] * 12 + ["c"] * 5)
X[:, 0] += KINDS == "a"
FOLDS, SHORT = 3, ["--epochs", 2, "--hidden", 4, "--validation", 0]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("own") / "own.csv", X, KINDS)


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """A cross-validation in processes."""
    folder = tmp_path_factory.mktemp("folds") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
        words = ["--data-dir", table, "--label", "kind", *SHORT, "--cv", FOLDS, "--run-dir", folder]
        return folder, words, call("train", *words, "--jobs", 2)


@pytest.mark.parametrize("stratify", [True, False])
def test_every_row_is_tested_on_once_and_trained_on_otherwise(table, stratify):
    """What is fitted to the training rows is fitted to those of the fold alone."""
    tested = []
    for fold in range(FOLDS):
        dataset = load_dataset(table, label="kind", cv=FOLDS, fold=fold, split_seed=9, stratify=stratify)
        trained, held = ([np.argwhere((row == X).all(axis=1)).item() for row in part] for part in dataset[:3:2])
        assert {*trained} | {*held} == {*range(len(X))}
        assert len(trained) + len(held) == len(X)
        expected = from_arrays(X[trained], KINDS[trained], (X[held], KINDS[held]))
        for one, other in zip(
            dataset[:4] + dataset.prepare.fitted, expected[:4] + expected.prepare.fitted, strict=True
        ):
            np.testing.assert_array_equal(one, other)
        tested += held
    assert sorted(tested) == [*range(len(X))]


def test_members_have_the_bits_of_train_with_their_fold(whole, tmp_path):
    folder, words, outcome = whole
    assert (outcome.code, outcome.err) == (0, "")
    assert call("train", *words[:-2], "--fold", 1, "--run-dir", tmp_path / "1").code == 0
    assert_same_run(run_of(folder, "0001"), tmp_path / "1")
    configs = [json.loads((path / "config.json").read_text())["settings"] for path in sorted(folder.glob("members/*"))]
    assert [(each["cv"], each["fold"]) for each in configs] == [(FOLDS, fold) for fold in range(FOLDS)]


def test_the_folds_and_their_mean_are_shown(whole):
    folder, _, outcome = whole
    results = [json.loads((path / "result.json").read_text()) for path in sorted(folder.glob("members/*"))]
    heads, *lines = [re.split("  +", line) for line in outcome.out[outcome.out.index("fold  ") :].splitlines()[:6]]
    assert [line[0] for line in lines] == [*map(str, range(FOLDS)), "mean", "sd"]
    for head, name, factor in (
        ("test %", "accuracy", 100),
        ("train loss", "train_loss", 1),
        ("test loss", "test_loss", 1),
    ):
        values = [factor * each[name] for each in results]
        shown = [float(line[heads.index(head)]) for line in lines]
        expected = [*values, statistics.fmean(values), statistics.stdev(values)]
        assert shown == pytest.approx(expected, rel=5.1e-4, abs=5.1e-3 if factor == 100 else 0)


@pytest.mark.usefixtures("inline")
def test_the_same_command_trains_only_what_is_missing(whole, tmp_path):
    folder, words, outcome = whole
    copy = tmp_path / "s"
    shutil.copytree(folder, copy)
    shutil.rmtree(run_of(copy, "0002"))
    before = state_of_files(copy)
    again = call("train", *words[:-1], copy)
    assert again.code == 0
    assert again.out.partition("\nfold  ")[2] == outcome.out.partition("\nfold  ")[2] != ""
    assert {path: state for path, state in state_of_files(copy).items() if path in before} == before
    assert_same_run(run_of(copy, "0002"), run_of(folder, "0002"))
    (run_of(copy, "0001") / "result.json").unlink()  # as of a fold whose training diverges
    (copy / "failures.json").write_text(json.dumps({"0001": {"error": "DivergenceError", "reason": "diverged"}}))
    again = call("train", *words[:-1], copy)
    assert again.code == 1
    assert re.search("^1 *$", again.out, re.MULTILINE), "no figures, and none in the mean"
    assert_one_line(call("train", *words[:-1], copy, "--cv", 4), 2, "--run-dir: ", "cv was 3, and is now 4")


@pytest.mark.usefixtures("inline")
def test_settings_of_a_sweep_are_compared_over_folds_and_seeds(table, tmp_path):
    base = settings_of(RECIPES["own"], {"data_dir": str(table), "label": "kind", "epochs": 1, "hidden": (4,)})
    values = {"cv": FOLDS, "learning_rate": [0.01, 0.1], "seed": range(2), "validation": 6}
    endings = [*mlp_xp.sweep(values, base, sweep_dir=tmp_path / "s")]
    assert len(endings) == 12
    summary = summary_of(tmp_path / "s")
    assert summary.ranked
    assert sorted((*each.settings.items(), each.finished) for each in summary.groups) == [
        (("learning_rate", rate), 6) for rate in (0.01, 0.1)
    ]


@pytest.mark.usefixtures("inline")
def test_the_networks_of_all_folds_answer_together(tmp_path):
    """Of a table as people have it: the folds have other categories, and so other features."""
    table = mixed("titanic", 220)
    paths = [tmp_path / name for name in ("own.csv", "new.csv")]
    for path, rows in zip(paths, (slice(120), slice(120, None)), strict=True):
        write_csv(path, {name: values[rows] for name, values in table.columns.items()})
    folder, own = tmp_path / "s", ["--label", table.label, "--exclude", ",".join(table.ids)]
    assert call("train", "--data-dir", paths[0], *own, *SHORT, "--cv", FOLDS, "--run-dir", folder).code == 0
    runs = [run_of(folder, f"000{fold}") for fold in range(FOLDS)]
    models = [mlp_xp.load_run(run) for run in runs]
    assert len({model.columns.feature_names for model in models}) > 1
    outputs = np.mean([mlp_xp.predict(run, paths[1]).outputs for run in runs], axis=0)
    np.testing.assert_array_equal(mlp_xp.predict(folder, paths[1]).outputs, outputs)
    right = np.array(models[0].class_names)[outputs.argmax(axis=1)] == [
        str(y) for y in table.columns[table.label][120:]
    ]
    assert mlp_xp.evaluate(folder, paths[1]).result.accuracy == right.mean()
    with pytest.raises(MlpXpError, match="no rows but those that the network was trained on"):
        mlp_xp.evaluate(folder, paths[0])


def test_each_drawn_setting_has_all_folds(table):
    base = settings_of(RECIPES["own"], {"data_dir": str(table), "cv": FOLDS})
    plan = make_plan(base, {"learning_rate": "0.01..0.1", "seed": [7, 8]}, SweepOptions(random=4))
    found = [(each.settings["seed"], each.settings["fold"]) for each in plan.members]
    assert found == 4 * [(seed, fold) for seed in (7, 8) for fold in range(FOLDS)]
    assert len({each.settings["learning_rate"] for each in plan.members}) == 4
    assert [each.settings for each in make_plan(base, {"fold": "1..2"}).members] == [{"fold": 1}, {"fold": 2}]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--cv", 1], ["--cv", "1 is out of range; it must be at least 2"]),
        (["--cv", 48], ["--cv", "47 rows are too few for 48 folds with at least 1 in each"]),
        (
            ["--cv", 24, "--data-dir", "numbers.npz"],
            ["--cv", "47 rows are too few for 24 folds with at least 2 in each"],
        ),
        (["--fold", 1], ["--fold", "give --cv too"]),
        (["--cv", 3, "--fold", 3], ["--fold", "3 is out of range; it must be at most 2"]),
        (["--cv", 3, "--test-fraction", 0.1], ["--cv and --test-fraction: give only one"]),
        (["--cv", 3, "--overwrite"], ["--cv and --overwrite: give only one"]),
        (["--cv", 3, "--threads", 2], ["--cv and --threads: give only one"]),
        (["--jobs", 2], ["--jobs", "is for --cv without --fold"]),
        (
            ["--cv", 3, "--data-dir", "parts.npz"],
            ["--cv", "have a test set of their own", "give the training set alone"],
        ),
        (["--cv", 3, "--dataset", "mnist"], ["--cv", "'mnist' holds images like MNIST's"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(words, parts, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("parts.npz", x_train=X, y_train=KINDS, x_test=X[:9] + 1, y_test=KINDS[:9])
    np.savez("numbers.npz", X=X, y=X[:, 0])
    own = [] if {"--dataset", "--data-dir"} & {*words} else ["--data-dir", table, "--label", "kind"]
    before = [*tmp_path.iterdir()]
    assert_one_line(call("train", *own, *SHORT, *words), 2, *parts)
    assert [*tmp_path.iterdir()] == before
