"""Settings in a file: a run's config.json, or settings alone."""

from pathlib import Path
from typing import Any

from mlp_xp.backends import hooks
from mlp_xp.core.config import ConfigError
from mlp_xp.core.dataset import PREPARATIONS, TARGETS
from mlp_xp.core.task import TASKS
from mlp_xp.errors import Argument
from mlp_xp.runs import records
from mlp_xp.runs.settings import Settings, unflatten

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
    "targets": TARGETS,
    "data_crc32": str,
    "start_from_sha256": str | None,
    "segments": list[dict[str, Any]] | None,
}


def parse_settings(
    path: Path, advice: str = "restore it from a copy, or train again"
) -> tuple[Settings, dict[str, Any]]:
    """Return the settings in a JSON file, a run's config.json or settings alone, and the file's whole record.

    advice: what to do about a damaged file; by default about a run's. Raises MlpXpError.
    """
    where = repr(str(path))
    record = records.check_fields(records.read_json(path, advice), {}, where, advice)
    if "settings" not in record:
        return unflatten(record, where), record
    records.check_format(record, where)
    records.check_fields(record, CONFIG_FIELDS, where, advice)
    return unflatten(record["settings"], where), record


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
