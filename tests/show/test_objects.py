"""`print` and a notebook show objects as the command line does."""

import subprocess
import sys

import numpy as np
import pytest
from data_sets import TINY, varied
from helpers import call

from mlp_xp import TrainConfig, evaluate, load_run, predict, train
from mlp_xp.core.task import Evaluation

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=100)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects") / "run"
    for _ in train(CONFIG, TINY, "numpy", run_dir=folder):
        pass
    return folder


def test_results_print_as_the_command_prints_them(small_run):
    assert str(evaluate(small_run)) == call("evaluate", small_run).out.rstrip("\n")


def test_predictions_print_one_line_a_row(run_dir):
    lines = str(predict(run_dir, TINY.test.inputs[:2])).split("\n")
    assert [line.partition(":")[0] for line in lines] == ["row 1", "row 2"]


def test_many_predictions_print_the_first_rows_and_their_number(run_dir):
    inputs = np.repeat(TINY.test.inputs[:1], 50, axis=0)
    *rows, last = str(predict(run_dir, inputs)).split("\n")
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


@pytest.mark.parametrize(
    "kind", ["results", "predictions", "model", "data", "configuration", "report"]
)
def test_a_notebook_shows_a_table_or_text(kind, run_dir):
    *_, report = train(CONFIG, TINY)
    objects = {
        "results": evaluate(run_dir, TINY),
        "predictions": predict(run_dir, TINY.test.inputs[:2]),
        "model": load_run(run_dir),
        "data": TINY,
        "configuration": CONFIG,
        "report": report,
    }
    html = objects[kind]._repr_html_()
    assert html.startswith(("<table>", "<pre>"))
    assert "array(" not in html
    assert len(str(objects[kind])) < 3000


def test_names_from_files_are_text_in_a_notebook():
    """A class may be called <b>, and a name may have control characters."""
    outputs = ("<b>", "\x1b[1m", *TINY.signature.outputs[2:])
    html = varied(TINY, outputs=outputs)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "\x1b" not in html


def test_the_core_prints_without_the_rest_of_the_package():
    code = (
        "from mlp_xp.core.config import TrainConfig; import sys; "
        "print(TrainConfig(epochs=2)); assert 'mlp_xp.show' not in sys.modules"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "TrainConfig(epochs=2)\n"
