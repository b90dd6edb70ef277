"""The members of a sweep: all combinations of values, or samples.

For refused sweeps see test_messages.py.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import mlp_xp
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.declared import ConfigError
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps.plan import SweepOptions, examples, make_plan, plan_of


def test_a_grid_has_each_combination_once():
    """A range of whole numbers has both ends, and a number of units is a layer.

    A single value does not vary.

    A value that is given twice counts once.
    """
    values = {
        "seed": ["3..9", 4],
        "hidden": [64, (512, 256), ()],
        "dtype": ["float32"],
        "defer_updates": [True, False],
    }
    plan = make_plan(Settings(), values)
    combinations = itertools.product(
        range(3, 10), [(64,), (512, 256), ()], [True, False]
    )
    assert [tuple(member.settings.values()) for member in plan.members] == [
        *combinations
    ]
    assert {*plan.members[0].settings} == {"seed", "hidden", "defer_updates"}
    assert [member.name for member in plan.members] == [
        f"{i:04d}" for i in range(plan.total)
    ]
    assert plan.base.dtype == "float32"


def test_values_may_be_arrays_and_numbers_of_numpy():
    """The same sweep, to the name of its folder, as with the values of Python."""
    plain = {
        "seed": [0, 1, 2],
        "learning_rate": [0.25, 0.5],
        "hidden": [(), 4, (5, 3)],
        "validation": [0, 10],
        "epochs": 9,
    }
    of_numpy = {
        "seed": [*np.arange(3)],
        "learning_rate": np.array([0.25, 0.5]),
        "hidden": [(), np.int64(4), (np.int64(5), 3)],
        "validation": np.array([0, 10]),
        "epochs": np.int64(9),
    }
    expected = plan_of("own", plain, SweepOptions())
    plan = plan_of("own", of_numpy, SweepOptions())
    assert plan == expected
    assert plan.folder().path == expected.folder().path


def test_the_largest_trial_that_optuna_may_choose_is_checked():
    """Its memory depends on several settings together."""
    values = {"hidden": "8..4096", "batch_size": [16, 8192], "seed": "0..9"}
    plan = make_plan(
        replace(Settings(), train=TrainConfig(validation=100)),
        values,
        SweepOptions(optuna=3),
    )
    checked = [each.train for _, each in examples(plan)]
    assert any((each.hidden, each.batch_size) == ((4096,), 8192) for each in checked)


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ({"sed": [1]}, "sed"),
        ({"seed": []}, "seed"),
        ({"seed": ["x"]}, "seed"),
        ({"activation": [0]}, "activation"),
    ],
)
def test_a_sweep_of_the_library_is_checked_when_it_is_called(
    values, setting, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    base = (
        TrainConfig(activation=ACTIVATIONS["relu"]) if setting == "activation" else None
    )
    values = {"seed": [0, 1]} if base else values
    with pytest.raises(ConfigError) as caught:
        mlp_xp.sweep(values, base)
    assert caught.value.setting == setting
    assert not [*tmp_path.iterdir()]
