"""Files of named arrays and facts about them, in the safetensors format.

Such files contain no code. Each file has a checksum of its arrays and facts, so damage
is found on reading.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.files import patiently, write_whole
from mlp_xp.runs.records import (
    FORMAT,
    REMEDY,
    RunError,
    check_fields,
    check_format,
    parse,
)


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> str:
    """Write arrays and facts to a file, and return its checksum. Raises FileError.

    The facts are JSON values by name. The file also has its format and its checksum,
    under `format` and `sha256`.
    """
    from safetensors.numpy import save

    record = {"format": FORMAT, **facts}
    checksum = checksum_of(tensors, record)
    record["sha256"] = checksum
    # One entry with all facts, because safetensors writes several in a random order.
    # Equal arrays and facts must give equal files.
    metadata = {"mlp_xp": json.dumps(record)}
    # safetensors writes the memory of an array as it is.
    in_order = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    write_whole(path, save(in_order, metadata=metadata))
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the facts of a file.

    Raises:
        RunError: The file is missing, has another format, or does not match its
            checksum.
    """
    tensors, facts = _read(path, with_tensors=True)
    record = dict(facts)
    if record.pop("sha256", None) != checksum_of(tensors, record):
        fault = "was altered: its content does not match its SHA-256 sum"
        raise RunError(fault, file=path, remedy=REMEDY)
    return tensors, facts


def read_sha256(path: Path) -> str:
    """Read the checksum in a file, without its arrays. Raises RunError."""
    _, facts = _read(path)
    return str(facts.get("sha256"))


def checksum_of(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 sum of arrays and facts, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(
    path: Path, *, with_tensors: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        # safetensors would report any file it cannot open as missing.
        patiently(path.open, "rb").close()
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("mlp_xp", "{}")
            facts = check_format(check_fields(parse(text, path), {}, path), path)
            names = file.keys() if with_tensors else []
            return {name: file.get_tensor(name) for name in names}, facts
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
        remedy = (
            "if its run is training, wait for the first checkpoint, "
            "else resume the run, or train again"
        )
        raise RunError(fault, file=path, remedy=remedy) from error
    # NumPy raises the last two for an unknown dtype.
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        fault = f"is truncated or altered: {reason}"
        raise RunError(fault, file=path, remedy=REMEDY) from error
