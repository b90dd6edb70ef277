"""Compare array libraries step by step.

`lockstep` runs any array program and finds its first deviating operation, its copies to
the host and more. `assert_lockstep` does so in a test. `assert_parity` compares a
library with NumPy in a test, by training a network, and `check` compares several.
`trace` finds the first deviating operation of this training.

The files, in the order in which to read them:

| file | it holds |
| --- | --- |
| `operations` | a recorded call: the operands, the result, the line of the program |
| `_operators` | the operators of Python, and the functions of the standard for them |
| `_bounds`, `_rules`, `_equations` | how far a result may be from NumPy's, and why |
| `_judge` | an operation repeated on NumPy, and its verdict |
| `tracer` | stand-ins for namespace and arrays, which record and judge each call |
| `_answers` | how a stand-in answers a program that asks for the type of an array |
| `programs` | `lockstep`: a program on the stand-ins, then as a whole on NumPy |
| `reproducer` | a script that shows an operation with NumPy and the library alone |
| `_steps`, `_trajectory` | the training steps that are compared, and their results |
| `notebook`, `rounding`, `tolerances` | the references, and the deviation allowed |
| `_probe`, `tracing` | calls on unusual operands, and a training step, under trace |
| `compare`, `_assertion` | `check`, `trace` and `assert_parity`: all of this at once |
"""

from mlp_xp.parity._assertion import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.programs import assert_lockstep, lockstep
from mlp_xp.parity.tracing import trace

__all__ = ["assert_lockstep", "assert_parity", "check", "lockstep", "trace"]
