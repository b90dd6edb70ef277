"""The pictures show the numbers that they are given, for every task.

The numbers are read back from the figures.
"""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from run_folders import a_report, write_run
from sklearn.calibration import calibration_curve

from mlp_xp import (
    TrainConfig,
    load_dataset,
    open_backend,
    plot_curves,
    plot_run,
    train,
)
from mlp_xp.core.network import initial_layers
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.runs.names import PICTURES
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.show import _drawing, plots

SHORT: dict[str, Any] = {"epochs": 1, "hidden": (4,), "report_every": 1000}


def records(count: int, start: float, **more: Any) -> list[dict]:
    return [
        {
            "epoch": i // 3,
            "sample": i % 3 * 100,
            "train_loss": start / (i + 1),
            "test_loss": start / (i + 2),
            "accuracy": i / count,
            **more,
        }
        for i in range(count)
    ]


def panels_of(reports: list[dict], samples: int = 300, **more: Any) -> list[Any]:
    """Draw the curves of a run, and return their axes."""
    return plots.draw_curves([plots.Curves("a", reports, samples, **more)]).axes


def xy(line: Any) -> tuple[list[float], list[float]]:
    return [*map(float, line.get_xdata())], [*map(float, line.get_ydata())]


def test_curves_are_at_the_samples_seen_and_in_the_same_axes() -> None:
    one, two = records(6, 2.0), records(4, 1.0)
    figure = plots.draw_curves(
        [plots.Curves("one", one, 300, 32), plots.Curves("$two^{", two, 1000)]
    )
    losses, accuracy = figure.axes
    assert xy(accuracy.lines[0])[0] == [32, 128, 224, 332, 428, 524]
    assert xy(accuracy.lines[1])[0] == [1, 101, 201, 1001]
    np.testing.assert_allclose(
        accuracy.lines[0].get_ydata(), [100 * record["accuracy"] for record in one]
    )
    np.testing.assert_allclose(
        losses.lines[3].get_ydata(), [record["test_loss"] for record in two]
    )
    assert (
        accuracy.lines[0].get_color()
        == losses.lines[0].get_color()
        != accuracy.lines[1].get_color()
    )
    assert accuracy.get_ylabel() == "accuracy (%)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", r"\$two^{"]


def test_runs_differ_without_colours() -> None:
    lines = (
        plots.draw_curves([plots.Curves("a", records(4, 1.0), 300)] * 49).axes[1].lines
    )
    assert len({line.get_marker() for line in lines[:7]}) == 7
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == 49


def test_curves_with_held_out_samples_show_them() -> None:
    """After a report at the end of an epoch, that on the next batch is left out."""
    reports = [
        {"epoch": i // 3, "sample": i % 3 * 50, "train_loss": 1 + i, "accuracy": 0.5}
        for i in range(6)
    ]
    for i in (2, 5):
        reports[i] |= {"validation_loss": 3.0, "validation_accuracy": 0.25 + i / 10}
    losses, accuracy = panels_of(reports, 100, batch_size=25)
    assert xy(losses.lines[0]) == ([25, 75, 100, 175, 200], [1, 2, 3, 5, 6])
    assert xy(losses.lines[1])[1] == [3.0, 3.0]
    test, held_out = accuracy.lines
    assert legend_of(accuracy) == ["test", "held out"]
    assert xy(held_out) == ([100, 200], [45.0, 75.0])
    assert xy(test)[0] == [25, 75, 100, 175, 200]


@pytest.mark.parametrize(
    ("samples", "last", "batch"),
    [
        (10_005, (0, 10_000), 32),  # a report of its own within the last batch
        (100, (0,), 100),  # an epoch of a single step
    ],
)
def test_held_out_results_are_at_the_ends_of_epochs(samples, last, batch) -> None:
    """Its report has the number of another sample of the last batch."""
    reports = []
    for epoch in range(3):
        reports += [{"epoch": epoch, "sample": i, "train_loss": 1.0} for i in last]
        reports[-1]["validation_loss"] = 1.0 + epoch
    (losses,) = panels_of(reports, samples, batch_size=batch)
    places = [samples, 2 * samples, 3 * samples]
    assert xy(losses.lines[-1]) == (places, [1.0, 2.0, 3.0])


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


ROLE_OF = {
    "training, mean since the last report": "training",
    "test": "test",
    "held out": "held out",
}


@pytest.mark.parametrize("parts", [("test",), ("held out",), ("test", "held out"), ()])
def test_a_role_has_one_colour_and_a_legend_names_what_its_panel_has(parts) -> None:
    """Whether or not there are other curves. The colours are the package's choice."""
    given = {"test": ("test_loss", "accuracy")}
    given["held out"] = ("validation_loss", "validation_accuracy")
    report = {"train_loss": 1.0}
    for i, part in enumerate(parts):
        report |= dict.fromkeys(given[part], 0.3 + i / 10)
    reports = [{"epoch": i, "sample": 300, **report} for i in range(3)]
    panels = panels_of(reports)
    assert len(panels) == 1 + bool(parts)
    for axes, first in zip(panels, (["training"], []), strict=False):
        explained = {
            ROLE_OF[text]: line.get_color()
            for text, line in zip(
                legend_of(axes), axes.get_legend().get_lines(), strict=True
            )
        }
        assert [*explained] == [*first, *parts]
        assert explained == {role: plots.COLOUR_OF[role] for role in explained}
        assert [*dict.fromkeys(line.get_color() for line in axes.lines)] == [
            *explained.values()
        ]


def test_no_two_roles_have_one_colour() -> None:
    assert len({*plots.COLOUR_OF.values()}) == len(plots.COLOUR_OF)


def test_the_legend_says_which_runs_have_no_curve() -> None:
    given = {"a": records(3, 1.0), "b": [], "equal": records(3, 1.0)}
    runs = [plots.Curves(name, reports, 300) for name, reports in given.items()]
    (legend,) = plots.draw_curves(runs).legends
    named = dict(zip(map(text_of, legend.get_texts()), legend.get_lines(), strict=True))
    assert [*named] == ["a", "b: no reports", "equal"]
    styles = [line.get_linestyle() for line in named.values()]
    assert [style == "None" for style in styles] == [False, True, False]


def text_of(text: Any) -> str:
    return text.get_text()


def test_extreme_losses_no_reports_and_long_names_are_drawn_without_warnings(
    tmp_path: Path,
) -> None:
    """Warnings are errors here.

    The axis of a logarithm ends beyond its numbers.
    """
    names = ["a" * 1000, "b " * 500]
    for loss in (1.7e308, 0.0):
        run = plots.Curves(names[0], records(4, 1.0, train_loss=loss), 300)
        runs = [run, *[plots.Curves(names[1], [], 300)] * 6]
        plots.save(plots.draw_curves(runs), tmp_path / "a.png")
    plots.save(plots.draw_confusion(np.eye(2, dtype=int), names), tmp_path / "a.png")
    mistakes = plots.draw_mistakes(
        np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), np.eye(2)[::-1], names
    )
    plots.save(mistakes, tmp_path / "a.png")


def of_numbers(*scores: float, **more: Any) -> plots.Curves:
    """A run of a regression, with these R² on the test set at the ends of epochs."""
    reports = [
        {"epoch": i, "sample": 300, "train_loss": 1 + score, "r2": score}
        for i, score in enumerate(scores)
    ]
    return plots.Curves("a", reports, 300, task=REGRESSION, **more)


@pytest.mark.parametrize(
    ("scores", "bottom"),
    [
        ((0.1, 0.5, 1.0), 0.1 - 0.05 * 0.9),
        ((-0.5, 0.5), -0.5 - 0.05),
        ((-430, -0.5, 0.8), -1),
        ((-900, -40, -17), -900 - 0.05 * 883),
    ],
)
def test_an_axis_of_r2_ends_at_minus_1_unless_all_are_below(scores, bottom):
    axes = plots.draw_curves([of_numbers(*scores)]).axes[1]
    assert axes.get_ylim()[0] == pytest.approx(bottom)


def test_losses_of_different_kinds_are_labelled() -> None:
    runs = [of_numbers(0.5, standardised=True), of_numbers(0.4, weighted=True)]
    labels = ["loss,\nstandardised targets", "loss", "loss, in different units"]
    for chosen, label in zip((runs[:1], runs[1:], runs), labels, strict=True):
        losses = plots.draw_curves(chosen).axes[0]
        assert losses.get_ylabel() == label
    assert legend_of(losses) == [
        "training, mean since the last report",
        "training, weighted, mean since the last report",
    ]


def test_ticks_of_losses_over_many_decades_do_not_overlap(tmp_path) -> None:
    for decades in (1, 3, 8):
        losses = [10.0**-i for i in range(decades + 1)]
        reports = [
            {"epoch": i, "sample": 0, "train_loss": loss}
            for i, loss in enumerate(losses)
        ]
        (axes,) = panels_of(reports)
        plots.save(axes.figure, tmp_path / "a.png")
        low, high = axes.get_ylim()
        ticks = [
            tick.label1.get_window_extent()
            for tick in axes.yaxis.get_major_ticks()
            if low <= tick.get_loc() <= high
        ]
        assert len(ticks) >= 3
        assert not any(a.overlaps(b) for a, b in pairwise(ticks))


MATRIX = np.array([[50, 3, 0], [1, 40, 9], [0, 0, 60]])


def test_confusion_counts_every_pair_and_colours_only_mistakes() -> None:
    names = ["T-shirt/top", "Ankle boot", "Bag"]
    axes = plots.draw_confusion(MATRIX, names).axes[0]
    shown = {}
    for text in axes.texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    assert shown == {(i, j): count for (i, j), count in np.ndenumerate(MATRIX) if count}
    mistakes = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert np.isnan(np.diagonal(mistakes)).all()
    assert mistakes[1, 2] == 100 * 9 / 50, "of the images of a class"
    assert np.isnan(mistakes[MATRIX == 0]).all(), "none is white"
    right = np.ma.filled(axes.images[1].get_array(), np.nan)
    np.testing.assert_array_equal(right == 1, np.eye(3))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert axes.get_ylabel() == "true class"
    assert axes.get_title() == "150 of 163 right (92.02 %)"


def test_the_most_frequent_mistake_is_the_darkest_but_a_rare_one_is_pale() -> None:
    most = plots.draw_confusion(10 * MATRIX, "abc").axes[0].images[0]
    assert most.get_clim() == (0, 100 * 9 / 50)
    good = plots.draw_confusion(np.array([[999, 1], [0, 1000]]), "ab")
    assert good.axes[0].images[0].get_clim() == (0, 1)
    perfect = plots.draw_confusion(np.eye(2, dtype=int), "ab")
    assert len(perfect.axes) == 1, "without mistakes, no colours are explained"


def test_nearly_all_right_is_not_shown_as_all() -> None:
    nearly = plots.draw_confusion(np.array([[29_998, 1], [0, 1]]), "ab").axes[0]
    assert nearly.get_title() == "29 999 of 30 000 right (99.99 %)"


def test_long_names_and_many_classes_fit_the_picture(tmp_path: Path) -> None:
    names = [f"a class with a long name, {i}" for i in range(200)]
    long = plots.draw_confusion(MATRIX, names[:3])
    plots.save(long, tmp_path / "a.png")
    top = long.axes[0].title.get_window_extent().y1
    assert top <= long.bbox.y1, "the title is in the picture"
    many = plots.draw_confusion(10 * np.eye(200, dtype=int), names)
    assert not many.axes[0].texts
    assert max(many.get_size_inches()) < 13


def test_mistakes_are_the_surest_wrong_answers() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = np.array(
        [
            [0.9, 0.1, 0],
            [0.6, 0.4, 0],
            [0.1, 0.8, 0.1],
            [0.2, 0.5, 0.3],
            [0.1, 0.9, 0.0],
        ]
    )
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    figure = plots.draw_mistakes(images, labels, probabilities, "abc", count=2)
    assert [axes.get_title() for axes in figure.axes] == [
        "is c\nsays b, 80.0 %",
        "is b\nsays a, 60.0 %",
    ]
    for axes, i in zip(figure.axes, (2, 1), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), images[i])
        assert image.get_clim() == (0, 255)
    assert figure.get_suptitle() == "mistakes: 3, here the 2 most confident"
    none = plots.draw_mistakes(images, labels, np.eye(3)[labels], "abc")
    assert none.get_suptitle() == "mistakes: 0"
    assert not none.axes[0].get_frame_on(), "an empty frame would look like a mistake"


def test_weights_show_each_unit_on_one_scale_about_zero() -> None:
    weights = np.random.default_rng(3).normal(size=(20, 120))
    figure = plots.draw_weights(weights, (4, 5))
    (image,) = (image for axes in figure.axes for image in axes.images)
    sheet = image.get_array()
    assert np.ma.count(sheet) == 20 * 100, "nothing else is drawn"
    columns = (sheet.shape[1] + 1) // 6
    for unit in range(100):
        top, left = 5 * (unit // columns), 6 * (unit % columns)
        np.testing.assert_array_equal(
            sheet[top : top + 4, left : left + 5], weights[:, unit].reshape(4, 5)
        )
    low, high = image.get_clim()
    assert -low == high == np.quantile(np.abs(weights[:, :100]), 0.998)
    title, colours = figure.axes[0].get_title().split("\n")
    assert title == "First-layer weights, an image for the first 100 of 120 units"
    assert colours == "orange: the pixel excites the unit; purple: it inhibits it"


@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_probabilities_have_the_bins_of_scikit_learn(
    task: Task, random: np.random.Generator
) -> None:
    z = random.normal(size=(300, 4))
    labels = (
        np.argmax(z + 0.1 * random.normal(size=z.shape), axis=1)
        if task.exclusive
        else (z > z[::-1]).astype(int)
    )
    p = task.link(4 * z, xp=np)
    (axes,) = plots.draw_probabilities(task, p, labels).axes
    sure, is_right = (
        (p.max(axis=1), p.argmax(axis=1) == labels)
        if task.exclusive
        else (p.ravel(), labels.ravel())
    )
    shares, means = calibration_curve(is_right, sure, n_bins=15)
    np.testing.assert_allclose(
        axes.collections[0].get_offsets(), np.stack([means, shares], axis=1), rtol=1e-12
    )


def test_deviations_hide_no_peak() -> None:
    deviations = np.full(5000, 1e-15)
    deviations[[0, 1234, 4999]] = 1e-3, 1e-9, 1e-6
    figure = plots.draw_deviations(
        {"jax": deviations, "exact": np.zeros(7)}, tolerance=np.full(5000, 1e-12)
    )
    jax, exact, allowed = figure.axes[0].lines
    steps, values = np.array(jax.get_xdata()), np.array(jax.get_ydata())
    (peak,) = np.flatnonzero(values == 1e-9)
    assert (values[0], values[-1]) == (1e-3, 1e-6)
    assert steps[peak] <= 1235 < steps[peak + 1]
    assert (np.array(exact.get_ydata()) > 0).all()
    assert allowed.get_label() == "tolerance"
    other = {"notebook, float64": deviations, "torch": deviations}
    lines = plots.draw_deviations(other, tolerance=np.ones(9)).axes[0].lines
    assert [line.get_color() for line in lines] == [
        plots.COLOUR_OF["notebook"],
        jax.get_color(),
        plots.COLOUR_OF["bound"],
    ]
    assert exact.get_color() != plots.COLOUR_OF["notebook"]


@pytest.fixture
def figures(monkeypatch) -> dict[str, Any]:
    """The figures of a run by the names of their files, which are not written."""
    saved: dict[str, Any] = {}
    monkeypatch.setattr(
        plots, "save", lambda figure, path: saved.update({path.name: figure})
    )
    return saved


def test_a_run_on_images_has_its_pictures_with_its_numbers(tmp_path, figures) -> None:
    """For the other tasks see test_tasks.py."""
    names = [
        "curves.png",
        "confusion.png",
        "mistakes.png",
        "probabilities.png",
        "weights.png",
    ]
    backend, folder = open_backend(), tmp_path / "run"
    *_, last = train(TrainConfig(**SHORT), TINY, backend, run_dir=folder)
    assert [*figures] == names
    title = figures["confusion.png"].axes[0].get_title()
    assert title.endswith(f"({100 * last.test.accuracy:.2f} %)")
    added = figures["weights.png"].axes[0]
    assert added.get_title().startswith("What training added to the first-layer wei")
    first = initial_layers((36, 4), np.random.RandomState(0), "notebook")[0].weights
    change = backend.to_numpy(last.model.network[0].weights) - first
    assert np.quantile(np.abs(change), 0.998) == added.images[0].get_clim()[1]
    with pytest.raises(
        MlpXpError, match=r"data: .*run': its data were in memory; give the same"
    ):
        plot_run(folder)
    assert plot_run(folder, data=TINY) == [folder / name for name in names]


def test_names_are_drawn_with_escapes_for_control_characters() -> None:
    assert _drawing.text("a\tb\n$x$\udcff") == r"a\tb\n\$x\$\udcff"


def test_letters_that_no_font_has_are_warned_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_drawing, "_CHINESE", ())
    figure = plots.draw_confusion(np.eye(2, dtype=int), ["\u732b\u72d7", "\u00e9"])
    said = "pictures show boxes for letters that no installed font has; install"
    with pytest.warns(MlpXpWarning, match=said) as caught:
        assert figure._repr_png_()
    assert len(caught) == 1


def test_letters_come_from_an_installed_chinese_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A font of that name, with one letter."""
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "cat"])
    font.setupCharacterMap({ord("\u732b"): "cat"})
    font.setupGlyf(dict.fromkeys([".notdef", "cat"], TTGlyphPen(None).glyph()))
    font.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "WenQuanYi Zen Hei", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "cat.ttf")

    names = ["a\u732b", "b"]
    monkeypatch.setattr(_drawing, "_CHINESE", ("WenQuanYi Zen Hei", "no such font"))
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    with pytest.warns(MlpXpWarning):
        plots.draw_confusion(np.eye(2, dtype=int), names)._repr_png_()
    fontManager.addfont(tmp_path / "cat.ttf")
    matrix = plots.draw_confusion(np.eye(2, dtype=int), names)
    assert matrix._repr_png_()
    assert not caplog.records, "the font has no bold letters"


def test_a_run_without_a_test_set_is_drawn_again(tmp_path):
    data = tmp_path / "data.npz"
    np.savez(data, X=TINY.train.inputs, y=TINY.train.labels)
    dataset = load_dataset(data, test_fraction=0, task="classes")
    folder = tmp_path / "run"
    assert [*train(TrainConfig(**SHORT), dataset, run_dir=folder)]
    drawn = sorted(folder.glob("*.png"))
    assert [path.name for path in drawn] == ["curves.png", "weights.png"]
    assert sorted(plot_run(folder)) == drawn


def test_a_run_without_matplotlib_is_complete_and_a_warning_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = tmp_path / "run"
    said = "has no pictures: pictures need Matplotlib, which is not installed"
    with pytest.warns(MlpXpWarning, match=said):
        *_, report = train(TrainConfig(**SHORT), TINY, run_dir=folder)
    assert RunFolder(folder).has_ended()
    assert not [*folder.glob("*.png")]
    assert RunFolder(folder).result()["accuracy"] == report.test.accuracy


def test_a_run_on_deformed_images_shows_them_below_the_originals(
    tmp_path, figures
) -> None:
    assert [*train(TrainConfig(**SHORT, deform=True), TINY, run_dir=tmp_path)]
    assert figures.keys() <= {*PICTURES}  # which `--overwrite` removes
    (shown,) = figures["deformed.png"].axes[0].images
    # images of 6 x 6, with a line after each
    rows = np.asarray(shown.get_array()).reshape(-1, 7, 12, 7)
    np.testing.assert_array_equal(
        rows[0, :6, :, :6].swapaxes(0, 1), TINY.train.inputs[:12]
    )
    assert len(rows) == 6
    assert all(np.abs(row - rows[0])[:6, :, :6].mean() > 1 for row in rows[1:])


def test_curves_of_several_runs_are_named_by_what_differs(
    tmp_path: Path, monkeypatch
) -> None:
    drawn: list[plots.Curves] = []
    draw = plots.draw_curves
    monkeypatch.setattr(
        "mlp_xp.api.draw_curves", lambda curves: drawn.extend(curves) or draw(curves)
    )
    runs = [
        write_run(tmp_path / name, {"seed": i}, [a_report(0, 0)], {})
        for i, name in enumerate("ab")
    ]
    picture = plot_curves(runs, str(tmp_path / "c.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in drawn] == ["seed 0", "seed 1"]
    assert drawn[0].records == [a_report(0, 0), a_report(1, 1000)]


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        plots.PlotError,
        match=r"not installed; install it with: .*pip install matplotlib$",
    ):
        plots.draw_curves([])


@pytest.mark.slow
def test_a_notebook_shows_a_figure_and_pyplot_knows_nothing_of_it() -> None:
    """`display` of IPython takes `_repr_png_`; pyplot need not even be imported."""
    subprocess.run([sys.executable, "-c", DRAW], check=True)


DRAW = """
import sys
from mlp_xp.show import plots
figure = plots.draw_curves([plots.Curves("one", [], 300)])
assert figure._repr_png_()[1:4] == b"PNG"
assert "matplotlib.pyplot" not in sys.modules
"""
