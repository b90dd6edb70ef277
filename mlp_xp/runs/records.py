"""The records in a run's JSON files: their fields, and how they are read from a file of unknown origin.

A record may have more fields than are listed here: a later version may add some, and they are ignored. (The settings
are stricter: see `settings.unflatten`.) A field that is listed must have the listed type and range. The tables are our
own because validation libraries, when compared (msgspec 0.22, pydantic 2.14), do not report a field that appears twice
or the wrong value, and take 20 to 30 ms to import.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from mlp_xp.dataset import PREPARATIONS, TARGETS
from mlp_xp.errors import MlpXpError
from mlp_xp.losses import LOSSES
from mlp_xp.regular import open_regular, read_fault, read_regular
from mlp_xp.threads import MOST_THREADS

# Limits on the files, in bytes: of a file with one record, of a line of metrics.jsonl, and of all its lines.
RECORD_LIMIT, LINE_LIMIT, LINES_LIMIT = 1 << 20, 1 << 14, 1 << 28
# Whole numbers up to here are exact as float64 too.
LARGEST = 2**53


class RunError(MlpXpError):
    """A run folder, a model or a checkpoint that cannot be used."""


class Kind(NamedTuple):
    """A kind of value."""

    wanted: str
    """What it must be, for the error message."""
    matches: Callable[[Any], bool]
    required: bool = True


def whole(low: int = 0, high: int = LARGEST) -> Kind:
    """Return the kind of a whole number in a range, both ends included."""
    text = f"a whole number from {low} to {'2**53' if high == LARGEST else high}"
    return Kind(text, lambda value: type(value) is int and low <= value <= high)


def number(low: float = -math.inf, high: float = math.inf) -> Kind:
    """Return the kind of a finite number in a range, both ends included."""
    bounds = "" if low == -math.inf else f" from {low:g} on" if high == math.inf else f" from {low:g} to {high:g}"
    return Kind(
        f"a finite number{bounds}",
        lambda value: type(value) in (int, float) and _finite(value) and low <= value <= high,
    )


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def text(most: int = 4096) -> Kind:
    """Return the kind of a string of at most `most` characters."""
    return Kind(f"a string of at most {most} characters", lambda value: isinstance(value, str) and len(value) <= most)


def choice(choices: Collection[str]) -> Kind:
    """Return the kind of a string from a collection."""
    return Kind(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def sequence(of: Kind, least: int, most: int) -> Kind:
    """Return the kind of a list of `least` to `most` values of a kind."""
    length = str(least) if least == most else f"{least} to {most}"
    return Kind(
        f"a list of {length} values, each {of.wanted}",
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(of.matches, value)),
    )


def mapping(of: Kind) -> Kind:
    """Return the kind of an object whose values are all of one kind."""
    return Kind(
        f"an object whose values are each {of.wanted}",
        lambda value: isinstance(value, dict) and all(map(of.matches, value.values())),
    )


def either(one: Kind, other: Kind) -> Kind:
    """Return the kind of a value that is of one of two kinds."""
    return Kind(f"{one.wanted} or {other.wanted}", lambda value: one.matches(value) or other.matches(value))


def optional(kind: Kind) -> Kind:
    """Return the kind of a field that may be missing."""
    return kind._replace(required=False)


def _is_tally(value: Any) -> bool:
    return isinstance(value, list) and _each(value, number(), whole(), number(0))


def _is_best(value: Any) -> bool:
    kinds = number(high=1), whole(), either(NULL, number())
    return isinstance(value, list) and any(_each(value, *kinds[:count]) for count in (2, 3))  # older ones have no loss


def _each(values: list[Any], *kinds: Kind) -> bool:
    return len(values) == len(kinds) and all(kind.matches(each) for kind, each in zip(kinds, values, strict=True))


def _is_threads(value: Any) -> bool:
    if not isinstance(value, dict) or not all(type(each) in (str, int, NoneType) for each in value.values()):
        return False
    number = value.get("number")
    return number is None or whole(1, MOST_THREADS).matches(number)


NULL = Kind("null", lambda value: value is None)
Schema = Mapping[str, Kind]

# Of one sample, as stored: the rows and columns of an image, and its channels, or the number of features.
IMAGE_SHAPE = sequence(whole(1, 1 << 24), 1, 3)
CLASS_NAMES = sequence(text(1000), 1, 1 << 16)
# config.json without its settings. All is optional, because `--config` and the comparison of data take what is there.
CONFIG_FIELDS: Schema = {
    name: optional(kind)
    for name, kind in {
        "device": either(text(), NULL),
        "versions": mapping(text()),
        "threads": Kind(f"an object with texts and whole numbers, its number from 1 to {MOST_THREADS}", _is_threads),
        "machine": text(),
        "train_samples": whole(1),
        "image_shape": IMAGE_SHAPE,
        "class_names": CLASS_NAMES,
        "task": choice(LOSSES),
        "preparation": choice(PREPARATIONS),
        "targets": choice(TARGETS),
        "data_crc32": text(8),
        "start_from_sha256": text(64),
        "segments": sequence(Kind("an object", lambda value: isinstance(value, dict)), 0, 1 << 16),
    }.items()
}
# A line of metrics.jsonl, and result.json.
REPORT: Schema = {
    "epoch": whole(),
    "sample": whole(),
    "loss": number(),
    "accuracy": optional(number(0, 1)),
    "seconds": number(0),
    "train_loss": number(),
    "test_loss": optional(number()),
    "samples_per_second": number(0),
    "validation_loss": optional(number()),
    "validation_accuracy": optional(number(0, 1)),
    "validation_r2": optional(number(high=1)),
    "label_accuracy": optional(number(0, 1)),
    "r2": optional(number(high=1)),
    "rmse": optional(number(0)),
    "kept_epoch": optional(whole()),
}
# The position in checkpoint.safetensors.
POSITION: Schema = {
    "epoch": whole(),
    "sample": whole(),
    "step": whole(1),
    "reports": whole(),
    "seconds": number(0),
    "loss": number(),
    "tally": Kind("a list of a loss, a number of samples, and seconds", _is_tally),
    "best": either(NULL, Kind("a list of an accuracy (or R²), an epoch and a loss", _is_best)),
}


def shortened(value: Any) -> str:
    """Return the repr of a value, cut to a length that fits in a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def check_fields(record: Any, schema: Schema, where: str, advice: str) -> dict[str, Any]:
    """Return the record if it is an object with the fields of a schema. Raises RunError, which names the field."""
    if not isinstance(record, dict):
        raise RunError(f"{where}: is damaged: {shortened(record)} is not a JSON object; {advice}")
    for name, kind in schema.items():
        if name not in record:
            if kind.required:
                raise RunError(f"{where}: is damaged: it has no field {name!r}; {advice}")
        elif not kind.matches(record[name]):
            raise RunError(
                f"{where}: is damaged: the field {name!r} is {shortened(record[name])}, but it must be {kind.wanted}; "
                f"{advice}"
            )
    return record


def parse(content: bytes | str, where: str, advice: str, *, wrong: str = "is not JSON") -> Any:
    """Parse one JSON value as the standard defines it: no NaN, and no field twice. Raises RunError."""
    try:
        decoded = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(decoded, object_pairs_hook=_unique, parse_float=_as_float, parse_constant=_no_number)
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


def _as_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):  # json would write it as Infinity, which no one can read again
        raise ValueError(f"{shortened(digits)} is too large for a float")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path, advice: str, *, wrong: str = "is not JSON") -> Any:
    """Read a file with one JSON value, at most RECORD_LIMIT bytes. Raises RunError."""
    return parse(read_limited(path, advice), repr(str(path)), advice, wrong=wrong)


def read_limited(path: Path, advice: str) -> bytes:
    """Read a regular file of at most RECORD_LIMIT bytes. Raises RunError."""
    try:
        return read_regular(path, RECORD_LIMIT)
    except OSError as error:
        raise RunError(f"{str(path)!r}: {read_fault(error)}; {advice}") from error


def read_lines(path: Path, advice: str) -> Iterator[bytes]:
    """Yield the complete lines of a regular file, each with its line break; without an incomplete last line.

    A line has at most LINE_LIMIT bytes, and the file LINES_LIMIT. Raises RunError.
    """
    where, total = repr(str(path)), 0
    try:
        with open_regular(path) as file:
            for number in range(1, LINES_LIMIT):
                line = file.readline(LINE_LIMIT + 1)
                total += len(line)
                if len(line) > LINE_LIMIT:
                    raise RunError(f"{where}, line {number}: has more than {LINE_LIMIT} bytes, the limit; {advice}")
                if total > LINES_LIMIT:
                    raise RunError(f"{where}: has more than {LINES_LIMIT} bytes, the limit; {advice}")
                if not line.endswith(b"\n"):
                    return
                yield line
    except OSError as error:
        raise RunError(f"{where}: {read_fault(error)}; {advice}") from error


def read_reports(path: Path, advice: str) -> list[dict[str, Any]]:
    """Read the reports in metrics.jsonl. Raises RunError, which names the line, the field and its value."""
    reports = []
    for number, line in enumerate(read_lines(path, advice), 1):
        where = f"{str(path)!r}, line {number}"
        reports.append(check_fields(parse(line, where, advice, wrong="is damaged"), REPORT, where, advice))
    return reports
