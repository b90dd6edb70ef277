"""Compare runs in a table: `python scripts/runs.py runs`."""

from start import start

if __name__ == "__main__":
    start("runs")
