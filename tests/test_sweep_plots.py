"""The pictures of a sweep show the numbers they are given: read back from the figures."""

import io
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call
from run_folders import write_sweep

pytest.importorskip("matplotlib")

from PIL import Image

from mlp_xp import plot_run
from mlp_xp.errors import MlpXpError
from mlp_xp.show import plots, sweep_plots
from mlp_xp.show.plots import Curves, PlotError
from mlp_xp.show.sweep_plots import Setting
from mlp_xp.sweeps.pictures import draw_sweep

RATES, UNITS = (0.01, 0.1, 1.0), ([8], [64])


def curves(losses: list[float], accuracies: list[float], held_out: bool = True) -> Curves:
    """A run with a report every 100 of 200 samples; that on held-out samples is known at the end of an epoch."""
    reports = []
    for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        report = {"epoch": i // 2, "sample": 100 * (i % 2 + 1), "train_loss": loss, "accuracy": accuracy}
        reports.append({**report, "validation_accuracy": accuracy / 2} if held_out and i % 2 else report)
    return Curves("a run", reports, 200)


def settings(runs: int = 3) -> list[Setting]:
    random = np.random.default_rng(4)
    found = []
    for rate in RATES:
        for units in UNITS:
            values = random.uniform(0.5, 0.9, runs).tolist()
            losses = random.uniform(0.5, 2, (runs, 4)).tolist()
            each = [curves(loss, [value] * 4) for loss, value in zip(losses, values, strict=True)]
            found.append(Setting(f"rate {rate} units {units}", {"learning_rate": rate, "hidden": units}, values, each))
    return found


def test_bands_are_mean_lowest_and_highest_over_the_runs() -> None:
    given = settings()[:2]
    figure = sweep_plots.draw_bands(given, score="validation_accuracy")
    losses, accuracy = figure.axes
    for i, setting in enumerate(given):
        values = np.array([[report["train_loss"] for report in run.records] for run in setting.curves])
        np.testing.assert_array_equal(losses.lines[i].get_xdata(), [100, 200, 300, 400])
        np.testing.assert_allclose(losses.lines[i].get_ydata(), values.mean(axis=0), rtol=1e-14)
        corners = losses.collections[i].get_paths()[0].vertices
        for j, x in enumerate((100, 200, 300, 400)):
            at = corners[corners[:, 0] == x, 1]
            assert (at.min(), at.max()) == (values[:, j].min(), values[:, j].max())
        np.testing.assert_array_equal(accuracy.lines[i].get_xdata(), [200, 400])
        held_out = 50 * np.array(setting.scores)
        np.testing.assert_allclose(accuracy.lines[i].get_ydata(), [held_out.mean()] * 2)
    assert accuracy.get_ylabel() == "accuracy on held-out samples (%)"
    assert accuracy.get_xlabel() == "training samples seen"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [each.name for each in given]
    assert "mean, lowest and highest of 3 runs each" in losses.get_title()
    # Told apart without colours too.
    assert len({line.get_linestyle() for line in losses.lines}) == 2


def test_a_band_ends_with_the_shortest_run_and_single_runs_have_none() -> None:
    short = Setting("x", {}, [0.5, 0.6], [curves([1, 2], [0.5, 0.5]), curves([3, 4, 5, 6], [0.5] * 4)])
    losses, _ = sweep_plots.draw_bands([short], score="validation_accuracy").axes
    np.testing.assert_array_equal(losses.lines[0].get_xdata(), [100, 200])
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), [2, 3])
    alone = Setting("x", {}, [0.5], [curves([1, 2], [0.5, 0.6], held_out=False)])
    figure = sweep_plots.draw_bands([alone], score="accuracy")
    assert not figure.axes[0].collections
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [50, 60])
    assert figure.axes[1].get_ylabel() == "test accuracy (%)"


def test_of_two_reports_at_one_place_the_first_counts() -> None:
    """The end of an epoch and the start of the next are one place; the latter's training loss is of a single batch.

    The closing report stands where the last epoch ends, but with held-out samples it is of the best network.
    """
    run = curves([1, 2, 3, 4], [0.5, 0.6, 0.7, 0.6])
    start = {**run.records[0], "epoch": 1, "sample": 0, "train_loss": 99}
    closing = {**run.records[3], "train_loss": 98, "validation_accuracy": 0.9}
    given = Setting("x", {}, [0.5], [run._replace(records=[*run.records[:2], start, *run.records[2:], closing])])
    losses, accuracy = sweep_plots.draw_bands([given], score="validation_accuracy").axes
    assert losses.lines[0].get_ydata().tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [30, 30])


def test_a_curve_of_one_point_is_visible() -> None:
    """The accuracy on held-out samples of a run of one epoch."""
    for count in (1, 2):
        given = Setting("x", {}, [0.5] * count, [curves([1, 2], [0.5, 0.6])] * count)
        losses, accuracy = sweep_plots.draw_bands([given], score="validation_accuracy").axes
        assert len(accuracy.lines[0].get_xdata()) == 1
        assert accuracy.lines[0].get_marker() == "o"
        assert losses.lines[0].get_marker() == "None"


@pytest.mark.parametrize("largest", [1, 5, 1e3, 1e9, 1e40])
def test_the_axis_of_the_losses_has_numbers(largest) -> None:
    """Also where one setting has all but diverged."""
    given = [
        Setting(name, {}, [0.5], [curves([end, end / 2], [0.5, 0.6])]) for name, end in (("a", 0.4), ("b", largest))
    ]
    figure = sweep_plots.draw_bands(given, score="validation_accuracy")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    shown = [tick for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert len([tick for tick in shown if tick.label1.get_text()]) >= 2


def test_a_sweep_beside_a_run_is_refused_and_nothing_is_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_sweep(tmp_path / "s", [{"seed": 1}, {"seed": 2}], [{}, {}])
    outcome = call("plot", folder, folder / "members" / "0001")
    assert_one_line(outcome, 2, f"{str(folder)!r}: is a sweep", "give it alone")
    assert not (tmp_path / "curves.png").exists()
    assert [path.name for path in plot_run(folder)] == ["curves.png"]
    with pytest.raises(MlpXpError, match="data: is for a single run"):
        plot_run(folder, data="mnist")


def test_of_many_settings_the_first_are_drawn_and_the_title_says_so() -> None:
    title = sweep_plots.draw_bands(settings(), score="validation_accuracy", ranked=True).axes[0].get_title()
    assert "the best 5 of 6 settings" in title
    assert (
        "the first 5 of 6 settings"
        in sweep_plots.draw_bands(settings(), score="validation_accuracy").axes[0].get_title()
    )


def test_every_run_is_a_dot_and_every_mean_on_a_line() -> None:
    given = settings()
    figure = sweep_plots.draw_settings(given, score="validation_accuracy")
    rate, hidden = figure.axes
    assert (rate.get_xlabel(), hidden.get_xlabel()) == ("learning rate", "units of the hidden layers")
    assert (rate.get_xscale(), hidden.get_xscale()) == ("log", "log")
    assert [tick.get_text() for tick in rate.get_xticklabels()] == ["0.01", "0.1", "1"]
    dots = sorted(y for line in rate.lines if line.get_linestyle() == "None" for y in line.get_ydata())
    np.testing.assert_allclose(dots, sorted(100 * y for each in given for y in each.scores))
    lines = [line for line in rate.lines if line.get_linestyle() != "None"]
    assert [line.get_label() for line in lines] == ["hidden 8", "hidden 64"]
    for line, units in zip(lines, UNITS, strict=True):
        means = [100 * np.mean(each.scores) for each in given if each.settings["hidden"] == units]
        np.testing.assert_array_equal(line.get_xdata(), RATES)
        np.testing.assert_allclose(line.get_ydata(), means)
    assert len({line.get_marker() for line in rate.lines if line.get_linestyle() == "None"}) == 2
    figure.png()
    assert not rate.get_legend().get_window_extent().overlaps(rate.get_window_extent())


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ([1, 2, 3], "linear", ["1", "2", "3"]),
        ([0.0, 0.1, 1.0], "linear", ["0", "0.1", "1"]),  # 0 has no logarithm
        ([1, 8], "log", ["1", "8"]),
        (["relu", "tanh"], "linear", ["relu", "tanh"]),
        ([True, False], "linear", ["yes", "no"]),
        ([[64], [512, 256]], "linear", ["64", "512,256"]),
        ([[256], [8]], "log", ["8", "256"]),
        ([None, "cpu"], "linear", ["none", "cpu"]),
        (["$x^{", "_hidden"], "linear", ["$x^{", "_hidden"]),
    ],
)
def test_an_axis_suits_its_values(values, scale, ticks) -> None:
    given = [Setting("x", {"thing": value}, [0.5, 0.6]) for value in values]
    figure = sweep_plots.draw_settings(given, score="validation_accuracy")
    (axes,) = figure.axes
    figure.png()
    assert axes.get_xscale() == scale
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ticks


@pytest.mark.parametrize(
    "values",
    [
        [0.01, 0.011, 0.0125, 0.5],
        [0.01, 1.0, 1e200],
        [*np.geomspace(0.001, 1, 12).tolist()],
        [*np.linspace(0.01, 0.07, 12).tolist()],
        [[1024, 512, 256, 128], [64] * 6, [784, 784, 784], [512, 256], [64], [128]],
    ],
)
def test_no_labels_of_values_overlap(values) -> None:
    given = [Setting("x", {"hidden": value}, [0.5, 0.6]) for value in values]
    figure = sweep_plots.draw_settings(given, score="accuracy")
    (axes,) = figure.axes
    figure.png()
    low, high = axes.get_xlim()
    labels = [t.label1 for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_text()]
    assert len(labels) >= 3
    # Turned labels begin at their ticks, so that those of neighbours are parallel.
    boxes = [label.get_window_extent() for label in labels if not label.get_rotation()]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert not any(box.overlaps(axes.xaxis.label.get_window_extent()) for box in boxes)


def test_failed_settings_are_marked_and_named() -> None:
    given = [each._replace(failed=1) if i == 1 else each for i, each in enumerate(settings())]
    given[0] = given[0]._replace(scores=[], curves=[], failed=3)
    figure = sweep_plots.draw_settings(given[1:] + given[:1], score="accuracy", ranked=True)
    for axes, places in zip(figure.axes, ([RATES[0]] * 2, [64, 8]), strict=True):
        (crosses,) = (line for line in axes.lines if line.get_marker() == "x")
        assert crosses.get_xdata().tolist() == places
        (ring,) = (line for line in axes.lines if line.get_fillstyle() == "none")
        assert ring.get_ydata().tolist() == pytest.approx([100 * np.mean(given[1].scores)])
    assert "of 2 settings" in figure._supxlabel.get_text()
    texts = [text.get_text() for text in sweep_plots.draw_heat_map(given, score="accuracy").axes[0].texts]
    assert texts.count("failed") == 1
    assert len([text for text in texts if text.endswith("some failed")]) == 1
    (legend,) = sweep_plots.draw_bands(given, score="accuracy").legends
    assert legend.get_title().get_text() == f"no run finished: {given[0].name}"
    assert [text.get_text() for text in legend.get_texts()] == [each.name for each in given[1:]]


def test_a_random_search_has_dots_alone() -> None:
    random = np.random.default_rng(2)
    given = [
        Setting("x", {"learning_rate": float(10**power), "weight_decay": float(decay)}, [0.5])
        for power, decay in random.uniform(-3, -1, (20, 2))
    ]
    figure = sweep_plots.draw_settings(given, score="validation_accuracy")
    assert all(line.get_linestyle() == "None" for axes in figure.axes for line in axes.lines)
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines) == 20
    assert not sweep_plots.can_draw_heat_map(given)


def test_a_heat_map_has_the_mean_of_each_pair() -> None:
    given = settings()
    given[0] = given[0]._replace(scores=[])  # none has finished
    assert sweep_plots.can_draw_heat_map(given)
    figure = sweep_plots.draw_heat_map(given, score="validation_accuracy")
    axes, bar = figure.axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    image = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    for each in given:
        x, y = RATES.index(each.settings["learning_rate"]), UNITS.index(each.settings["hidden"])
        if each.scores:
            np.testing.assert_allclose(image[y, x], 100 * np.mean(each.scores))
            assert texts[x, y] == f"{100 * np.mean(each.scores):.2f}"
        else:
            assert np.isnan(image[y, x])
            assert texts[x, y] == "no run"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "units of the hidden layers")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["8", "64"]
    assert bar.get_ylabel() == "accuracy on held-out samples (%)"
    empty = [each._replace(scores=[]) for each in given]
    assert sweep_plots.draw_heat_map(empty, score="validation_accuracy").png().startswith(b"\x89PNG")
    assert sweep_plots.draw_heat_map(given[1:2] * 2, score="validation_accuracy").png().startswith(b"\x89PNG")


def a_sweep(folder: Path, names: tuple[str, ...]) -> Path:
    grids = {"learning_rate": [0.01, 0.1], "hidden": [[4], [16]], "seed": [0, 1]}
    members: list[dict] = [{}]
    for name in names:
        members = [{**member, name: value} for member in members for value in grids[name]]
    return write_sweep(folder, members, [{"validation_accuracy": 0.5 + i / 100} for i in range(len(members))])


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (("seed",), ["curves.png"]),
        (("learning_rate", "seed"), ["curves.png", "settings.png"]),
        (("learning_rate", "hidden", "seed"), ["curves.png", "settings.png", "heatmap.png"]),
    ],
)
def test_plot_draws_the_pictures_of_a_sweep(names, drawn, tmp_path) -> None:
    folder = a_sweep(tmp_path / "s", names)
    outcome = call("plot", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [str(folder / name) for name in drawn]
    for name in drawn:
        with Image.open(io.BytesIO((folder / name).read_bytes())) as picture:
            assert picture.size[0] > 500
    assert_one_line(call("plot", folder, "--data-dir", "x"), 2, "--data-dir: is for a single run")
    assert_one_line(call("plot", folder, "--output", "x.png"), 2, "--output")


def test_a_sweep_that_cannot_be_drawn_is_one_line(tmp_path) -> None:
    folder = write_sweep(tmp_path / "s", [{"seed": 1}], [None])
    with pytest.raises(PlotError, match="no member has finished"):
        draw_sweep(folder)
    assert_one_line(call("plot", folder), 1, "no member has finished")
    whole = a_sweep(tmp_path / "t", ("seed",))
    (whole / "members" / "0000" / "metrics.jsonl").write_text("{}\n")
    assert_one_line(call("plot", whole), 2, "metrics.jsonl', line 1: is damaged")


def test_only_the_curves_that_are_drawn_are_read(tmp_path, monkeypatch) -> None:
    """Those of thousands of members take long to read."""
    import mlp_xp.sweeps.pictures as pictures

    members = [{"learning_rate": 0.1 * (i + 1)} for i in range(8)]
    folder = write_sweep(tmp_path / "s", members, [{"validation_accuracy": i / 10} for i in range(8)])
    read, original = [], pictures.read_curves
    monkeypatch.setattr(pictures, "read_curves", lambda path: read.append(path.name) or original(path))
    draw_sweep(folder)
    assert read == ["0007", "0006", "0005", "0004", "0003"]


def test_without_matplotlib_a_sweep_says_how_to_get_it(tmp_path, monkeypatch) -> None:
    import sys

    folder = a_sweep(tmp_path / "s", ("seed",))
    monkeypatch.delitem(sys.modules, "mlp_xp.show.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_line(call("plot", folder), 2, "pip install matplotlib")


def test_the_colours_are_those_of_all_pictures() -> None:
    lines = sweep_plots.draw_bands(settings(), score="validation_accuracy").axes[0].lines
    assert [line.get_color() for line in lines] == [*plots.COLOURS[: sweep_plots.MOST_BANDS]]
