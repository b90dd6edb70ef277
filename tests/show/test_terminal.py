"""What a person sees: rows under their header, and a bar on a terminal alone."""

import io
import math
from dataclasses import replace
from functools import partial

import pytest
from data_sets import TINY
from helpers import changed, native
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.task import Evaluation
from mlp_xp.core.training import Best, Mark, Report, trajectory
from mlp_xp.runs.settings import Settings
from mlp_xp.show.numbers import (
    fraction,
    loss_text,
    metric_text,
    number_of,
    percent,
    quantity,
    spread_text,
    thousands,
)
from mlp_xp.show.terminal import (
    describe,
    header,
    report_line,
    summary,
    watch,
)

HEADER = header(TrainConfig())
CONFIG = TrainConfig(
    epochs=2, hidden=(5, 4), report_every=50, validation=20, batch_size=3
)
JOB = Job(CONFIG, TINY, open_backend())


losses = st.floats(0, 1e308)


@given(
    epoch=st.integers(0, 99999),
    sample=st.integers(0, 9999999),
    loss=losses,
    train_loss=losses,
    test_loss=losses,
    accuracy=st.floats(0, 1),
    speed=st.floats(0, 1e9),
)
def test_any_report_is_a_row_of_the_headers_width(
    epoch, sample, loss, train_loss, test_loss, accuracy, speed
):
    report = Report(
        epoch,
        sample,
        loss,
        1.0,
        train_loss,
        speed,
        None,
        Evaluation(test_loss, accuracy),
    )
    row = report_line(report)
    assert len(HEADER) <= 80
    assert len(row) <= len(HEADER) + 1
    columns = row.split()
    assert len(columns) == 7
    assert [int(column) for column in columns[:2]] == [epoch, sample]
    for shown, value in zip(
        columns[2:6], (loss, accuracy, train_loss, test_loss), strict=True
    ):
        assert math.isclose(float(shown), value, rel_tol=1e-3, abs_tol=5.1e-5)


def test_held_out_samples_and_the_best_epoch_have_columns_where_there_are_some():
    report = Report(3, 40000, 0.5, 1.0, 0.75, 9000.0, None, Evaluation(0.125, 0.25))
    best = Best((), (Mark(0.99, 2, 0.4),))
    row = report_line(
        report._replace(validation=Evaluation(0.5, 0.98765)),
        is_validated=True,
        best=best,
    )
    expected = "3 40000 0.75000 0.12500 0.2500 0.50000 0.9877 2"
    assert " ".join(row.split()) == expected
    assert " ".join(header(CONFIG).split()).endswith(
        "accuracy held-out loss accuracy kept"
    )
    assert report_line(report, is_validated=True).split()[-3:] == ["-", "-", "-"]
    assert len(row) == len(header(CONFIG)) <= 80, "it ends under its name"


def test_what_is_trained_is_described():
    settings = Settings(data_dir="/some/folder", train=CONFIG)
    network, arrays, data, training = describe(
        settings, Job(CONFIG, TINY, open_backend())
    ).splitlines()
    parameters = 36 * 5 + 5 + 5 * 4 + 4 + 4 * 10 + 10
    sizes = f"36-5-4-10, sigmoid, {parameters} parameters, float64"
    assert network == f"network  {sizes}"
    assert arrays.endswith(" on cpu")
    assert data == native(
        "data     /some/folder: 180 training, 20 held-out and 60 test images of 6 x 6"
    )
    parts = "2 epochs|batches of 3|sgd|0.01|constant|layerwise|10 warm-up steps"
    assert all(part in training for part in parts.split("|"))
    assert len(training) <= 80
    patient = describe(settings, Job(replace(CONFIG, patience=7), TINY, open_backend()))
    said = "after 7 epochs without a better network on the held-out samples"
    assert patient.endswith(f"\nstopping early, {said}")
    other = describe(
        Settings(), Job(TrainConfig(warm_up_steps=0, deform=True), TINY, open_backend())
    )
    assert "mnist: " in other
    assert other.endswith("layerwise, deformed")


@pytest.mark.parametrize(
    ("hidden", "batch_size", "enough"),
    [(64, 1, "1 657"), (64, 199, "1 657"), (25000, 5, None)],
)
def test_small_steps_on_a_gpu_are_told_from_which_batch_size_on_a_gpu_is_of_use(
    hidden, batch_size, enough
):
    """The size is 5 000 000 / (36 * 64 + 64 + 64 * 10 + 10), rounded up.

    Less than 5 million multiply-adds are a matter of µs.
    """
    job = Job(
        TrainConfig(hidden=(hidden,), batch_size=batch_size), TINY, open_backend()
    )
    assert "launches" not in describe(Settings(), job)
    job.backend = changed(job.backend, on_gpu=True)
    said = [
        line
        for line in describe(Settings(), job).splitlines()
        if "many short kernels" in line
    ]
    assert [line.rpartition("batches below ")[2] for line in said] == (
        [f"{enough} (estimated)"] if enough else []
    )


@pytest.mark.parametrize(
    ("show", "value", "said"),
    [
        (thousands, 1234567, "1 234 567"),
        (quantity, 32543.21, "32 543"),  # no digit before the point is lost
        (quantity, -2684441.06, "-2 684 441"),
        (quantity, 9999.7, "10 000"),
        (quantity, 999.96, "1 000"),
        (quantity, 0.012344, "0.01234"),
        (quantity, 2.5, "2.5"),
        (quantity, 1.2e-7, "1.2e-07"),
        (quantity, 1.5e200, "1.5e+200"),
        (quantity, 5e-324, "4.941e-324"),
        (percent, 29999 / 30000, "99.9 %"),
        (percent, 1.0, "100.0 %"),
        (partial(percent, decimals=2), 29999 / 30000, "99.99 %"),
        (partial(metric_text, "accuracy"), 29999 / 30000, "99.99"),
        (partial(metric_text, "accuracy"), 1.0, "100.00"),
        (partial(metric_text, "r2"), math.nan, "-"),
        (loss_text, 0.0123456, "0.0123"),
        (loss_text, 0.0, "0.0000"),
        (loss_text, 2.4166e-5, "2.417e-05"),
        (partial(loss_text, decimals=5), 0.0003113, "0.00031"),
        (partial(loss_text, decimals=5), 0.00004, "4e-05"),
        (fraction, 0.98765, "0.9877"),
        (fraction, 0.99998, "0.9999"),
        (fraction, 1.0, "1.0000"),
        (fraction, -3.5, "-3.5000"),
        (fraction, -9.123e180, "-9.12e+180"),
    ],
)
def test_a_number_is_shown_for_people(show, value, said):
    assert show(value) == said


@pytest.mark.parametrize(
    ("name", "spread", "said"),
    [
        ("test_accuracy", (0.9737, 0.0023), "97.37 ± 0.23"),
        ("test_r2", (0.5, 0.12345), "0.5000 ± 0.1235"),
        ("train_loss", (0.0634, 0.001508), "0.0634 ± 0.0015"),
        ("test_rmse", (32543.21, 210.4), "32 543 ± 210"),
        ("test_rmse", (257.12, None), "257.1"),
    ],
)
def test_a_mean_and_its_deviation_have_the_same_decimals(name, spread, said):
    assert spread_text(name, *spread) == said


def test_one_is_singular():
    assert number_of(1, "test images") == "1 test image"
    assert number_of(1234, "test images") == "1 234 test images"


# The end of a training.

MODEL = JOB.model(JOB.initial_network(JOB.randoms()))
ENDED = Report(59, 216, 0.5, 1.25, 0.0589, 9000.0, MODEL)
KEPT = Evaluation(0.0308, 0.75, samples=40)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (ENDED, "training loss 0.0589; there is no test set"),
        # the loss is of the last network, not of the kept one
        (ENDED._replace(validation=KEPT), "there is no test set"),
    ],
)
def test_a_training_loss_is_only_told_of_the_network_it_is_of(report, said):
    assert summary(report) == f"trained in 1.2 s; {said}"


@pytest.mark.parametrize("terminal", [False, True])
def test_everything_is_passed_on_with_a_bar_on_a_terminal_alone(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    events = trajectory(JOB)
    seen = [event.position[1:4] for event in watch(events, JOB, console)]
    expected = [event.position[1:4] for event in trajectory(JOB)]
    assert seen == expected
    said = file.getvalue()
    if terminal:
        assert "epoch 1, 2 of 2" in said
        assert "100%" in said
    else:
        assert said == ""
