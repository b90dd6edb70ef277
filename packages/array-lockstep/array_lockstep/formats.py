"""Reports of runs: text, JSON, and annotations of GitHub."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from array_lockstep.records import WORDS, Record, Run


def to_json(run: Run) -> str:
    """Return the findings as one line of JSON."""
    return json.dumps(run.to_dict())


def to_annotations(run: Run) -> str:
    """Return a line for each finding, which GitHub shows beside the source.

    Deviations and errors are errors, all other findings are warnings. `conversions`
    and `unjudged` are left out.
    """
    return "\n".join(_annotations(run)) or f"::notice::{_escaped(run.verdict)}"


def _annotations(run: Run) -> Iterator[str]:
    for kind, words in WORDS.items():
        level = "error" if kind in ("deviations", "error") else "warning"
        if kind not in ("conversions", "unjudged"):
            for record in run.findings(kind):
                title = _escaped(f"{run.title}: {words}")
                message = _escaped(f"{record.call} {record.detail}".rstrip())
                where = f"file={_file_of(record)},line={record.place.line}"
                yield f"::{level} {where},title={title}::{message}"


def _file_of(record: Record) -> str:
    path, here = Path(record.place.path), Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return _escaped(path.as_posix())


def _escaped(text: str) -> str:
    """Return text for a command of GitHub, in which these characters would end it."""
    for character in "%\r\n:,":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


FORMATS: dict[str, Callable[[Run], str]] = {
    "text": str,
    "json": to_json,
    "github": to_annotations,
}
