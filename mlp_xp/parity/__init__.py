"""Compare array libraries step by step.

`lockstep` runs any array program on a library. It finds the first deviating operation,
copies to the host, and more. `assert_lockstep` runs a program in a test. `check` trains
a network on several libraries and compares them with NumPy. `assert_parity` does this
for a single library in a test. `trace` finds the first deviating operation of training.

The files, in the order in which to read them:

| file | it holds |
| --- | --- |
| `operations` | a recorded call: the operands, the result, the line of the program |
| `_operators` | the operators of Python, and the equivalent functions of the standard |
| `_bounds`, `_rules`, `_equations` | how far a result may be from NumPy's, and why |
| `_judge` | an operation repeated on NumPy, and its verdict |
| `tracer` | stand-ins for namespaces and arrays; each call is recorded and judged |
| `_answers` | how a stand-in answers a program that asks for the type of an array |
| `programs` | `lockstep`: a program on the stand-ins, then as a whole on NumPy |
| `reproducer` | a script that shows an operation with only NumPy and the library |
| `_steps`, `_trajectory` | the compared training steps, and their results |
| `notebook`, `rounding`, `tolerances` | the references, and the allowed deviations |
| `_probe`, `tracing` | `trace`: training, and calls on unusual operands, under trace |
| `compare`, `_assertion` | `check` and `assert_parity`: all of this together |
"""

from mlp_xp.parity._assertion import assert_parity
from mlp_xp.parity.compare import check
from mlp_xp.parity.programs import assert_lockstep, lockstep
from mlp_xp.parity.tracing import trace

__all__ = ["assert_lockstep", "assert_parity", "check", "lockstep", "trace"]
