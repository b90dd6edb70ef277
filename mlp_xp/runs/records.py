"""What the JSON files of a run contain, and how they are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.hooks import known_hooks
from mlp_xp.core.task import TASKS
from mlp_xp.declared import ConfigError
from mlp_xp.errors import Argument, MlpXpError, quoted
from mlp_xp.files import patiently, write_whole
from mlp_xp.runs.settings import Settings, unflatten

# Written to config.json, models and checkpoints. A change that an older version cannot
# read raises it.
FORMAT = 3
REMEDY = "restore it from a copy, or train again"
_CONFIG_FIELDS = {
    "settings": dict,
    "threads": dict,
    "train_samples": int,
    "signature": dict,
}
_SIGNATURE_FIELDS = {"task": str, "targets": str}


class Figure(NamedTuple):
    """A result of a run, in its reports and in the table of runs."""

    name: str
    """In metrics.jsonl and result.json."""
    part: str = ""
    """The samples that it is of, "test" or "validation"; a figure of neither is in
    every report.
    """
    head: str = ""
    """The head of its column in the table of runs; empty if it has no column."""
    high: bool = False
    """Whether a higher one is better."""

    @property
    def column(self) -> str:
        """The name of its column, which begins with the part."""
        return (
            self.name if self.name.startswith(self.part) else f"{self.part}_{self.name}"
        )


RESULTS = (
    Figure("loss"),
    Figure("validation_accuracy", "validation", "held out %", high=True),
    Figure("validation_r2", "validation", "held out R²", high=True),
    Figure("validation_loss", "validation", "held-out loss"),
    Figure("accuracy", "test", "test %", high=True),
    Figure("label_accuracy", "test", high=True),
    Figure("r2", "test", "test R²", high=True),
    Figure("rmse", "test", "test rmse"),
    Figure("train_loss", "", "train loss"),
    Figure("test_loss", "test", "test loss"),
    Figure("samples_per_second", high=True),
    Figure("seconds", "", "time (s)"),
)
# Those of the table of runs, by the names of their columns, in its order.
FIGURES = {each.column: each for each in RESULTS if each.head}
HELD_OUT = tuple(
    name for name, each in FIGURES.items() if each.part == "validation" and each.high
)
# The same figures on the test set, by their names in a result.
TESTED = tuple(name.removeprefix("validation_") for name in HELD_OUT)
# The fields of a line of metrics.jsonl, and of result.json. A whole number may stand
# for a float.
REPORT_FIELDS = {
    **{"epoch": int, "sample": int, "kept_epoch": int | None},
    **{each.name: int | float | None if each.part else int | float for each in RESULTS},
}


class RunError(MlpXpError):
    """An unusable run folder, model or checkpoint."""


def parse_settings(path: Path) -> tuple[Settings, dict[str, Any]]:
    """Return the settings in a JSON file, a run's config.json or settings alone, and
    the file's record.

    Raises MlpXpError.
    """
    record = read_json(path)
    if "settings" not in record:
        return unflatten(record, path), record
    check_format(record, path)
    check_fields(record, _CONFIG_FIELDS, path)
    task = check_fields(record["signature"], _SIGNATURE_FIELDS, path)["task"]
    if task not in TASKS:
        fault = f"is damaged: {task!r:.60} is not a task"
        raise RunError(fault, file=path, remedy=REMEDY)
    return unflatten(record["settings"], path), record


def check_foreign(settings: Settings, named: str | None, file: Path) -> None:
    """Raise ConfigError if settings from a file name a foreign backend that the user
    has not named too.

    named: the backend that the user gave, or None. To open a foreign backend is to
    import a module, which may run any code; a file, which may come from anybody, must
    not decide that alone.
    """
    if (":" in settings.backend or settings.backend in known_hooks()) and named is None:
        raise ConfigError(
            f"{quoted(file)} wants the module {settings.backend!r}, which is imported only if you name it too",
            remedy=(
                "give ",
                Argument("backend", settings.backend),
                " to allow it, or another backend",
            ),
            setting="backend",
        )


def check_fields(
    record: Any, kinds: Mapping[str, Any], path: Path, line: int | None = None
) -> dict[str, Any]:
    """Return a record if it is a JSON object with fields of these types. Raises
    RunError, which names the field.

    A field may be missing if its type includes None. Other fields may be there, and are
    ignored.
    """
    found: dict[str, Any] = record if isinstance(record, dict) else {}
    wrong = [
        f"its field {name!r}"
        for name, kind in kinds.items()
        if not isinstance(found.get(name), kind)
    ]
    if wrong or found is not record:
        fault = (
            f"is damaged: {wrong[0]} is missing or not of the right type"
            if wrong
            else "is not a JSON object"
        )
        raise RunError(fault, file=path, line=line, remedy=REMEDY)
    return found


def check_format(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record if it has the format that this version reads. Raises RunError."""
    if record.get("format") != FORMAT:
        raise RunError(
            f"has format {record.get('format')!r:.60}, but this version of mlp_xp reads format {FORMAT}",
            file=path,
            remedy="use the version that wrote it, or train again",
        )
    return record


def parse(content: bytes | str, path: Path, line: int | None = None) -> Any:
    """Parse one JSON value as the standard defines it: no NaN, and no field twice.
    Raises RunError.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            raise ValueError(
                f"one of the fields {', '.join(record):.60} is there twice"
            )
        return record

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number")

    try:
        return json.loads(content, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"is not JSON: {error!s:.200}", file=path, line=line, remedy=REMEDY
        ) from error


def read_json(path: Path, kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a file with one JSON object, whose fields have these types. Raises RunError."""
    try:
        content = patiently(path.read_bytes)
    except OSError as error:
        raise RunError(
            f"cannot be read: {error.strerror or error}", file=path
        ) from error
    return check_fields(parse(content, path), kinds or {}, path)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a file with one JSON value. Raises FileError."""
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())
