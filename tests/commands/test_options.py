"""Reading the command line, and the help.

For refused command lines see test_messages.py.
"""

import io
import re
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import call_main

from mlp_xp import commands
from mlp_xp.commands.options import call as call_app
from mlp_xp.commands.options import make_app, with_settings
from mlp_xp.declared import setting
from mlp_xp.runs.settings import SETTINGS


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("", {}),
        (
            "--learning-rate 1e-3 --no-nested --units 3",
            {"learning_rate": 1e-3, "nested": False, "units": (3,)},
        ),
        ("--units 2,3 4", {"units": (2, 3, 4)}),
        # The last of a repeated option counts.
        ("--learning-rate 0.5 --lr=0.25", {"learning_rate": 0.25}),
        ("--nested --no-nested", {"nested": False}),
        ("--units 1 2 --units 7", {"units": (7,)}),
        ("--units 1 --units", {"units": ()}),
    ],
)
def test_a_command_gets_the_settings_that_were_typed_and_no_others(words, given):
    assert typed(f"go a {words}").given == given


def test_of_a_commands_own_options_the_last_counts_too():
    options = typed("go a --count 4 --names x --count=5 --names y z").options
    assert (options["count"], options["names"]) == (5, ("y", "z"))


@pytest.mark.parametrize(
    "words", ["--loud a b,c d", "a --loud b,c d", "a b,c --loud d"]
)
def test_options_may_stand_anywhere_between_the_places(words):
    place, files, options, _ = typed(f"go {words}")
    assert (place, files) == (Path("a"), (Path("b,c"), Path("d")))
    assert options["loud"] is True


def test_what_comes_after_two_dashes_is_no_option():
    assert typed("go -- --loud").place == Path("--loud")


def test_a_comma_is_a_part_of_a_path_or_a_name():
    place, files, options, _ = typed("go a,b c,d --names hidden=5,4")
    assert (place, files) == (Path("a,b"), (Path("c,d"),))
    assert options["names"] == ("hidden=5,4",)


def test_settings_of_a_sweep_take_values_and_ranges():
    words = "--units 3 5,4 --learning-rate 0.1 1..2 --nested true false --label a,b"
    assert typed(f"many {words} --kind fast slow") == {
        "units": ((3,), (5, 4)),
        "learning_rate": (0.1, "1..2"),
        "nested": (True, False),
        "label": ("a,b",),
        "kind": ("fast", "slow"),
    }


def test_help_has_the_docstrings_types_names_and_defaults(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = io.StringIO()
    with redirect_stdout(out):
        typed("go --help")
    said = " ".join(out.getvalue().replace("│", " ").split())
    for part in (
        "go [OPTIONS] PLACE",
        "Do something.",
        "PLACE Where. [required]",
        "--count INT How often. [default: 3]",
        "--learning-rate --lr",
        "How fast. In two paragraphs. FLOAT [default: 0.5]",
        "How many. [default: 1,2]",
        "--nested --no-nested",
    ):
        assert part in said, said
    assert "None" not in said
    assert "--no-loud" not in said
    assert max(map(len, out.getvalue().splitlines())) <= 60


# The commands of the package.


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_help_lists_the_commands_in_their_order(words):
    """The order of `COMMANDS`."""
    said = shown(*words)
    assert {"--debug", "--no-compile-cache", "--version"} <= {*said.split()}
    listed = re.findall(r"^│ (\w+) ", said, re.MULTILINE)
    assert [word for word in listed if word in commands.COMMANDS] == [
        *commands.COMMANDS
    ]


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_has_its_version_and_a_help_that_explains_each_option(
    name, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    lines = shown(name, "--help").splitlines()
    rows = [line.strip("│ ") for line in lines if "│ --" in line]
    if name in ("train", "sweep"):
        settings = {f"--{each.replace('_', '-')}" for each in SETTINGS}
        assert settings <= {*" ".join(rows).split()}
    assert rows or name == "completion"
    assert not [row for row in rows if not re.search(r"\s{2,}", row)]
    assert shown(name, "--version") == "mlp-xp 0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(shell):
    said = shown("completion", shell)
    assert all(word in said for word in ("mlp-xp", "evaluate", "learning-rate"))


def shown(*words: str) -> str:
    """Run `mlp-xp WORDS` in this process, and return the output."""
    outcome = call_main(
        lambda: commands.call([*words]), "/somewhere/bin/mlp-xp", *words
    )
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


# Two commands with settings of their own, `go` and `many`.


def typed(line: str) -> Any:
    """Call one of them, and return its arguments."""
    app = make_app()
    app.command(go)
    app.command(many)
    return call_app(app, line.split())


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


class Typed(NamedTuple):
    """The arguments of `go`."""

    place: Path
    files: tuple[Path, ...]
    options: dict[str, Any]
    given: dict[str, Any]


@with_settings(Settings)
def go(
    place: Path,
    /,
    *files: Path,
    count: int = 3,
    names: tuple[str, ...] = (),
    output: Path | None = None,
    loud: bool = False,
    **given: Any,
) -> Typed:
    """Do something.

    Args:
        place: Where.
        count: How often.
    """
    options = {"count": count, "names": names, "loud": loud, "output": output}
    return Typed(place, files, options, given)


@with_settings(Settings, several=True)
def many(**given: Any) -> dict[str, Any]:
    """Do much."""
    return given
