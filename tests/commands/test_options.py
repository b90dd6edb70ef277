"""Reading the command line: what was typed, what is refused in one line, and the help."""

import io
import re
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers import assert_one_line, call_main

from mlp_xp import commands
from mlp_xp.commands.options import call as call_app
from mlp_xp.commands.options import make_app, with_settings
from mlp_xp.declared import setting
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.settings import SETTINGS


@dataclass(frozen=True)
class Inner:
    """Inside."""

    learning_rate: float = setting(0.5, aliases=("--lr",))
    """How fast.

    In two paragraphs."""
    units: tuple[int, ...] = setting((1, 2))
    """How many."""
    nested: bool = setting(True)
    """Whether."""
    kind: str = setting("fast", choices=("fast", "slow"))
    """Which."""


@dataclass(frozen=True)
class Settings:
    """Outside."""

    label: str | None = setting(None, names_columns=True)
    """Which column."""
    inner: Inner = field(default_factory=Inner)


@with_settings(Settings)
def go(
    place: Path,
    /,
    *files: Path,
    count: int = 3,
    names: tuple[str, ...] = (),
    shell: Literal["bash", "zsh"] = "zsh",
    output: Path | None = None,
    loud: bool = False,
    **given: Any,
) -> tuple[Any, ...]:
    """Do something.

    Args:
        place: Where.
        count: How often.
    """
    return (
        place,
        files,
        {"count": count, "names": names, "loud": loud, "output": output},
        given,
    )


@with_settings(Settings, several=True)
def sweep(**given: Any) -> dict[str, Any]:
    """Do much."""
    return given


def typed(*words: str) -> Any:
    app = make_app()
    app.command(go)
    app.command(sweep, name="many")
    return call_app(app, words)


def test_a_command_gets_the_settings_that_were_typed_and_no_others():
    assert typed("go", "a")[3] == {}
    assert typed("go", "a", "--learning-rate", "1e-3", "--no-nested", "--units", "3")[
        3
    ] == {
        "learning_rate": 1e-3,
        "nested": False,
        "units": (3,),
    }
    assert typed("go", "a", "--learning-rate", "0.5", "--lr=0.25")[3] == {
        "learning_rate": 0.25
    }


def test_options_may_stand_anywhere_between_the_places():
    for words in (
        ["--loud", "a", "b,c", "d"],
        ["a", "--loud", "b,c", "d"],
        ["a", "b,c", "--loud", "d"],
    ):
        place, files, options, _ = typed("go", *words)
        assert (place, files, options["loud"]) == (
            Path("a"),
            (Path("b,c"), Path("d")),
            True,
        )
    assert typed("go", "--", "--loud")[0] == Path("--loud")


def test_the_last_of_a_repeated_option_counts_and_replaces_a_list():
    words = [
        "--count",
        "4",
        "--units",
        "1",
        "2",
        "--names",
        "x",
        "--count=5",
        "--units",
        "7",
        "--names",
        "y",
        "z",
    ]
    _, _, options, given = typed("go", "a", *words)
    assert (options["count"], options["names"], given) == (
        5,
        ("y", "z"),
        {"units": (7,)},
    )
    assert typed("go", "a", "--units", "1", "--units")[3] == {"units": ()}
    assert typed("go", "a", "--nested", "--no-nested")[3] == {"nested": False}


def test_a_comma_separates_numbers_but_not_parts_of_a_path_or_a_name():
    _, files, options, given = typed(
        "go", "a,b", "c,d", "--units", "2,3", "4", "--names", "hidden=5,4"
    )
    assert (files, given["units"], options["names"]) == (
        (Path("c,d"),),
        (2, 3, 4),
        ("hidden=5,4",),
    )


def test_settings_of_a_sweep_take_values_and_ranges():
    words = [
        "--units",
        "3",
        "5,4",
        "--learning-rate",
        "0.1",
        "1..2",
        "--nested",
        "true",
        "false",
        "--label",
        "a,b",
    ]
    words += ["--kind", "fast", "slow"]
    assert typed("many", *words) == {
        "units": ((3,), (5, 4)),
        "learning_rate": (0.1, "1..2"),
        "nested": (True, False),
        "label": ("a,b",),
        "kind": ("fast", "slow"),
    }


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["a", "--cuont", "4"], ["--cuont", "Did you mean --count?"]),
        # no abbreviations: they may change meaning
        (["a", "--cou", "4"], ["--cou", "Did you mean --count?"]),
        (["a", "--count"], ["--count requires an argument"]),
        (["a", "--count", "many"], ["--count: ", '"many"']),
        (["a", "--count", "2.5"], ["--count: ", '"2.5"']),
        (["a", "--count", "9" * 5000], ["--count: ", '"999']),
        (["a", "--lr", "fast"], ["--lr: ", '"fast"']),
        (
            ["a", "--shell", "zhs"],
            ["--shell", '"zhs"', 'Did you mean "zsh"?', '"bash", "zsh"'],
        ),
        (["a", "--output="], ["--output=: is empty"]),
        (["a", "--output", ""], ["--output: is empty"]),
        (["a", "--label", "x", "--label", "y"], ["--label specified multiple times"]),
        ([], ["PLACE requires an argument"]),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(words, parts):
    with pytest.raises(MlpXpError) as caught:
        typed("go", *words)
    message = str(caught.value)
    assert message.isprintable()
    assert not set(message) & set("│╭╮╰╯─")
    for part in parts:
        assert part in message
    with pytest.raises(
        MlpXpError,
        match=r'Invalid value "yes" for --nested\. Choose from: "true", "false"',
    ):
        typed("many", "--nested", "yes")


def test_help_has_the_docstrings_types_names_and_defaults(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = io.StringIO()
    with redirect_stdout(out):
        typed("go", "--help")
    said = " ".join(out.getvalue().replace("│", " ").split())
    for part in (
        *(
            "go [OPTIONS] PLACE",
            "Do something.",
            "PLACE Where. [required]",
            "--count INT How often. [default: 3]",
        ),
        *(
            "--learning-rate --lr",
            "How fast. In two paragraphs. FLOAT [default: 0.5]",
            "How many. [default: 1 2]",
        ),
        "--nested --no-nested",
    ):
        assert part in said, said
    assert "None" not in said
    assert "--no-loud" not in said
    assert max(map(len, out.getvalue().splitlines())) <= 60


# The commands.


def top(*words: str):
    """`mlp-xp` in this process."""
    return call_main(lambda: commands.call([*words]), "/somewhere/bin/mlp-xp", *words)


def test_the_help_lists_the_commands_and_each_has_its_own(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["-h"], ["--help"]):
        shown = top(*words)
        assert (shown.code, shown.err) == (0, "")
        assert {*commands.COMMANDS, "--debug", "--no-compile-cache", "--version"} <= {
            *shown.out.split()
        }
    for name in commands.COMMANDS:
        shown = top(name, "--help")
        assert (shown.code, shown.err) == (0, "")
        settings = {
            f"--{each.replace('_', '-')}"
            for each in SETTINGS
            if name in ("train", "sweep")
        }
        assert settings <= {*shown.out.split()}
        assert max(map(len, shown.out.splitlines())) <= 80
        assert top(name, "--version").out == "mlp-xp 0.1.0\n"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_option_of_a_command_has_an_explanation(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = [line for line in top(name, "--help").out.splitlines() if "│ --" in line]
    texts = [re.split(r"\s{2,}", row.strip("│ "))[1:] for row in rows]
    assert rows or name == "completion"
    assert all(texts), [row for row, text in zip(rows, texts, strict=True) if not text]


def test_an_unknown_command_is_refused():
    assert_one_line(
        top("tarin", "--epochs", "3"),
        2,
        'error: Unknown command "tarin". Did you mean "train"?',
    )
    assert_one_line(top("--epochs", "3"), 2, 'error: Unknown command "--epochs".')


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(shell):
    shown = top("completion", shell)
    assert (shown.code, shown.err) == (0, "")
    for word in ("mlp-xp", "evaluate", "learning-rate"):
        assert word in shown.out
    assert_one_line(top("completion", "tcsh"), 2, "tcsh", '"bash", "zsh", "fish"')
