"""The command line, read by cyclopts: a command is a function, and its parameters are the options.

A command marked `with_settings` also has an option for every setting of a run, made from the fields of the dataclasses
and their docstrings. It gets the settings that were typed, and no others, as keywords: what was not typed comes from a
recipe, a file or a run, which only the command knows.
"""

import ast
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

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
from mlp_xp.errors import MlpXpError, nearest
from mlp_xp.show.width import plain_console

HELP = "--help lists all options"
RunDirs = Annotated[Path, Parameter(name="RUN_DIR", required=True)]
"""At least one folder of a run, for `*run_dirs`."""
EPILOGUE = "All commands: --debug shows the traceback of an error, --version the version."
# Names that other programs use for our options.
ALIASES = {
    "batch_size": ("-b", "--bs"),
    "epochs": ("-e",),
    "hidden": ("--layers", "--units"),
    "learning_rate": ("--lr",),
    "schedule": ("--lr-schedule", "--lr-scheduler"),
    "weight_decay": ("--wd",),
}
DOTS = ".."  # between the ends of a range
WANTED = {int: "a whole number such as 64", float: "a number such as 0.01"}
# Options whose value names several columns, as in a,b; of two such options, the first would be lost in silence.
NOT_TWICE = ("label", "exclude")


class UsageError(MlpXpError):
    """An invalid command line."""


class Condition(str):
    """A word such as `hidden=512,256`, which is not split at its commas."""

    __slots__ = ()


def make_app(commands: dict[str, str], load: Callable[[str], Callable[..., Any]], wanted: Sequence[str]) -> App:
    """Return the command line of all commands. Only those in `wanted` are loaded; of the others, the help has a line.

    commands: the help of each. load: a function that returns the function of a command.
    """
    app = App(
        name="mlp-xp",
        version=f"mlp-xp {__version__}",
        help="Train small networks, written once for any array library.",
        help_format="plaintext",
        help_epilogue=EPILOGUE,
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
    """Convert the words of an option to its type. Of an option that is repeated, the last one counts.

    An option with several values takes them in several words, or in one: 64,32 means 64 32. Raises UsageError.
    """
    name, words = _last(tokens)
    if get_origin(hint) is not tuple:
        return _value(hint, words[-1], name)
    kind = get_args(hint)[0]
    if kind in (int, float, str):
        words = [part for word in words for part in word.split(",")]
    return tuple(_value(kind, word, name) for word in words)


def _last(tokens: Sequence[Token]) -> tuple[str, list[str]]:
    """Return the name and the words of the last occurrence of an option, the first word of which has the index 0."""
    start = max((i for i, token in enumerate(tokens) if token.index == 0), default=0)
    return tokens[start].keyword or "an argument", [token.value for token in tokens[start:]]


def _value(kind: Any, word: str, name: str) -> Any:
    """Convert a word.

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
        _option("debug", bool, False, "On an error, also show the traceback with all causes."),
        _option(
            "no_compile_cache",
            bool,
            False,
            "JAX only: compile anew, and keep nothing that is compiled in the user's cache folder.",
        ),
    ]
    # Without the line breaks in paragraphs: the help breaks lines where the terminal ends.
    text, mark, arguments = inspect.cleandoc(command.__doc__ or "").partition("\n\nArgs:")
    text = "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))
    run.__doc__ = text + mark + re.sub("\n {8}", " ", arguments)
    signature = inspect.signature(command)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *common])  # type: ignore[attr-defined]
    return run


def with_settings(kind: type, *, several: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command with `**given` an option for each field of a dataclass.

    several: each option takes several values and ranges, and gives a tuple of values, and of words such as 0..31.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = signature.replace(parameters=own + _options(kind, several))  # type: ignore[attr-defined]
        return command

    return decorate


def _options(kind: type, several: bool) -> list[inspect.Parameter]:
    """Return the fields of a dataclass, and of dataclasses in it, as parameters of a command."""
    hints, texts = get_type_hints(kind), _docstrings(kind)
    options = []
    for field in fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            options += _options(hint, several)
            continue
        if NoneType in get_args(hint) or str in get_args(hint):  # str | None, or an object that only Python has
            hint = next(each for each in get_args(hint) if each is not NoneType)
        more: dict[str, Any] = {"group": "Settings", "alias": ALIASES.get(field.name, ())}
        if several:
            more |= {"converter": partial(_swept, hint), "metavar": f"{_name(hint)}..."}
            hint = tuple[str, ...]
        elif hint is bool:
            more["negative"] = f"--no-{field.name.replace('_', '-')}"
        if field.name in NOT_TWICE:
            more["allow_repeating"] = False
        options.append(_option(field.name, hint, field.default, texts.get(field.name, ""), **more))
    return options


def _option(name: str, hint: Any, default: Any, text: str, **more: Any) -> inspect.Parameter:
    annotation = Annotated[hint, Parameter(help=text, **more)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, as one line."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
    return found


def _swept(kind: Any, _: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Convert the values of a setting of a sweep. A range such as 0..31 stays a word; 64,32 is one value."""
    name, words = _last(tokens)
    return tuple(_swept_value(kind, word, name) for word in words)


def _swept_value(kind: Any, word: str, name: str) -> Any:
    if kind is bool:
        if word not in ("true", "false"):
            raise UsageError(f"{name}: {word!r:.80} is neither true nor false; {HELP}")
        return word == "true"
    if get_origin(kind) is tuple:
        parts = word.split(",")
        return tuple(_value(int, part, name) for part in parts) if DOTS not in word else word
    return word if DOTS in word and kind in (int, float) else _value(kind, word, name)


def _name(hint: Any) -> str:
    return str(getattr(get_args(hint)[0] if get_origin(hint) is tuple else hint, "__name__", hint)).upper()


def _default_text(default: Any) -> str | None:
    if default is None or default is False or default == ():
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
