"""Read the JSON files of a run, and compare their fields with the annotated types that they must have."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mlp_xp.backends import hooks
from mlp_xp.core.config import ConfigError
from mlp_xp.core.dataset import PREPARATIONS
from mlp_xp.core.task import TASKS
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.runs.settings import Settings, unflatten

# Written to config.json, models and checkpoints. A change that an older version cannot read raises it.
FORMAT = 1
REMEDY = "restore it from a copy, or train again"
CONFIG_FIELDS = {
    "format": int,
    "settings": dict[str, Any],
    "device": str | None,
    "versions": dict[str, str],
    "threads": dict[str, int | str | None],
    "machine": str,
    "train_samples": int,
    "image_shape": list[int],
    "class_names": list[str],
    "task": TASKS,
    "preparation": PREPARATIONS,
    "targets": ("unchanged", "standardize"),
    "data_crc32": str,
    "start_from_sha256": str | None,
    "segments": list[dict[str, Any]] | None,
}
# The fields of a line of metrics.jsonl, and of result.json.
REPORT_FIELDS = {
    **{"epoch": int, "sample": int, "loss": float, "accuracy": float | None, "seconds": float, "train_loss": float},
    **{"test_loss": float | None, "samples_per_second": float},
    **{f"validation_{name}": float | None for name in ("loss", "accuracy", "r2")},
    **dict.fromkeys(("label_accuracy", "r2", "rmse"), float | None),
    "kept_epoch": int | None,
}


class RunError(MlpXpError):
    """A run folder, a model or a checkpoint that cannot be used."""


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
    """Return whether a value that was read from JSON has an annotated type.

    kind: None, bool, int, float (which a whole number fits too), str or Any; `list[...]` or `dict[str, ...]` of these;
    a union of these; or a tuple or dict of the strings that are allowed.
    """
    if kind is Any:
        return True
    if isinstance(kind, tuple | dict):
        return isinstance(value, str) and value in kind
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(each, inner[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(each, inner[1]) for each in value.values())
    if kind in (None, NoneType):
        return value is None
    return type(value) in (int, float) if kind is float else type(value) is kind


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
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {shortened(twice)} is there twice")
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
