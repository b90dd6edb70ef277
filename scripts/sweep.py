"""Train many networks.

Example: `python scripts/sweep.py --seed 0..7 --learning-rate 0.01 0.1 --recipe small`.
"""

from start import start

if __name__ == "__main__":
    start("sweep")
