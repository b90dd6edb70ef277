"""Compare array libraries step by step.

`check` trains a network on several libraries and compares them with NumPy.
`assert_parity` does this for a single library in a test. `trace` finds the first
deviating operation of training, by `array_lockstep`.

The files, in the order in which to read them:

| file | it holds |
| --- | --- |
| `_steps`, `_trajectory` | the compared training steps, and their results |
| `notebook`, `rounding`, `tolerances` | the references, and the allowed deviations |
| `compare`, `_assertion` | `check` and `assert_parity`: all of this together |
| `tracing` | `trace`: training as a program for `array_lockstep` |
"""

from mlp_xp.parity._assertion import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.tracing import trace

__all__ = ["assert_parity", "check", "trace"]
