"""What is wrong with a comparison is said in one line."""

from typing import Any

import pytest
from data_sets import TINY
from helpers import assert_one_line, call, pattern

from mlp_xp import TrainConfig
from mlp_xp.backends.failures import BackendError
from mlp_xp.declared import ConfigError
from mlp_xp.parity import assert_parity
from mlp_xp.parity._trajectory import record_notebook

# The options of `parity`, and the words of the answer with the facts.
REFUSED = [
    ("--steps 0", "--steps: 0 ... at least 1"),
    ("--tolerance nan", "--tolerance: nan"),
    ("--backends nunpy", "--backends: 'nunpy' ... did you mean 'numpy'?"),
    ("--backends numpy", "nothing to compare"),
    (
        "--backends numpy --device jax=cpu",
        "--device: 'jax=cpu' is not NAME=DEVICE with one",
    ),
    ("--backends numpy --device numpy=", "--device: 'numpy=' is not NAME=DEVICE"),
    (
        "--backends numpy --trace --tolerance 1",
        "--trace and --tolerance: give only one",
    ),
    (
        "--backends numpy --all-operations --notebook",
        "--all-operations and --notebook: give only one",
    ),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_a_wrong_command_line_is_refused_before_any_data_is_loaded(
    typed, said, tmp_path
):
    outcome = call(f"parity {typed}", data_dir=tmp_path / "nowhere")
    assert_one_line(outcome, 2, said)
    assert "nowhere" not in outcome.err


# A call, its error, and the words of the error with the facts.


def notebook(**changes: Any) -> None:
    record_notebook(TrainConfig(**changes), TINY, 1)


REFUSED_CALLS = [
    # The notebook's loop.
    (lambda: notebook(activation="relu"), ConfigError, "activation: the notebook has"),
    (lambda: notebook(init="he"), ConfigError, "init: the notebook has"),
    (lambda: notebook(optimizer="adam"), ConfigError, "optimizer: the notebook has"),
    (lambda: notebook(hidden=()), ConfigError, "hidden: the notebook has"),
    (
        lambda: assert_parity(None),
        BackendError,
        "backend NoneType: it does not implement",
    ),
]


@pytest.mark.parametrize(("refused", "error", "said"), REFUSED_CALLS)
def test_what_is_wrong_is_said(refused, error, said):
    with pytest.raises(error, match=pattern(said)):
        refused()
