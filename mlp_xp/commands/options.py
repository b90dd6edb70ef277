"""The command line, read by cyclopts: a command is a function, and its parameters are the options.

A command marked `with_settings` also has an option for every setting that a dataclass declares. It gets the settings
that were typed, and no others, as keywords: what was not typed comes from a recipe, a file or a run, which only the
command knows.
"""

import ast
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import App, Argument, Parameter, Token
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from mlp_xp import __version__
from mlp_xp.core.config import MOST, Setting, declared
from mlp_xp.errors import MlpXpError, nearest
from mlp_xp.runs.settings import RECIPES, Settings, differences
from mlp_xp.show.width import plain_console

HELP = "--help lists all options"
DOTS = ".."  # between the ends of a range
WANTED = {int: "a whole number such as 64", float: "a number such as 0.01"}


@cache
def docstrings(kind: Any) -> dict[str, str]:
    """Return the docstring below each setting of a dataclass, as one line."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    hints, found = get_type_hints(kind), dict[str, str]()
    for field, text in pairwise([*definition.body, None]):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
            case ast.AnnAssign(target=ast.Name(id=name)), _ if is_dataclass(hints[name]):
                found |= docstrings(hints[name])
    return found


# Parameters of several commands.
RunDirs = Annotated[Path, Parameter(name="RUN_DIR", required=True)]
"""At least one folder of a run, for `*run_dirs`."""
CacheDir = Annotated[
    Path | None,
    Parameter(help="Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system."),
]
BackendName = Annotated[str, Parameter(help=docstrings(Settings)["backend"])]
Device = Annotated[str | None, Parameter(help=docstrings(Settings)["device"])]
OWN = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in differences(RECIPES["own"]).items())
if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]
Recipe = Annotated[
    RecipeName | None,
    Parameter(
        help="Set of settings to start from; all other options override it. The default is notebook, whose values this "
        f"help shows; for your own data it is own: {OWN}. A recipe's batch is not larger than the training set."
    ),
]


class UsageError(MlpXpError):
    """An invalid command line."""


class Condition(str):
    """A word such as `hidden=512,256`, which is not split at its commas."""

    __slots__ = ()


def only_one(**options: Any) -> None:
    """Raise UsageError if more than one of these options is given."""
    names = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False)]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)}: give only one of these options")


def make_app(commands: dict[str, str], load: Callable[[str], Callable[..., Any]], wanted: Sequence[str]) -> App:
    """Return the command line of all commands. Only those in `wanted` are loaded; of the others, the help has a line.

    commands: the help of each. load: a function that returns the function of a command.
    """
    app = App(
        name="mlp-xp",
        version=f"mlp-xp {__version__}",
        help="Train small networks, written once for any array library.",
        help_format="plaintext",
        help_epilogue="All commands: --debug shows the traceback of an error, --version the version.",
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
    for name, text in commands.items():
        if name in wanted:
            app.command(with_common_options(load(name)), name=name)
        else:
            app.command("mlp_xp.commands:not_loaded", name=name, help=text)
    return app


def call(app: App, words: Sequence[str]) -> Any:
    """Run the command that the words name, and return what it returns. Raises UsageError."""
    try:
        return app(words)
    except CycloptsError as error:
        raise UsageError(f"{_described(error, app)}; {HELP}") from error


def _described(error: CycloptsError, app: App) -> str:
    """Describe an invalid command line in one line, which starts with the wrong word."""
    match error:
        case UnknownCommandError(unused_tokens=[word, *_]):
            return f"{word}: is not a command{nearest(word, [name for name in app if not name.startswith('-')])}"
        case UnknownOptionError():
            word = error.token.keyword or error.token.value.partition("=")[0]
            names = [name for argument in error.argument_collection for name in argument.names]
            return f"{word}: is not an option{nearest(word, names)}"
        case RepeatArgumentError():
            return f"{error.token.keyword}: is given twice; give all names in one word, as in a,b"
        case MissingArgumentError(argument=Argument(name=name)):
            return f"{error.keyword}: needs a value" if error.keyword else f"{name}: is missing"
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"{word}: is not expected here"
        case CoercionError(token=Token(keyword=str(name), value=word)):
            return f"{name}: {word!r:.80} is not true or false"
    return str(error)


def convert(hint: Any, tokens: Sequence[Token]) -> Any:
    """Convert the words of an option to its type. If it is repeated, its last value counts. Raises UsageError.

    An option with several values takes them in several words, or in one: 64,32 means 64 32.
    """
    name, words = last_given(tokens)
    if get_origin(hint) is not tuple:
        return as_value(hint, words[-1], name)
    kind = get_args(hint)[0]
    if kind in (int, float, str):
        words = [part for word in words for part in word.split(",")]
    return tuple(as_value(kind, word, name) for word in words)


def last_given(tokens: Sequence[Token]) -> tuple[str, list[str]]:
    """Return the name of an option and the words that follow it where it was given last."""
    words: list[str] = []
    for token in tokens:
        if token.index == 0:  # the first word after the name
            words = []
        words.append(token.value)
    return tokens[-1].keyword or "an argument", words


def as_value(kind: Any, word: str, name: str) -> Any:
    """Convert a word. Raises UsageError.

    An empty one is refused: as a path it would mean the current folder, and it is usually a shell's unset variable.
    """
    if not word:
        raise UsageError(f"{name}: is empty; give a value or leave it out; {HELP}")
    if get_origin(kind) is Literal:
        if word not in get_args(kind):
            near = nearest(word, get_args(kind))
            raise UsageError(f"{name}: {word!r:.80} is not known{near}; choose one of {', '.join(get_args(kind))}")
        return word
    try:
        return kind(word)
    except (ValueError, OverflowError) as error:  # also for more digits than Python converts
        raise UsageError(f"{name}: {word!r:.80} is not {WANTED[kind]}; {HELP}") from error


def with_common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that also has the options of all commands."""

    def run(*args: Any, **options: Any) -> Any:
        options.pop("debug", False)  # `process.run` looks for it, because the command line may be wrong
        if options.pop("no_compile_cache", False):
            from mlp_xp.backends.opening import compile_afresh

            compile_afresh()
        return command(*args, **options)

    common = [
        _option("debug", bool, False, "If the command fails, also show the traceback with all causes."),
        _option("no_compile_cache", bool, False, "JAX only: compile again, and do not keep compiled code on disk."),
    ]
    # Without the line breaks in paragraphs: the help breaks lines where the terminal ends.
    text, mark, arguments = inspect.cleandoc(command.__doc__ or "").partition("\n\nArgs:")
    text = "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))
    run.__doc__ = text + mark + re.sub("\n {8}", " ", arguments)
    signature = inspect.signature(command)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *common])  # type: ignore[attr-defined]
    return run


def with_settings(
    kind: type, *, several: bool = False, group: str = "Settings"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command with `**given` an option for each setting that a dataclass declares.

    several: each option takes several values and ranges, and gives a tuple of values, and of words such as 0..31.
    group: the heading of these options in the help.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        texts = docstrings(kind)
        options = [_setting_option(each, texts[each.name], several, group) for each in declared(kind).values()]
        command.__signature__ = signature.replace(parameters=own + options)  # type: ignore[attr-defined]
        return command

    return decorate


def _setting_option(setting: Setting, text: str, several: bool, group: str) -> inspect.Parameter:
    """Return the option of a setting as a parameter of a command."""
    kind: Any = int if setting.kind is tuple else setting.kind
    hint: Any = Literal[setting.choices] if setting.choices else kind
    more: dict[str, Any] = {"group": group, "alias": setting.aliases}
    if several:
        hint = Literal["true", "false"] if kind is bool else hint
        more["converter"] = partial(_swept, setting.kind, hint)
    elif kind is bool:
        more["negative"] = f"--no-{setting.name.replace('_', '-')}"
    if setting.names_columns:  # of two such options, the first would be lost in silence
        more["allow_repeating"] = False
    if several or setting.kind is tuple:
        hint = tuple[hint, ...]
    if setting.most != MOST:
        text += f" [range: {setting.least:g} to {_brief(setting.most)}]"
    return _option(setting.name, hint, setting.default, text, **more)


def _brief(number: float) -> str:
    return "2**32 - 1" if number == 2**32 - 1 else f"{number:.6g}"


def _option(name: str, hint: Any, default: Any, text: str, **more: Any) -> inspect.Parameter:
    annotation = Annotated[hint, Parameter(help=text, **more)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _swept(kind: type, hint: Any, _: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Convert the values of a setting of a sweep. A range such as 0..31 stays a word; 64,32 is one value."""
    name, words = last_given(tokens)

    def value(word: str) -> Any:
        if DOTS in word and kind in (int, float, tuple):
            return word
        if kind is tuple:
            return tuple(as_value(int, part, name) for part in word.split(","))
        return as_value(hint, word, name) == "true" if kind is bool else as_value(hint, word, name)

    return tuple(map(value, words))


def _default_text(default: Any) -> str | None:
    if default is None or default is False or default == ():
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
