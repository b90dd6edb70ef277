"""scripts/evaluate.py, predict.py and plot.py print the truth about a real run.

For refused command lines see test_messages.py.
"""

import json
import os
import re
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from data_sets import ARRAYS, TINY, array_of, varied, write_idx_folder
from helpers import assert_one_line, call, output_of
from PIL import Image

from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.names import CONFIG
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.show.gallery import draw_run

pytestmark = pytest.mark.usefixtures("eighty_columns")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of MNIST as files."""
    whole = load_dataset("mnist")
    parts = {
        name: array_of(whole, name)[: 8000 if "train" in name else 1000]
        for name in ARRAYS
    }
    return write_idx_folder(tmp_path_factory.mktemp("data"), varied(whole, **parts))


@pytest.fixture(scope="module")
def folder(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on this part, with batches of 32."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    settings = "--epochs 1 --recipe small --init glorot --learning-rate 0.1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
        command = f"train {settings} --optimizer sgd"
        assert call(command, data_dir=digits, run_dir=folder).code == 0
    return folder


def test_evaluate_says_what_numpy_counts(folder, digits) -> None:
    test = load_dataset(digits).test
    predictions = load_run(folder).predict(test.inputs).astype(int)
    right = predictions == test.labels
    is_seven = test.labels == 7

    out = output_of("evaluate", folder, backend="array-api-strict")

    share = f"{100 * right.mean():.2f} % of 1 000 test images right, loss 0."
    assert out.startswith(share)
    scores, confused = re.findall(r"^7 +(.*)$", out, flags=re.MULTILINE)
    precision, recall = right[predictions == 7].mean(), right[is_seven].mean()
    begin = rf"{is_seven.sum()} +{precision:.4f} +{recall:.4f}"
    assert re.fullmatch(rf"{begin} +0\.\d{{4}} +0\.\d{{4}}", scores)
    counts = [*np.bincount(predictions[is_seven], minlength=10)]
    assert [*map(int, confused.replace(".", "0").split())] == counts
    assert max(map(len, out.splitlines())) <= 80


def test_predict_shows_what_the_network_saw(folder, tmp_path) -> None:
    """A one of MNIST, enlarged and dark on light."""
    one = Image.fromarray(255 - load_dataset("mnist").test.inputs[2])
    one.resize((280, 280), Image.Resampling.BICUBIC).save(tmp_path / "one.png")

    code, out, _ = call("predict", folder, tmp_path / "one.png", "--show")

    assert code == 0
    note, *drawn, answer = out.splitlines()[:30]
    assert note == SEEN.format("28 x 28")
    assert max(map(len, drawn)) <= 56
    ink = np.array([[character != " " for character in f"{x:56}"] for x in drawn])
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[-1] - rows[0] + 1 in (19, 20)  # a one fills MNIST's 20 rows
    assert columns[-1] - columns[0] < 2 * 12
    assert "1 (" in answer


SEEN = "pictures as the network sees them, {} pixels, from 0, a space, to 255, @:"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """The drawing functions of `draw_run`, which draw nothing and take no time."""
    monkeypatch.setattr("mlp_xp.show.gallery.plots", figures := mock.Mock())
    return figures


@pytest.mark.parametrize("mode", ["L", pytest.param("RGB", marks=pytest.mark.slow)])
def test_pictures_of_a_folder_are_shown_as_they_are(mode, tmp_path, figures) -> None:
    """In grey, as are the mistakes. None is shown as a negative."""
    for i in range(12):
        picture = Image.new("RGB", (8, 8), (250, 240, 255))
        # in both classes: half of them are mistakes
        picture.paste((i // 2, 10, 5), (2, 2, 6, 4))
        place = tmp_path / "data" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture.convert(mode).save(place / f"{i}.png")
    run = tmp_path / "run"
    command = "train --epochs 1 --learning-rate 1e-30 --test-fraction 0.5"
    assert call(command, data_dir=tmp_path / "data", run_dir=run).code == 0
    inks = [each.kwargs for each in figures.draw_mistakes.call_args_list]
    assert inks == ([{"ink": False}] if mode == "L" else [])

    code, out, _ = call("predict", run, tmp_path / "data" / "a" / "0.png", "--show")

    assert code == 0
    note, *drawn = out.splitlines()[:9]
    assert note == SEEN.format("8 x 8")
    light, dark = "%" * 16, "%%%%" + " " * 8 + "%%%%"
    assert drawn == [light, light, dark, dark, *[light] * 4]


def test_plot_lays_several_runs_over_one_another(folder, tmp_path, monkeypatch) -> None:
    both, nowhere = tmp_path / "both.png", tmp_path / "nowhere"
    both.write_bytes(b"old")
    outcome = call("plot", nowhere, folder, folder, "--output", both)
    assert_one_line(outcome, 1, f"error: '{nowhere}': is not a run")
    assert outcome.out == f"{both}\n"
    assert both.read_bytes().startswith(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    assert call("plot", folder, folder)[:2] == (0, "curves.png\n")


def test_weights_that_are_not_a_function_of_the_seed_are_drawn_as_they_are(
    folder, tmp_path, figures
) -> None:
    copied = shutil.copytree(folder, tmp_path / "copied")
    record = json.loads((copied / CONFIG).read_text())
    record["settings"]["start_from"] = str(folder)
    (copied / CONFIG).write_text(json.dumps(record))
    dataset = varied(load_dataset("mnist"), test=None)
    for run in (folder, copied):
        draw_run(RunFolder(run), dataset, open_backend())
    drawn = [each.kwargs["initial"] for each in figures.draw_weights.call_args_list]
    assert [initial is None for initial in drawn] == [False, True]


def test_a_run_that_has_not_ended_is_named_as_that(tmp_path) -> None:
    """By all that use its network: the figures are of a checkpoint, not of the run."""
    backend, run, picture = open_backend(), tmp_path / "run", tmp_path / "a.png"
    Image.fromarray(np.uint8(255 - 255 * np.eye(40, 30))).save(picture)
    dataset = load_dataset(write_idx_folder(tmp_path / "data", TINY), backend)
    config = TrainConfig(
        epochs=4, hidden=(4,), warm_up_steps=0, report_every=100, checkpoint_every=70
    )
    reports = train(config, dataset, backend, run_dir=run)
    for report in reports:
        # the last checkpoint is after 71, where a chunk ends
        if (report.epoch, report.sample) == (1, 100):
            break
    where = "its network is from its last checkpoint"
    in_use = f"warning: '{run}': in use by process {os.getpid()} on "
    stopped = f"warning: '{run}': interrupted; {where}; resume with: "
    commands = [("evaluate", run), ("predict", run, picture)]

    for words in commands:
        said = call(*words).err
        assert said.startswith(in_use)
        assert said.endswith(f"; {where}\n")

    reports.close()
    for words in [*commands, ("evaluate", run, "--csv")]:
        outcome = call(*words)
        assert_one_line(outcome, 0, stopped)
        assert outcome.err.endswith(f"-m mlp_xp train --resume {run}\n")
