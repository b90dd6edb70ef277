"""Compare the time of a training step with other libraries: `python scripts/bench.py --quick`."""

from start import start

if __name__ == "__main__":
    start("bench")
