"""Pictures with long names, and Matplotlib, which must not print lines of its own."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import finish, start
from run_folders import a_report, write_run

from mlp_xp.show import plots


def test_long_names_fit_in_a_picture():
    """Matplotlib warns where they leave no room, and in the tests a warning is an error."""
    names = ["a" * 1000, "b " * 500]
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1])
    assert plots.draw_confusion(np.eye(2, dtype=int), names).png()
    assert plots.draw_mistakes(images, labels, np.eye(2)[::-1], names).png()
    assert plots.draw_curves([plots.Curves(name * 5, [], 10) for name in names * 20]).png()


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HOME", "MATPLOTLIBRC"])
def test_matplotlib_prints_nothing_of_its_own(variable, tmp_path):
    """As where the home folder cannot be written to, or matplotlibrc is wrong."""
    write_run(tmp_path / "run", {}, [a_report(0, 0)])
    (tmp_path / "matplotlibrc").write_text("nonsense: 1\nfigure.dpi: x y\n")
    value = str(tmp_path / "matplotlibrc") if variable == "MATPLOTLIBRC" else "/dev/null"
    env = {"XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", variable: value}
    words = ["plot", tmp_path / "run", tmp_path / "run", "--output", tmp_path / "curves.png"]
    outcome = finish(start(*words, env=env))
    assert (outcome.code, outcome.err) == (0, "")


def test_the_level_of_matplotlibs_logger_is_the_callers_again():
    code = "import logging; from mlp_xp.show import plots; plots.import_matplotlib(); "
    code += "print(logging.getLogger('matplotlib').level)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
