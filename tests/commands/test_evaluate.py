"""scripts/evaluate.py, predict.py and plot.py on a real run: what they print is true,
and every fault is one line.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import ARRAYS, TINY, array_of, varied, write_idx_folder
from helpers import assert_one_line, call
from PIL import Image

from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.runs.names import CONFIG
from mlp_xp.runs.run_folder import RunFolder, load_run
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
    """A run of one epoch on these, batches of 32."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    settings = [
        "--data-dir",
        digits,
        "--epochs",
        1,
        "--recipe",
        "small",
        "--init",
        "glorot",
        "--learning-rate",
        0.1,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
        assert (
            call("train", *settings, "--optimizer", "sgd", "--run-dir", folder).code
            == 0
        )
    return folder


def test_evaluate_says_what_numpy_counts(folder, digits) -> None:
    dataset = load_dataset(digits)
    predictions = load_run(folder).predict(dataset.test.inputs).astype(int)
    right = predictions == dataset.test.labels

    for backend in ("numpy", "array-api-strict"):
        code, out, err = call("evaluate", folder, "--backend", backend)
        assert (code, err) == (0, "")
        assert out.startswith(
            f"{100 * right.mean():.2f} % of 1 000 test images right, loss 0."
        )
        sevens = re.search(
            r"^7 +(\d+) +([\d.]+) +([\d.]+) +0\.\d{4} +0\.\d{4}$",
            out,
            flags=re.MULTILINE,
        )
        assert sevens
        assert int(sevens[1]) == np.sum(dataset.test.labels == 7)
        assert float(sevens[2]) == round(right[predictions == 7].mean(), 4)
        assert float(sevens[3]) == round(right[dataset.test.labels == 7].mean(), 4)
        row = re.findall(r"^7 .*$", out, flags=re.MULTILINE)[-1].split()[1:]
        confused = [
            int(np.sum(predictions[dataset.test.labels == 7] == i)) for i in range(10)
        ]
        assert [int(cell.replace(".", "0")) for cell in row] == confused
        assert max(map(len, out.splitlines())) <= 80


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with the first three test images, enlarged and dark on light, as PNG."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(load_dataset("mnist").test.inputs[:3]):
        Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC).save(
            folder / f"{i}.png"
        )
    return folder


def test_predict_shows_what_the_network_saw(folder, pictures) -> None:
    code, out, _ = call("predict", folder, pictures / "2.png", "--show")
    assert code == 0
    note, *drawn = out.splitlines()[:29]
    assert (
        note
        == "pictures as the network sees them, 28 x 28 pixels, from 0, a space, to 255, @:"
    )
    assert max(map(len, drawn)) <= 56
    ink = np.array(
        [[character != " " for character in line.ljust(56)] for line in drawn]
    )
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[-1] - rows[0] + 1 in (19, 20)  # a one fills MNIST's 20 rows
    assert columns[-1] - columns[0] < 2 * 12
    assert "1 (" in out.splitlines()[29]


def draw_only_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `draw_run` decide what to draw, without the time that it takes."""
    for name in (
        "draw_curves",
        "draw_confusion",
        "draw_probabilities",
        "draw_mistakes",
        "draw_weights",
        "save",
    ):
        monkeypatch.setattr(f"mlp_xp.show.plots.{name}", lambda *_, **__: "a figure")


@pytest.mark.parametrize("mode", ["L", pytest.param("RGB", marks=pytest.mark.slow)])
def test_predict_shows_pictures_of_a_folder_as_they_are(
    mode, tmp_path, monkeypatch
) -> None:
    """In grey. So are the mistakes, which are no negatives."""
    for i in range(12):
        picture = Image.new("RGB", (8, 8), (250, 240, 255))
        # in both classes, so that half are mistakes
        picture.paste((i // 2, 10, 5), (2, 2, 6, 4))
        (tmp_path / "data" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        picture.convert(mode).save(tmp_path / "data" / "ab"[i % 2] / f"{i}.png")
    draw_only_names(monkeypatch)
    seen = []
    monkeypatch.setattr(
        "mlp_xp.show.plots.draw_mistakes", lambda *images, ink: seen.append(ink)
    )
    run, options = (
        tmp_path / "run",
        ("--epochs", 1, "--learning-rate", 1e-30, "--test-fraction", 0.5),
    )
    assert (
        call("train", "--data-dir", tmp_path / "data", "--run-dir", run, *options).code
        == 0
    )
    assert seen == ([False] if mode == "L" else [])
    code, out, _ = call("predict", run, tmp_path / "data" / "a" / "0.png", "--show")
    assert code == 0
    note, *drawn = out.splitlines()[:9]
    assert (
        note
        == "pictures as the network sees them, 8 x 8 pixels, from 0, a space, to 255, @:"
    )
    assert drawn == [*["%" * 16] * 2, *["%%%%" + " " * 8 + "%%%%"] * 2, *["%" * 16] * 4]


def test_plot_draws_one_run_and_lays_several_over_one_another(
    folder, tmp_path, monkeypatch
) -> None:
    code, out, err = call("plot", folder)
    assert (code, err) == (0, "")
    names = [
        "curves.png",
        "confusion.png",
        "mistakes.png",
        "probabilities.png",
        "weights.png",
    ]
    assert out.splitlines() == [str(folder / name) for name in names]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names)

    both, nowhere = tmp_path / "both.png", tmp_path / "nowhere"
    both.write_bytes(b"old")
    code, out, err = call("plot", nowhere, folder, folder, "--output", both)
    assert (code, out, err.count("\n")) == (1, f"{both}\n", 1)
    assert err.startswith(f"error: '{nowhere}': is not a run")
    assert both.read_bytes().startswith(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    assert call("plot", folder, folder)[:2] == (0, "curves.png\n")


def test_weights_that_are_not_a_function_of_the_seed_are_drawn_as_they_are(
    folder, tmp_path, monkeypatch
) -> None:
    draw_only_names(monkeypatch)
    drawn = []
    monkeypatch.setattr(
        "mlp_xp.show.plots.draw_weights",
        lambda weights, _, *, initial: drawn.append(initial),
    )
    copied = shutil.copytree(folder, tmp_path / "copied")
    record = json.loads((copied / CONFIG).read_text())
    record["settings"]["start_from"] = str(folder)
    (copied / CONFIG).write_text(json.dumps(record))
    for run in (folder, copied):
        draw_run(
            RunFolder(run),
            varied(load_dataset("mnist"), test=None),
            open_backend(),
        )
    assert [each is None for each in drawn] == [False, True]


@pytest.mark.parametrize(
    ("script", "args", "message"),
    [
        ("evaluate", ["nowhere"], "'nowhere': is not a run"),
        ("evaluate", [], "RUN_DIR requires an argument. --help"),
        ("predict", ["FOLDER"], "after the run, give at least one picture file"),
        (
            "predict",
            ["FOLDER", "x.png", "--json", "--show"],
            "--show and --json: give only one",
        ),
        (
            "plot",
            ["FOLDER", "--output", "x.png"],
            "--output: is for the curves of several runs",
        ),
        (
            "plot",
            ["FOLDER", "FOLDER", "--data-dir", "x"],
            "--data-dir: is for a single run",
        ),
        (
            "plot",
            ["FOLDER", "FOLDER", "--output", "x.jpg"],
            "'x.jpg' is not the name of a PNG file",
        ),
        ("evaluate", ["FOLDER", "--backend", "nunpy"], "did you mean 'numpy'?"),
        (
            "evaluate",
            ["FOLDER", "--data-dir", "nowhere"],
            "error: --data-dir: 'nowhere': no such folder",
        ),
    ],
)
def test_every_fault_is_one_line(
    script, args, message, folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(script, *(folder if arg == "FOLDER" else arg for arg in args))
    assert_one_line(outcome, 2, "error: ", message)
    assert outcome.out == ""


def test_a_run_that_has_not_ended_is_named_as_that(tmp_path) -> None:
    """By all that use its network: the figures are of a checkpoint, not of the run."""
    backend, run = open_backend(), tmp_path / "run"
    dataset = load_dataset(write_idx_folder(tmp_path / "data", TINY), backend)
    config = TrainConfig(
        epochs=4, hidden=(4,), warm_up_steps=0, report_every=100, checkpoint_every=70
    )
    reports = train(config, dataset, backend, run_dir=run)
    picture = tmp_path / "a.png"
    Image.fromarray(np.uint8(255 - 255 * np.eye(40, 30))).save(picture)
    for report in reports:
        # the last checkpoint is that after 71, where a chunk ends
        if (report.epoch, report.sample) == (1, 100):
            break
    where = "its network is that of its last checkpoint"
    for words in (("evaluate", run), ("predict", run, picture)):
        outcome = call(*words)
        assert outcome.err.startswith(
            f"warning: '{run}': in use by process {os.getpid()} on "
        ), outcome
        assert outcome.err.endswith(f"; {where}\n")
    reports.close()
    for words in (
        ("evaluate", run),
        ("predict", run, picture),
        ("evaluate", run, "--csv"),
    ):
        outcome = call(*words)
        assert_one_line(
            outcome, 0, f"warning: '{run}': interrupted; {where}; resume with: "
        )
        assert outcome.err.endswith(f"-m mlp_xp train --resume {run}\n")
