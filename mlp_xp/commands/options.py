"""The command line, read by cyclopts: a command is a function, and its parameters are
the options.

A command marked `with_settings` also has an option for every setting that a dataclass
declares. It gets the settings that were typed, and no others, as keywords: what was not
typed comes from a recipe, a file or a run, which only the command knows.
"""

import inspect
from collections.abc import Callable, Container, Sequence
from dataclasses import is_dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import cyclopts
from cyclopts import App, Parameter, Token
from docstring_parser.attrdoc import AttributeDocstrings

from mlp_xp import __version__
from mlp_xp.commands.names import COMMANDS
from mlp_xp.declared import Setting, declared
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.settings import RECIPES, SETTINGS, Settings, flatten
from mlp_xp.show.console import plain_console

_RANGE = ".."  # between the ends of a range


@cache
def docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each setting of a dataclass, and of those that it
    contains, as one line.
    """
    found = {
        name: " ".join(text.split())
        for name, (text, *_) in AttributeDocstrings().get_attr_docs(kind).items()
    }
    for hint in get_type_hints(kind).values():
        if is_dataclass(hint):
            found |= docstrings(hint)  # type: ignore[arg-type]
    return found


# Parameters of several commands.
RunDirs = Annotated[Path, Parameter(name="RUN_DIR", required=True)]
"""At least one folder of a run, for `*run_dirs`."""
CacheDir = Annotated[
    Path | None,
    Parameter(
        help="Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system."
    ),
]
BackendName = Annotated[str, Parameter(help=docstrings(Settings)["backend"])]
Device = Annotated[str | None, Parameter(help=docstrings(Settings)["device"])]
_changed = {
    name: value
    for name, value in flatten(RECIPES["own"]).items()
    if value != SETTINGS[name].default
}
OWN = " ".join(
    f"--{name.replace('_', '-')} {value}" for name, value in _changed.items()
)
Recipe = Annotated[
    str | None,
    Parameter(
        choices=tuple(RECIPES),
        help="Settings to start from; other options override them. By default notebook, whose values this help shows, "
        f"or for your own data own: {OWN}. A recipe's batches become as small as a small training set.",
    ),
]


def only_one(**options: Any) -> None:
    """Raise MlpXpError if more than one of these options is given."""
    names = [
        f"--{name.replace('_', '-')}"
        for name, value in options.items()
        if value not in (None, False)
    ]
    if len(names) > 1:
        raise MlpXpError(f"{' and '.join(names)}: give only one of these options")


def make_app(wanted: Container[str] = COMMANDS) -> App:
    """Return the command line of all commands. Those that are not in `wanted` have only
    their line in the help.

    For that line nothing is imported.
    """
    app = App(
        name="mlp-xp",
        version=f"mlp-xp {__version__}",
        help="Train small networks, written once for any array library.",
        help_format="markdown",
        help_epilogue="All commands: --debug shows the traceback of an error, --no-compile-cache makes JAX compile "
        "again and keep no compiled code on disk, --version shows the version.",
        console=plain_console(),
        default_parameter=Parameter(
            converter=convert,
            consume_multiple=True,
            allow_repeating=True,
            negative=(),
            show_default=_default_text,
        ),
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    for name, line in COMMANDS.items():
        app.command(
            f"mlp_xp.commands.{name}:{name}",
            name=name,
            help=None if name in wanted else line,
        )
    return app


def call(app: App, words: Sequence[str]) -> Any:
    """Run the command that the words name, and return what it returns. Raises
    MlpXpError.

    An empty word is refused: as a path it would mean the current folder, and it is
        usually a shell's unset variable.
    """
    for before, word in pairwise(["an argument", *words]):
        if not word or (word.startswith("--") and word.endswith("=")):
            raise MlpXpError(
                f"{word or before}: is empty; give a value or leave it out"
            )
    try:
        return app(words, verbose=False)
    except cyclopts.CycloptsError as error:
        raise MlpXpError(f"{error} --help lists all options") from error


def convert(hint: Any, tokens: Sequence[Token]) -> Any:
    """Convert the words of an option to its type. Several numbers may stand in one
    word: 64,32 means 64 32.
    """
    tokens = _given_last(tokens)
    if get_origin(hint) is tuple and get_args(hint)[0] in (int, float):
        tokens = [
            token.evolve(value=part)
            for token in tokens
            for part in token.value.split(",")
        ]
    # By itself, cyclopts rounds numbers where a whole one is wanted.
    return cyclopts.convert(hint, tokens, converter=lambda kind, word: kind(word))


def _convert_swept(
    setting: Setting, hint: Any, tokens: Sequence[Token]
) -> tuple[Any, ...]:
    """Convert the values of a setting of a sweep. A range such as 0..31 stays a word;
    64,32 is one value.
    """
    kind = tuple[int, ...] if setting.kind is tuple else get_args(hint)[0]

    def value(token: Token) -> Any:
        if _RANGE in token.value and setting.kind in (int, float, tuple):
            return token.value
        found = convert(kind, [token.evolve(index=0)])
        return found == "true" if setting.kind is bool else found

    return tuple(map(value, _given_last(tokens)))


def _given_last(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the words after the last place of a repeated option, which alone count."""
    return tokens[max(i for i, token in enumerate(tokens) if token.index == 0) :]


def with_settings(
    kind: type, *, several: bool = False, group: str = "Settings"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command with `**given` an option for each setting
    that a dataclass declares.

    several: each option takes several values and ranges, and gives a tuple of values,
    and of words such as 0..31. group: the heading of these options in the help.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        own = [
            each
            for each in signature.parameters.values()
            if each.kind is not each.VAR_KEYWORD
        ]
        texts = docstrings(kind)
        options = [
            _option(each, texts[each.name], several, group)
            for each in declared(kind).values()
        ]
        command.__signature__ = signature.replace(parameters=own + options)  # type: ignore[attr-defined]
        return command

    return decorate


def _option(
    setting: Setting, text: str, several: bool, group: str
) -> inspect.Parameter:
    """Return the option of a setting as a parameter of a command."""
    hint: Any = (
        Literal[setting.choices]
        if setting.choices
        else int
        if setting.kind is tuple
        else setting.kind
    )
    more: dict[str, Any] = {"group": group, "alias": setting.aliases}
    if several:
        hint = Literal["true", "false"] if setting.kind is bool else hint
        more["converter"] = partial(_convert_swept, setting)
    elif setting.kind is bool:
        more["negative"] = f"--no-{setting.name.replace('_', '-')}"
    if setting.names_columns:  # of two such options, the first would be lost in silence
        more["allow_repeating"] = False
    if several or setting.kind is tuple:
        hint = tuple[hint, ...]
    annotation = Annotated[hint, Parameter(help=text, **more)]
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=setting.default,
        annotation=annotation,
    )


def _default_text(default: Any) -> str | None:
    if default is None or default is False or default == ():
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
