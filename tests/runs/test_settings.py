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
    fitted_to,
    fitted_without,
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
        recipe.train.check_fits(60000)
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
        ("own", {"hidden": ()}, {"dropout": 0.0}),
        ("own", {"hidden": (64, ())}, {"dropout": 0.0}),
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
    ("recipe", "samples", "changes"),
    [
        ("own", 10, {"batch_size": 9}),
        ("own", 70, {"batch_size": 16}),  # 2 sqrt(63) is 15.9
        ("own", 1000, {"batch_size": 64}),  # 2 sqrt(900) is 60
        ("own", 8333, {"batch_size": 256}),  # 200 x 7500 rows
        ("own", 10_000, {"batch_size": 256, "epochs": 167}),  # 166.7 x 9000 rows
        (
            "own",
            66_667,  # 60 000 to train on
            {"batch_size": 512, "epochs": 25, "report_every": 60_000},
        ),
        (
            "own",
            10**6,
            {"batch_size": 512, "epochs": 4, "report_every": 900_000, "dropout": 0.0},
        ),
        (
            "own",
            10**8,
            {"batch_size": 512, "epochs": 1, "report_every": 9 * 10**7, "dropout": 0.0},
        ),
        ("small", 10, {"batch_size": 10}),
        ("small", 10**6, {}),
        ("notebook", 10**6, {}),
    ],
)
def test_settings_fit_the_training_set(recipe, samples, changes):
    """Only those of `own`, without a tenth that is held out, grow or fall with it."""
    fitting = fitted_to(RECIPES[recipe], samples)
    assert fitting == settings_of(RECIPES[recipe], changes)


def test_epochs_that_are_given_are_kept():
    for epochs in (100, RECIPES["own"].train.epochs, 300):
        given = {"epochs": epochs}
        settings = settings_of(RECIPES["own"], given)
        fitting = fitted_to(settings, 10**6, fitted_without(given))
        assert (fitting.train.batch_size, fitting.train.epochs) == (512, epochs)
    assert not fitted_without({"batch_size": 16})


def test_dropout_that_is_given_is_kept():
    fitting = fitted_to(RECIPES["own"], 10**6, fitted_without({"dropout": 0.1}))
    assert fitting.train.dropout == 0.1


def test_no_other_recipe_has_the_batches_that_grow():
    sizes = [recipe.train.batch_size for recipe in RECIPES.values()]
    assert sizes.count(RECIPES["own"].train.batch_size) == 1


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
