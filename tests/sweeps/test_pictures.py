"""The pictures of a sweep show their numbers, read back from the figures."""

from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call
from run_folders import write_sweep

from mlp_xp import plot_run
from mlp_xp.show.plots import Curves, draw_bands

pytestmark = pytest.mark.needs("matplotlib")

RATES, UNITS = (0.01, 0.1, 1.0), ([8], [64, 32])


def test_bands_are_mean_lowest_and_highest_over_the_runs() -> None:
    random = np.random.default_rng(4)
    given = {
        name: [curves(random.uniform(0.5, 2, 4).tolist(), [0.6] * 4) for _ in range(3)]
        for name in "ab"
    }
    figure = draw_bands(
        given, score="validation_accuracy", which="the best 2 of 7 combinations"
    )
    losses, accuracy = figure.axes
    for i, runs in enumerate(given.values()):
        values = np.array(
            [[report["train_loss"] for report in run.records] for run in runs]
        )
        np.testing.assert_array_equal(losses.lines[i].get_xdata(), [101, 200, 301, 400])
        np.testing.assert_allclose(
            losses.lines[i].get_ydata(), values.mean(axis=0), rtol=1e-14
        )
        corners = losses.collections[i].get_paths()[0].vertices
        for j, x in enumerate((101, 200, 301, 400)):
            at = corners[corners[:, 0] == x, 1]
            assert (at.min(), at.max()) == (values[:, j].min(), values[:, j].max())
        np.testing.assert_array_equal(accuracy.lines[i].get_xdata(), [200, 400])
        np.testing.assert_allclose(accuracy.lines[i].get_ydata(), [30, 30])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    what = "lines: mean over runs, bands: lowest to highest"
    assert losses.get_title() == f"the best 2 of 7 combinations; {what}"
    alone = draw_bands(
        {"x": given["a"][:1]}, score="validation_accuracy", which="all combinations"
    )
    assert alone.axes[0].get_title() == "all combinations", "not a mean over one run"


def test_a_band_ends_with_the_shortest_run_and_one_point_is_visible() -> None:
    short = [curves([1, 2], [0.5, 0.5]), curves([3, 4, 5, 6], [0.5] * 4)]
    losses, accuracy = draw_bands(
        {"x": short}, score="validation_accuracy", which="all runs"
    ).axes
    np.testing.assert_array_equal(losses.lines[0].get_xydata(), [[101, 2], [200, 3]])
    assert (len(accuracy.lines[0].get_xdata()), accuracy.lines[0].get_marker()) == (
        1,
        "o",
    )


def test_folds_are_averaged_at_the_same_stages() -> None:
    """One fold has a sample more than the other."""

    def fold(samples: int, score: float) -> Curves:
        reports = [
            {"epoch": epoch, "sample": sample, "train_loss": 1.0, "accuracy": score}
            for epoch in range(2)
            for sample in (0, samples)
        ]
        return Curves("a", reports, samples, 32)

    folds = {"all runs": [fold(66, 0.4), fold(67, 0.8)]}
    losses, accuracy = draw_bands(folds, score="accuracy", which="all runs").axes
    (line,) = accuracy.lines
    np.testing.assert_allclose(line.get_xydata(), [[32, 60], [66, 60], [132, 60]])
    what = "lines: mean over runs, bands: lowest to highest"
    assert losses.get_title() == f"all runs; {what}"


def a_sweep(folder: Path) -> Path:
    members = [
        {"learning_rate": rate, "hidden": [units], "seed": seed}
        for rate in (0.01, 0.1)
        for units in (4, 16)
        for seed in (0, 1)
    ]
    return write_sweep(
        folder,
        members,
        [{"validation_accuracy": 0.5 + i / 100} for i in range(len(members))],
    )


def test_plot_draws_the_pictures_of_a_sweep(tmp_path) -> None:
    folder, drawn = a_sweep(tmp_path / "s"), ["curves.png"]
    outcome = call("plot", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [str(folder / name) for name in drawn]
    for name in drawn:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("varied", ["fold", "seed"])
def test_the_curves_of_a_cross_validation_are_on_the_folds(
    tmp_path, monkeypatch, varied
) -> None:
    """They are its result, even if held-out samples choose the epochs."""
    result = {"accuracy": 0.5, "validation_accuracy": 0.5}
    members = [{varied: i} for i in range(2)]
    cv = {"cv": 2} if varied == "fold" else {}
    folder = write_sweep(tmp_path / "s", members, [result] * 2, common=cv)
    drawn: list[str] = []
    monkeypatch.setattr(
        "mlp_xp.sweeps.pictures.draw_bands",
        lambda curves, **how: drawn.append(how["score"]) or draw_bands(curves, **how),
    )
    plot_run(folder)
    is_fold = varied == "fold"
    assert drawn == ["accuracy" if is_fold else "validation_accuracy"]


def test_a_sweep_that_cannot_be_drawn_is_one_line(tmp_path) -> None:
    folder = write_sweep(tmp_path / "s", [{"seed": 1}], [None])
    assert_one_line(call("plot", folder), 1, "no member has finished")
    whole = write_sweep(tmp_path / "t", [{"seed": 0}, {"seed": 1}], [{}, {}])
    assert [path.name for path in plot_run(whole)] == ["curves.png"], (
        "no setting varies but the seed"
    )
    (whole / "members" / "0000" / "metrics.jsonl").write_text("{}\n")
    assert_one_line(call("plot", whole), 2, "metrics.jsonl', line 1: is damaged")


# The curves of a run.


def curves(
    losses: list[float], accuracies: list[float], held_out: bool = True
) -> Curves:
    """A run with a report every 100 of 200 samples.

    Held-out samples are evaluated at the end of an epoch.
    """
    reports = []
    for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        report = {
            "epoch": i // 2,
            "sample": 100 * (i % 2 + 1),
            "train_loss": loss,
            "accuracy": accuracy,
        }
        reports.append(
            {**report, "validation_accuracy": accuracy / 2}
            if held_out and i % 2
            else report
        )
    return Curves("a run", reports, 200)
