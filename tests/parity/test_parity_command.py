"""scripts/parity.py: what it says, writes and returns."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import NAMESPACE, assert_one_line, call

from mlp_xp.backends.failures import BackendError
from mlp_xp.parity import tolerances

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


right, blind = Namespace(), Namespace(isfinite=lambda x: x == x)
wrong = Namespace(tanh=At(10 + 27, lambda y: y + 1e-7))
failing, exiting = Namespace(tanh=At(20, lost)), Namespace(tanh=At(1, leave))
blind_failing = Namespace(isfinite=blind.isfinite, tanh=At(20, lost))
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


def parity(data_dir: Path, *arguments: object):
    return call(
        "parity", "--data-dir", data_dir, "--steps", "60", "--hidden", "8", *arguments
    )


def verdicts(out: str) -> dict[str, str]:
    """The second column of the table, by backend."""
    lines = [line.split() for line in out.splitlines()]
    table = lines[
        next(i for i, line in enumerate(lines) if line[:2] == ["backend", "verdict"])
        + 1 :
    ]
    return {
        row[0]: row[1]
        for row in table
        if row[1] in ("reference", "agrees", "DIFFERS", "FAILED")
    }


@pytest.mark.needs("matplotlib")
def test_backends_that_agree(data_dir, tmp_path):
    folder = tmp_path / "new" / "reports"
    names = ["array-api-strict", "array_api_compat:numpy"]
    outcome = parity(
        data_dir, "--backends", "numpy", *names, "--notebook", "--report-dir", folder
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert verdicts(outcome.out) == {
        "numpy": "reference",
        **dict.fromkeys([*names, "notebook"], "agrees"),
    }
    assert outcome.out.count("; 0 of 60 predictions and 0 of ") == 3
    assert "\x1b" not in outcome.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "parity.json",
        "parity.png",
    ]
    text = (folder / "parity.json").read_text()
    assert "Infinity" not in text, "JSON does not have it"
    record = json.loads(text)
    assert (
        record["arguments"]["steps"],
        record["arguments"]["hidden"],
        record["mismatches"],
    ) == (60, [8], [])
    assert [each["backend"] for each in record["backends"]] == [
        "numpy",
        *names,
        "notebook",
    ]
    assert {each["loss"]["first_step"] for each in record["backends"]} == {None}


@pytest.mark.needs("matplotlib")
def test_each_way_not_to_agree_has_its_line_and_leaves_the_others_their_rows(
    data_dir, tmp_path
):
    names = ["lib:failing", "lib:right", "lib:diverging", "lib:exiting"]
    outcome = parity(data_dir, "--backends", *names, "no_such_module:xp")
    assert outcome.code == 3
    expected = ["reference", "FAILED", "agrees", "FAILED", "FAILED"]
    assert verdicts(outcome.out) == dict(zip(["numpy", *names], expected, strict=True))
    failing, diverging, exiting, missing = outcome.err.splitlines()
    assert failing.startswith(
        "error: backend lib:failing: failed in chunk, at mlp_xp/core/functional.py:"
    )
    assert failing.endswith("(y = xp.tanh(0.5 * z)): OSError: lost the device")
    assert diverging.startswith(
        "error: backend lib:diverging: training diverged: the loss at sample "
    )
    assert exiting.endswith(": SystemExit: 0"), (
        "a library that ends the process is no success"
    )
    assert missing.startswith("error: backend no_such_module:xp: ")
    assert (
        "to find the first operation that deviates, add: --trace --backends lib:failing lib:diverging lib:exiting\n"
        in outcome.out
    )
    assert "learning rate" not in outcome.err + outcome.out

    for name, code in ("lib:blind", 1), ("lib:blind_failing", 3):
        outcome = parity(data_dir, "--backends", name)
        assert (outcome.code, "add: --trace" in outcome.out) == (code, False), (
            "the probe has named the operation"
        )
        assert f"mismatch: {name}: operation " in outcome.err

    del sys.modules["lib"]  # so that it counts anew
    outcome = parity(
        data_dir,
        "--backends",
        "lib:right",
        "lib:wrong",
        "lib:failing",
        "--report-dir",
        tmp_path,
    )
    assert outcome.code == 1, "a mismatch is more important"
    *lines, _ = outcome.err.splitlines()
    assert lines[0].startswith(
        "mismatch: lib:wrong: loss above the tolerance, first at step 37, warm-up included; "
    )
    assert [line.split()[2] for line in lines] == ["loss", "logits", "weights"]
    record = json.loads((tmp_path / "parity.json").read_text())
    assert [each["verdict"] for each in record["backends"]] == [
        "reference",
        "agrees",
        "DIFFERS",
    ]
    assert (
        record["backends"][2]["loss"]["first_step"],
        len(record["failures"]),
        record["mismatches"],
    ) == (
        *(37, 1),
        [line.removeprefix("mismatch: ") for line in lines],
    )
    del sys.modules["lib"]
    assert parity(data_dir, "--backends", "lib:wrong", "--tolerance", "1e-3").code == 0


@pytest.fixture
def one_usable(monkeypatch) -> None:
    """Of the backends that the project knows, one is usable besides NumPy, and one is
    not.
    """

    def unusable(device):
        raise BackendError("backend torch: it is broken here; mend it")

    monkeypatch.setattr(
        "mlp_xp.commands.parity.BACKENDS", ("numpy", "torch", "array-api-strict")
    )
    monkeypatch.setattr(
        "mlp_xp.backends.torch_backend.TorchBackend.find_device", unusable
    )


def test_by_default_all_usable_take_part_and_the_others_are_listed(
    data_dir, one_usable, monkeypatch
):
    reason = "backend torch: it is broken here; mend it"
    outcome = parity(data_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert verdicts(outcome.out) == {"numpy": "reference", "array-api-strict": "agrees"}
    assert f"not run: {reason}" in outcome.out.splitlines()
    for words in (["--device", "torch=cpu"], ["--backends", "torch"]):
        assert_one_line(parity(data_dir, *words), 2, f"error: {reason}")
    assert_one_line(
        parity(data_dir, "--backends", "nunpy"),
        2,
        "error: --backends: 'nunpy'",
        "did you mean 'numpy'?",
    )
    monkeypatch.setattr("mlp_xp.commands.parity.BACKENDS", ("numpy", "torch"))
    assert_one_line(parity(data_dir), 2, "--backends: nothing to compare")


def test_options_reach_the_computation(data_dir):
    outcome = call(
        "parity", "--data-dir", data_dir, "--backends", "array-api-strict", "--device", "array-api-strict=CPU_DEVICE",
        "--batch-size", "7", "--hidden", "5", "4", "--steps", "9", "--test-samples", "7", "--recipe", "small",
        "--dtype", "float64",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "9 steps, float64, batches of 7" in outcome.out
    assert "0 of 7 predictions" in outcome.out
    assert " CPU_DEVICE\n" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--steps", "0"], ["--steps: 0", "at least 1"]),
        (["--tolerance", "nan"], ["--tolerance: nan"]),
        (
            ["--backends", "numpy", "--trace", "--tolerance", "1"],
            ["--trace and --tolerance: give only one"],
        ),
        (
            ["--backends", "numpy", "--all-operations", "--notebook"],
            ["--all-operations and --notebook: give only one"],
        ),
        (["--dtype", "float16"], ['"float16" for --dtype']),
        (
            ["--backends", "numpy", "--device", "jax=cpu"],
            ["--device: 'jax' is not one of the compared backends"],
        ),
        (["--backends", "numpy"], ["nothing to compare"]),
    ],
)
def test_wrong_values_are_refused_before_any_data_is_loaded(arguments, parts, tmp_path):
    outcome = call("parity", "--data-dir", tmp_path / "nowhere", *arguments)
    assert_one_line(outcome, 2, *parts)
    assert "nowhere" not in outcome.err


# --trace


def traced(data_dir: Path, *arguments: object):
    return call(
        "parity",
        "--data-dir",
        data_dir,
        "--hidden",
        "8",
        "--steps",
        "20",
        "--trace",
        *arguments,
    )


def test_a_trace_of_a_healthy_library_lists_all_operations(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(tmp_path / "reg.npz", X=X, y=np.stack([X.sum(axis=1), X[:, 0]], axis=1))
    outcome = traced(tmp_path / "reg.npz", "--backends", "lib:right")
    assert (outcome.code, outcome.err) == (0, "")
    verdict, probe, blank, *tables = outcome.out.splitlines()
    assert re.search(
        r"float64: \d+ operations in 30 steps, warm-up included; no operation deviates",
        verdict,
    )
    assert (re.sub(r"\d+", "N", probe), blank) == (
        "probe: N operations; no operation deviates",
        "",
    )
    assert {"tanh", "mean", "astype"} <= {line.partition(" ")[0] for line in tables}


def test_a_trace_of_several_libraries_returns_the_worst_code(
    data_dir, one_usable, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    outcome = traced(
        data_dir,
        "--backends",
        "torch",
        "numpy",
        "--dtype",
        "float32",
        "--batch-size",
        "7",
    )
    assert_one_line(outcome, 2, "error: backend torch: it is broken here; mend it")
    assert "on cpu, float32: " in outcome.out, "the others are traced all the same"
    outcome = traced(
        data_dir, "--backends", "lib:failing", "lib:wrong", "--steps", "30"
    )
    assert outcome.code == 1
    raised, deviates = outcome.err.splitlines()
    assert raised.startswith("error: backend lib:failing: operation ")
    assert deviates.startswith("deviates: lib:wrong: operation ")
