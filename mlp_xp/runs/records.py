"""The content of a run's JSON files, and how they are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.hooks import known_hooks
from mlp_xp.core.task import TASKS
from mlp_xp.declared import ConfigError
from mlp_xp.errors import Argument, MlpXpError, quoted
from mlp_xp.files import patiently, write_whole
from mlp_xp.runs.settings import SETTINGS, Settings, unflatten

# Written to config.json, models and checkpoints. Raise it if an older version cannot
# read the files any more.
FORMAT = 3
REMEDY = "restore it from a copy, or train again in another folder"
_CONFIG_FIELDS = {
    "settings": dict,
    "threads": dict,
    "train_samples": int,
    "signature": dict,
}
_SIGNATURE_FIELDS = {"task": str, "targets": str}


class Metric(NamedTuple):
    """A result of a run, in its reports and in the table of runs."""

    name: str
    """Its name in metrics.jsonl and result.json."""
    part: str = ""
    """Its samples, "test" or "validation". Empty for a metric in every report."""
    head: str = ""
    """The head of its column in the table of runs. Empty if it has no column."""
    high: bool = False
    """Whether a higher value is better."""

    @property
    def column(self) -> str:
        """The name of its column. It begins with the part, as in `test_accuracy`.

        The part is added to `accuracy`, but `test_loss` begins with it already.
        """
        if self.name.startswith(self.part):
            return self.name
        return f"{self.part}_{self.name}"

    @property
    def kind(self) -> Any:
        """The type of its JSON value. A whole number may stand for a float."""
        if self.part:
            return int | float | None
        return int | float


REPORTED = (
    Metric("loss"),
    Metric("validation_accuracy", "validation", "held out %", high=True),
    Metric("validation_r2", "validation", "held out R²", high=True),
    Metric("validation_loss", "validation", "held-out loss"),
    Metric("accuracy", "test", "test %", high=True),
    Metric("label_accuracy", "test", high=True),
    Metric("r2", "test", "test R²", high=True),
    Metric("rmse", "test", "test rmse"),
    Metric("train_loss", "", "last train loss"),
    Metric("test_loss", "test", "test loss"),
    Metric("samples_per_second", high=True),
    Metric("seconds", "", "time (s)"),
)
# The metrics in the table of runs, by the names of their columns, in its order.
METRIC_COLUMNS = {metric.column: metric for metric in REPORTED if metric.head}
# The scores of classes or labels, and of numbers, on the held-out samples.
HELD_OUT = ("validation_accuracy", "validation_r2")
# The same scores on the test set, by their names in a result.
TESTED = ("accuracy", "r2")
# The fields of a line of metrics.jsonl, and of result.json.
REPORT_FIELDS = {
    "epoch": int,
    "sample": int,
    "kept_epoch": int | None,
    **{metric.name: metric.kind for metric in REPORTED},
}


class RunError(MlpXpError):
    """An unusable run folder, model or checkpoint."""


def parse_settings(path: Path) -> Settings:
    """Return the settings in a JSON file. Raises MlpXpError.

    The file is the config.json of a run, or has settings only.
    """
    record = read_json(path)
    if "settings" not in record:
        return unflatten(record, path)
    return run_settings(record, path)


def run_settings(record: dict[str, Any], path: Path) -> Settings:
    """Return the settings in the record of a run's config.json. Raises MlpXpError."""
    check_format(record, path)
    check_fields(record, _CONFIG_FIELDS, path)
    signature = check_fields(record["signature"], _SIGNATURE_FIELDS, path)
    task = signature["task"]
    if task not in TASKS:
        fault = f"is damaged: {task!r:.60} is not a task"
        raise RunError(fault, file=path, remedy=REMEDY)
    missing = SETTINGS.keys() - record["settings"].keys()
    if missing:
        fault = f"lacks the settings {', '.join(sorted(missing))}"
        raise RunError(fault, file=path, remedy=REMEDY)
    return unflatten(record["settings"], path)


def check_foreign(settings: Settings, given: Mapping[str, Any], file: Path) -> None:
    """Raise ConfigError if only a file, and not the user, names a foreign backend.

    Opening a foreign backend imports a module, and may so run any code. The file may
    come from anybody, so it must not decide this alone.

    Args:
        settings: The settings in the file.
        given: The settings that the user gave.
        file: The file, for the message.
    """
    is_foreign = ":" in settings.backend or settings.backend in known_hooks()
    if is_foreign and "backend" not in given:
        argument = Argument("backend", settings.backend)
        raise ConfigError(
            f"{quoted(file)} wants the module {settings.backend!r}, "
            "which is imported only if you name it too",
            remedy=("give ", argument, " to allow it, or another backend"),
            setting="backend",
        )


def check_fields(
    record: Any, kinds: Mapping[str, Any], path: Path, line: int | None = None
) -> dict[str, Any]:
    """Return a record if it is a JSON object with fields of these types.

    A field may be missing if its type includes None. Other fields are ignored. Raises
    RunError, which names the wrong field.
    """
    if not isinstance(record, dict):
        raise RunError("is not a JSON object", file=path, line=line, remedy=REMEDY)
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            fault = f"its field {name!r} is missing or not of the right type"
            raise RunError(f"is damaged: {fault}", file=path, line=line, remedy=REMEDY)
    return record


def check_format(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record if this version reads its format. Raises RunError."""
    found = record.get("format")
    if found != FORMAT:
        fault = (
            f"has format {found!r:.60}, "
            f"but this version of mlp_xp reads format {FORMAT}"
        )
        remedy = "use the version that wrote it, or train again"
        raise RunError(fault, file=path, remedy=remedy)
    return record


def parse(content: bytes | str, path: Path, line: int | None = None) -> Any:
    """Parse one JSON value. NaN and repeated fields are refused. Raises RunError."""
    try:
        return json.loads(
            content,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        fault = f"is not JSON: {error!s:.200}"
        raise RunError(fault, file=path, line=line, remedy=REMEDY) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"one of the fields {', '.join(record):.60} is there twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def read_json(path: Path, kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a file with one JSON object and fields of these types. Raises RunError."""
    try:
        content = patiently(path.read_bytes)
    except OSError as error:
        fault = f"cannot be read: {error.strerror or error}"
        raise RunError(fault, file=path) from error
    return check_fields(parse(content, path), kinds or {}, path)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a file with one JSON value. Raises FileError."""
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())
