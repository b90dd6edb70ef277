"""Settings: one flat record and back, recipes, and files that hold some of them or are wrong."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlp_xp.config import UPDATE_ORDERS, ConfigError, TrainConfig
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.network import INITIALISERS
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES
from mlp_xp.runs.settings import RECIPES, Settings, flatten, parse_settings, unflatten

counts = st.integers(1, 10**6)
some = st.integers(0, 10**6)
configs = st.builds(
    TrainConfig,
    epochs=counts,
    batch_size=counts,
    learning_rate=st.floats(1e-30, 1e10),
    hidden=st.lists(st.integers(1, 5000), max_size=4).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    report_every=counts,
    warm_up_steps=some,
    update_order=st.sampled_from(UPDATE_ORDERS),
    activation=st.sampled_from([*ACTIVATIONS]),
    init=st.sampled_from([*INITIALISERS]),
    optimizer=st.sampled_from([*OPTIMIZERS]),
    schedule=st.sampled_from([*SCHEDULES]),
    weight_decay=st.floats(0, 10),
    validation=counts,
    patience=some,
    checkpoint_every=some,
    momentum=st.floats(0, 0.999999),
    epsilon=st.floats(1e-30, 1e30),
    decay_bias=st.booleans(),
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
settings = st.builds(
    Settings,
    backend=names,
    device=st.none() | names,
    dtype=st.sampled_from(["float64", "float32"]),
    dataset=names,
    data_dir=st.none() | names,
    label=st.none() | names,
    test_fraction=st.floats(0, 1, exclude_max=True),
    split_seed=st.integers(0, 2**32 - 1),
    picture_size=st.none() | st.integers(1, 2048),
    task=st.none() | st.sampled_from(["classes", "labels", "regression"]),
    train=configs,
)


@given(settings)
def test_settings_survive_a_file(original):
    """Every field, bit for bit: a resumed run depends on it."""
    record = json.loads(json.dumps(flatten(original)))
    assert unflatten(record, "here") == original


def test_the_record_is_flat_and_complete():
    record = flatten(Settings())
    names = {f.name for kind in (Settings, TrainConfig) for f in dataclasses.fields(kind)} - {"train"}
    assert set(record) == names
    assert record["hidden"] == (64,)


def test_what_is_not_in_the_record_keeps_its_default():
    assert unflatten({}, "here") == Settings()
    assert unflatten({"epochs": 2, "backend": "jax"}, "here") == Settings(
        backend="jax", train=dataclasses.replace(TrainConfig(), epochs=2)
    )


def test_a_whole_number_will_do_for_a_rate():
    rate = unflatten({"learning_rate": 1}, "here").train.learning_rate
    assert rate == 1.0
    assert type(rate) is float


WRONG = [
    ({"epoch": 2}, "'epoch' is not known (did you mean 'epochs'?)"),
    ({"train": {}}, "'train' is not known"),
    ({"epochs": "2"}, "epochs: '2' is not a whole number"),
    ({"epochs": 2.0}, "epochs: 2.0 is not a whole number"),
    ({"epochs": True}, "epochs: True is not a whole number"),
    ({"epochs": None}, "epochs: None is not a whole number"),
    ({"epochs": 0}, "epochs: 0 is out of range"),
    ({"learning_rate": "fast"}, "learning_rate: 'fast' is not a number"),
    ({"learning_rate": 10**400}, "is not a number"),
    ({"learning_rate": True}, "learning_rate: True is not a number"),
    ({"learning_rate": float("nan")}, "learning_rate: nan is not a number"),
    ({"hidden": 64}, "hidden: 64 is not a list of whole numbers"),
    ({"hidden": [64.5]}, "hidden: 64.5 is not a whole number"),
    ({"hidden": [True]}, "hidden: True is not a whole number"),
    ({"hidden": [64, 0]}, "hidden: 0 is out of range"),
    ({"data_dir": "a\0b"}, "data_dir: 'a\\x00b' contains characters that are not valid in a name"),
    ({"data_dir": "\ud800"}, "contains characters that are not valid in a name"),
    ({"data_dir": ""}, "data_dir: is an empty string"),
    ({"backend": ""}, "backend: is an empty string"),
    ({"device": 3}, "device: 3 is not a string"),
    ({"backend": ["numpy"]}, "backend: ['numpy'] is not a string"),
    ({"optimizer": "adan"}, "'adan' is not known (did you mean 'adam'?)"),
]


@pytest.mark.parametrize(("record", "message"), WRONG)
def test_a_wrong_field_is_named_with_where_it_is(record, message):
    with pytest.raises(ConfigError) as caught:
        unflatten(record, "'some.json'")
    assert "'some.json'" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_are_valid_and_the_first_is_the_notebooks():
    assert [*RECIPES] == ["notebook", "standard", "small", "own"]
    assert RECIPES["notebook"] == Settings()
    for recipe in RECIPES.values():
        assert unflatten(json.loads(json.dumps(flatten(recipe))), "here") == recipe
        recipe.train.check_fits(60000)
    assert RECIPES["small"].train.hidden == (64,)
    assert all(RECIPES[name].dtype == "float32" for name in ("standard", "small"))


def test_a_file_holds_settings_bare_or_as_a_run_keeps_them(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"epochs": 3, "hidden": [5, 4]}))
    bare = parse_settings(path)[0]
    assert bare.train == dataclasses.replace(TrainConfig(), epochs=3, hidden=(5, 4))
    path.write_text(json.dumps({"settings": flatten(bare), "device": "cpu", "versions": {}}))
    assert parse_settings(path)[0] == bare


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON: "),
        (b"epochs: 3", "is not JSON: "),
        (b'{"epochs": 3', "is not JSON: "),
        (b"\xff\xfe{}", "is not JSON: "),
        (b"[" * 100_000, "is not JSON: "),
        (b"[1, 2]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"settings": 3}', "its field 'settings' is not a JSON object"),
        (b'{"settings": {"epohcs": 3}}', "(did you mean 'epochs'?)"),
        (b'{"epochs": "3"}', "epochs: '3' is not a whole number"),
        (b'{"seed": -1}', "seed: -1 is out of range"),
    ],
)
def test_a_wrong_file_is_named(content, message, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(MlpXpError) as caught:
        parse_settings(path)[0]
    assert repr(str(path)) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    for path, reason in ((tmp_path / "none.json", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(MlpXpError, match=reason) as caught:
            parse_settings(path)[0]
        assert repr(str(path)) in str(caught.value)
