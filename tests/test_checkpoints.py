"""Models on disk. Checkpoints are tested in test_resume.py."""

import errno
import json
import os

import numpy as np
import pytest
from data_sets import TINY
from helpers import arrays_of
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save, save_file

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.device import to_device
from mlp_xp.network import Layer
from mlp_xp.runs.checkpoints import Model, check_classes, load_model, read_tensors, write_tensors
from mlp_xp.runs.run_folder import RunError

CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)


def test_a_folder_that_is_no_run_has_no_model(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        load_model(tmp_path)


def test_a_model_is_all_that_it_takes_to_use_it(tmp_path):
    *_, closing = train(CONFIG, TINY, open_backend(), run_dir=tmp_path)
    model = load_model(tmp_path)
    assert model.activation == "sigmoid"
    assert model.dtype == "float64"
    assert model.image_shape == (6, 6)
    assert model.class_names == TINY.class_names
    for a, b in zip(arrays_of(model.network, np.asarray), arrays_of(closing.network, np.array), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, b)


def test_a_models_network_goes_to_any_device_in_its_dtype(backend32):
    network = (Layer(np.array([[1.0, 0.1]]), np.array([0.0, 2.0])),)
    (layer,) = to_device(network, backend32)
    for array, host in zip(layer, network[0], strict=True):
        assert array.dtype == backend32.dtype
        np.testing.assert_array_equal(backend32.to_numpy(array), host.astype(np.float32))


def test_a_model_of_another_kind_or_none_is_refused(tmp_path, monkeypatch):
    list(train(CONFIG, TINY, open_backend(), run_dir=tmp_path))
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes((tmp_path / "checkpoint.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"model\.safetensors'.*is not a model"):
        load_model(tmp_path)
    for damaged in (content[:-1], content[:100], b"", content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"model\.safetensors'.* altered"):
            load_model(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match=r"model\.safetensors': does not exist"):
        load_model(tmp_path)
    path.write_bytes(content)

    def forbid(file, *args, original=os.open, **kwargs):
        if file == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return original(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", forbid)
        with pytest.raises(RunError, match=r"model\.safetensors': cannot be read: Permission denied"):
            load_model(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match=r"model\.safetensors'"):
        load_model(tmp_path)


def test_a_model_for_other_classes_than_the_datas_is_refused():
    model = Model((), "sigmoid", "float64", (6, 6), ("a", "b", "c"))
    for names in (("a", "b", "c"), ("0", "1", "2")):
        check_classes(model, TINY._replace(class_names=names))
    for ours, names in ((("a", "b", "c"), ("x", "y", "z")), (("0", "1", "2"), ("1", "2", "3"))):
        with pytest.raises(RunError, match="has the class_names"):
            check_classes(model._replace(class_names=ours), TINY._replace(class_names=names))
    for names in (("x", "y"), ("w", "x", "y", "z")):
        with pytest.raises(RunError) as caught:
            check_classes(model, TINY._replace(class_names=names, name="mine"))
        assert str(caught.value) == (
            f"the run's network has 3 classes, but the data 'mine' have {len(names)}; give the run's own data"
        )


def swapped(tensors: dict) -> dict:
    return {"a": tensors["b"], "b": tensors["a"]}


@pytest.mark.parametrize(
    "change",
    [
        swapped,
        lambda tensors: {"a": tensors["a"], "c": tensors["b"]},
        lambda tensors: {**tensors, "a": tensors["a"].reshape(2, 1)},
        lambda tensors: {**tensors, "a": tensors["a"].view(np.int64)},
    ],
)
def test_the_sum_covers_names_shapes_and_dtypes(change, tmp_path):
    """The same bytes under other names, in another shape or of another dtype are another file."""
    tensors = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
    path = tmp_path / "some.safetensors"
    write_tensors(path, tensors, {})
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert read_tensors(path)[0].keys() == tensors.keys()
    path.write_bytes(save({name: np.ascontiguousarray(each) for name, each in change(tensors).items()}, metadata))
    with pytest.raises(RunError, match=r"was altered|'a' is an array of I64, not of floats"):
        read_tensors(path)


def test_a_file_of_another_program_has_no_checksum(tmp_path):
    save_file({"network.0.weights": np.zeros((2, 2))}, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="was altered: its content does not match its SHA-256 sum"):
        read_tensors(tmp_path / "model.safetensors")


def test_what_is_wrong_with_a_file_is_told_in_the_librarys_words(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"half")
    with pytest.raises(SafetensorError) as its, safe_open(path, framework="np"):
        pass
    with pytest.raises(RunError) as ours:
        read_tensors(path)
    assert str(ours.value) == f"{str(path)!r}: is truncated or altered: {its.value}; train again"


def test_the_order_of_facts_does_not_count(tmp_path):
    """It is no part of the content, and another JSON library may write another."""
    path, tensors, facts = tmp_path / "x", {"a": np.arange(3.0)}, {"one": "1", "two": "2", "three": "3"}
    write_tensors(path, tensors, facts)
    with safe_open(path, framework="np") as file:
        record = json.loads(file.metadata()["mlp_xp"])
    save_file(tensors, path, metadata={"mlp_xp": json.dumps(dict(reversed(record.items())))})
    assert read_tensors(path)[1] == facts
