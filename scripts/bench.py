"""Compare the time of a training step with other libraries.

Example: `python scripts/bench.py --quick`.
"""

import sys
from pathlib import Path

from start import imported

if __name__ == "__main__":
    # benchmarks/ is not installed
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    imported("benchmarks.bench").main()
