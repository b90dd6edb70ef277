"""Read the JSON files of a run, and compare their fields with the annotated types that they must have."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mlp_xp.errors import MlpXpError

# Written to config.json, models and checkpoints. A change that an older version cannot read raises it.
FORMAT = 1


class RunError(MlpXpError):
    """A run folder, a model or a checkpoint that cannot be used."""


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


def check_fields(record: Any, kinds: Mapping[str, Any], where: str, advice: str) -> dict[str, Any]:
    """Return a record if it is a JSON object with fields of these types. Raises RunError, which names the field.

    A field may be missing if its type includes None. Other fields may be there, and are ignored.
    """
    if not isinstance(record, dict):
        raise RunError(f"{where}: is damaged: {shortened(record)} is not a JSON object; {advice}")
    for name, kind in kinds.items():
        if fits(record.get(name), kind):
            continue
        fault = f"the field {name!r} is {shortened(record.get(name))}, which is not {_shown(kind)}"
        raise RunError(f"{where}: is damaged: {fault if name in record else f'it has no field {name!r}'}; {advice}")
    return record


def _shown(kind: Any) -> str:
    if isinstance(kind, tuple | dict):
        return f"one of {', '.join(kind)}"
    return kind.__name__ if isinstance(kind, type) else str(kind)


def check_format(record: Mapping[str, Any], where: str) -> None:
    """Raise RunError unless a record has the format that this version reads."""
    if record.get("format") != FORMAT:
        raise RunError(
            f"{where}: has format {shortened(record.get('format'))}, but this version of mlp_xp reads format {FORMAT}; "
            "use the version that wrote it, or train again"
        )


def shortened(value: Any) -> str:
    """Return the repr of a value, cut to a length that fits in a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def parse(content: bytes | str, where: str, advice: str, *, wrong: str = "is not JSON") -> Any:
    """Parse one JSON value as the standard defines it: no NaN, and no field twice. Raises RunError."""
    try:
        decoded = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{where}: {wrong}: {reason[:200]}; {advice}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {shortened(twice)} is there twice")
    return record


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path, advice: str, *, wrong: str = "is not JSON") -> Any:
    """Read a file with one JSON value. Raises RunError."""
    return parse(read_bytes(path, advice), repr(str(path)), advice, wrong=wrong)


def read_bytes(path: Path, advice: str) -> bytes:
    """Read a file. Raises RunError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{str(path)!r}: cannot be read: {error.strerror or error}; {advice}") from error
