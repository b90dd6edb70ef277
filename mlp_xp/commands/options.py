"""The command line.

Each command is a function. cyclopts turns its parameters into options.

A command marked `with_settings` also has an option for every setting of a dataclass.
The command gets only the options given by the user, as keywords. All other settings
come from a recipe, a file or a run. Only the command knows which of them.
"""

import inspect
from collections.abc import Callable, Container, Sequence
from dataclasses import is_dataclass
from functools import cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import cyclopts
import docstring_parser
from cyclopts import App, Group, Parameter, Token
from docstring_parser.attrdoc import AttributeDocstrings

from mlp_xp.commands.names import COMMANDS
from mlp_xp.declared import AUTO, Setting, declared
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.settings import RECIPES, SETTINGS, Settings, flatten, shown
from mlp_xp.show.console import plain_console
from mlp_xp.version import __version__

_RANGE = ".."  # between the ends of a range
_HEADINGS = (
    "Sweep",
    "Run",
    "Data",
    "Network",
    "Optimiser",
    "Validation",
    "Regularisation",
    "Deformation",
    "Backend",
)
GROUPS = {name: Group(name, sort_key=i) for i, name in enumerate(_HEADINGS)}
"""The headings of the options of `train` and `sweep`, in the order of the help."""


@cache
def docstrings(kind: type) -> dict[str, str]:
    """Return the docstring of each setting of a dataclass as one line.

    Settings of nested dataclasses are included.
    """
    found = {}
    for name, (text, *_) in AttributeDocstrings().get_attr_docs(kind).items():
        found[name] = " ".join(text.split())
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
        help="Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache "
        "folder of the system."
    ),
]
BackendName = Annotated[str, Parameter(help=docstrings(Settings)["backend"])]
Device = Annotated[str | None, Parameter(help=docstrings(Settings)["device"])]


def _option_name(name: str) -> str:
    """Return the option of a parameter: `--batch-size` for batch_size."""
    return f"--{name.replace('_', '-')}"


def _own_options() -> str:
    """Return the options that give the settings of the recipe `own`."""
    words = []
    for name, value in flatten(RECIPES["own"]).items():
        if value == SETTINGS[name].default:
            continue
        words.append(_option_name(name))
        if value is not True:
            words.append(shown(value))
    return " ".join(words)


Recipe = Annotated[
    str | None,
    Parameter(
        choices=tuple(RECIPES),
        help="Settings to start from. Other options override them. The default is "
        "notebook. This help shows its values. The default for your own data is own: "
        f"{_own_options()}.",
    ),
]


def only_one(**options: Any) -> None:
    """Raise MlpXpError if more than one of these options is given."""
    names = []
    for name, value in options.items():
        if value is not None and value is not False:
            names.append(_option_name(name))
    if len(names) > 1:
        raise MlpXpError(f"{' and '.join(names)}: give only one of these options")


def make_app(wanted: Container[str] = COMMANDS) -> App:
    """Return the command line of all commands.

    Args:
        wanted: The commands to import. Other commands have only their line in the help.
    """
    app = App(
        name="mlp-xp",
        version=f"mlp-xp {__version__}",
        help="Train small networks, written once for any array library.",
        help_format="plaintext",  # Markdown takes a fifth of the time of --help
        help_epilogue="All commands: --debug shows the traceback of an error, "
        "--no-compile-cache makes JAX compile again and keep no compiled code on disk, "
        "--version shows the version.",
        console=plain_console(),
        default_parameter=Parameter(
            converter=convert,
            consume_multiple=True,
            allow_repeating=True,
            negative=(),
            show_default=_default_text,
        ),
        group_parameters=Group("Options"),
        group_arguments=Group("Arguments"),
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    for i, (name, line) in enumerate(COMMANDS.items()):
        if name in wanted:
            command = getattr(import_module(f"mlp_xp.commands.{name}"), name)
            command.__doc__ = _unwrapped(command.__doc__)
            app.command(command, name=name, sort_key=i)
        else:
            place = f"mlp_xp.commands.{name}:{name}"
            app.command(place, name=name, help=line, sort_key=i)
    return app


def _unwrapped(docstring: str) -> str:
    """Return a docstring with each paragraph on one line.

    The terminal wraps the lines. Indented examples are left as they are.
    """
    parts = docstring_parser.parse(docstring)
    for parameter in parts.params:
        parameter.description = " ".join((parameter.description or "").split())
    paragraphs = []
    for paragraph in (parts.long_description or "").split("\n\n"):
        if not paragraph.startswith(" "):
            paragraph = " ".join(paragraph.split())
        paragraphs.append(paragraph)
    parts.long_description = "\n\n".join(paragraphs)
    return docstring_parser.compose(parts)


def call(app: App, words: Sequence[str]) -> Any:
    """Run the command that the words name, and return its exit code.

    An empty word is refused. It usually comes from an unset variable of a shell. As a
    path, it would mean the current folder.

    Raises:
        MlpXpError: The words are not a valid command line, or the command raises it.
    """
    for before, word in pairwise(["", *words]):
        option, sign, value = word.partition("=")
        if not word or (option.startswith("--") and sign and not value):
            name = word or before
            if not name.startswith("--"):
                name = "an argument"
            raise MlpXpError(f"{name}: is empty; give a value or leave it out")
    try:
        return app(words, verbose=False)
    except cyclopts.CycloptsError as error:
        raise MlpXpError(f"{error} --help lists all options") from error


def convert(hint: Any, tokens: Sequence[Token]) -> Any:
    """Convert the words of an option to its type.

    Several numbers may stand in one word: 64,32 means 64 32.
    """
    tokens = _given_last(tokens)
    if get_origin(hint) is tuple and get_args(hint)[0] in (int, float):
        parts = []
        for token in tokens:
            parts += [token.evolve(value=part) for part in token.value.split(",")]
        tokens = parts
    # cyclopts itself would round numbers where an integer is wanted
    return cyclopts.convert(hint, tokens, converter=lambda kind, word: kind(word))


def _convert_path(hint: Any, tokens: Sequence[Token]) -> str:
    """Return a path as text, as in settings."""
    return _given_last(tokens)[-1].value


def _convert_swept(
    setting: Setting, hint: Any, tokens: Sequence[Token]
) -> tuple[Any, ...]:
    """Convert the values of a setting of a sweep.

    A range such as 0..31 stays a word. The word 64,32 is one value: two layers.
    """
    kind = get_args(hint)[0]
    if setting.kind is tuple:
        kind = tuple[int, ...]
    values = []
    for token in _given_last(tokens):
        if _RANGE in token.value and setting.kind in (int, float, tuple):
            values.append(token.value)
            continue
        value = convert(kind, [token.evolve(index=0)])
        if setting.kind is bool:
            value = value == "true"
        elif setting.is_path:
            value = str(value)
        values.append(value)
    return tuple(values)


def _given_last(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the words of the last use of an option: earlier uses do not count."""
    starts = [i for i, token in enumerate(tokens) if token.index == 0]
    return tokens[starts[-1] :]


def with_settings(
    kind: type,
    *,
    several: bool = False,
    group: str = "Run",
    without: Container[str] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds an option for each setting of a dataclass.

    The command takes these options as `**given`.

    Args:
        kind: The dataclass that declares the settings.
        several: Whether each option takes several values and ranges. The option then
            gives a tuple of values and of words such as 0..31.
        group: The heading in the help for settings without a heading.
        without: The names of settings without an option.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        parameters = []
        for parameter in signature.parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                parameters.append(parameter)
        texts = docstrings(kind)
        for setting in declared(kind).values():
            if setting.name in without:
                continue
            parameters.append(_option(setting, texts[setting.name], several, group))
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _option(
    setting: Setting, text: str, several: bool, group: str
) -> inspect.Parameter:
    """Return the option of a setting as a parameter of a command."""
    hint: Any = setting.kind
    if setting.is_path:  # a shell completes the paths of files
        hint = Path
    elif setting.choices:
        hint = Literal[setting.choices]
    elif setting.auto:
        hint = setting.kind | Literal[AUTO]
    elif setting.kind is tuple:
        hint = int
    elif setting.kind is bool and several:
        hint = Literal["true", "false"]
    if several or setting.kind is tuple:
        hint = tuple[hint, ...]
    if several and setting.kind is tuple:  # its docstring is about a single network
        text = (
            "Units of each hidden layer. 64 256 is two values, of one layer each. "
            "512,256 64 is two values, of two layers and of one layer."
        )
    heading = GROUPS[setting.group or group]
    more: dict[str, Any] = {"group": heading, "alias": setting.aliases}
    if setting.is_path:
        more["converter"] = _convert_path
    if several:
        more["converter"] = partial(_convert_swept, setting)
    elif setting.kind is bool:
        more["negative"] = _option_name(f"no_{setting.name}")
    if setting.names_columns:  # a second use would silently replace the first
        more["allow_repeating"] = False
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
    return shown(default)
