"""Train the network: `python scripts/train.py --backend numpy`."""

from start import start

if __name__ == "__main__":
    start("train")
