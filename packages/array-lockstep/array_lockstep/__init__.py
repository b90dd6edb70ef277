"""Run any array program on a library and, operation by operation, on NumPy.

`lockstep` runs a program of the Python array API standard on a library. It finds the
first operation that deviates from NumPy's, copies to the host, and more.
`assert_lockstep` does this in a test. `assert_namespace` asks a namespace itself, with
unusual operands. All other names of this package may change.

The files, in the order in which to read them:

| file | it holds |
| --- | --- |
| `operations`, `operators` | a recorded call: the operands and the result |
| `places` | its line in the program |
| `bounds`, `rules`, `equations` | how far a result may be from NumPy's, and why |
| `judge` | an operation repeated on NumPy, and its verdict |
| `libraries`, `settings` | a library, and its global settings |
| `tracer` | stand-ins for namespaces and arrays; each call is recorded and judged |
| `answers` | how a stand-in answers a program that asks for the type of an array |
| `running` | what is replaced meanwhile, for which threads, and restored |
| `records`, `allowances` | findings, and which of them are expected |
| `programs` | `lockstep`: a program on the stand-ins, then as a whole on NumPy |
| `watching`, `plugin` | code that creates its own arrays, and fixtures for pytest |
| `probe` | `assert_namespace`: programs with unusual operands |
| `reproducer` | a script that shows an operation with only NumPy and the library |
| `formats`, `command` | reports, and the command |
"""

from array_lockstep.errors import LockstepError
from array_lockstep.probe import assert_namespace
from array_lockstep.programs import assert_lockstep, lockstep
from array_lockstep.records import Record, Run
from array_lockstep.watching import Watch, assert_watched, watch

__all__ = [
    "LockstepError",
    "Record",
    "Run",
    "Watch",
    "assert_lockstep",
    "assert_namespace",
    "assert_watched",
    "lockstep",
    "watch",
]
__version__ = "0.1.0"
