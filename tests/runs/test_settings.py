"""Settings and records in JSON: to a file and back, recipes, and files that are wrong."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from run_folders import a_config

from mlp_xp.core.config import ConfigError, TrainConfig
from mlp_xp.data.options import DataOptions
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.records import parse_settings
from mlp_xp.runs.settings import (
    RECIPES,
    SETTINGS,
    Settings,
    check_unchanged,
    flatten,
    of_recipe,
    settings_of,
    unflatten,
)

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
    assert (
        unflatten(json.loads(json.dumps(flatten(original))), Path("here")) == original
    )


def test_the_record_is_flat_and_complete_and_what_it_lacks_has_its_default():
    record = flatten(Settings())
    assert [*record] == [*SETTINGS]
    assert record == {name: each.default for name, each in SETTINGS.items()}
    assert unflatten({}, Path("here")) == Settings()
    found = unflatten({"epochs": 2, "backend": "jax", "learning_rate": 1}, Path("here"))
    assert found == Settings("jax", train=TrainConfig(epochs=2, learning_rate=1.0))
    assert type(found.train.learning_rate) is float


def test_recipes_are_valid_and_the_first_is_the_notebooks():
    assert [*RECIPES] == ["notebook", "standard", "small", "deformed", "own"]
    assert RECIPES["notebook"] == Settings()
    for recipe in RECIPES.values():
        recipe.train.check_fits(60000)
    assert all(RECIPES[name].dtype == "float32" for name in ("standard", "small"))


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"optimizer": "adamw", "validation": 5, "learning_rate": 0.1}, {}),
        ({"optimizer": "sgd"}, {"weight_decay": 0.0}),
        (
            {"optimizer": ("adam", "adamw"), "validation": (0, 0.1)},
            {"weight_decay": 0.0, "patience": 0},
        ),
        ({"validation": 0}, {"patience": 0}),
    ],
)
def test_what_does_not_fit_an_option_leaves_the_recipe(given, changes):
    """A decay of 1.5 is far too much where it is not multiplied by the rate."""
    assert of_recipe(RECIPES["own"], given) == settings_of(RECIPES["own"], changes)
    assert of_recipe(RECIPES["standard"], {"optimizer": "adam"}) == RECIPES["standard"]


def test_a_file_has_settings_alone_or_as_a_run_has_them(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"epochs": 3, "hidden": [5, 4]}))
    bare, _ = parse_settings(path)
    assert bare.train == TrainConfig(epochs=3, hidden=(5, 4))
    path.write_text(json.dumps(a_config(flatten(bare))))
    assert parse_settings(path)[0] == bare


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"epochs": 3', "is not JSON: "),
        (b"\xff\xfe{}", "is not JSON: "),
        (b"[1, 2]", "is not a JSON object"),
        (b'{"epochs": 3, "epochs": 4}', "one of the fields epochs is there twice"),
        (b'{"learning_rate": NaN}', "NaN is not a number"),
        (b'{"learning_rate": 1e999}', "inf is out of range"),
        (
            json.dumps(a_config({}, format=1)).encode(),
            "has format 1, but this version of mlp_xp reads format 3",
        ),
        (
            json.dumps(a_config({}, train_samples="9")).encode(),
            "'train_samples' is missing or not of the right type",
        ),
        (json.dumps(a_config({}, train_samples=9.0)).encode(), "'train_samples'"),
        (
            json.dumps(
                a_config({}, signature={"task": "sorting", "targets": "unchanged"})
            ).encode(),
            "is damaged: 'sorting' is not a task",
        ),
        (b'{"format": 3, "settings": {}}', "its field 'threads' is missing"),
        (b'{"seed": -1}', "-1 is out of range"),
        (b'{"epoch": 2}', "'epoch' is not known (did you mean 'epochs'?)"),
        (b'{"epochs": "2"}', "'2' is not a whole number"),
        (b'{"data_dir": ""}', "is an empty string"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(MlpXpError) as caught:
        parse_settings(path)
    assert f"'{path}'" in str(caught.value)
    assert message in str(caught.value)
    assert (
        caught.value.setting is None or f'"{caught.value.setting}"'.encode() in content
    )
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("saved", "wanted", "changed"),
    [
        (
            {},
            {"backend": "jax", "device": "cpu", "data_dir": "elsewhere", "epochs": 9},
            None,
        ),
        ({"data_dir": "a"}, {"data_dir": "b", "label": "x"}, None),
        ({}, {"dtype": "float32"}, ("dtype", "float64", "float32")),
        ({"schedule": "cosine"}, {"schedule": "cosine", "epochs": 9}, ("epochs", 5, 9)),
        ({}, {"hidden": (3,)}, ("hidden", (64,), (3,))),
    ],
)
def test_what_a_resumed_run_must_keep(saved, wanted, changed):
    """Where it computes and reads may change, and the number of epochs if no step
    depends on it.
    """
    one, other = (settings_of(Settings(), each) for each in (saved, wanted))
    with nullcontext() if changed is None else pytest.raises(ConfigError) as caught:
        check_unchanged(one, other)
    if changed:
        assert caught.value.setting == changed[0]
        assert f"({changed[1]!r}, not {changed[2]!r}" in str(caught.value)
