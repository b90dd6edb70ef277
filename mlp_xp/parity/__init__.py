"""Compare array libraries step by step.

`assert_parity` compares a library with NumPy in a test, and `check` compares several.
`trace` finds the first deviating operation.
"""

from mlp_xp.parity._assertion import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.tracing import trace

__all__ = ["assert_parity", "check", "trace"]
