"""Time a training step against other libraries: `python scripts/bench.py --quick`."""

from start import start

if __name__ == "__main__":
    start("bench")
