"""`assert_parity` in a test of an array library, the report for CI services, and the action."""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from data_sets import TINY
from helpers import NAMESPACE, SCRIPTS, assert_one_line, call

from mlp_xp import TrainConfig, open_backend
from mlp_xp.parity import assert_parity
from mlp_xp.parity.junit import junit_xml
from mlp_xp.parity.testing import first_images

ROOT = SCRIPTS.parent
CONFIG = TrainConfig(hidden=(8,), report_every=50)


class Namespace:
    """NumPy's, with other functions."""

    def __init__(self, **functions):
        self.__dict__.update(functions)

    def __getattr__(self, name):
        return getattr(numpy, name)


def inexact(x):
    return numpy.tanh(x) + 1e-7


def failing(x):
    raise RuntimeError("no tanh today")


@pytest.mark.parametrize("library", [numpy, "array_api_compat:numpy", SimpleNamespace(xp=numpy), Namespace()])
def test_a_namespace_that_agrees(library):
    assert_parity(library, config=CONFIG, dataset=TINY, steps=60)


def test_every_backend_agrees(backend):
    assert_parity(backend, config=CONFIG, dataset=TINY, steps=60)


def test_float32_is_chosen_by_name():
    assert_parity(Namespace(), dtype="float32", config=CONFIG, dataset=TINY, steps=60)
    with pytest.raises(AssertionError):
        assert_parity(Namespace(tanh=lambda x: numpy.tanh(x) * 1.01), dtype="float32", config=CONFIG, dataset=TINY)


def test_a_mismatch_is_told_with_quantity_and_step():
    with pytest.raises(AssertionError) as caught:
        assert_parity(Namespace(tanh=inexact), config=CONFIG, dataset=TINY, steps=60)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("Namespace: the loss of step 1 of the warm-up is the first above its tolerance; ")
    assert "accuracy" in last


def test_an_error_of_the_library_is_told():
    with pytest.raises(AssertionError, match="RuntimeError: no tanh today"):
        assert_parity(Namespace(tanh=failing), config=CONFIG, dataset=TINY, steps=60)


def test_the_first_images_of_mnist_are_the_default():
    data = first_images(20, 10)
    assert (data.train_images.shape, data.test_labels.shape) == ((20, 28, 28), (10,))


def test_in_a_test_of_its_own_the_failure_is_readable(tmp_path):
    """Only the caller's line and the mismatch are shown, not the code of the check."""
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            import array_api_compat.numpy as numpy
            from mlp_xp.parity import assert_parity

            class Mine:
                def __getattr__(self, name):
                    return getattr(numpy, name)

                def tanh(self, x):
                    return numpy.tanh(x) + 1e-7

            def test_parity():
                assert_parity(Mine(), steps=5)
            """
        )
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_mine.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "E       AssertionError: Mine: the loss of step 1 of the warm-up" in done.stdout
    assert ">       assert_parity(Mine(), steps=5)" in done.stdout
    assert "def assert_parity" not in done.stdout


def test_the_documented_test_passes(tmp_path):
    text = (ROOT / "docs" / "parity.md").read_text("utf-8")
    code = text[text.index("```python\nimport pytest\n") :].removeprefix("```python\n").partition("```")[0]
    (tmp_path / "test_theirs.py").write_text(code)
    (tmp_path / "my_library.py").write_text("from array_api_compat.numpy import *\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "float32-momentum", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout


# JUnit XML.


def cases(path: Path) -> dict[str, ET.Element]:
    return {each.get("name"): each for each in ET.parse(path).iter("testcase")}


STRANGERS = (
    NAMESPACE
    + """
def fails(x):
    raise RuntimeError("no <tanh> today \\x07")

right, wrong, failing = Namespace(), Namespace(tanh=lambda x: numpy.tanh(x) + 1e-7), Namespace(tanh=fails)
"""
)


def test_the_result_as_junit_xml(data_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "junit_strangers.py").write_text(STRANGERS)
    monkeypatch.chdir(tmp_path)
    names = [f"junit_strangers:{name}" for name in ("right", "wrong", "failing", "nothing")]
    outcome = call(
        "parity", "--data-dir", data_dir, "--hidden", "8", "--steps", "30", "--junit", "junit.xml", "--backends", *names
    )
    sys.modules.pop("junit_strangers")
    assert outcome.code == 1
    found = cases(tmp_path / "junit.xml")
    right, wrong, failing, nothing = (found[name] for name in names)
    assert [*right] == []
    assert float(right.get("time")) >= 0
    assert "the loss of step 1 of the warm-up" in wrong.find("failure").get("message")
    assert "the weights of" in wrong.find("failure").text
    assert "RuntimeError: no <tanh> today ?" in failing.find("error").get("message")
    assert "No module named 'junit_strangers.nothing'" in nothing.find("error").get("message")
    suite = ET.parse(tmp_path / "junit.xml").find("testsuite")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "2", "0"]
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["numpy"] == np.__version__
    assert {"python", "mlp_xp", "array-api-compat", "machine"} <= {*properties}


def test_junit_of_nothing_compared():
    record = {
        "arguments": {"dtype": "float32", "backends": []}, "when": "now", "machine": "m", "versions": {},
        "backends": [{"backend": "numpy"}], "failures": [], "unusable": {"cupy": "no GPU"},
    }  # fmt: skip
    suite = ET.fromstring(junit_xml(record)).find("testsuite")
    assert (suite.get("tests"), suite.get("skipped"), suite.get("errors")) == ("1", "1", "0")


# What else the command takes.


def test_the_requirements_are_printed_without_any_run(tmp_path):
    outcome = call("parity", "--requirements", "--data-dir", tmp_path / "nowhere")
    assert (outcome.code, outcome.err) == (0, "")
    assert "  take(axis) " in outcome.out
    assert "operators:" in outcome.out


def test_the_training_configuration_and_the_recipe_are_options(data_dir, tmp_path):
    outcome = call(
        "parity", "--data-dir", data_dir, "--recipe", "small", "--hidden", "8", "--steps", "20", "--dtype", "float64",
        "--test-samples", "7", "--optimizer", "adam", "--backends", "array_api_compat:numpy",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "20 steps, float64, batches of 32" in outcome.out
    assert "0 of 7 predictions" in outcome.out
    assert "µs per step" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--epochs", "3"], "--epochs: the check runs for a number of steps; give --steps instead"),
        (["--recipe", "smal"], "--recipe: 'smal' is not known (did you mean 'small'?)"),
        (["--test-samples", "0"], "--test-samples: 0 is out of range"),
        (["--all-operations"], "--all-operations: it has a meaning only with --trace"),
        (["--optimizer", "adm"], "--optimizer: 'adm' is not known (did you mean 'adam'?)"),
    ],
)
def test_wrong_settings_are_one_line(arguments, part, data_dir):
    outcome = call("parity", "--data-dir", data_dir, "--backends", "array_api_compat:numpy", *arguments)
    assert_one_line(outcome, 2, part)


def test_the_steps_of_the_action(data_dir, tmp_path):
    """Its shell code, on a wrong library, with the trace. `make lint` checks the schema."""
    text = (ROOT / ".github" / "actions" / "parity" / "action.yml").read_text("utf-8")
    script = textwrap.dedent(text.partition("- run: |\n")[2].partition("      shell: bash")[0])
    (tmp_path / "junit_strangers.py").write_text(STRANGERS)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    report, summary = tmp_path / "parity", tmp_path / "summary.md"
    arguments = f"--batch-size 32 --optimizer adam --hidden 8 --data-dir {data_dir}"
    env = {
        **os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "BACKENDS": "junit_strangers:wrong",
        "DTYPE": "float64", "STEPS": "5", "ARGUMENTS": arguments, "TRACE": "true",
        "REPORT": str(report), "GITHUB_STEP_SUMMARY": str(summary),
    }  # fmt: skip
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    written = summary.read_text()
    mismatches = [line.removeprefix("mismatch: ") for line in done.stderr.splitlines() if line.startswith("mismatch: ")]
    assert len(mismatches) >= 3
    assert [written.count(line) for line in mismatches] == [1] * len(mismatches)
    assert re.findall("^## .*", written, re.MULTILINE) == ["## Backend parity", "## Trace: exit code 1"]
    assert "deviates: junit_strangers:wrong: operation " in written
    assert {path.name for path in report.iterdir()} >= {
        "junit.xml",
        "parity.json",
        "junit_strangers-wrong-float64-tanh",
    }


def test_the_backend_that_is_given_is_the_one_that_runs():
    with pytest.raises(AssertionError, match=r"^numpy: "):
        assert_parity(replace(open_backend(), xp=Namespace(tanh=inexact)), config=CONFIG, dataset=TINY, steps=5)
