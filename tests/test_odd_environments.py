"""Commands where the terminal, the names of files, or Matplotlib's settings are odd.

See torture_environments.py too.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import matplotlib as mpl
import numpy as np
import pytest
from data_sets import TINY, write_idx_folder
from helpers import assert_one_line, call, finish, options, small_settings, start
from PIL import Image

from mlp_xp import TrainConfig, evaluate_run, load_dataset, open_backend, plot_curves, plot_run, predict_pictures, train
from mlp_xp.checks import DatasetError
from mlp_xp.data.downloads import cache_folder
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError
from mlp_xp.show import plots
from mlp_xp.show.width import plain_console, terminal_size

WIDTHS = {
    "0": 80,
    "1": 40,
    "5": 40,
    "-3": 80,
    "abc": 80,
    "": 80,
    "²": 80,
    "100": 100,
    "1000000000": 1000,
    "9" * 5000: 80,
}
SCRIPTS = ("train", "evaluate", "predict", "plot", "runs", "parity", "sweep")
STRANGE = os.fsdecode(b"caf\xe9")
"""A name that is not UTF-8."""

PARITY = ("--backends", "array_api_compat:numpy", "--steps", "3")


def small(*others: object) -> list[str]:
    return [*map(str, others), *options(small_settings(epochs=1))]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a name that is not UTF-8, with data, a run and a picture."""
    folder = tmp_path_factory.mktemp("odd") / f"é数 {STRANGE}"
    write_idx_folder(folder / "data", TINY)
    Image.fromarray(255 - np.pad(TINY.test_images[0] // 200 * 255, 4)).save(folder / "seven.png")
    outcome = call("train", *small("--data-dir", folder / "data", "--run-dir", folder / "run"))
    assert (outcome.code, outcome.err) == (0, "")
    assert "drawn in" in outcome.out
    return folder


# The width.


@pytest.mark.parametrize("columns", WIDTHS, ids=lambda columns: columns[:12])
def test_every_width_is_usable(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", "0")
    expected = WIDTHS[columns]
    assert terminal_size() == (expected, 24)
    console = plain_console(file=io.StringIO())
    assert (console.width, console.height) == (expected, 24)
    for command in SCRIPTS if columns in ("0", "1") else ("plot",):
        outcome = call(command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        lines = outcome.out.splitlines()
        assert len(lines) > 10
        assert max(len(line) for line in lines if " " in line.strip() and not line.startswith("usage")) <= expected


@pytest.mark.parametrize("columns", ["0", "1", "40", "71"])
def test_parity_in_a_narrow_terminal(columns, data_dir, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    outcome = call("parity", *PARITY, "--data-dir", data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    for word in ("loss", "logits", "weights", "reference", "agrees", "accuracy"):
        assert word in outcome.out


# Names and encodings.


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_in_an_output_that_cannot_show_them(encoding, place):
    shown = str(place / "run").encode(encoding, "backslashreplace").decode(encoding)
    output = place / f"{encoding}.png"
    outcome = finish(
        start("plot", place / "run", place / "run", "--output", output,
              env={"PYTHONIOENCODING": encoding}, text=True, encoding=encoding)
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == shown.removesuffix("run") + f"{encoding}.png\n"
    assert output.read_bytes().startswith(b"\x89PNG")


def test_training_where_not_even_the_file_names_have_more_than_ascii(place, tmp_path):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = tmp_path / STRANGE
    outcome = finish(start("train", *small("--data-dir", place / "data", "--run-dir", folder), env=env))
    assert (outcome.code, outcome.err) == (0, "")
    assert (folder / "curves.png").exists()
    assert outcome.out.isascii()


def test_the_name_of_a_picture_in_json_is_its_name(place):
    outcome = finish(start("predict", place / "run", place / "seven.png", "--json", env={"PYTHONIOENCODING": "ascii"}))
    assert (outcome.code, outcome.err) == (0, "")
    assert Path(json.loads(outcome.out)["picture"]).samefile(place / "seven.png")


def test_a_run_on_data_with_an_odd_name_is_resumed(place):
    """Its config.json, which is ASCII, holds the name."""
    config = json.loads((place / "run" / "config.json").read_bytes().decode("ascii"))
    assert Path(config["settings"]["data_dir"]).samefile(place / "data")
    assert call("train", "--resume", place / "run").code == 0
    assert call("evaluate", place / "run").code == 0


# Pictures.

ODD_STYLE = {"text.usetex": True, "font.family": ["nowhere"], "savefig.format": "svg", "savefig.dpi": 20,
             "savefig.bbox": "tight", "axes.facecolor": "black", "figure.dpi": 10}  # fmt: skip


def picture() -> bytes:
    records = [
        {"epoch": 0, "sample": i, "train_loss": 1.0, "test_loss": 2.0 / (i + 1), "accuracy": 0.5} for i in (0, 9)
    ]
    return plots.draw_curves([plots.Curves(f"é {STRANGE}", records, 10)]).png()


def test_pictures_neither_obey_nor_change_the_callers_style():
    expected = picture()
    with mpl.rc_context(ODD_STYLE):
        before = dict(mpl.rcParams)
        assert picture() == expected
        assert dict(mpl.rcParams) == before


def test_class_names_are_no_mathematics():
    names = ["$x^{", f"{STRANGE}$$"]
    assert plots.draw_confusion(np.eye(2, dtype=int), names).png()
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1])
    assert plots.draw_mistakes(images, labels, np.eye(2)[::-1], names).png()
    assert plots.draw_deviations({"$x^{": np.ones(3), STRANGE: np.ones(3)}).png()


@pytest.mark.parametrize("value", ["module://matplotlib_inline.backend_inline", "nonsense", "svg"])
def test_any_mplbackend(value):
    """A notebook's own is inherited by the commands that it starts."""
    code = "import os; from mlp_xp.show import plots; plots.draw_curves([]).png(); print(os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": value},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\n", "")


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """A Matplotlib that fails when it is imported."""

    def fail(name: str) -> None:
        raise RuntimeError("a setting\nis invalid")

    monkeypatch.setattr(plots, "import_module", fail)


def test_a_broken_matplotlib_costs_no_run(no_plots, data_dir, tmp_path):
    outcome = call("train", *small("--data-dir", data_dir, "--run-dir", tmp_path / "run"))
    assert (outcome.code, outcome.err) == (0, "")
    assert "no pictures: Matplotlib cannot be imported (RuntimeError: a setting is invalid); " in outcome.out
    assert (tmp_path / "run" / "result.json").exists()
    assert_one_line(call("plot", tmp_path / "run"), 1, "Matplotlib cannot be imported")
    assert_one_line(call("parity", *PARITY, "--data-dir", data_dir, "--report-dir", tmp_path / "p"), 1, "Matplotlib")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        MemoryError(),
        ImportError("libfreetype"),
        RuntimeError("font"),
        FileError("'x': full"),
    ],
)
def test_a_picture_that_fails_costs_no_run(error, data_dir, tmp_path, monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise error

    if isinstance(error, FileError):
        monkeypatch.setattr(plots, "write_whole", fail)
    else:
        plots.import_matplotlib()
        monkeypatch.setattr(sys.modules["mlp_xp.show.figure"].Picture, "savefig", fail)
    folder = tmp_path / "run"
    outcome = call("train", *small("--data-dir", data_dir, "--run-dir", folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("no pictures: ")
    assert_one_line(call("plot", folder), 1)
    dataset = load_dataset(data_dir)
    *_, closing = train(TrainConfig(epochs=1, hidden=(4,)), dataset, open_backend(), run_dir=tmp_path / "two")
    assert 0 <= closing.accuracy <= 1


def test_memory_that_is_out_before_a_picture_costs_no_run(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.runs.checkpoints.Model.outputs", mock.Mock(side_effect=MemoryError))
    outcome = call("train", *small("--data-dir", data_dir, "--run-dir", tmp_path / "run"))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("no pictures: out of memory")


def test_a_defect_in_a_picture_keeps_its_traceback(data_dir, monkeypatch):
    monkeypatch.setattr(plots, "_tidy", lambda axes: axes.planted)
    with pytest.raises(AttributeError, match="planted"):
        plots.draw_curves([])


# Empty words.


def test_an_empty_path_is_not_the_current_folder(place, monkeypatch):
    monkeypatch.chdir(place / "run")
    backend = open_backend()
    for use in (
        evaluate_run,
        plot_run,
        lambda path: predict_pictures(path, []),
        lambda path: predict_pictures(place / "run", [path]),
        lambda path: plot_curves([path], "x.png"),
        lambda path: plot_curves([], path),
        lambda path: next(train(TrainConfig(), TINY, backend, run_dir=path)),
    ):
        with pytest.raises(MlpXpError, match="is empty; give a path"):
            use("")
    monkeypatch.chdir(place / "data")
    for use in (load_dataset, lambda data: evaluate_run(place / "run", data=data)):
        with pytest.raises(DatasetError, match="is empty; give the name"):
            use("")


def test_an_empty_variable_is_not_set(monkeypatch):
    monkeypatch.delenv("MLP_XP_CACHE", raising=False)
    expected = cache_folder()
    monkeypatch.setenv("MLP_XP_CACHE", "")
    assert cache_folder() == expected != Path.cwd()
