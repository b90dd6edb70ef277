"""Classify your own pictures: `python scripts/predict.py RUN_DIR picture.png ...`."""

from start import start

if __name__ == "__main__":
    start("predict")
