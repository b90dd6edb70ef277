"""Measure time and memory against batch size, width, data and chunk length: `python scripts/bench_curves.py`."""

from start import start

if __name__ == "__main__":
    start("bench-curves")
