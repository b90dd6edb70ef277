"""The help of each command: its examples, and the headings of its options."""

import inspect
import re
import shlex

import pytest

from mlp_xp.commands import COMMANDS
from mlp_xp.commands.options import GROUPS, make_app
from mlp_xp.runs.settings import RECIPES, settings_of

APP = make_app(COMMANDS)


def examples_of(name: str) -> list[list[str]]:
    """Return the words of each command line in the docstring of a command."""
    text = inspect.getdoc(APP[name].default_command) or ""
    lines = re.findall(r"^    mlp-xp (.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("name", [*COMMANDS])
def test_a_command_has_examples_and_understands_them(name):
    examples = examples_of(name)
    assert examples
    for words in examples:
        end = words.index(">") if ">" in words else None
        command, bound, _ = APP.parse_args(
            words[:end], exit_on_error=False, print_error=False
        )
        assert command is APP[name].default_command
        assert bound.arguments or len(words) == 1


def test_a_sweeps_options_take_what_their_help_shows(capsys):
    APP(["sweep", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "512 256 for two layers" not in said
    assert "512,256 64 is two values" in said
    stratify = said[said.index("--stratify ") :]
    assert (
        re.search(r"\[(choices|default): .*?\]", stratify)[0]
        == "[choices: true, false]"
    )
    assert re.search(r"\[default: (\w+)\]", stratify)[1] == "true"


def test_the_recipe_of_your_own_data_is_told_as_it_is_typed(capsys):
    APP(["train", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    recipe = re.search(r"own data is own: (.*? 20)\.", said)[1].split()
    _, bound, _ = APP.parse_args(["train", *recipe], exit_on_error=False)
    assert settings_of(RECIPES["notebook"], bound.arguments) == RECIPES["own"]


def test_the_options_of_a_training_stand_under_headings_in_their_order(capsys):
    """The order of `GROUPS`."""
    APP(["train", "--help"])
    headings = re.findall(
        r"^[^\w\s]+ (\w+) [^\w\s]+$", capsys.readouterr().out, re.MULTILINE
    )
    assert headings == [name for name in GROUPS if name != "Sweep"]
