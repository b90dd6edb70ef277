"""The pictures show the numbers they are given: read back from the figures."""

import io
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlp_xp.files import FileError
from mlp_xp.runs import run_folder
from mlp_xp.show import plots
from mlp_xp.show.gallery import read_curves
from mlp_xp.show.sweep_plots import Setting, draw_bands, draw_heat_map, draw_settings

HEAT_MAP = [Setting({"seed": i % 2, "epochs": i // 2}, [1.0]) for i in range(4)]


def records(count: int, start: float) -> list[dict]:
    return [
        {"epoch": i // 3, "sample": i % 3 * 100, "train_loss": start / (i + 1), "test_loss": start / (i + 2),
         "accuracy": i / count}
        for i in range(count)
    ]  # fmt: skip


def test_curves_stand_at_the_samples_seen_and_lie_over_one_another() -> None:
    one, two = records(6, 2.0), records(4, 1.0)
    figure = plots.draw_curves([plots.Curves("one", one, 300), plots.Curves("two", two, 1000)])
    losses, accuracy = figure.axes
    assert [line.get_label() for line in accuracy.lines] == ["one", "two"]
    np.testing.assert_array_equal(accuracy.lines[0].get_xdata(), [0, 100, 200, 300, 400, 500])
    np.testing.assert_array_equal(accuracy.lines[1].get_xdata(), [0, 100, 200, 1000])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [100 * record["accuracy"] for record in one])
    np.testing.assert_allclose(losses.lines[3].get_ydata(), [record["test_loss"] for record in two])
    assert losses.get_ylabel()
    assert accuracy.get_xlabel()
    # Runs are told apart by their colours, in both pictures the same.
    assert accuracy.lines[0].get_color() == losses.lines[0].get_color() != accuracy.lines[1].get_color()


def test_there_is_one_point_at_each_place() -> None:
    """With held-out samples an epoch ends with a report; the next one, at the same place, is a mean over one step."""
    places = ((0, 0), (0, 50), (0, 100), (1, 0), (1, 50), (1, 100))
    records = [
        {"epoch": epoch, "sample": sample, "train_loss": 1 + i, "test_loss": 2.0, "accuracy": 0.5}
        for i, (epoch, sample) in enumerate(places)
    ]
    losses, accuracy = plots.draw_curves([plots.Curves("a", records, 100)]).axes
    assert losses.lines[0].get_ydata().tolist() == [1, 2, 3, 5, 6]
    for line in (*losses.lines[:2], *accuracy.lines):
        assert line.get_xdata().tolist() == [0, 50, 100, 150, 200]


@pytest.mark.parametrize("loss", [1e300, 1.7e308, 5e-324])
def test_losses_close_to_the_largest_number_are_drawn_without_warnings(loss: float, tmp_path: Path) -> None:
    """Warnings are errors here. The axis of a logarithm ends beyond its numbers."""
    reports = [{**each, "train_loss": loss} for each in records(4, 1.0)]
    plots.save(plots.draw_curves([plots.Curves("one", reports, 300)]), tmp_path / "a.png")


@pytest.mark.parametrize("test", [{}, {"test_loss": 0.0}])
def test_losses_that_are_all_zero_are_drawn_without_warnings(test: dict[str, float], tmp_path: Path) -> None:
    reports = [{"epoch": i, "sample": 0, "train_loss": 0.0, **test} for i in range(3)]
    plots.save(plots.draw_curves([plots.Curves("one", reports, 300)]), tmp_path / "a.png")


def test_every_run_is_told_apart_and_named_as_it_is() -> None:
    names = ["_hidden", "$not^{maths$", *(f"run {i}" for i in range(7))]
    figure = plots.draw_curves([plots.Curves(name, records(4, 1.0), 300) for name in names])
    figure.png()  # which is where the layout is made
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{name} (75.00 %)" for name in names]
    lines = figure.axes[1].lines
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(names)
    # The legend has a place of its own: nothing is drawn over a curve.
    assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes)


@pytest.mark.parametrize("name", ["one", "learning rate 0.003, hidden 64,32, seed 0 of epoch 9", "W" * 300])
def test_a_legend_fits_into_the_picture(name: str) -> None:
    runs = [plots.Curves(f"{i} {name}", records(4, 1.0), 300) for i in range(5)]
    given = {run.name: [run] for run in runs}
    for figure in (plots.draw_curves(runs), draw_bands(given, score="accuracy", total=5)):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert len(legend.get_texts()) == 5
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert all(axes.get_window_extent().height > 200 for axes in figure.axes)  # the figure grows for the legend
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


@pytest.mark.parametrize("share", [1.0, 0.999])
def test_no_axis_of_accuracies_has_a_number_above_100(share: float) -> None:
    reports = [{**each, "accuracy": share - 0.1 * (i < 2)} for i, each in enumerate(records(4, 1.0))]
    run = plots.Curves("one", reports, 300)
    given = [Setting({"learning_rate": rate}, [share]) for rate in (0.1, 0.2)]
    for figure in (plots.draw_curves([run]), bands(run),
                   draw_settings(given, score="accuracy"), draw_heat_map(HEAT_MAP, score="accuracy")):  # fmt: skip
        axes = figure.axes[-1]
        low, high = axes.get_ylim()
        assert low < 100 * share <= high < 101
        assert [tick for tick in axes.get_yticks() if 100 < tick <= high] == []


def scored(*shares: float) -> plots.Curves:
    reports = records(len(shares), 1.0)
    return plots.Curves("one", [{**each, "accuracy": at} for each, at in zip(reports, shares, strict=True)], 300)


def bands(run: plots.Curves) -> Any:
    return draw_bands({"a": [run]}, score="accuracy", total=1)


@pytest.mark.parametrize("draw", [lambda run: plots.draw_curves([run]), bands])
def test_scores_below_the_axis_are_marked(draw) -> None:
    """Accuracy is drawn to the scale of trained networks."""
    axes = draw(scored(0.1, 0.95, 0.97, 0.98)).axes[1]
    low, high = axes.get_ylim()
    assert 90 < low < 95
    assert 98 < high < 100
    (triangle,) = (line for line in axes.lines if line.get_marker() == "v")
    assert triangle.get_xdata() == [0]
    assert triangle.get_transform().transform((0, 0))[1] == axes.bbox.y0, "at the lower edge"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["below the axis: 10.00 %"]
    # Where there is room, nothing is left out.
    for run in (scored(0.5, 0.6, 0.7, 0.8), scored(0.9, 0.6, 0.7), scored(0.1, 0.9)):
        axes = draw(run).axes[1]
        shown = 100 * np.array([report["accuracy"] for report in run.records])
        assert axes.get_ylim()[0] < shown.min() < shown.max() < axes.get_ylim()[1]
        assert axes.get_legend() is None


def test_the_axis_says_that_all_labels_are_right() -> None:
    """A picture beside it has the mean over the labels, which is higher."""
    figure = plots.draw_curves([scored(0.5, 0.6)._replace(task="labels")])
    assert figure.axes[1].get_ylabel() == "test accuracy, all labels right (%)"
    assert bands(scored(0.5, 0.6)._replace(task="labels")).axes[1].get_ylabel() == "test accuracy (%), all labels right"


def test_settings_in_a_legend_are_whole_and_on_few_lines() -> None:
    settings = ", ".join(f"long setting {i} of value {i}" for i in range(6))
    (legend,) = plots.draw_curves([scored(0.5)._replace(name=f"first: {settings}")]).legends
    lines = legend.get_texts()[0].get_text().splitlines()
    assert " ".join(lines) == f"first: {settings} (50.00 %)"
    assert len(lines) == 2
    assert lines[0].endswith(",")
    (legend,) = plots.draw_curves([scored(0.5)._replace(name=f"first: {settings * 9}")]).legends
    assert legend.get_texts()[0].get_text().count("\n") == 2
    assert legend.get_texts()[0].get_text().endswith(" ... (50.00 %)")


def test_curves_end_with_the_closing_report(tmp_path: Path) -> None:
    (tmp_path / run_folder.CONFIG).write_text(json.dumps({"settings": {}, "train_samples": 300}))
    rest = {"loss": 1.0, "seconds": 1.0, "samples_per_second": 100.0}
    first, last = ({**record, **rest} for record in records(2, 1.0))
    (tmp_path / run_folder.METRICS).write_text(json.dumps(first) + "\n")
    assert read_curves(tmp_path) == (tmp_path.name, [first], 300, "classes", False)
    (tmp_path / run_folder.RESULT).write_text(json.dumps(last))
    assert read_curves(tmp_path) == (tmp_path.name, [first, last], 300, "classes", False)
    (tmp_path / run_folder.RESULT).write_text("{")
    with pytest.raises(run_folder.RunError, match=r"result\.json': is damaged"):
        read_curves(tmp_path)
    for name, content, message in (
        (run_folder.RESULT, "3", "': is damaged: 3 is not a JSON object"),
        (run_folder.METRICS, '{"epoch": 0}\n', "', line 1: is damaged: it has no field 'sample'"),
        (run_folder.CONFIG, '{"settings": {}}', "': is damaged: it has no field 'train_samples'"),
    ):
        (tmp_path / run_folder.RESULT).write_text(json.dumps(last))
        (tmp_path / name).write_text(content)
        with pytest.raises(run_folder.RunError, match=re.escape(name + message)):
            read_curves(tmp_path)


def test_a_run_may_have_a_name_that_no_font_can_draw() -> None:
    """Warnings are errors in this suite."""
    assert plots.draw_curves([plots.Curves("数字", records(4, 1.0), 300)]).png().startswith(b"\x89PNG")


def test_curves_of_a_run_without_reports() -> None:
    figure = plots.draw_curves([plots.Curves("empty", [], 300)])
    with Image.open(io.BytesIO(figure.png())) as picture:
        assert picture.size[0] > 500


def test_confusion_counts_every_pair_and_colours_only_mistakes() -> None:
    matrix = np.array([[50, 3, 0], [1, 40, 9], [0, 0, 60]])
    figure = plots.draw_confusion(matrix, ["T-shirt/top", "Ankle boot", "Bag"])
    axes = figure.axes[0]
    shown = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in axes.texts}
    assert shown == {(i, j): count for (i, j), count in np.ndenumerate(matrix) if count}
    mistakes, right = (np.ma.filled(image.get_array().astype(float), np.nan) for image in axes.images)
    assert np.isnan(np.diagonal(mistakes)).all()
    assert mistakes[1, 2] == 100 * 9 / 50, "of the images of a class"
    assert np.isnan(mistakes[2, 0]), "white, as the paper"
    np.testing.assert_array_equal(~np.isnan(right), np.eye(3, dtype=bool))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["T-shirt/top", "Ankle boot", "Bag"]
    assert axes.get_ylabel() == "true"
    assert axes.get_title() == "150 of 163 right (92.02 %)"


def test_a_mistake_has_the_same_colour_in_every_confusion_matrix() -> None:
    """Two of thirty wrong are not the darkest blue."""
    small, large = (
        plots.draw_confusion(np.array(m), "ab").axes[0].images[0] for m in ([[9, 1], [0, 9]], [[5, 5], [1, 9]])
    )
    assert small.get_clim() == large.get_clim() == (0, 100)
    assert small.norm(10) < 0.5 < large.norm(50) < 1


@pytest.mark.parametrize("classes", [53, 200])
def test_a_confusion_matrix_of_many_classes_is_legible_and_of_bounded_size(classes: int) -> None:
    matrix = 10 * np.eye(classes, dtype=int)
    matrix[3, 0] = 1
    figure = plots.draw_confusion(matrix, [f"a class with a long name, {i}" for i in range(classes)])
    with Image.open(io.BytesIO(figure.png())) as picture:
        assert max(picture.size) < 1700
    axes = figure.axes[0]
    assert len(axes.texts) == (classes + 1 if classes < 200 else 0)
    cell = axes.bbox.height / classes
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    names = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in pairwise(names))


def test_mistakes_are_the_surest_wrong_answers() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.9, 0.0]])
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    figure = plots.draw_mistakes(images, labels, probabilities, "abc", count=2)
    (axes,) = figure.axes
    (sheet,) = axes.images
    # Four by four pixels each, one above and one between them.
    for left, brightness in ((0, 2), (5, 1)):
        np.testing.assert_array_equal(sheet.get_array()[1:, left : left + 4], np.full((4, 4), brightness))
    assert np.ma.count(sheet.get_array()) == 2 * 16, "nothing else is drawn"
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("is c\nsays b, 80.0 %", (1.5, 0.5)),
        ("is b\nsays a, 60.0 %", (6.5, 0.5)),
    ]
    assert figure.get_suptitle() == "the 2 most confident of 3 mistakes"
    figure = plots.draw_mistakes(images, labels, probabilities, "abc")
    assert figure.get_suptitle() == "all 3 mistakes, the surest first"


@pytest.mark.parametrize("count", [1, 3, 25])
def test_no_empty_bands_stand_around_mistakes(count: int) -> None:
    images = np.zeros((count, 28, 28), np.uint8)
    figure = plots.draw_mistakes(images, np.zeros(count, int), np.tile([0.0, 1.0], (count, 1)), "01")
    (axes,) = figure.axes
    sheet, whole = axes.bbox.transformed(figure.dpi_scale_trans.inverted()), figure.get_size_inches()
    assert whole[1] - sheet.y1 < 0.4
    assert max(sheet.x0, sheet.y0, whole[0] - sheet.x1) < 0.12


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (4, 4), (42, 14), (64, 8), (10, 40)])
def test_texts_above_mistakes_touch_neither_each_other_nor_other_images(shape: tuple[int, int]) -> None:
    images = np.full((25, *shape), 255, np.uint8)
    names = "0", "1" * 99
    figure = plots.draw_mistakes(images, np.zeros(25, int), np.tile([0.0, 0.995], (25, 1)), names)
    assert figure.get_figheight() < 2 * figure.get_figwidth(), "a page, not a strip"
    figure.png()  # which lays out
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    drawn = ~np.ma.getmaskarray(axes.images[0].get_array())
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert 0 < box.x0 < box.x1 < figure.bbox.x1
        (left, bottom), (right, top) = axes.transData.inverted().transform(box)
        rows = slice(max(0, round(top + 0.55)), round(bottom + 0.45))
        assert not drawn[rows, max(0, round(left)) : round(right)].any()


def test_large_images_are_drawn_coarsely() -> None:
    """Twenty-five of 1500 pixels on a side in full would take gigabytes."""
    images = np.zeros((3, 1500, 600), np.uint8)
    images[:, 0, 0] = 200
    figure = plots.draw_mistakes(images, np.array([0, 0, 1]), np.tile([0.1, 0.9], (3, 1)), "ab")
    sheet = figure.axes[0].images[0].get_array()
    assert max(sheet.shape) < 5 * 256 * 2
    assert np.ma.count(sheet) == 2 * 250 * 100
    assert [(sheet == value).sum() for value in (200, 0)] == [2, 2 * (250 * 100 - 1)]
    weights = np.arange(1000 * 500 * 2, dtype=np.float32).reshape(-1, 2)
    figure = plots.draw_weights(weights, (1000, 500))
    shown = figure.axes[0].images[0].get_array().compressed()
    np.testing.assert_array_equal(np.sort(shown), np.sort(weights.reshape(1000, 500, 2)[::4, ::4].ravel()))


def test_no_mistakes() -> None:
    figure = plots.draw_mistakes(np.zeros((1, 4, 4), np.uint8), np.array([0]), np.eye(1, 3), "abc")
    assert figure.png().startswith(b"\x89PNG")
    assert figure.get_suptitle() == "no mistakes"
    assert figure.get_figheight() < 0.6


@pytest.mark.parametrize("units", [1, 10, 64, 512])
def test_weights_show_each_unit_on_one_scale_about_zero(units: int) -> None:
    weights = np.random.default_rng(3).normal(size=(20, units))
    figure = plots.draw_weights(weights, (4, 5))
    (image,) = (image for axes in figure.axes for image in axes.images)
    sheet, columns = image.get_array(), {1: 1, 10: 3, 64: 8, 512: 10}[units]
    assert np.ma.count(sheet) == 20 * min(units, 100), "nothing else is drawn"
    for unit in range(min(units, 100)):
        top, left = 1 + 5 * (unit // columns), 6 * (unit % columns)
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 5], weights[:, unit].reshape(4, 5))
    low, high = image.get_clim()
    assert low == -high
    assert high == np.max(np.abs(weights[:, :100]))
    assert figure.get_suptitle() == "first-layer weights" + ", the first 100 of 512 units" * (units == 512)


def test_weights_show_what_training_added() -> None:
    initial = np.random.default_rng(3).normal(size=(20, 4))
    weights = initial.astype(np.float32)
    weights[7, 2] += 0.5
    figure = plots.draw_weights(weights, (4, 5), initial=initial)
    drawn = figure.axes[0].images[0].get_array().compressed()
    assert np.flatnonzero(drawn).size == 1, "the rest is 0, not a rounding error"
    assert drawn.max() == pytest.approx(0.5)
    assert figure.get_suptitle() == "first-layer weights minus their initial values"


def test_deviations_hide_no_peak() -> None:
    deviations = np.full(5000, 1e-15)
    deviations[[0, 1234, 4999]] = 1e-3, 1e-9, 1e-6
    tolerance = np.full(5000, 1e-12)
    figure = plots.draw_deviations({"jax": deviations, "exact": np.zeros(7)}, tolerance=tolerance)
    axes = figure.axes[0]
    jax, exact, allowed = axes.lines
    steps, values = np.array(jax.get_xdata()), np.array(jax.get_ydata())
    assert values[0] == 1e-3
    assert values[-1] == 1e-6
    assert np.sum(values == 1e-9) == 1
    assert steps[values == 1e-9][0] <= 1235 < steps[np.flatnonzero(values == 1e-9)[0] + 1]
    assert (np.array(exact.get_ydata()) > 0).all()
    assert allowed.get_label() == "tolerance"
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(FileError, match="No space left"):
            plots.save(plots.draw_curves([plots.Curves("one", records(3, 1.0), 300)]), path)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlp_xp.show.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plots.PlotError, match=r"not installed; install it with: .*pip install matplotlib$"):
        plots.draw_curves([])


def test_a_notebook_shows_a_figure_and_pyplot_knows_nothing_of_it() -> None:
    """`display` of IPython takes `_repr_png_`; pyplot need not even be imported."""
    code = """
import sys
from mlp_xp.show import plots
figure = plots.draw_curves([plots.Curves("one", [], 300)])
assert figure._repr_png_().startswith(bytes([0x89]) + b"PNG")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_saving_writes_what_a_notebook_shows(tmp_path: Path) -> None:
    one, two = (plots.draw_weights(np.ones((20, 4)), (4, 5)) for _ in range(2))
    plots.save(one, str(tmp_path / "weights.png"))
    with Image.open(tmp_path / "weights.png") as saved, Image.open(io.BytesIO(two._repr_png_())) as shown:
        assert np.array_equal(np.asarray(saved), np.asarray(shown))
