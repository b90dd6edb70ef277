"""Files of models and checkpoints: what is damaged, altered, or of another kind or
format is refused in one line.
"""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, varied
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file

from mlp_xp import Model, TrainConfig, open_backend
from mlp_xp.core.config import ConfigError
from mlp_xp.core.job import Job
from mlp_xp.core.signature import Signature
from mlp_xp.core.task import LABELS
from mlp_xp.core.training import trajectory
from mlp_xp.data.columns import Column, Columns
from mlp_xp.runs._checkpoints import (
    read_position,
    write_model,
    write_position,
)
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.ensembles import check_fit
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder, load_run
from mlp_xp.runs.settings import Settings, settings_of

SETTINGS = Settings(train=TrainConfig(epochs=1, hidden=(2,), optimizer="momentum"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small checkpoint and a model."""
    folder, backend = tmp_path_factory.mktemp("checkpoint"), open_backend()
    *_, event = trajectory(Job(SETTINGS.train, TINY, backend))
    write_position(folder / "checkpoint.safetensors", event.position, SETTINGS, backend)
    write_model(folder / "model.safetensors", event.report.model)
    return folder


def test_the_order_of_facts_and_a_second_write_change_nothing(tmp_path):
    path, tensors, facts = (
        tmp_path / "x",
        {"a": np.arange(3.0)},
        {"one": 1, "two": ["2"], "three": None},
    )
    write_tensors(path, tensors, facts)
    content = path.read_bytes()
    with safe_open(path, framework="np") as file:
        record = json.loads(file.metadata()["mlp_xp"])
    assert record.keys() == {*facts, "format", "sha256"}
    save_file(
        tensors, path, metadata={"mlp_xp": json.dumps(dict(reversed(record.items())))}
    )
    read, found = read_tensors(path)
    assert {**found, **facts} == found
    np.testing.assert_array_equal(read["a"], tensors["a"])
    write_tensors(path, tensors, found)
    assert read_tensors(path)[1] == found
    write_tensors(path, tensors, facts)
    assert path.read_bytes() == content


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_checkpoint_with_any_byte_changed_or_cut_off_is_refused(
    folder, tmp_path_factory, data
):
    """Or it is read right, where the change is in a place without meaning, such as a
    space.
    """
    path = folder / "checkpoint.safetensors"
    content, place = (
        bytearray(path.read_bytes()),
        tmp_path_factory.getbasetemp() / "changed.safetensors",
    )
    tensors, facts = read_tensors(path)
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:at]
    place.write_bytes(content)
    try:
        read, found = read_tensors(place)
    except RunError as error:
        message = str(error)
    else:
        assert found == facts
        assert all((read[name] == tensors[name]).all() for name in tensors)
        return
    assert f"'{place}'" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {"a": tensors["b"], "b": tensors["a"]},
        lambda tensors: {"a": tensors["a"], "c": tensors["b"]},
        lambda tensors: {**tensors, "a": tensors["a"].reshape(2, 1)},
        lambda tensors: {**tensors, "a": tensors["a"].view(np.int64)},
    ],
)
def test_the_sum_covers_names_shapes_and_dtypes(change, tmp_path):
    """The same bytes under other names, in another shape or of another dtype are
    another file.
    """
    tensors, path = (
        {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])},
        tmp_path / "some.safetensors",
    )
    write_tensors(path, tensors, {})
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    path.write_bytes(
        save(
            {
                name: np.ascontiguousarray(each)
                for name, each in change(tensors).items()
            },
            metadata,
        )
    )
    with pytest.raises(
        RunError, match=r"was altered: its content does not match its SHA-256 sum"
    ):
        read_tensors(path)


@pytest.mark.parametrize(
    "metadata", [None, {"mlp_xp": "[]"}, {"mlp_xp": "{"}, {"mlp_xp": '{"format": 1}'}]
)
def test_a_file_of_another_program_or_format_is_refused(metadata, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"network.0.weights": np.zeros((2, 2))}, path, metadata)
    with pytest.raises(
        RunError,
        match=r"model\.safetensors': (has format (None|1), but|is (damaged|not (a )?JSON))",
    ):
        load_run(path)


def test_a_checkpoint_and_a_model_are_not_each_other(folder, tmp_path):
    for name, other, reads in (
        (
            "checkpoint.safetensors",
            "model.safetensors",
            lambda: read_position(tmp_path / "checkpoint.safetensors", open_backend()),
        ),
        (
            "model.safetensors",
            "checkpoint.safetensors",
            lambda: load_run(tmp_path / "model.safetensors"),
        ),
    ):
        (tmp_path / name).write_bytes((folder / other).read_bytes())
        with pytest.raises(
            RunError,
            match=rf"{name}': (is not a model|is damaged: its field 'settings' is missing)",
        ):
            reads()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: it has no config\.json"):
        load_run(tmp_path)
    path = tmp_path / "model.safetensors"
    with pytest.raises(
        RunError, match=r"model\.safetensors': cannot be read: No such file"
    ):
        load_run(path)
    path.mkdir()
    with pytest.raises(
        RunError,
        match=r"model\.safetensors': cannot be read: (Is a directory|Permission denied)",
    ):
        load_run(str(path))
    with pytest.raises(RunError, match=r"^path: 3 is not a path; give the folder"):
        load_run(3)


def test_a_checkpoint_of_other_settings_is_refused(folder):
    """More epochs are none, and fewer are too few."""
    with pytest.raises(
        ConfigError,
        match=r"seed: .*safetensors': a resumed run keeps its settings \(0, not 1\)",
    ):
        RunFolder(folder)._checkpoint(
            settings_of(SETTINGS, {"seed": 1}), open_backend()
        )
    RunFolder(folder)._checkpoint(settings_of(SETTINGS, {"epochs": 3}), open_backend())
    _, facts = read_tensors(folder / "checkpoint.safetensors")
    write_tensors(
        folder / "checkpoint.safetensors",
        {},
        {**facts, "position": {**facts["position"], "epoch": 1}},
    )
    with pytest.raises(
        RunError,
        match=r"epochs: 1 is too few: the run in .* has already come to epoch 2",
    ):
        RunFolder(folder)._checkpoint(SETTINGS, open_backend())


MODEL = Model(
    (),
    "sigmoid",
    Signature((6, 6), ("a", "b", "c")),
    open_backend(),
    source="runs/one/model.safetensors",
)


PQ = Columns((Column("p"), Column("q")))


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({}, {"outputs": ("0", "1", "2")}, ""),  # arrays may have no names
        (
            {"outputs": ("0", "1", "2")},
            {"outputs": ("1", "2", "3")},
            "classes 0, 1, 2, not 1, 2, 3",
        ),
        ({}, {"outputs": ("0", "1")}, "fit the table: classes a, b, c, not 0, 1;"),
        (
            {},
            {"outputs": ("x", "y", "z")},
            "fit the table: classes a, b, c, not x, y, z;",
        ),
        ({}, {"task": LABELS}, "task classes, not labels"),
        ({"input_shape": (5, 6)}, {}, "inputs images of 5 x 6, not images of 6 x 6"),
        (
            {"columns": PQ},
            {"columns": Columns(PQ.columns[::-1])},
            "columns p, q, not q, p",
        ),
        ({"columns": PQ}, {}, ""),
    ],
)
def test_data_that_do_not_fit_a_model_are_refused(ours, theirs, message):
    model = varied(MODEL, **ours)
    signature = replace(TINY.signature, **{"outputs": model.class_names, **theirs})
    with (
        pytest.raises(RunError, match=f"runs/one/model.safetensors.*{message}")
        if message
        else nullcontext()
    ):
        check_fit(model, signature, "the table")


def test_an_array_is_saved_by_its_elements_however_they_lie_in_memory(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    arrays = {"columns": np.asfortranarray(array), "strided": array[::2, ::3]}
    write_tensors(tmp_path / "some.safetensors", arrays, {})
    found, _ = read_tensors(tmp_path / "some.safetensors")
    for name, expected in arrays.items():
        np.testing.assert_array_equal(found[name], expected)


def test_a_file_with_a_dtype_that_numpy_lacks_is_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, {"a": np.zeros(1)}, {})
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    array = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    text = json.dumps({"__metadata__": metadata, "a": array}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    with pytest.raises(RunError, match="altered"):
        read_tensors(path)
