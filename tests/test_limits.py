"""Numbers that no run can have, on every option: one line, and no traceback or warning of a library."""

import math
import warnings

import pytest
from helpers import SCRIPTS, assert_one_line, call

from mlp_xp.config import RANGES, ConfigError, TrainConfig

WHOLE = [name for name, field in TrainConfig.__dataclass_fields__.items() if field.type == "int" or field.type is int]
REAL = ["learning_rate", "weight_decay"]
HUGE = {"10**18": 10**18, "30 digits": 10**29 + 7, "400 digits": 10**399 + 7, "2**31": 2**31, "2**63": 2**63}
NUMBERS = ["1e308", "1e-320", "nan", "inf", "-inf", "-0.0", "1e999", "-1", "0"]


def small(data_dir, tmp_path):
    return ["--data-dir", data_dir, "--run-dir", tmp_path / "run", "--epochs", 1, "--hidden", 4, "--report-every", 100]


pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings(action="error"):
        yield


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("digits", HUGE)
@pytest.mark.parametrize("name", [*WHOLE, "hidden"])
def test_whole_numbers_beyond_their_range_are_one_line(name, digits, sign, data_dir, tmp_path):
    value = sign * HUGE[digits]
    if 0 <= value <= RANGES[name].most:
        pytest.skip("a seed may be that large")
    option = f"--{name.replace('_', '-')}"
    outcome = call("train", *small(data_dir, tmp_path), f"{option}={value}")
    bound = "at least " if value < 0 else f"at most {RANGES[name].most}"
    assert_one_line(outcome, 2, f"error: {option}: ", " is out of range; it must be ", bound)
    assert len(outcome.err) < 200
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: (value,) if name == "hidden" else value})
    assert outcome.err == f"error: {caught.value.on_command_line()}\n"
    assert str(caught.value).startswith(f"{name}: ")


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_rates_at_the_ends_of_their_range_train_or_diverge(backend, dtype, optimizer, data_dir, tmp_path):
    if backend == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    choice = ["--backend", backend, "--dtype", dtype, "--optimizer", optimizer, "--schedule", "cosine"]
    for number, (rate, decay) in enumerate([(1e300, 0), (1e300, 1e30), (1e-30, 1e30), (1e-30, 0)]):
        options = [
            "--learning-rate",
            rate,
            "--weight-decay",
            decay,
            "--batch-size",
            50,
            "--run-dir",
            tmp_path / str(number),
        ]
        outcome = call("train", *small(data_dir, tmp_path), *choice, *options)
        if outcome.code:
            assert_one_line(outcome, 1, "training diverged")
        else:
            assert outcome.err == ""


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("name", REAL)
def test_real_numbers_train_diverge_or_are_refused_in_one_line(name, text, data_dir, tmp_path):
    option = f"--{name.replace('_', '-')}"
    for optimizer in ("sgd", "adam"):
        folder = tmp_path / optimizer
        outcome = call(
            "train", *small(data_dir, tmp_path), f"{option}={text}", "--optimizer", optimizer, "--run-dir", folder
        )
        value, (least, most) = float(text), RANGES[name]
        if least <= value <= most:
            assert (outcome.code, outcome.err) == (0, "")
        else:
            assert_one_line(outcome, 2, f"error: {option}: ", "; it must be at ")
            assert not folder.exists()
            with pytest.raises(ConfigError):
                TrainConfig(**{name: value})


@pytest.mark.parametrize(("name", "options"), [("parity", ["steps", "batch_size", "hidden"])])
@pytest.mark.parametrize("digits", HUGE)
def test_other_commands_refuse_them_too(name, options, digits):
    for each in options:
        for value in (HUGE[digits], -HUGE[digits]):
            option = f"--{each.replace('_', '-')}"
            outcome = call(name.replace("-", "_"), f"{option}={value}")
            assert_one_line(outcome, 2, f"error: {option}: ", " is out of range; it must be at ")
    assert (SCRIPTS / "parity.py").exists()


def test_the_bounds_themselves_are_taken():
    for name, (least, most) in RANGES.items():
        if name in TrainConfig.__dataclass_fields__:
            for value in (least, most):
                others = {"patience": {"validation": 1}, "clip_norm": {"update_order": "simultaneous"}}.get(name, {})
                TrainConfig(**{name: (value,) if name == "hidden" else value}, **others)
    for name in (*WHOLE, *REAL):
        assert name in RANGES


def test_numbers_that_python_does_not_write_are_shown_all_the_same():
    for value, shown in ((10**5000, "10**5000 or so"), (-(10**5000), "-10**5000 or so"), (2**31, "2147483648")):
        with pytest.raises(ConfigError) as caught:
            TrainConfig(epochs=value)
        assert str(caught.value).startswith(f"epochs: {shown} is out of range")
    with pytest.raises(ConfigError, match=r"^learning_rate: 10\*\*5000 or so is not a number$"):
        TrainConfig(learning_rate=10**5000)


def test_a_fraction_of_a_rate_is_not_lost_in_float32():
    """The smallest rate, divided by the largest batch of MNIST, is still a number of float32."""
    import numpy as np

    assert np.float32(RANGES["learning_rate"].least / 60000) > np.finfo(np.float32).tiny
    assert math.isfinite(RANGES["weight_decay"].most)
    assert np.isfinite(np.float32(RANGES["weight_decay"].most))
