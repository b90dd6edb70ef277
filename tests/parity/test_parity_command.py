"""scripts/parity.py: what it says, writes and returns."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from helpers import assert_one_line, call

from mlp_xp.backends.opening import BackendError
from mlp_xp.parity import compare
from mlp_xp.parity.compare import check
from mlp_xp.runs.settings import RECIPES

SMALL = ["--steps", "60", "--hidden", "8"]
LIBRARY = '''
"""A stranger's array library: NumPy with one step wrong. Batches of one have arrays of one row."""
import sys
import array_api_compat.numpy as numpy


class Namespace:
    def __init__(self, wrong_step):
        self.wrong_step, self.steps = wrong_step, 0

    def __getattr__(self, name):
        return getattr(numpy, name)

    def tanh(self, x):
        y = numpy.tanh(x)
        if x.shape[0] == 1:
            self.steps += 1
            if self.steps == self.wrong_step:
                y = y + 1e-7
        return y


class Failing(Namespace):
    def tanh(self, x):
        self.steps += 1
        if self.steps == self.wrong_step:
            raise OSError("lost the device")
        return numpy.tanh(x)


class Nan(Failing):
    def tanh(self, x):
        self.steps += 1
        return numpy.tanh(x) * (float("nan") if self.steps >= self.wrong_step else 1)


class Exiting(Namespace):
    def tanh(self, x):
        sys.exit(0)


exiting = Exiting(0)
right, wrong = Namespace(0), Namespace(10 + 27)
failing, diverging = Failing(20), Nan(20)
'''


@pytest.fixture(autouse=True)
def one_run_with_random_rounding(monkeypatch) -> None:
    """Instead of three, which take long."""
    monkeypatch.setattr(compare, "ROUNDING_RUNS", 1)


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> str:
    """The name of an importable module with the namespaces above, which count anew."""
    (tmp_path / "stranger.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return "stranger"


def parity(data_dir: Path, *arguments: object):
    return call("parity", "--data-dir", data_dir, *SMALL, *arguments)


def table(out: str) -> dict[str, list[str]]:
    """The rows of the table, by backend."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:2] == ["backend", "version"])
    rows = {}
    for line in lines[first + 1 :]:
        if ":" in line.split()[0] and line.split()[0].endswith(":"):
            break
        rows[line.split()[0]] = line.split()
    return rows


def test_backends_that_agree(data_dir, tmp_path):
    folder = tmp_path / "new" / "reports"
    names = ["array-api-strict", "array_api_compat:numpy"]
    outcome = parity(data_dir, "--backends", "numpy", *names, "--report-dir", folder)
    assert (outcome.code, outcome.err) == (0, "")
    rows = table(outcome.out)
    assert [*rows] == ["numpy", *names]
    assert (rows["numpy"][1], rows["array-api-strict"][2]) == (np.__version__, "device1")
    assert [row[-1] for row in rows.values()] == ["reference", "agrees", "agrees"]
    for line in outcome.out.splitlines()[-2:]:
        assert "; 0 of 60 predictions and 0 of " in line
    assert "\x1b" not in outcome.out
    assert sorted(path.name for path in folder.iterdir()) == ["parity.json", "parity.png"]
    text = (folder / "parity.json").read_text()
    assert "Infinity" not in text, "JSON does not have it"
    record = json.loads(text)
    assert (record["arguments"]["steps"], record["arguments"]["hidden"], record["mismatches"]) == (60, [8], [])
    assert [each["backend"] for each in record["backends"]] == ["numpy", *names]
    for each in record["backends"]:
        assert {"version", "device", "dtype", "verdict", "loss", "logits", "weights", "accuracy"} <= each.keys()
        assert each["loss"]["first_step"] is None


def test_a_mismatch_names_backend_step_and_quantity(data_dir, stranger, tmp_path):
    names = [f"{stranger}:{name}" for name in ("right", "wrong", "failing")]
    outcome = parity(data_dir, "--backends", *names, "--report-dir", tmp_path / "r")
    assert outcome.code == 1
    assert [row[-1] for row in table(outcome.out).values()] == ["reference", "agrees", "DIFFERS", "FAILED"]
    *lines, failing = outcome.err.splitlines()
    assert lines[0].startswith(f"mismatch: {stranger}:wrong: the loss of step 27 after the warm-up is the first above")
    assert all(line.startswith(f"mismatch: {stranger}:wrong: the ") for line in lines)
    assert [line.split(" the ")[1].split()[0] for line in lines] == ["loss", "logits", "weights"]
    assert ["are the first above their tolerance" in line for line in lines] == [False, True, True]
    record = json.loads((tmp_path / "r" / "parity.json").read_text())
    reference, right, wrong = record["backends"]
    assert (reference["verdict"], right["verdict"], wrong["verdict"]) == ("reference", "agrees", "DIFFERS")
    assert wrong["loss"]["first_step"] == 37
    assert wrong["weights"]["first_step"] == 70
    assert wrong["loss"]["head_room"] < 1
    assert right["loss"]["first_step"] is None
    assert [each["reason"] for each in record["failures"]] == [failing.removeprefix("error: ")]
    assert record["mismatches"] == [line.removeprefix("mismatch: ") for line in lines]


def test_a_backend_that_fails_leaves_the_others_their_rows(data_dir, stranger):
    names = [f"{stranger}:{name}" for name in ("failing", "right", "diverging")]
    outcome = parity(data_dir, "--backends", *names, "no_such_module:xp")
    assert outcome.code == 3
    rows = table(outcome.out)
    assert [rows[name][-1] for name in names] == ["FAILED", "agrees", "FAILED"]
    assert rows["no_such_module:xp"][-2:] == ["not", "run"]
    failing, diverging, missing = outcome.err.splitlines()
    place = r"mlp_xp/core/functional\.py:\d+ \(y = xp\.tanh\(0\.5 \* z\)\)"
    said = rf"error: backend {names[0]}: failed in chunk, at {place}: OSError: lost the device"
    assert re.fullmatch(said, failing), failing
    assert diverging.startswith(f"error: backend {names[2]}: training diverged: the loss at sample ")
    assert diverging.endswith("is nan, where the reference is finite")
    assert f"to find the first operation that deviates, add: --trace --backends {names[2]} " in outcome.out
    assert missing.startswith("error: backend no_such_module:xp: no such array namespace")
    assert "learning rate" not in outcome.err + outcome.out


def test_a_library_that_ends_the_process_is_no_success(data_dir, stranger, tmp_path):
    names = [f"{stranger}:exiting", f"{stranger}:right"]
    outcome = parity(data_dir, "--backends", *names)
    assert_one_line(outcome, 3, f"error: backend {names[0]}: failed in ", ", at mlp_xp/", ": SystemExit: 0")
    assert table(outcome.out)[names[1]][-1] == "agrees"
    (tmp_path / "leaver.py").write_text("import sys; sys.exit(0)")
    outcome = parity(data_dir, "--backends", "leaver:")
    assert_one_line(outcome, 2, "error: backend leaver: no such array namespace can be imported: SystemExit: 0")


@pytest.fixture
def one_usable(monkeypatch) -> None:
    """Of the backends that the project knows, one is usable besides NumPy, and one is not."""

    def unusable(device):
        raise BackendError("backend torch: it is broken here; mend it")

    monkeypatch.setattr("mlp_xp.commands.parity.BACKENDS", ("numpy", "torch", "array-api-strict"))
    monkeypatch.setattr("mlp_xp.backends._torch.open_library", unusable)


def test_by_default_all_usable_take_part_and_the_others_are_listed(data_dir, one_usable):
    outcome = parity(data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert [*table(outcome.out)][:2] == ["numpy", "array-api-strict"]
    reason = "backend torch: it is broken here; mend it"
    assert f"not run: {reason}" in outcome.out.splitlines()
    outcome = parity(data_dir, "--device", "torch=cpu")
    assert_one_line(outcome, 2, f"error: {reason}")
    assert table(outcome.out)["torch"] == ["torch", "not", "run"]
    assert_one_line(parity(data_dir, "--backends", "torch"), 2, f"error: {reason}")
    assert_one_line(parity(data_dir, "--backends", "nunpy"), 2, "error: --backends: 'nunpy'", "did you mean 'numpy'?")


def test_nothing_compared_is_no_success(data_dir, one_usable, monkeypatch):
    assert_one_line(parity(data_dir, "--backends", "numpy"), 2, "nothing to compare")
    monkeypatch.setattr("mlp_xp.commands.parity.BACKENDS", ("numpy", "torch"))
    outcome = parity(data_dir)
    assert_one_line(outcome, 2, "--backends: nothing to compare")
    assert "it is broken here; mend it" in outcome.out


def test_a_tolerance_that_is_given_is_the_one(data_dir, stranger):
    wrong = f"{stranger}:wrong"
    assert parity(data_dir, "--backends", wrong, "--tolerance", "1e-3").code == 0
    outcome = parity(data_dir, "--backends", "numpy", "--dtype", "float32", "--tolerance", "1e-12")
    assert outcome.code == 1
    assert "the loss of step 1 of the warm-up is the first above its tolerance" in outcome.err


def test_options_reach_the_computation(data_dir):
    outcome = call(
        "parity", "--data-dir", data_dir, "--backends", "array-api-strict", "--device", "array-api-strict=CPU_DEVICE",
        "--batch-size", "7", "--hidden", "5", "4", "--steps", "9", "--test-samples", "7", "--recipe", "small",
        "--dtype", "float64",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "9 steps, float64, batches of 7" in outcome.out
    assert "0 of 7 predictions" in outcome.out
    assert table(outcome.out)["array-api-strict"][2] == "CPU_DEVICE"
    config = replace(RECIPES["small"].train, batch_size=7, hidden=(5, 4))
    few = TINY._replace(test_inputs=TINY.test_inputs[:7], test_labels=TINY.test_labels[:7])
    (reference,) = check(config, few, [], 9)
    assert f"array-api-strict: accuracy {100 * reference.trajectory.accuracy:.2f} %" in outcome.out


def test_the_notebooks_own_loop_takes_part(data_dir, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    outcome = parity(data_dir, "--backends", "array_api_compat:numpy", "--notebook")
    assert (outcome.code, outcome.err) == (0, "")
    assert table(outcome.out)["notebook"][-1] == "agrees"
    assert parity(data_dir, "--backends", "numpy", "--notebook").code == 0, "it is something to compare"
    outcome = call("parity", "--data-dir", data_dir, "--notebook", "--backends", "numpy", "--hidden", "8", "8")
    assert_one_line(outcome, 2, "--hidden", "one hidden layer")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--steps", "0"], ["--steps: 0", "at least 1"]),
        (["--tolerance", "nan"], ["--tolerance: nan"]),
        (["--epochs", "3"], ["give --steps instead"]),
        (["--backends", "numpy", "--all-operations"], ["--all-operations: it has a meaning only with --trace"]),
        (["--dtype", "float16"], ["--dtype: 'float16'", "did you mean"]),
        (["--backends", "numpy", "--device", "jax=cpu"], ["--device: 'jax=cpu'"]),
    ],
)
def test_wrong_values_are_refused_before_any_data_is_loaded(arguments, parts, tmp_path):
    outcome = call("parity", "--data-dir", tmp_path / "nowhere", *arguments)
    assert_one_line(outcome, 2, *parts)
    assert "nowhere" not in outcome.err


def test_data_that_are_not_there_or_too_few_are_one_line(data_dir, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert_one_line(parity(nowhere, "--backends", "array-api-strict"), 2, repr(str(nowhere)))
    outcome = parity(data_dir, "--backends", "array-api-strict", "--batch-size", "201")
    assert_one_line(outcome, 2, "--batch-size: 201", "200 training samples")
