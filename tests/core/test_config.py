"""A setting out of its range is refused in one line, with its name and the range."""

import dataclasses
import math
from typing import Any

import helpers
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
NUMBERS = [each.name for each in SETTINGS.values() if each.kind not in (str, bool)]
MOST_COUNT = 2**31 - 1
RANGES = {
    name: (least, most)
    for names, least, most in (
        ("epochs batch_size hidden report_every", 1, MOST_COUNT),
        ("warm_up_steps validation patience checkpoint_every", 0, MOST_COUNT),
        ("seed", 0, 2**32 - 1),
        ("learning_rate", 1e-30, 1e300),
        ("epsilon", 1e-30, 1e30),
        ("momentum beta_1 beta_2 dropout", 0, 0.999999),
        ("weight_decay clip_norm", 0, 1e30),
        ("deform_pixels", 0, 1e6),
        ("deform_smoothness", 1e-3, 1e6),
        ("deform_degrees", 0, 180),
        ("deform_scaling", 0, 0.9),
        ("deform_shear", 0, 10),
    )
    for name in names.split()
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_may_be_a_bound_of_its_range(name):
    needs = {"validation": 1, "update_order": "simultaneous"}
    for bound in RANGES[name]:
        TrainConfig(**{**needs, **one_setting(name, bound)})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_is_refused_whatever_its_size(name):
    """In Python, and on the command line, where the option is named."""
    option = f"--{name.replace('_', '-')}"
    for wanted, values in beyond(name).items():
        words = f" is out of range; it must be {wanted}"
        for value in values:
            message = refusal(**one_setting(name, value))
            assert message.startswith(f"{name}: {str(value)[:70]}")
            assert words in message
    outcome = call("train", f"{option}={values[0]}")
    assert_one_line(outcome, 2, f"error: {option}: ", words)


@pytest.mark.parametrize(
    "name", [each.name for each in SETTINGS.values() if each.choices]
)
def test_an_unknown_name_is_refused_with_the_nearest(name):
    choices = SETTINGS[name].choices
    rest = f"; choose one of {', '.join(choices)}"
    assert refusal(**{name: "qqqq"}) == f"{name}: 'qqqq' is not known{rest}"
    for choice in choices:
        TrainConfig(**{name: choice})
        words = f"{name}: '{choice}x' is not known (did you mean {choice!r}?)"
        assert refusal(**{name: f"{choice}x"}) == words + rest


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("activation", ACTIVATIONS),
        ("init", INITIALISERS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
    ],
)
def test_the_names_are_the_keys_of_their_table(name, table):
    """They are declared apart from it, so that the help need not import it."""
    assert SETTINGS[name].choices == tuple(table)


def test_just_enough_samples_are_enough():
    TrainConfig(batch_size=90, validation=10).resolve(100)
    TrainConfig(validation=99, warm_up_steps=0).resolve(100)
    assert TrainConfig().resolve(2) == TrainConfig()


def test_numbers_become_plain_numbers_of_their_kind():
    given = TrainConfig(
        epochs=np.int64(3),
        learning_rate=np.float32(0.5),
        weight_decay=0,
        hidden=np.array([3, 2]),
        optimizer=np.str_("momentum"),
        nesterov=np.bool_(True),
        validation=5.0,
    )
    plain = TrainConfig(
        epochs=3,
        learning_rate=0.5,
        weight_decay=0.0,
        hidden=(3, 2),
        optimizer="momentum",
        nesterov=True,
        validation=5,
    )
    assert repr(vars(given)) == repr(vars(plain))


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 0  # type: ignore[misc]


def test_a_configuration_can_be_a_key():
    one = TrainConfig(hidden=(3, 2), activation=Activation(tanh, tanh_derivative))
    same = TrainConfig(hidden=[3, 2], activation=Activation(tanh, tanh_derivative))
    other = TrainConfig(hidden=(3, 2), activation=Activation(tanh, identity_derivative))
    assert {one: "one", other: "other"}[same] == "one"


def one_setting(name: str, value: Any) -> dict[str, Any]:
    """Return a setting with this number, which is that of a layer for `hidden`."""
    return {name: (value,) if name == "hidden" else value}


def beyond(name: str) -> dict[str, tuple[Any, ...]]:
    """Return numbers below and above the range of a setting, by the words for it."""
    least, most = RANGES[name]
    low = "above 0" if 0 < least < 1 else f"at least {least}"
    high = f"at most {most}"
    if SETTINGS[name].kind is float:
        return {low: (-1, -math.inf, math.nan), high: (10 * most + 1, math.inf)}
    return {low: (least - 1, -(10**399)), high: (most + 1, 10**399)}


def refusal(**settings: Any) -> str:
    """Return the message of a refusal, which is short."""
    message = helpers.refusal(ConfigError, TrainConfig, **settings)
    assert len(message) < 200
    return message
