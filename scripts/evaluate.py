"""Evaluate a run on the test set: `python scripts/evaluate.py RUN_DIR`."""

from start import start

if __name__ == "__main__":
    start("evaluate")
