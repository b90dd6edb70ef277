"""The frame of every command: parse the command line, run, and turn each fault into one line and an exit code.

The parser is argparse, filled from a dataclass, because its interface gives what one line needs: `ArgumentError` holds
the option and the fault, and `parse_known_intermixed_args` returns the words that it does not know. Libraries that make
a parser from a dataclass print their errors as a box of several lines and keep the parts private. Abbreviated options
are refused, so that a new option never changes what an old command line means.
"""

import argparse
import contextlib
import dataclasses
import difflib
import errno
import inspect
import os
import shlex
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from mlp_xp import __version__
from mlp_xp.errors import MlpXpError, MlpXpWarning, not_installed

HELP = "--help lists what there is"
# Names that other programs give to options of ours.
OTHER_NAMES = {
    "b": "batch-size",
    "bs": "batch-size",
    "e": "epochs",
    "layers": "hidden",
    "lr": "learning-rate",
    "lr-schedule": "schedule",
    "lr-scheduler": "schedule",
    "units": "hidden",
    "wd": "weight-decay",
}
WANTED = {int: ("a whole number", "64"), float: ("a number", "0.01")}
# Errors caused by the machine: no space, no permission, a limit reached. Any other OSError that gets this far is a
# defect, because whatever reads or writes a file reports a missing or wrong one itself.
SYSTEM_FAULTS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.EMFILE, errno.ENFILE),
}


class UsageError(MlpXpError):
    """A command line that cannot be parsed."""


class WholeWords(argparse.RawDescriptionHelpFormatter):
    """Help whose lines break at spaces only: argparse also breaks names such as `array-api-strict` at their hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class Positional(NamedTuple):
    """Marks a field as an argument without an option's name: `Annotated[Path, Positional("RUN_DIR")]`."""

    metavar: str


class Option(NamedTuple):
    """A field of a dataclass as an argument of a command."""

    name: str
    """The field's name."""
    kind: type
    """The type of one value."""
    several: bool
    """Whether it takes any number of values: a tuple."""
    metavar: str | None
    """For a positional argument, what the help calls it."""
    default: Any
    """MISSING for a required one."""
    text: str
    """The field's docstring."""

    @property
    def shown(self) -> str:
        """The option, or the metavar of a positional argument, as the help and the errors name it."""
        return self.metavar or f"--{self.name.replace('_', '-')}"


def parse(kind: Any, *, default: Any = None, args: list[str] | None = None, some: bool = False) -> Any:
    """Parse the command line into a dataclass, from whose fields and docstrings help, defaults and types are made.

    kind: a dataclass with fields of type int, float, str, Path or bool, tuples of any length of these, or None beside
    one of these. The fields of a dataclass in it become options too. default: an instance that gives the defaults.
    some: look only for the options of this dataclass, and leave the others and --help for later. Raises SystemExit(0)
    after --help and --version, UsageError for a command line that cannot be parsed.
    """
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).name, add_help=not some)
    parser.allow_abbrev = parser.exit_on_error = False
    options = add_options(parser, kind, default, common=not some)
    try:
        known, unknown = parser.parse_known_intermixed_args(args)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}; {HELP}") from error
    words = [word for word in unknown if word != "--"]
    if words and not some:
        # The values of an unknown option are unknown words too.
        word = next((word for word in words if word.startswith("-")), words[0]).partition("=")[0]
        raise UsageError(f"{word}: is not known here{_suggestion(word, options)}; {HELP}")
    values = {}
    for option in options:
        value = getattr(known, option.name)
        if value is dataclasses.MISSING:
            raise UsageError(f"{option.shown} is missing: {option.text.rstrip('.')}; {HELP}")
        if option.several and isinstance(value, list):
            value = tuple(each for part in value for each in part)
        values[option.name] = value
    return _build(kind, values)


def add_options(
    parser: argparse.ArgumentParser, kind: Any, default: Any = None, *, common: bool = True, complete: Any = None
) -> list[Option]:
    """Give a parser the fields of a dataclass, and describe them.

    common: add what every command has, too. complete: how a shell completes paths, as shtab takes it.
    """
    options = list(_options(kind, default))
    parser.description = inspect.getdoc(kind)
    parser.formatter_class = WholeWords
    parser.usage = " ".join(["%(prog)s", *(option.metavar for option in options if option.metavar), "[OPTIONS]"])
    for option in options:
        settings: dict[str, Any] = {"default": option.default, "help": _help(option)}
        if option.kind is bool:
            settings["action"] = argparse.BooleanOptionalAction if option.default is True else "store_true"
        else:
            settings |= {"type": _converter(option), "metavar": option.metavar or option.kind.__name__.upper()}
            if option.several:
                settings["nargs"] = "*"
            elif option.metavar:
                settings["nargs"] = "?"  # so that `parse` says what is missing, and what it is
        action = parser.add_argument(option.name if option.metavar else option.shown, **settings)
        if issubclass(option.kind, Path):
            action.complete = complete  # type: ignore[attr-defined]
    if common:
        parser.add_argument("--debug", action="store_true", help="On a fault show the traceback too, with all causes.")
        parser.add_argument("--version", action="version", version=f"mlp-xp {__version__}")
    return options


def _options(kind: Any, default: Any) -> Iterator[Option]:
    """The fields of a dataclass, and those of the dataclasses in it, in their order."""
    from docstring_parser import parse_from_object

    hints = get_type_hints(kind, include_extras=True)
    # A docstring's paragraphs are lines of one help text. A class's own docstrings come before those that it inherits.
    texts = {
        each.arg_name: " ".join((each.description or "").split())
        for parent in reversed(kind.__mro__[:-1])
        for each in parse_from_object(parent).params
    }
    for field in dataclasses.fields(kind):
        preset = getattr(default, field.name) if default is not None else _default(field)
        hint, metavar = hints[field.name], None
        if get_origin(hint) is Annotated:
            hint, mark = get_args(hint)
            metavar = mark.metavar
        if dataclasses.is_dataclass(hint):
            yield from _options(hint, None if preset is dataclasses.MISSING else preset)
            continue
        several = get_origin(hint) is tuple
        single = next((each for each in get_args(hint) if each not in (NoneType, ...)), hint)
        if several and preset is dataclasses.MISSING:
            preset = ()
        yield Option(field.name, single, several, metavar, preset, texts.get(field.name, ""))


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _build(kind: Any, values: dict[str, Any]) -> Any:
    """An instance of a dataclass from the values of its fields and of those of the dataclasses in it."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{n: _build(hints[n], values) if dataclasses.is_dataclass(hints[n]) else values[n] for n in names})


def _converter(option: Option) -> Callable[[str], Any]:
    """From a word to a value; for a field of several values, to a tuple, since 64,32 is written for 64 32 too."""
    wanted, example = WANTED.get(option.kind, ("", ""))

    def convert(word: str) -> Any:
        try:
            if not option.several:
                return option.kind(word)
            return tuple(
                option.kind(part) for part in (word.split(",") if not issubclass(option.kind, Path) else [word])
            )
        except ValueError as error:
            form = f"numbers such as {example} 32" if option.several else f"{wanted} such as {example}"
            raise argparse.ArgumentTypeError(f"{word!r} is not {form}") from error

    return convert


def _help(option: Option) -> str:
    default = " ".join(map(str, option.default)) if option.several and option.default else option.default
    nothing = option.metavar or any(default is each for each in (None, False, (), dataclasses.MISSING))
    return (option.text + ("" if nothing else f" (default: {default})")).replace("%", "%%")


def _suggestion(word: str, options: list[Option]) -> str:
    """`" (did you mean --epochs?)"` for the option closest to a word, or an empty string."""
    bare = word.lstrip("-").replace("_", "-").lower()
    known = [option.shown.removeprefix("--") for option in options if not option.metavar]
    if not word.startswith("-"):
        return ""
    found = [OTHER_NAMES[bare]] if OTHER_NAMES.get(bare) in known else []
    found += [name for name in known if len(bare) > 1 and name.startswith(bare)]
    found += difflib.get_close_matches(bare, known, n=1)
    return f" (did you mean --{found[0]}?)" if found else ""


def _silence_output() -> None:
    """Discard the rest of the output: Python flushes it once more at exit, and would report the same error again."""
    with contextlib.suppress(OSError):  # an output without a descriptor, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print the package's own warnings as one line each on stderr, once; leave all others to Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", MlpXpWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if issubclass(category, MlpXpWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **others)

        warnings.showwarning = show_line
        yield


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main and exit: 0 or the code that it returns; for an MlpXpError its code, after one line.

    A missing library, running out of memory, the package's warnings, and the SYSTEM_FAULTS that no other place turned
    into an MlpXpError are reported in one line, too. Every other exception is a defect and keeps its traceback. With
    --debug, each line comes after its traceback, with all causes.
    """
    try:
        with _warnings_as_lines():
            code = main() or 0
        sys.stdout.flush()
    except MlpXpError as error:
        _show_traceback(error)
        print(f"error: {error.on_command_line()}", file=sys.stderr)
        code = error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "mlp_xp":
            raise
        _show_traceback(error)
        print(f"error: {error.name} {not_installed(_requirement(error.name))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as error:
        _show_traceback(error)
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of the output closed it, as `head` does.
        _silence_output()
        code = 141
    except OSError as error:
        if error.errno not in SYSTEM_FAULTS:
            raise
        _show_traceback(error)
        place = "the output" if error.filename is None else repr(os.fspath(error.filename))
        print(f"error: {place}: {error.strerror or error}; fix the file or folder, or name another", file=sys.stderr)
        _silence_output()
        code = 1
    except MemoryError as error:
        _show_traceback(error)
        print(f"error: not enough memory: {str(error) or 'for these sizes'}; choose smaller ones", file=sys.stderr)
        code = 2
    sys.exit(code)


def _requirement(module: str) -> str:
    """What pip installs for a missing module: in a clone the package with all that it needs, else the module."""
    clone = Path(__file__).resolve().parent.parent.parent
    return f"-e {shlex.quote(str(clone))}" if (clone / "pyproject.toml").exists() else module.partition(".")[0]


def called(name: str) -> str:
    """How to call another command in the same way as this one: as a script, `mlp-xp` or `python -m mlp_xp`."""
    program = Path(sys.argv[0])
    if program.suffix == ".py":
        return f"python {shlex.quote(str(program.with_name(f'{name}.py')))}"
    return f"{program.name.rpartition(' ')[0]} {name}"


def _show_traceback(error: BaseException) -> None:
    """With --debug: the traceback of an exception, causes that `from None` hides included."""
    if "--debug" not in sys.argv:
        return
    link: BaseException | None = error
    while link is not None:
        link.__suppress_context__ = link.__cause__ is not None
        link = link.__cause__ or link.__context__
    traceback.print_exception(error)
