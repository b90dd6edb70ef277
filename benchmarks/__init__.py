"""Compare training with this package and with its alternatives in time and memory.

Run it by `python scripts/bench.py`.

Not a part of the installed package. Read `workloads`, `contestants`, `whole`,
`measure`, `report` in this order.
"""
