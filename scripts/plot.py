"""Draw the pictures of a run: `python scripts/plot.py RUN_DIR`."""

from start import start

if __name__ == "__main__":
    start("plot")
