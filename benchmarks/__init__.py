"""Compare the time and memory of training with this package and with its alternatives:
`python scripts/bench.py`.

Not a part of the installed package. Read `workloads`, `contestants`, `whole`,
`measure`, `report` in this order.
"""
