"""`print` and a notebook show objects as the command line does."""

import re

import numpy as np
import pytest
from data_sets import TINY, varied
from helpers import call

from mlp_xp import TrainConfig, evaluate, load_run, open_backend, predict, train
from mlp_xp.core.job import Job
from mlp_xp.core.task import Evaluation
from mlp_xp.runs.settings import Settings
from mlp_xp.show.terminal import describe

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=100)


def test_results_print_as_the_command_prints_them(small_run):
    assert str(evaluate(small_run)) == call("evaluate", small_run).out.rstrip("\n")


def test_predictions_print_one_line_a_row(small_run):
    lines = str(predict(small_run, TINY.test.inputs[:2])).split("\n")
    assert [line.partition(":")[0] for line in lines] == ["row 1", "row 2"]


def test_many_predictions_print_the_first_rows_and_their_number(small_run):
    inputs = np.repeat(TINY.test.inputs[:1], 50, axis=0)
    *rows, last = str(predict(small_run, inputs)).split("\n")
    assert len(rows) == 20
    assert last == "... 50 rows in all"


def test_a_configuration_shows_the_settings_that_were_changed():
    assert repr(CONFIG) == "TrainConfig(epochs=1, hidden=(4,), report_every=100)"
    assert repr(TrainConfig()) == "TrainConfig()"


def test_an_evaluation_shows_the_figures_of_its_task():
    result = Evaluation(loss=0.5, accuracy=0.75, samples=4)
    assert repr(result) == "Evaluation(loss=0.5, accuracy=0.75, samples=4)"


def test_a_report_prints_in_one_line():
    first, *_ = train(CONFIG, TINY)
    assert str(first).startswith("epoch 0, sample 0, loss ")
    assert ", test loss " in str(first)


def test_a_closing_report_says_which_network_its_results_are_of():
    *reports, last = train(TrainConfig(epochs=2, hidden=(4,), validation=20), TINY)
    ends = [each for each in reports if each.validation]
    losses = [each.validation.loss for each in ends]
    assert last.kept_epoch == losses.index(min(losses))
    assert f", kept epoch {last.kept_epoch}, test " in str(last)
    assert all("kept" not in str(each) for each in reports)


SHOWN = {
    "results": lambda run: evaluate(run, TINY),
    "predictions": lambda run: predict(run, TINY.test.inputs[:2]),
    "model": load_run,
    "data": lambda _: TINY,
    "configuration": lambda _: CONFIG,
    "report": lambda _: [*train(CONFIG, TINY)][-1],
}


@pytest.mark.parametrize("kind", SHOWN)
def test_a_notebook_shows_a_table_or_text(kind, small_run):
    shown = SHOWN[kind](small_run)
    html = shown._repr_html_()
    assert html.startswith(("<table>", "<pre>"))
    assert "array(" not in html
    assert not re.search(r"<tr>(<t[hd]></t[hd]>)+</tr>", html)  # an empty row
    assert len(str(shown)) < 3000


ODD = ("<b>", "\x1b[1m", "two\nlines", *TINY.signature.outputs[3:])


def test_names_from_files_are_text_in_a_notebook():
    """A class may be called <b>, and a name may have control characters."""
    html = varied(TINY, outputs=ODD)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "\x1b" not in html


def test_control_characters_of_names_are_printed_as_escapes(small_run):
    model = varied(load_run(small_run), outputs=ODD)
    said = r"classes +<b>, \\x1b\[1m, two\\nlines, 3, "
    for each in (varied(TINY, outputs=ODD), model):
        assert re.search(said, str(each))
        assert "\x1b" not in str(each)
    inputs = TINY.test.inputs[:9]
    assert str(predict(model, inputs)).count("\n") == 8
    settings = Settings(data_dir="/some/folder")
    job = Job(CONFIG, varied(TINY, outputs=ODD, hold_out=holding_out), open_backend())
    classes = describe(settings, job).partition("\nclasses ")[2].partition("\n")[0]
    assert classes.count("(") == 10


def holding_out(labels, count, seed):
    return np.arange(count)
