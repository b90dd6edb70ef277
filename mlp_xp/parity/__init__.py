"""Compare array libraries step by step.

`lockstep` runs any array program and finds its first deviating operation, its copies to
the host and more. `assert_lockstep` does so in a test. `assert_parity` compares a
library with NumPy in a test, by training a network, and `check` compares several.
`trace` finds the first deviating operation of this training.
"""

from mlp_xp.parity._assertion import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.programs import assert_lockstep, lockstep
from mlp_xp.parity.tracing import trace

__all__ = ["assert_lockstep", "assert_parity", "check", "lockstep", "trace"]
