"""Find the NVIDIA card of this machine with nvidia-smi.

This file uses only the standard library and does not import the package, because `scripts/gpu.py` runs it before
anything is installed.
"""

import os
import re
import shutil
import subprocess
from typing import NamedTuple

CUDA_RELEASES = (12, 13)
"""The major versions of CUDA for which CuPy, JAX and PyTorch are built."""
PATIENCE = 60
"""Time limit in seconds, because nvidia-smi hangs with some broken drivers."""


class CardError(Exception):
    """No NVIDIA card is usable; the message is one line and says why and what to do."""


class Card(NamedTuple):
    """The first card that is visible to programs."""

    name: str
    driver: str
    memory: str
    cuda: str
    """The newest CUDA that the driver supports, such as "12.8"; empty if nvidia-smi does not report it."""


def find_card() -> Card:
    """Return the first visible card, from nvidia-smi. Raises CardError if no card is usable."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        raise CardError(f"no usable GPU: CUDA_VISIBLE_DEVICES is {visible!r}, which hides all cards; unset it")
    if shutil.which("nvidia-smi") is None:
        raise CardError(
            "no usable GPU: nvidia-smi is not installed; install the NVIDIA driver on a machine with an NVIDIA card"
        )
    first = (visible or "").split(",")[0].strip()
    which = [f"--id={first}"] if first.isdecimal() or first.startswith("GPU-") else []
    rows = _ask("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader", *which).splitlines()
    fields = [field.strip() for field in rows[0].split(",")] if rows else []
    if len(fields) != 3:
        raise CardError(f"no usable GPU: nvidia-smi lists no card, only {rows[:1]}; check that `nvidia-smi` shows one")
    # "CUDA Version: 12.8" in the header of the table; some drivers put a word between CUDA and Version.
    found = re.search(r"CUDA\b[A-Za-z ]*\bVersion\s*:\s*(\d+\.\d+)", _ask())
    name, driver, memory = fields
    return Card(name, driver, memory, found[1] if found else "")


def choose_cuda(card: Card, wanted: str | None = None) -> int:
    """Return the major version of the CUDA libraries to install: `wanted`, or the newest that the driver supports.

    A driver runs libraries of its own major version of CUDA and of earlier ones. Raises CardError if `wanted` is
    unknown, or if the driver is too old or its version unknown.
    """
    known = " or ".join(f"CUDA={release}" for release in CUDA_RELEASES)
    if wanted is not None and wanted not in map(str, CUDA_RELEASES):
        raise CardError(f"CUDA: {wanted!r} is not known; give {known}, or nothing to use the driver's version")
    newest = int(card.cuda.partition(".")[0]) if card.cuda else None
    if newest is None:
        if wanted is None:
            raise CardError(f"nvidia-smi does not report which CUDA driver {card.driver} supports; give {known}")
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
        raise CardError(f"no usable GPU: nvidia-smi failed: {said[0]}")
    return done.stdout.strip()
