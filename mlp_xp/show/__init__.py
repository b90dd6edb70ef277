"""Show runs: terminal output, progress bars, plots."""
