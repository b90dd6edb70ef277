"""`assert_parity` in a test of an array library, and the action for its CI."""

import re
import shlex
import subprocess
import sys
from string import Template
from types import SimpleNamespace

import array_api_compat.numpy as numpy
import pytest
from data_sets import TINY
from helpers import SCRIPTS, Namespace, call, changed

from mlp_xp import TrainConfig, open_backend
from mlp_xp.parity import assert_parity

ROOT = SCRIPTS.parent
CONFIG = TrainConfig(hidden=(8,), report_every=50)


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        (numpy, "float64"),
        ("array_api_compat:numpy", "float32"),
        (SimpleNamespace(xp=numpy), "float64"),
    ],
)
def test_a_namespace_that_agrees(library, dtype):
    assert_parity(library, dtype=dtype, config=CONFIG, dataset=TINY, steps=10)


INEXACT = Namespace(tanh=lambda x: numpy.tanh(x) + 1e-7)


@pytest.mark.parametrize("library", [INEXACT, changed(open_backend(), xp=INEXACT)])
def test_a_mismatch_is_told_with_quantity_and_step(library):
    """A given backend runs itself, not a new one of its name."""
    with pytest.raises(AssertionError) as caught:
        assert_parity(library, config=CONFIG, dataset=TINY, steps=10)
    (loss,) = [x for x in str(caught.value).splitlines() if ": loss " in x]
    assert ": loss above the tolerance, first at step 1, warm-up included; " in loss
    assert "accuracy" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.repository
def test_the_documented_test_passes(tmp_path):
    text = (ROOT / "docs" / "parity.md").read_text("utf-8")
    start = text.index("```python\nimport pytest\n")
    code = text[start:].removeprefix("```python\n").partition("```")[0]
    (tmp_path / "test_theirs.py").write_text(code)
    options = "-m pytest -q -p no:cacheprovider -k float32-momentum"
    command = [sys.executable, *options.split(), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.repository
def test_the_steps_of_the_action(data_dir, tmp_path, monkeypatch):
    """Its commands, on a wrong library. `make lint` checks the schema."""
    folder = ROOT / ".github" / "actions" / "parity"
    text = (folder / "action.yml").read_text("utf-8")
    install, *commands = re.findall(r"^    - run: (.*)", text, re.MULTILINE)
    root = '"$GITHUB_ACTION_PATH/../../..'
    lockstep = f'{root}/packages/array-lockstep"'
    assert install == f'python -m pip install {root}[plots]" {lockstep}'
    checkout = folder / "../../.."
    assert (checkout / "pyproject.toml").exists()
    tanh = "tanh = lambda x: numpy.tanh(x) + 1e-7"
    library = f"from array_api_compat.numpy import *\nimport numpy\n{tanh}"
    (tmp_path / "wrong.py").write_text(library)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("mlp_xp.parity.tolerances.ROUNDING_RUNS", 1)  # three take long
    options = "--batch-size 32 --optimizer adam --hidden 8"
    inputs = {
        "BACKENDS": "array_api_compat:numpy wrong:",
        "DTYPE": "float64",
        "STEPS": "5",
        "REPORT": tmp_path / "parity",
        "ARGUMENTS": f"{options} --data-dir {data_dir}",
    }
    expected = ("mismatch: wrong: ", "deviates: wrong: xp.tanh(")
    for command, said in zip(commands, expected, strict=True):
        python, _, package, *words = shlex.split(Template(command).substitute(inputs))
        assert (python, package) == ("python", "mlp_xp")
        outcome = call(*words)
        assert outcome.code == 1, outcome
        assert outcome.err.startswith(said)
    written = {path.name for path in (tmp_path / "parity").iterdir()}
    assert written >= {"parity.json", "wrong-tanh"}
