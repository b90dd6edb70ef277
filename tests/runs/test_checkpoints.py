"""Files of models and checkpoints: read as they were written, or refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from mlp_xp import TrainConfig, open_backend
from mlp_xp.core.job import Job
from mlp_xp.core.stack import stack
from mlp_xp.core.training import Best, Mark, trajectory
from mlp_xp.runs._checkpoints import read_position, write_model, write_position
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings

# Arrays and facts in a file.

TENSORS = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
FACTS = {"one": 1, "two": ["2"], "three": None}


@pytest.fixture
def path(tmp_path) -> Path:
    """A file of these."""
    write_tensors(tmp_path / "some.safetensors", TENSORS, FACTS)
    return tmp_path / "some.safetensors"


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        return file.metadata()


def test_a_file_that_was_read_is_written_again_to_the_same_bytes(path):
    content = path.read_bytes()
    tensors, facts = read_tensors(path)
    del facts["sha256"]  # which is computed
    write_tensors(path, tensors, facts)
    assert path.read_bytes() == content


def test_the_order_of_facts_does_not_matter(path):
    record = json.loads(metadata_of(path)["mlp_xp"])
    backwards = json.dumps(dict(reversed(record.items())))
    save_file(TENSORS, path, {"mlp_xp": backwards})
    np.testing.assert_equal(read_tensors(path), (TENSORS, record))
    assert FACTS.items() <= record.items()


def test_an_array_is_saved_by_its_elements_however_they_lie_in_memory(path):
    array = np.arange(12.0).reshape(3, 4)
    arrays = {"columns": np.asfortranarray(array), "strided": array[::2, ::3]}
    write_tensors(path, arrays, {})
    np.testing.assert_equal(read_tensors(path)[0], arrays)


@pytest.mark.parametrize(
    "altered",
    [
        pytest.param({"a": TENSORS["b"], "b": TENSORS["a"]}, id="exchanged"),
        pytest.param({"a": TENSORS["a"], "c": TENSORS["b"]}, id="renamed"),
        pytest.param({**TENSORS, "a": TENSORS["a"].reshape(2, 1)}, id="reshaped"),
        pytest.param({**TENSORS, "a": TENSORS["a"].view(np.int64)}, id="retyped"),
    ],
)
def test_the_same_bytes_with_another_name_shape_or_dtype_are_refused(altered, path):
    save_file(altered, path, metadata_of(path))
    with pytest.raises(RunError, match="content does not match its SHA-256 sum"):
        read_tensors(path)


def test_a_dtype_that_numpy_lacks_is_refused(path):
    array = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    text = json.dumps({"__metadata__": metadata_of(path), "a": array}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    with pytest.raises(RunError, match="altered"):
        read_tensors(path)


# The files of a run.

SETTINGS = Settings(train=TrainConfig(epochs=1, hidden=(2,), optimizer="momentum"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small checkpoint and a model."""
    folder, backend = tmp_path_factory.mktemp("checkpoint"), open_backend()
    *_, event = trajectory(Job(SETTINGS.train, TINY, backend))
    write_position(folder / "checkpoint.safetensors", event.position, SETTINGS, backend)
    write_model(folder / "model.safetensors", event.report.model)
    return folder


def test_a_position_is_read_with_the_best_networks(tmp_path):
    path, backend = tmp_path / "checkpoint.safetensors", open_backend()
    config = replace(SETTINGS.train, epochs=3, validation=2)
    events = list(trajectory(Job(config, TINY, backend)))
    early, *_, late = [event.report.model.network for event in events if event.report]
    position = events[-1].position
    marks = (Mark(0.75, 1, 0.5), Mark(0.5, 0, 0.25))
    position = position._replace(best=Best(stack([early, late]), marks))

    write_position(path, position, SETTINGS, backend)
    read, _ = read_position(path, backend)

    np.testing.assert_equal(read.best, position.best)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_checkpoint_with_any_byte_changed_or_cut_off_is_refused(
    folder, tmp_path_factory, data
):
    """Or it is read right, if the change is in a place without meaning.

    Such a place is a space.
    """
    path = folder / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    damaged = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    damaged.write_bytes(content)
    try:
        found = read_tensors(damaged)
    except RunError as error:
        said = str(error)
    else:
        np.testing.assert_equal(found, read_tensors(path))
        return
    assert f"'{damaged}'" in said
    assert "\n" not in said
