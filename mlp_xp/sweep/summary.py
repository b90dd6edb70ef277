"""STUB, to be replaced at integration: what comes out of a sweep."""

from pathlib import Path


def write_summary(sweep_dir: Path) -> list[Path]:
    """Write nothing, and return no paths."""
    return []
