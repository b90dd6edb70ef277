"""Every setting out of its range is refused in one line that names the flag, the value and what is allowed."""

import dataclasses
import math

import numpy as np
import pytest

from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.functional import ACTIVATIONS, Activation
from mlp_xp.network import INITIALISERS
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES

BAD = [
    ("epochs", 0, "at least 1"),
    ("epochs", -3, "at least 1"),
    ("batch_size", 0, "at least 1"),
    ("report_every", 0, "at least 1"),
    ("report_every", -10000, "at least 1"),
    ("warm_up_steps", -1, "at least 0"),
    ("validation", -1, "at least 0"),
    ("checkpoint_every", -1, "at least 0"),
    ("seed", -1, "at least 0"),
    ("seed", 2**32, "at most 4294967295"),
    ("learning_rate", 0.0, "at least 1e-30"),
    ("learning_rate", -0.01, "at least 1e-30"),
    ("learning_rate", math.nan, "at least 1e-30"),
    ("learning_rate", math.inf, "at most 1e+300"),
    ("weight_decay", -1e-9, "at least 0"),
    ("weight_decay", math.nan, "at least 0"),
    ("weight_decay", math.inf, "at most 1e+30"),
    ("momentum", -0.1, "at least 0"),
    ("momentum", 1.0, "at most 0.999999"),
    ("beta_1", 1.0, "at most 0.999999"),
    ("beta_2", math.nan, "at least 0"),
    ("epsilon", 0.0, "at least 1e-30"),
    ("clip_norm", -1.0, "at least 0"),
    ("dropout", 1.0, "at most 0.999999"),
]
BOUNDS = [
    ("epochs", 1),
    ("batch_size", 1),
    ("report_every", 1),
    ("warm_up_steps", 0),
    ("validation", 0),
    ("checkpoint_every", 0),
    ("seed", 0),
    ("seed", 2**32 - 1),
    ("learning_rate", 1e-30),
    ("weight_decay", 0.0),
    ("momentum", 0.0),
    ("beta_1", 0.0),
    ("beta_2", 0.999999),
    ("epsilon", 1e-30),
    ("clip_norm", 0.0),
    ("dropout", 0.999999),
    ("hidden", ()),
    ("hidden", (1,)),
]
CHOICES = {
    "update_order": ("layerwise", "simultaneous"),
    "activation": tuple(ACTIVATIONS),
    "init": tuple(INITIALISERS),
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
}


def refusal(**settings) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(("name", "value", "wanted"), BAD)
def test_numbers_out_of_range_are_refused(name, value, wanted):
    reason = "is not a number" if value != value else "is out of range"
    assert refusal(**{name: value}) == f"{name}: {value} {reason}; it must be {wanted}"


@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_the_bounds_themselves_are_taken(name, value):
    assert getattr(TrainConfig(**{name: value}), name) == value


@pytest.mark.parametrize("hidden", [(0,), (64, 0), (64, -1, 32)])
def test_layers_have_units(hidden):
    bad = next(units for units in hidden if units < 1)
    assert refusal(hidden=hidden) == f"hidden: {bad} is out of range; it must be at least 1"


def test_patience_needs_samples_held_out():
    assert refusal(patience=-1, validation=10) == "patience: -1 is out of range; it must be at least 0"
    assert (
        refusal(patience=2) == "patience: 2 is out of range; it must be 0 unless samples are held out with validation"
    )
    assert TrainConfig(patience=2, validation=10).patience == 2


def test_settings_that_need_another():
    assert refusal(dropout=0.2, hidden=()) == "dropout: needs a hidden layer, whose units it leaves out; leave it at 0"
    assert refusal(nesterov=True) == "nesterov: needs the optimizer momentum, not sgd"
    assert TrainConfig(nesterov=True, optimizer="momentum").nesterov
    message = "clip_norm: needs all gradients before any update; choose the update order simultaneous"
    assert refusal(clip_norm=1.0) == message
    assert TrainConfig(clip_norm=1.0, update_order="simultaneous").clip_norm == 1


@pytest.mark.parametrize(("name", "choices"), CHOICES.items())
def test_unknown_names_are_refused_with_the_nearest(name, choices):
    for choice in choices:
        assert getattr(TrainConfig(**{name: choice}), name) == choice
        mistyped = choice[:-1] if choice[:-1] not in choices else f"{choice}e"
        message = refusal(**{name: mistyped})
        assert message.startswith(f"{name}: {mistyped!r} is not known (did you mean {choice!r}?); choose one of ")
        assert message.endswith(", ".join(choices))
    assert refusal(**{name: "qqqq"}) == f"{name}: 'qqqq' is not known; choose one of {', '.join(choices)}"
    assert f"(did you mean {choices[0]!r}?)" in refusal(**{name: choices[0].upper()})


def test_every_field_is_tested_here():
    """A setting that is added shall not go unchecked."""
    tested = {name for name, *_ in BAD} | {name for name, _ in BOUNDS} | set(CHOICES)
    tested |= {"patience", "defer_updates", "nesterov", "decay_bias"}
    assert tested == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize(
    ("settings", "samples", "message"),
    [
        ({"batch_size": 101}, 100, "batch_size: 101 is out of range; it must be at most the 100 training samples"),
        (
            {"batch_size": 91, "validation": 10},
            100,
            "batch_size: 91 is out of range; it must be at most the 90 training samples",
        ),
        ({"validation": 100}, 100, "validation: 100 is out of range; it must be below the 100 training samples"),
        ({}, 1, "warm_up_steps: 10 is out of range; it must be 0 for a single training sample"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(settings, samples, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings).check_fits(samples)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({"batch_size": 100}, 100),
        ({"batch_size": 90, "validation": 10}, 100),
        ({"validation": 98}, 100),
        ({"validation": 99, "warm_up_steps": 0}, 100),
        ({"warm_up_steps": 0}, 1),
    ],
)
def test_what_just_fits_is_taken(settings, samples):
    TrainConfig(**settings).check_fits(samples)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", "3", "a whole number"),
        ("epochs", 2.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("seed", None, "a whole number"),
        ("learning_rate", "0.1", "a number"),
        ("learning_rate", 10**400, "a number"),
        ("activation", 3, "a string"),
        ("hidden", 64, "a list of whole numbers"),
        ("hidden", "64", "a list of whole numbers"),
        ("hidden", [64.5], "a whole number"),
        ("defer_updates", 1, "true or false"),
    ],
)
def test_values_of_another_type_are_refused(name, value, wanted):
    with pytest.raises(ConfigError, match=rf"^{name}: .* is not {wanted}$"):
        TrainConfig(**{name: value})


def test_numbers_of_numpy_become_pythons():
    config = TrainConfig(epochs=np.int64(3), learning_rate=np.float32(0.5), weight_decay=0, hidden=np.array([3, 2]))
    assert [type(value) for value in (config.epochs, config.learning_rate, config.weight_decay)] == [int, float, float]
    assert config == TrainConfig(epochs=3, learning_rate=0.5, hidden=(3, 2))


def test_a_configuration_cannot_be_changed_and_can_be_a_key():
    config = TrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 0  # type: ignore[misc]
    assert {config: 1}[TrainConfig()] == 1
    assert {TrainConfig(hidden=[5, 4]): 1}[TrainConfig(hidden=(5, 4))] == 1, "a list of units will do"


def test_an_activation_that_cannot_be_hashed_is_refused():
    class Swish:
        __hash__ = None

        def __call__(self, x, /, *, xp):
            return x / (1 + xp.exp(-x))

    with pytest.raises(ConfigError, match=r"^activation: unhashable type: 'Swish'; .* must be hashable"):
        TrainConfig(activation=Activation(Swish(), Swish()))
