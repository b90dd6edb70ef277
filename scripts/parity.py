"""Check that all backends give the same trajectory: `python scripts/parity.py`."""

from start import start

if __name__ == "__main__":
    start("parity")
