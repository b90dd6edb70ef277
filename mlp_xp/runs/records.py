"""Read the JSON files of a run, and compare their fields with the annotated types that they must have."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlp_xp.backends import hooks
from mlp_xp.core.dataset import PREPARATIONS
from mlp_xp.core.task import TASKS
from mlp_xp.declared import ConfigError
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.runs.settings import Settings, unflatten

# Written to config.json, models and checkpoints. A change that an older version cannot read raises it.
FORMAT = 1
REMEDY = "restore it from a copy, or train again"
TARGETS = ("unchanged", "standardize")  # whether a network is trained on standardised numbers
CONFIG_FIELDS = {
    **{"format": int, "settings": dict, "device": str | None, "versions": dict, "threads": dict, "machine": str},
    **{"train_samples": int, "image_shape": list, "class_names": list, "task": TASKS, "preparation": PREPARATIONS},
    **{"targets": TARGETS, "data_crc32": str, "inputs": str, "rows": int | None},
}
# The fields of a line of metrics.jsonl, and of result.json. A whole number may stand for a float.
NUMBER, OPTIONAL = int | float, int | float | None
REPORT_FIELDS = {
    **{"epoch": int, "sample": int, "loss": NUMBER, "accuracy": OPTIONAL, "seconds": NUMBER, "train_loss": NUMBER},
    **{"test_loss": OPTIONAL, "samples_per_second": NUMBER},
    **{f"validation_{name}": OPTIONAL for name in ("loss", "accuracy", "r2")},
    **{"label_accuracy": OPTIONAL, "r2": OPTIONAL, "rmse": OPTIONAL, "kept_epoch": int | None},
}


class RunError(MlpXpError):
    """An unusable run folder, model or checkpoint."""


def parse_settings(path: Path) -> tuple[Settings, dict[str, Any]]:
    """Return the settings in a JSON file, a run's config.json or settings alone, and the file's record.

    Raises MlpXpError.
    """
    record = read_json(path)
    if "settings" not in record:
        return unflatten(record, path), record
    check_format(record, path)
    return unflatten(check_fields(record, CONFIG_FIELDS, path)["settings"], path), record


def check_foreign(settings: Settings, named: str | None, file: Path) -> None:
    """Raise ConfigError if settings from a file name a foreign backend that the user has not named too.

    named: the backend that the user gave, or None. To open a foreign backend is to import a module, which may run any
    code; a file, which may come from anybody, must not decide that alone.
    """
    if (":" in settings.backend or settings.backend in hooks()) and named is None:
        raise ConfigError(
            f"{str(file)!r} wants the module {settings.backend!r}, which is imported only if you name it too",
            remedy=("give ", Argument("backend", settings.backend), " to allow it, or another backend"),
            setting="backend",
        )


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value that was read from JSON has a type, or is one of the strings in a tuple or dict."""
    if isinstance(kind, tuple | dict):
        return isinstance(value, str) and value in kind
    return isinstance(value, kind) and not isinstance(value, bool)


def check_fields(record: Any, kinds: Mapping[str, Any], path: Path, line: int | None = None) -> dict[str, Any]:
    """Return a record if it is a JSON object with fields of these types. Raises RunError, which names the field.

    A field may be missing if its type includes None. Other fields may be there, and are ignored.
    """
    fault = "" if isinstance(record, dict) else f"{shortened(record)} is not a JSON object"
    for name, kind in {} if fault else kinds.items():
        if not fits(record.get(name), kind):
            wanted = kind.__name__ if isinstance(kind, type) else kind
            wanted = f"one of {', '.join(kind)}" if isinstance(kind, tuple | dict) else wanted
            fault = f"the field {name!r} is {shortened(record.get(name))}, which is not {wanted}"
            fault = fault if name in record else f"it has no field {name!r}"
            break
    if fault:
        raise RunError(f"is damaged: {fault}", file=path, line=line, remedy=REMEDY)
    found: dict[str, Any] = record
    return found


def check_format(record: Mapping[str, Any], path: Path) -> None:
    """Raise RunError unless a record has the format that this version reads."""
    if record.get("format") != FORMAT:
        raise RunError(
            f"has format {shortened(record.get('format'))}, but this version of mlp_xp reads format {FORMAT}",
            file=path,
            remedy="use the version that wrote it, or train again",
        )


def shortened(value: Any) -> str:
    """Return the repr of a value, cut to a length that fits in a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def parse(content: bytes | str, path: Path, line: int | None = None) -> Any:
    """Parse one JSON value as the standard defines it: no NaN, and no field twice. Raises RunError."""
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"is not JSON: {reason}", file=path, line=line, remedy=REMEDY) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"of the fields {shortened([name for name, _ in pairs])} one is there twice")
    return record


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path, kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a file with one JSON object, whose fields have these types. Raises RunError."""
    return check_fields(parse(read_bytes(path), path), kinds or {}, path)


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises RunError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror or error}", file=path, remedy=REMEDY) from error
