"""The members of a sweep: all combinations of values, or samples; and what is refused before anything is written."""

import itertools
from dataclasses import replace

import pytest
from helpers import assert_one_line, call
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeping import arguments

import mlp_xp
from mlp_xp.core.config import ConfigError, TrainConfig
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps.grid import examples, make_plan
from mlp_xp.sweeps.options import SweepOptions

VALUES = {
    "seed": st.integers(0, 2**32 - 1),
    "learning_rate": st.floats(1e-6, 10.0),
    "hidden": st.lists(st.integers(1, 999), min_size=0, max_size=3).map(tuple),
    "optimizer": st.sampled_from(["sgd", "momentum", "adam"]),
    "defer_updates": st.booleans(),
    "dtype": st.sampled_from(["float32", "float64"]),
}
grids = st.fixed_dictionaries(
    {}, optional={name: st.lists(values, min_size=1, max_size=3, unique=True) for name, values in VALUES.items()}
)


@given(grids)
@settings(max_examples=30, deadline=None)
def test_a_grid_has_each_combination_once(grid):
    plan = make_plan(Settings(), grid)
    names = [name for name, values in grid.items() if len(values) > 1]
    wanted = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert plan.total == len(plan.members) == len(wanted)
    assert [member.settings for member in plan.members] == [{n: each[n] for n in names} for each in wanted]
    assert len({member.name for member in plan.members}) == len(wanted)
    for name, values in grid.items():
        if len(values) == 1:
            where = plan.base if hasattr(plan.base, name) else plan.base.train
            assert getattr(where, name) == values[0]


def test_a_range_of_whole_numbers_has_both_ends_and_hidden_is_layers():
    plan = make_plan(Settings(), {"seed": "3..9", "hidden": [64, (512, 256)]})
    assert [member.settings["seed"] for member in plan.members[::2]] == [*range(3, 10)]
    assert [member.settings["hidden"] for member in plan.members[:2]] == [(64,), (512, 256)]


@given(st.integers(1, 10), st.integers(0, 5), st.floats(1e-5, 1e-2), st.floats(2e-2, 10))
@settings(max_examples=20, deadline=None)
def test_samples_are_different_and_in_their_ranges_and_have_each_seed(number, seed, low, high):
    values = {"seed": "3..5", "learning_rate": f"{low}..{high}", "hidden": "8..64", "optimizer": ["sgd", "adam"]}
    plan = make_plan(Settings(), values, SweepOptions(random=number, sampling_seed=seed))
    assert plan == make_plan(Settings(), values, SweepOptions(random=number, sampling_seed=seed))
    assert plan.total == len(plan.members) == 3 * number
    seeds: dict[str, list[int]] = {}
    for member in plan.members:
        rest = repr({name: value for name, value in member.settings.items() if name != "seed"})
        seeds.setdefault(rest, []).append(member.settings["seed"])
        assert low <= member.settings["learning_rate"] <= high
        assert 8 <= member.settings["hidden"][0] <= 64
        assert member.settings["optimizer"] in ("sgd", "adam")
    assert [*seeds.values()] == number * [[3, 4, 5]]


def test_a_learning_rate_is_drawn_log_uniformly_and_epochs_uniformly():
    plan = make_plan(Settings(), {"learning_rate": "0.0001..1", "epochs": "1..9999"}, SweepOptions(random=2000))
    for name, middle in (("learning_rate", 0.01), ("epochs", 5000)):
        below = sum(member.settings[name] < middle for member in plan.members)
        assert abs(below - 1000) < 5 * (2000 / 4) ** 0.5, name  # five standard deviations of a fair coin


def test_the_largest_trial_that_optuna_may_choose_is_checked():
    """Its memory depends on several settings together."""
    values = {"hidden": "8..4096", "batch_size": [16, 8192], "seed": "0..9"}
    plan = make_plan(replace(Settings(), train=TrainConfig(validation=100)), values, SweepOptions(optuna=3))
    checked = [each.train for _, each in examples(plan)]
    assert any((each.hidden, each.batch_size) == ((4096,), 8192) for each in checked)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seed", "5..3"], ["--seed", "'5..3' is not a range", "the smaller first"]),
        (
            ["--learning-rate", "1..inf", "--random", 1],
            ["--learning-rate", "'1..inf' is not a range; give two finite numbers"],
        ),
        (["--seed", "0..3", 2], ["--seed", "2 is given twice"]),
        (["--seed", "0..999", "--epochs", "1..999"], ["the sweep has 999000 members"]),
        (["--learning-rate", "0.1..1"], ["--learning-rate", "the range 0.1..1.0 is to be sampled from"]),
        (["--patience", 0, 1], ["--patience", "1 needs held-out samples", "in a member with patience 1"]),
        (["--validation", 0, 300], ["--validation", "300 is out of range", "in a member with validation 300"]),
        (["--epochs", 1, 2, "--random", 3], ["--random", "3 different settings are wanted, but there are only 2"]),
        (["--seed", "0..9", "--random", 3], ["--random", "no setting but the seed has several values or a range"]),
        (["--random", 1, "--optuna", 1], ["--random", "cannot be combined with optuna"]),
        (["--optuna", 3, "--epochs", 1, 2], ["--validation", "0 held-out samples, but Optuna"]),
        (["--cluster", "host:1"], ["--cluster", "'host:1' is not an address such as dask://"]),
        (["--cluster", "dask://h:1", "--jobs", 2], ["--jobs", "a cluster has its own number of processes"]),
        (["--device", "cpu", "cuda:7"], ["device 'cuda:7' is not available", "in a member with device cuda:7"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(words, parts, tmp_path, data_dir):
    changes = {"epochs": None} if "--epochs" in words else {}
    outcome = call("sweep", *arguments(data_dir, tmp_path / "s", *words, **changes))
    assert_one_line(outcome, 2, *parts)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("values", "setting"),
    [({"sed": [1]}, "sed"), ({"seed": []}, "seed"), ({"seed": ["x"]}, "seed"), ({"activation": [0]}, "activation")],
)
def test_a_sweep_of_the_library_is_checked_when_it_is_called(values, setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = TrainConfig(activation=ACTIVATIONS["relu"]) if setting == "activation" else None
    values = {"seed": [0, 1]} if base else values
    with pytest.raises(ConfigError) as caught:
        mlp_xp.sweep(values, base)
    assert caught.value.setting == setting
    assert not [*tmp_path.iterdir()]
