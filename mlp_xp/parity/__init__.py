"""Compare array libraries step by step.

`assert_parity` does so in a test, `check` for several libraries, and `trace` finds the
first operation that deviates.
"""

from mlp_xp.parity.compare import assert_parity, check
from mlp_xp.parity.tracing import trace

__all__ = ["assert_parity", "check", "trace"]
