"""Every setting out of its range is refused in one line that names it, the value and
what is allowed.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from helpers import assert_one_line, call

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import (
    ACTIVATIONS,
    Activation,
    identity_derivative,
    tanh,
    tanh_derivative,
)
from mlp_xp.core.network import INITIALISERS
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES
from mlp_xp.declared import ConfigError, declared

SETTINGS = declared(TrainConfig)
TABLES = {
    "activation": ACTIVATIONS,
    "init": INITIALISERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
RANGES = {
    **dict.fromkeys(("epochs", "batch_size", "hidden", "report_every"), (1, 2**31 - 1)),
    **dict.fromkeys(
        ("warm_up_steps", "validation", "patience", "checkpoint_every"), (0, 2**31 - 1)
    ),
    **dict.fromkeys(("momentum", "beta_1", "beta_2", "dropout"), (0, 0.999999)),
    **{
        "learning_rate": (1e-30, 1e300),
        "seed": (0, 2**32 - 1),
        "epsilon": (1e-30, 1e30),
    },
    **dict.fromkeys(("weight_decay", "clip_norm"), (0, 1e30)),
    **{
        "deform_pixels": (0, 1e6),
        "deform_smoothness": (1e-3, 1e6),
        "deform_degrees": (0, 180),
    },
    **{"deform_scaling": (0, 0.9), "deform_shear": (0, 10)},
}
NEEDS: dict[str, dict[str, Any]] = {
    "patience": {"validation": 1},
    "clip_norm": {"update_order": "simultaneous"},
}


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 200
    return message


@pytest.mark.parametrize(
    "name", [each.name for each in SETTINGS.values() if each.kind not in (str, bool)]
)
def test_numbers_out_of_range_are_refused_and_bounds_are_taken(name):
    """In the library and on the command line, whatever their size."""
    (least, most), whole = RANGES[name], SETTINGS[name].kind is not float
    for value in (least, most):
        TrainConfig(
            **{name: (value,) if name == "hidden" else value}, **NEEDS.get(name, {})
        )
    low = "above 0" if 0 < least < 1 else f"at least {least}"
    bad = [(least - 1, low), (-(10**399), low), (most * 10 + 1, f"at most {most}")]
    bad += (
        [(10**399, "at most ")] if whole else [(math.inf, "at most "), (-math.inf, low)]
    )
    for value, wanted in bad:
        if isinstance(value, int) and not whole and abs(value) > 1e300:
            continue  # no float
        message = refusal(**{name: (value,) if name == "hidden" else value})
        assert message.startswith(f"{name}: {str(value)[:70]}")
        assert f" is out of range; it must be {wanted}" in message
        outcome = call("train", f"--{name.replace('_', '-')}={value}")
        assert_one_line(
            outcome,
            2,
            f"error: --{name.replace('_', '-')}: ",
            " is out of range; it must be ",
            wanted,
        )
    if not whole:
        assert (
            refusal(**{name: math.nan})
            == f"{name}: nan is out of range; it must be {low}"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (64, 0)}, "hidden: 0 is out of range; it must be at least 1"),
        (
            {"patience": 2},
            "patience: 2 needs held-out samples; hold some out with validation",
        ),
        (
            {"dropout": 0.2, "hidden": ()},
            "dropout: needs a hidden layer; add one, or leave this at 0",
        ),
        (
            {"nesterov": True},
            'nesterov: is not possible with sgd; use optimizer="momentum"',
        ),
        (
            {"clip_norm": 1.0},
            'clip_norm: needs all gradients before any update; use update_order="simultaneous"',
        ),
        (
            {"validation": 2.5},
            "validation: 2.5 is out of range; it must be a whole number, or a share below 1",
        ),
        ({"epochs": "3"}, "epochs: '3' is not a whole number"),
        ({"epochs": 2.5}, "epochs: 2.5 is not a whole number"),
        ({"epochs": True}, "epochs: True is not a whole number"),
        ({"seed": None}, "seed: None is not a whole number"),
        ({"learning_rate": "0.1"}, "learning_rate: '0.1' is not a number"),
        ({"activation": 3}, "activation: 3 is not a string"),
        ({"hidden": 64}, "hidden: 64 is not a list of whole numbers"),
        ({"hidden": "64"}, "hidden: '64' is not a list of whole numbers"),
        ({"hidden": [64.5]}, "hidden: 64.5 is not a whole number"),
        ({"defer_updates": 1}, "defer_updates: 1 is not true or false"),
    ],
)
def test_values_of_another_type_or_that_need_another_setting_are_refused(
    settings, message
):
    assert refusal(**settings) == message


@pytest.mark.parametrize(
    "name", [each.name for each in SETTINGS.values() if each.choices]
)
def test_unknown_names_are_refused_with_the_nearest(name):
    """The names are declared apart from what they stand for, so that the help imports
    none of it.
    """
    choices = SETTINGS[name].choices
    assert choices == tuple(TABLES.get(name, choices))
    for choice in choices:
        assert getattr(TrainConfig(**{name: choice}), name) == choice
        mistyped = choice[:-1] if choice[:-1] not in choices else f"{choice}e"
        message = refusal(**{name: mistyped})
        assert message.startswith(
            f"{name}: {mistyped!r} is not known (did you mean {choice!r}?); choose one of "
        )
    assert (
        refusal(**{name: "qqqq"})
        == f"{name}: 'qqqq' is not known; choose one of {', '.join(choices)}"
    )


@pytest.mark.parametrize(
    ("settings", "samples", "message"),
    [
        (
            {"batch_size": 101},
            100,
            "batch_size: 101 is out of range; it must be at most the 100 training samples",
        ),
        (
            {"batch_size": 91, "validation": 10},
            100,
            "batch_size: 91 is out of range; it must be at most the 90 ",
        ),
        (
            {"validation": 100},
            100,
            "validation: 100 is out of range; it must be below the 100 training samples",
        ),
        (
            {},
            1,
            "warm_up_steps: 10 is out of range; it must be 0 for a single training sample",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused(settings, samples, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings).check_fits(samples)
    assert str(caught.value).startswith(message)
    TrainConfig(batch_size=90, validation=10).check_fits(100)
    TrainConfig(validation=99, warm_up_steps=0).check_fits(100)
    TrainConfig().check_fits(2)


def test_a_configuration_cannot_be_changed_and_can_be_a_key():
    config = TrainConfig(
        epochs=np.int64(3),
        learning_rate=np.float32(0.5),
        weight_decay=0,
        hidden=np.array([3, 2]),
    )
    assert [
        type(value)
        for value in (config.epochs, config.learning_rate, config.weight_decay)
    ] == [int, float, float]
    counts = [
        TrainConfig(validation=value).validation
        for value in (0, 5.0, np.int64(5), 0.1, np.float64(0.25))
    ]
    assert repr(counts) == "[0, 5, 5, 0.1, 0.25]"
    assert {config: 1}[TrainConfig(epochs=3, learning_rate=0.5, hidden=[3, 2])] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 0  # type: ignore[misc]
    assert (
        TrainConfig(nesterov=np.bool_(True), optimizer=np.str_("momentum")).nesterov
        is True
    )
    one, other = (
        TrainConfig(activation=Activation(tanh, tanh_derivative)) for _ in range(2)
    )
    assert {one: 1}[other] == 1
    assert one != TrainConfig(activation=Activation(tanh, identity_derivative))
