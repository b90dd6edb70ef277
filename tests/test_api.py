"""One call for what each command does, against plain NumPy."""

import numpy as np
import pytest
from data_sets import TINY, write_idx_folder
from PIL import Image

from mlp_xp import (
    TrainConfig,
    evaluate,
    load_dataset,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.dataset import Preparation
from mlp_xp.core.features import flatten_and_scale
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.checkpoints import load_model


@pytest.fixture(scope="module", autouse=True)
def no_pictures_by_the_library():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.api.draw_run", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A small run, as its folder's name."""
    folder = tmp_path_factory.mktemp("api")
    backend = open_backend()
    dataset = load_dataset(write_idx_folder(folder / "data", TINY), backend)
    config = TrainConfig(epochs=2, hidden=(8,), learning_rate=0.1, init="glorot")
    for _ in train(config, dataset, backend, run_dir=folder / "run"):
        pass
    return str(folder / "run")


def plain_logits(run_dir: str, images: np.ndarray) -> np.ndarray:
    (first, second) = load_model(run_dir).network
    hidden = 1 / (1 + np.exp(-(images.reshape(len(images), -1) / 255 @ first.weights + first.bias)))
    return hidden @ second.weights + second.bias


@pytest.mark.parametrize("name", ["numpy", "jax", "array-api-strict"])
def test_evaluate_counts_what_numpy_counts(run_dir, name):
    result, matrix, models, *_ = evaluate(run_dir, backend=name)
    predictions = plain_logits(run_dir, TINY.test_inputs).argmax(axis=1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (TINY.test_labels, predictions), 1)
    assert matrix.tolist() == expected.tolist()
    assert result.accuracy == np.trace(expected) / len(predictions)
    assert models[0].class_names == tuple("0123456789")


def test_evaluate_takes_other_data(run_dir, tmp_path):
    other = TINY._replace(test_inputs=TINY.train_inputs[:7], test_labels=TINY.train_labels[:7])
    assert evaluate(run_dir, data=write_idx_folder(tmp_path, other)).matrix.sum() == 7
    with pytest.raises(MlpXpError, match="name_or_folder: 'nowhere'"):
        evaluate(run_dir, data="nowhere/at/all/nowhere".rpartition("/")[2])


def test_a_run_on_data_in_memory_is_evaluated_with_them(tmp_path):
    backend = open_backend()
    for _ in train(TrainConfig(epochs=1, hidden=(4,)), TINY, backend, run_dir=tmp_path / "run"):
        pass
    assert evaluate(tmp_path / "run", data=TINY).matrix.sum() == len(TINY.test_labels)
    with pytest.raises(MlpXpError, match=r"^data: .*run': the run's data were in memory; call evaluate with"):
        evaluate(tmp_path / "run")


def test_a_run_folder_refuses_what_it_cannot_store(tmp_path):
    inverted = TINY._replace(prepare=Preparation(lambda images, **how: 1 - flatten_and_scale(images, **how)))
    with pytest.raises(MlpXpError, match="prepare"):
        next(train(TrainConfig(epochs=1, hidden=(4,)), inverted, open_backend(), run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_predict_goes_on_after_a_bad_file(run_dir, tmp_path):
    Image.fromarray(np.uint8(255 - 255 * np.eye(40, 30))).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    _, probabilities, models, _, pictures = predict(run_dir, str(tmp_path))
    assert [path.name for path in pictures.paths] == ["a.png"]
    assert len(pictures.faults) == 1
    z = plain_logits(run_dir, pictures.images)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, e / e.sum(axis=1, keepdims=True), rtol=1000 * np.finfo(float).eps)
    assert probabilities.shape == (1, len(models[0].class_names))


def test_a_runs_own_data_must_not_have_changed(tmp_path):
    data = write_idx_folder(tmp_path / "data", TINY)
    backend = open_backend()
    for _ in train(TrainConfig(epochs=1, hidden=(4,)), load_dataset(data, backend), backend, run_dir=tmp_path / "run"):
        pass
    assert evaluate(tmp_path / "run").matrix.sum() == len(TINY.test_labels)
    write_idx_folder(data, TINY._replace(test_labels=TINY.test_labels[::-1].copy()))
    with pytest.raises(MlpXpError, match=r"started with other data.* give the run's own data"):
        evaluate(tmp_path / "run")
    assert evaluate(tmp_path / "run", data=data).matrix.sum() == len(TINY.test_labels)
