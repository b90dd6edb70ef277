"""The NVIDIA card of this machine, as nvidia-smi tells it.

Standard library only, and no import of the package: `scripts/gpu.py` runs this file before anything is installed.
"""

import os
import re
import shutil
import subprocess
from typing import NamedTuple

CUDA_RELEASES = (12, 13)
"""The major versions of CUDA that CuPy, JAX and PyTorch are built for."""
PATIENCE = 60
"""Seconds; nvidia-smi hangs with some broken drivers."""


class CardError(Exception):
    """Why no NVIDIA card is usable, in one line, and what to do."""


class Card(NamedTuple):
    """The first card that programs see."""

    name: str
    driver: str
    memory: str
    cuda: str
    """The newest CUDA that the driver supports, such as "12.8"; empty where nvidia-smi does not tell."""


def find_card() -> Card:
    """Ask nvidia-smi. Raises CardError."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        raise CardError(f"no usable GPU: CUDA_VISIBLE_DEVICES is {visible!r}, which hides every card; unset it")
    if shutil.which("nvidia-smi") is None:
        raise CardError(
            "no usable GPU: there is no nvidia-smi; install the NVIDIA driver on a machine with such a card"
        )
    first = (visible or "").split(",")[0].strip()
    which = [f"--id={first}"] if first.isdecimal() or first.startswith("GPU-") else []
    rows = _ask("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader", *which).splitlines()
    fields = [field.strip() for field in rows[0].split(",")] if rows else []
    if len(fields) != 3:
        raise CardError(f"no usable GPU: nvidia-smi lists no card but {rows[:1]}; check that `nvidia-smi` shows one")
    # "CUDA Version: 12.8" in the head of the table; some drivers put a word between the two.
    found = re.search(r"CUDA\b[A-Za-z ]*\bVersion\s*:\s*(\d+\.\d+)", _ask())
    name, driver, memory = fields
    return Card(name, driver, memory, found[1] if found else "")


def choose_cuda(card: Card, wanted: str | None = None) -> int:
    """The major version of CUDA whose libraries to install: what is wanted, or what the driver supports.

    A driver runs libraries of its own CUDA's major version and of earlier ones. Raises CardError.
    """
    known = " or ".join(f"CUDA={release}" for release in CUDA_RELEASES)
    if wanted is not None and wanted not in map(str, CUDA_RELEASES):
        raise CardError(f"CUDA: {wanted!r} is not known; give {known}, or nothing, to go by the driver")
    newest = int(card.cuda.partition(".")[0]) if card.cuda else None
    if newest is None:
        if wanted is None:
            raise CardError(f"nvidia-smi does not tell which CUDA driver {card.driver} supports; give {known}")
        return int(wanted)
    least = int(wanted) if wanted else CUDA_RELEASES[0]
    if newest < least:
        raise CardError(
            f"no usable GPU: driver {card.driver} supports CUDA {card.cuda}, not {least}; update the driver"
        )
    return int(wanted) if wanted else min(newest, CUDA_RELEASES[-1])


def _ask(*arguments: str) -> str:
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CardError(f"no usable GPU: nvidia-smi does not work: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise CardError(f"no usable GPU: nvidia-smi says: {said[0]}")
    return done.stdout.strip()
