"""scripts/parity.py: its output, its files, and its exit codes.

For refused command lines see test_messages.py.
"""

import json
import re
import sys

import pytest
from helpers import NAMESPACE, assert_one_line, call, output_of

from mlp_xp.backends.failures import BackendError
from mlp_xp.parity import tolerances

COMMON = "parity --hidden 8"
STEPS = f"{COMMON} --steps 60 --backends"


def verdicts(out: str) -> dict[str, str]:
    """Return the second column of the table, by backend."""
    _, _, table = out.partition("verdict")
    rows = [line.split() for line in table.splitlines()]
    known = ("reference", "agrees", "DIFFERS", "FAILED")
    return {row[0]: row[1] for row in rows if len(row) > 1 and row[1] in known}


@pytest.mark.needs("matplotlib")
def test_backends_that_agree(data_dir, tmp_path):
    folder = tmp_path / "new" / "reports"
    names = ["numpy", "array-api-strict", "array_api_compat:numpy", "notebook"]
    command = f"{STEPS} {' '.join(names[:3])} --notebook"
    out = output_of(command, data_dir=data_dir, report_dir=folder)
    expected = {**dict.fromkeys(names, "agrees"), "numpy": "reference"}
    assert verdicts(out) == expected
    assert out.count("; 0 of 60 predictions and 0 of ") == 3
    assert "\x1b" not in out
    assert {path.name for path in folder.iterdir()} == {"parity.json", "parity.png"}
    text = (folder / "parity.json").read_text()
    assert "Infinity" not in text, "JSON does not have it"
    record = json.loads(text)
    assert record["arguments"]["steps"] == 60
    assert record["arguments"]["hidden"] == [8]
    assert record["mismatches"] == []
    assert [each["backend"] for each in record["backends"]] == names
    assert {each["loss"]["first_step"] for each in record["backends"]} == {None}


@pytest.mark.slow
def test_a_backend_that_fails_has_its_line_and_leaves_the_others_their_rows(data_dir):
    names = "lib:failing lib:right lib:diverging lib:exiting"
    outcome = call(f"{STEPS} {names} no_such_module:xp", data_dir=data_dir)
    assert outcome.code == 3
    assert verdicts(outcome.out) == {
        "numpy": "reference",
        "lib:failing": "FAILED",
        "lib:right": "agrees",
        "lib:diverging": "FAILED",
        "lib:exiting": "FAILED",
    }
    failing, diverging, exiting, missing = outcome.err.splitlines()
    begin = "error: backend lib:"
    place = r"mlp_xp/core/functional\.py:\d+ \(y = xp\.tanh\(0\.5 \* z\)\)"
    said = rf"{begin}failing: failed in chunk, at {place}: OSError: lost the device"
    assert re.fullmatch(said, failing)
    said = f"{begin}diverging: training diverged: the loss at sample "
    assert diverging.startswith(said)
    # the end of the process by a library is no success
    assert exiting.endswith(": SystemExit: 0")
    assert missing.startswith("error: backend no_such_module:xp: ")
    advice = "add: --trace --backends lib:failing lib:diverging lib:exiting\n"
    assert advice in outcome.out
    assert "learning rate" not in outcome.err + outcome.out


@pytest.mark.slow
@pytest.mark.needs("matplotlib")
def test_a_mismatch_is_told_by_quantity_and_comes_before_a_failure(data_dir, tmp_path):
    command = f"{STEPS} lib:right lib:wrong lib:failing"
    outcome = call(command, data_dir=data_dir, report_dir=tmp_path)
    assert outcome.code == 1
    *lines, _ = outcome.err.splitlines()
    loss = "mismatch: lib:wrong: loss above the tolerance, first at step 37, warm-up"
    assert lines[0].startswith(loss)
    assert [line.split()[2] for line in lines] == ["loss", "logits", "weights"]
    record = json.loads((tmp_path / "parity.json").read_text())
    found = [each["verdict"] for each in record["backends"]]
    assert found == ["reference", "agrees", "DIFFERS"]
    assert record["backends"][2]["loss"]["first_step"] == 37
    assert len(record["failures"]) == 1
    assert [f"mismatch: {each}" for each in record["mismatches"]] == lines


def test_a_tolerance_may_be_given(data_dir):
    assert call(f"{STEPS} lib:wrong --tolerance 1e-3", data_dir=data_dir).code == 0


REASON = "backend torch: it is broken here; mend it"


@pytest.fixture
def one_usable(monkeypatch) -> None:
    """Of the known backends, array-api-strict is usable besides NumPy, and torch is
    not.
    """

    def unusable(device):
        raise BackendError(REASON)

    known = ("numpy", "torch", "array-api-strict")
    monkeypatch.setattr("mlp_xp.commands.parity.BACKENDS", known)
    place = "mlp_xp.backends.torch_backend.TorchBackend.find_device"
    monkeypatch.setattr(place, unusable)


def test_by_default_all_usable_take_part_and_the_others_are_listed(
    data_dir, one_usable
):
    out = output_of(f"{COMMON} --steps 60", data_dir=data_dir)
    assert verdicts(out) == {"numpy": "reference", "array-api-strict": "agrees"}
    assert f"not run: {REASON}" in out.splitlines()


def test_a_backend_with_a_device_must_be_usable(data_dir, one_usable):
    outcome = call(f"{COMMON} --steps 9 --device torch=cpu", data_dir=data_dir)
    assert_one_line(outcome, 2, f"error: {REASON}")


def test_each_backend_that_cannot_be_used_is_named(data_dir, one_usable):
    outcome = call(f"{COMMON} --backends torch no_such_module:xp", data_dir=data_dir)
    assert (outcome.code, outcome.out) == (2, "")
    torch, other = outcome.err.splitlines()
    assert torch == f"error: {REASON}"
    assert other.startswith("error: backend no_such_module:xp: ")


def test_without_a_usable_backend_there_is_nothing_to_compare(
    data_dir, one_usable, monkeypatch
):
    monkeypatch.setattr("mlp_xp.commands.parity.BACKENDS", ("numpy", "torch"))
    outcome = call(COMMON, data_dir=data_dir)
    assert_one_line(outcome, 2, "--backends: nothing to compare")


def test_options_reach_the_computation(data_dir):
    command = (
        "parity --backends array-api-strict --device array-api-strict=CPU_DEVICE "
        "--batch-size 7 --hidden 5 4 --steps 9 --test-samples 7 --recipe small "
        "--dtype float64"
    )
    out = output_of(command, data_dir=data_dir)
    assert "9 steps, float64, batches of 7" in out
    assert "0 of 7 predictions" in out
    assert " CPU_DEVICE\n" in out


# The libraries.

LIBRARIES = (
    NAMESPACE
    + """

class At:  # tanh, changed at some of its calls on single samples
    def __init__(self, first, change, last=None):
        self.calls, self.first, self.last, self.change = 0, first, last or first, change

    def __call__(self, x):
        self.calls += x.shape[0] == 1
        return self.change(numpy.tanh(x)) if self.first <= self.calls <= self.last else numpy.tanh(x)


def lost(y):
    raise OSError("lost the device")


def leave(y):
    raise SystemExit(0)


right = Namespace()
wrong = Namespace(tanh=At(10 + 27, lambda y: y + 1e-7))
failing, exiting = Namespace(tanh=At(20, lost)), Namespace(tanh=At(1, leave))
diverging = Namespace(tanh=At(20, lambda y: y * numpy.nan, 9999))
"""
)


@pytest.fixture(autouse=True)
def libraries(tmp_path, monkeypatch) -> None:
    """An importable module `lib` with the namespaces above, which count anew; and one
    run with random rounding.
    """
    (tmp_path / "lib.py").write_text(LIBRARIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lib", raising=False)
    monkeypatch.setattr(tolerances, "ROUNDING_RUNS", 1)
    monkeypatch.setenv("COLUMNS", "120")
