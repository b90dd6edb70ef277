"""Expected findings, each with a reason.

A table has the reasons by the kind of the finding and by a word:

```toml
[tool.array-lockstep.allow.syncs]
"Lasso.fit" = "one decision in each iteration"
"xp.asarray(weights)" = "the weights come from a file"
```

A word is the name of an operation, a function, a file, the whole text of a line, or `*`
for everything. Line numbers would change too often.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from array_lockstep.errors import LockstepError, check_type
from array_lockstep.records import FINDINGS, WORDS, Record, Run

Allow = Mapping[str, Mapping[str, str]]


class Allowances:
    """Expected findings. They remember which words were needed.

    Args:
        allow: A reason for each word, by the kind of finding, as in
            `{"syncs": {"Lasso.fit": "one decision in each iteration"}}`.
        kinds: The kinds that are known.

    Raises:
        LockstepError: A kind is not known, or a word has no reason.
    """

    def __init__(
        self, allow: Allow | None = None, kinds: Sequence[str] = FINDINGS
    ) -> None:
        check_type(allow, Mapping | None, "allow", "give a dictionary")
        self.reasons = dict(allow or {})
        self.needed: set[tuple[str, str]] = set()
        """The kinds and the words that matched a finding."""
        for kind, words in self.reasons.items():
            if kind not in kinds:
                raise LockstepError(f"allow: {kind!r} is none of {', '.join(kinds)}")
            check_type(
                words, Mapping, f"allow: {kind!r}", "give a reason for each word"
            )
            for word, reason in words.items():
                if not (isinstance(reason, str) and reason.strip()):
                    raise LockstepError(f"allow: {kind!r}: {word!r} needs a reason")

    def allow(self, kind: str, record: Record) -> bool:
        """Return whether a finding is expected."""
        words = [word for word in self.reasons.get(kind, ()) if matches(word, record)]
        self.needed.update((kind, word) for word in words)
        return bool(words)

    def unneeded(self) -> Iterator[str]:
        """Yield a line for each word that matched nothing."""
        for kind, words in self.reasons.items():
            for word in words:
                if (kind, word) not in self.needed:
                    yield f"allow: nothing in {kind} matches {word!r} any more"

    def refuse_unneeded(self) -> None:
        """Raise AssertionError if a word matched nothing."""
        __tracebackhide__ = True  # pytest shows the caller's line
        unneeded = "\n".join(self.unneeded())
        if unneeded:
            raise AssertionError(unneeded)


def read_allowances(folder: Path) -> Allowances:
    """Read the table `tool.array-lockstep.allow` of `pyproject.toml`, if there is one.

    Raises:
        LockstepError: The table is wrong, or the file is not TOML.
    """
    path = folder / "pyproject.toml"
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Allowances()
    except (OSError, ValueError) as error:
        raise LockstepError(f"{path}: cannot be read: {error}") from error
    table = tables.get("tool", {}).get("array-lockstep", {})
    unknown = [name for name in table if name != "allow"]
    if unknown:
        raise LockstepError(f"{path}: tool.array-lockstep has no {unknown[0]!r}")
    try:
        return Allowances(table.get("allow"))
    except LockstepError as error:
        raise LockstepError(f"{path}: {error}") from error


def matches(word: str, record: Record) -> bool:
    """Return whether a word of an allow-list names a finding."""
    place = record.place
    return (
        word in ("*", record.name, place.text)
        or _ends_with(place.function, word, ".")
        or _ends_with(place.file, word, "/")
    )


def _ends_with(whole: str, part: str, separator: str) -> bool:
    return f"{separator}{whole}".endswith(f"{separator}{part}")


def refuse_unexpected(run: Run, allowances: Allowances) -> None:
    """Raise AssertionError if a run has findings that are not expected.

    The first line is the verdict.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    lines = []
    for kind in FINDINGS:
        for record in run.findings(kind):
            if not allowances.allow(kind, record):
                lines.append(f"{run.title}: {WORDS[kind]}: {record}")
    if lines:
        raise AssertionError("\n".join([*lines, "", str(run)])) from run.exception
