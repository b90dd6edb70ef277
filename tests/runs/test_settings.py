"""Settings in JSON: to a file and back, recipes, and wrong files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlp_xp.core.config import TrainConfig
from mlp_xp.data.options import DataOptions
from mlp_xp.runs.settings import (
    RECIPES,
    Settings,
    check_unchanged,
    flatten,
    of_recipe,
    settings_of,
    unflatten,
)

FILE = Path("here")
ODD = Settings(
    "a.b:c",
    "cuda:1",
    data_dir="/some where/ä.csv",
    data_options=DataOptions(test_fraction=0.1 + 0.2, picture_size=5, task="labels"),
    train=TrainConfig(
        learning_rate=1e-30,
        weight_decay=1 / 3,
        hidden=(),
        validation=7,
        decay_bias=True,
    ),
)


@pytest.mark.parametrize("original", [*RECIPES.values(), ODD])
def test_settings_survive_a_file(original):
    """Every field, bit for bit: a resumed run depends on it."""
    text = json.dumps(flatten(original))
    assert unflatten(json.loads(text), FILE) == original


def test_a_setting_that_the_record_lacks_has_its_default():
    assert unflatten({}, FILE) == Settings()
    found = unflatten({"epochs": 2, "backend": "jax", "learning_rate": 1}, FILE)
    assert found == Settings("jax", train=TrainConfig(epochs=2, learning_rate=1.0))
    assert type(found.train.learning_rate) is float


def test_recipes_are_valid_and_the_first_is_the_notebooks():
    assert [*RECIPES] == ["notebook", "standard", "small", "deformed", "own"]
    assert RECIPES["notebook"] == Settings()
    for recipe in RECIPES.values():
        recipe.train.resolve(60000)
    assert RECIPES["standard"].dtype == RECIPES["small"].dtype == "float32"


@pytest.mark.parametrize(
    ("recipe", "given", "changes"),
    [
        ("own", {"optimizer": "adamw", "validation": 5, "learning_rate": 0.1}, {}),
        ("own", {"optimizer": "sgd"}, {"weight_decay": 0.0}),
        (
            "own",
            {"optimizer": ("adam", "adamw"), "validation": (0, 0.1)},
            {"weight_decay": 0.0, "patience": 0},
        ),
        ("own", {"validation": 0}, {"patience": 0}),
        ("standard", {"optimizer": "adam"}, {}),
    ],
)
def test_a_setting_that_does_not_fit_an_option_leaves_the_recipe(
    recipe, given, changes
):
    """A decay of 0.1 is far too much where it is not multiplied by the rate."""
    expected = settings_of(RECIPES[recipe], changes)
    assert of_recipe(RECIPES[recipe], given) == expected


@pytest.mark.parametrize(
    ("samples", "numbers"),
    [
        (10, (9, 200, 10_000, 0.1)),
        (70, (16, 200, 10_000, 0.1)),  # 2 sqrt(63) is 15.9
        (1000, (64, 200, 10_000, 0.1)),  # 2 sqrt(900) is 60
        (8333, (256, 200, 10_000, 0.1)),  # 200 x 7500 rows
        (10_000, (256, 167, 10_000, 0.1)),  # 166.7 x 9000 rows
        (66_667, (512, 25, 60_000, 0.1)),  # 60 000 to train on
        (10**6, (512, 4, 900_000, 0.0)),
        (10**8, (512, 1, 9 * 10**7, 0.0)),
    ],
)
def test_auto_settings_follow_from_the_rows_to_train_on(samples, numbers):
    """These are the rows without the tenth that is held out."""
    names = "batch_size", "epochs", "report_every", "dropout"
    config = RECIPES["own"].train
    expected = replace(config, **dict(zip(names, numbers, strict=True)))
    assert config.resolve(samples) == expected


def test_numbers_that_are_given_are_kept():
    for epochs in (100, 300):
        config = replace(RECIPES["own"].train, epochs=epochs, dropout=0.2)
        resolved = config.resolve(10**6)
        assert (resolved.batch_size, resolved.epochs) == (512, epochs)
        assert resolved.dropout == 0.2
    assert config.auto == ("batch_size", "report_every")
    assert resolved.auto == ()


def test_without_a_hidden_layer_there_is_no_dropout():
    assert replace(RECIPES["own"].train, hidden=()).resolve(1000).dropout == 0


def test_a_run_that_starts_from_another_has_a_single_network():
    recipe = replace(RECIPES["own"], networks=5)
    alone = replace(recipe, networks=1)
    assert of_recipe(recipe, {"start_from": "runs/a"}) == alone
    assert of_recipe(recipe, {"seed": 1}) == recipe


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        ({}, {"backend": "jax", "device": "cpu", "data_dir": "elsewhere", "epochs": 9}),
        ({"data_dir": "a"}, {"data_dir": "b", "label": "x"}),
    ],
)
def test_a_resumed_run_may_compute_and_read_elsewhere_and_be_longer(saved, wanted):
    check_unchanged(settings_of(Settings(), saved), settings_of(Settings(), wanted))
