"""Files of named arrays with facts about them, as safetensors, which contain no code.

Each file has a checksum of its arrays and facts, so damage is found when it is read.
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
    path: Path, tensors: dict[str, np.ndarray], facts: Mapping[str, Any]
) -> str:
    """Write arrays and facts to a file, and return its checksum.

    Args:
        path: The file, which is replaced if it exists.
        tensors: Arrays by name.
        facts: JSON values by name. The format and the checksum are added under `format`
            and `sha256`.

    Raises:
        FileError: The file cannot be written.
    """
    from safetensors.numpy import save

    facts = {"format": FORMAT, **facts}
    facts.pop("sha256", None)  # of the file that the facts were read from
    checksum = checksum_of(tensors, facts)
    # A single entry, because several entries have a random order. Equal arrays and
    # facts must give equal files.
    record = json.dumps({**facts, "sha256": checksum})
    # safetensors writes the memory of an array as it is.
    tensors = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    write_whole(path, save(tensors, metadata={"mlp_xp": record}))
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the facts of a file.

    Raises:
        RunError: The file is missing, of another format, or its content does not match
            its checksum.
    """
    tensors, facts = _read(path, with_tensors=True)
    others = {name: value for name, value in facts.items() if name != "sha256"}
    if facts.get("sha256") != checksum_of(tensors, others):
        fault = "was altered: its content does not match its SHA-256 sum"
        raise RunError(fault, file=path, remedy=REMEDY)
    return tensors, facts


def read_sha256(path: Path) -> str:
    """Read the checksum in a file, without its arrays.

    Raises:
        RunError: The file is missing, truncated, or of another format.
    """
    return str(_read(path)[1].get("sha256"))


def checksum_of(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 sum of arrays and facts, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _read(
    path: Path, *, with_tensors: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        # safetensors reports any file that it cannot open as missing
        patiently(path.open, "rb").close()
        with safe_open(path, framework="np") as file:
            record = (file.metadata() or {}).get("mlp_xp", "{}")
            facts = check_format(check_fields(parse(record, path), {}, path), path)
            names = [*file.keys()] if with_tensors else []
            return {name: file.get_tensor(name) for name in names}, facts
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
        remedy = "if its run is training, wait for the first checkpoint, else resume the run, or train again"
        raise RunError(fault, file=path, remedy=remedy) from error
    # The last two for a dtype that NumPy does not have.
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"is truncated or altered: {reason}", file=path, remedy=REMEDY
        ) from error
