"""Compare backends step by step. `assert_parity` does so in a test."""

from mlp_xp.parity.compare import assert_parity

__all__ = ["assert_parity"]
