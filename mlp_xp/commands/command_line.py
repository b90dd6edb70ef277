"""Parse a command line into a dataclass, run a command, and report each error as one line with an exit code.

The parser is argparse, filled from a dataclass. argparse gives public access to the parts of a one-line error message:
`ArgumentError` holds the option and the error, and `parse_known_intermixed_args` returns the unknown words. Libraries
that build a parser from a dataclass print errors as a box of several lines, and the parts are private. Abbreviated
options are rejected, so that a new option cannot change the meaning of an existing command line.
"""

import argparse
import contextlib
import dataclasses
import difflib
import errno
import inspect
import os
import re
import shlex
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from mlp_xp import __version__
from mlp_xp.errors import MlpXpError, MlpXpWarning, for_command_line, not_installed, printable
from mlp_xp.show.width import terminal_width

HELP = "--help lists all options"
# Names that other programs use for our options.
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
# Options that take one word, which may have several parts: a,b.
COMMA_LISTS = {"label", "exclude"}
# Characters of a wrong word in an error.
LONGEST = 60
# What is cut in a line on stderr: more than a file system takes as a name or as a path, and a line of such paths.
LONG_NAME, LONG_PATH, LONG_LINE = (re.compile(p, re.S) for p in ("[^ /]{320,}", "[^ ]{4200,}", ".{20000,}"))
# Characters of a whole number: Python refuses to convert more digits.
LONGEST_INTEGER = 4300
WANTED = {int: ("a whole number", "64"), float: ("a number", "0.01")}
# Errors caused by the machine: no space, no permission, a limit reached. Any other OSError that reaches `run` is
# a bug, because the code that reads or writes a file reports a missing or invalid file itself.
SYSTEM_FAULTS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.EMFILE, errno.ENFILE),
}


class UsageError(MlpXpError):
    """An invalid command line."""


class WholeWords(argparse.HelpFormatter):
    """Help that breaks lines only at spaces: argparse also breaks names such as `array-api-strict` at the hyphens."""

    def __init__(self, prog: str, **options: Any) -> None:
        """Use the width of all other output; argparse never ends in a terminal of one column."""
        super().__init__(prog, **{"width": terminal_width() - 2, **options})

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join("\n".join(self._split_lines(" ".join(part.split()), width)) for part in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """A parser that does not hide that its help cannot be printed."""

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)


class Positional(NamedTuple):
    """Mark a field as a positional argument: `Annotated[Path, Positional("RUN_DIR")]`."""

    metavar: str


class Swept(NamedTuple):
    """Mark a field as the values of another dataclass's options: `Annotated[Any, Swept(Settings)]`.

    Each of these options takes any number of values and ranges such as 0..31. The field is a dictionary of those that
    were given, each a tuple of values and of `sweep.grid.Span`.
    """

    kind: type


class Option(NamedTuple):
    """A field of a dataclass as a command-line argument."""

    name: str
    """The field's name."""
    kind: type
    """The type of one value."""
    several: bool
    """Whether the field is a tuple, so that the argument takes any number of values."""
    metavar: str | None
    """Name of a positional argument in the help; None for an option."""
    default: Any
    """The default value; MISSING for a required argument."""
    text: str
    """The field's docstring, used as help text."""
    swept: bool = False
    """Whether the option is one of a field marked `Swept`."""

    @property
    def shown(self) -> str:
        """The name in help and errors: the option, or the metavar of a positional argument."""
        return self.metavar or f"--{self.name.replace('_', '-')}"


def parse(kind: Any, *, default: Any = None, args: list[str] | None = None, some: bool = False) -> Any:
    """Parse the command line into a dataclass. Its fields and their docstrings define types, defaults and help.

    kind: a dataclass whose fields are int, float, str, Path or bool, tuples of any length of one of these, or one of
    these or None. The fields of a nested dataclass become options too. default: an instance that gives the defaults.
    some: parse only the options of this dataclass, and ignore all others, including --help. Raises SystemExit(0) after
    --help and --version, and UsageError for an invalid command line.
    """
    parser = Parser(prog=Path(sys.argv[0]).name, add_help=not some)
    parser.allow_abbrev = parser.exit_on_error = False
    options = add_options(parser, kind, default, common=not some)
    words = sys.argv[1:] if args is None else args
    _refuse_end_of_options(words, options)
    _refuse_repeated(words, options)
    try:
        known, unknown = parser.parse_known_intermixed_args(args)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}; {HELP}") from error
    words = [word for word in unknown if word != "--"]
    if words and not some:
        # The values of an unknown option are unknown words too, so name the option.
        word = next((word for word in words if word.startswith("-")), words[0]).partition("=")[0]
        raise UsageError(f"{word}: unknown argument{_suggestion(word, options)}; {HELP}")
    values = {}
    for option in options:
        value = getattr(known, option.name)
        if value is dataclasses.MISSING:
            raise UsageError(f"{option.shown} is missing: {option.text.rstrip('.')}; {HELP}")
        if option.swept:
            value = None if value is None else tuple(each for part in value for each in part)
        elif option.several and isinstance(value, list):
            value = tuple(each for part in value for each in part)
        values[option.name] = value
    return _build(kind, values)


def _refuse_end_of_options(args: list[str], options: list[Option]) -> None:
    """Raise UsageError for `--name=--`, of which Python's argparse makes an empty list, whatever the option's type."""
    names = {option.shown for option in options if not option.metavar}
    for word in args[: args.index("--")] if "--" in args else args:
        name, _, value = word.partition("=")
        if value == "--" and name in names:
            raise UsageError(f"{name}: '--' is not a value; give one or leave the option out; {HELP}")


def _refuse_repeated(args: list[str], options: list[Option]) -> None:
    """Raise UsageError for an option of COMMA_LISTS that is there twice: argparse would drop the first in silence.

    Of all others the last one counts, as usual, so that the options of a script can be overridden.
    """
    words = args[: args.index("--")] if "--" in args else args
    for option in options:
        places = [i for i, word in enumerate(words) if word.partition("=")[0] == option.shown]
        if len(places) < 2 or option.name not in COMMA_LISTS:
            continue
        values = [words[i].partition("=")[2] or "".join(words[i + 1 : i + 2]) for i in places]
        joined = shlex.quote(",".join(values))
        raise UsageError(f"{option.shown}: is there twice; give one, with all values: {option.shown} {joined}; {HELP}")


def add_options(
    parser: argparse.ArgumentParser, kind: Any, default: Any = None, *, common: bool = True, complete: Any = None
) -> list[Option]:
    """Add the fields of a dataclass to a parser, and return their descriptions.

    common: also add --debug, --no-compile-cache and --version. complete: how a shell completes paths, in the form that
    shtab expects.
    """
    options = list(_options(kind, default))
    parser.description = inspect.getdoc(kind)
    parser.formatter_class = WholeWords
    parser.usage = " ".join(["%(prog)s", *(option.metavar for option in options if option.metavar), "[OPTIONS]"])
    for option in options:
        settings: dict[str, Any] = {"default": option.default, "help": _help(option)}
        if option.swept:
            settings |= {
                "default": None,
                "nargs": "+",
                "type": _swept_converter(option),
                "metavar": option.kind.__name__.upper(),
            }
        elif option.kind is bool:
            settings["action"] = argparse.BooleanOptionalAction if option.default is True else "store_true"
        else:
            settings |= {"type": _converter(option), "metavar": option.metavar or option.kind.__name__.upper()}
            if option.several:
                settings["nargs"] = "*"
            elif option.metavar:
                settings["nargs"] = "?"  # `parse` reports a missing argument, with its help text
        action = parser.add_argument(option.name if option.metavar else option.shown, **settings)
        if issubclass(option.kind, Path):
            action.complete = complete  # type: ignore[attr-defined]
    if common:
        text = "On an error, also show the traceback with all causes."
        parser.add_argument("--debug", action="store_true", help=text)
        text = "JAX only: compile anew, and keep nothing that is compiled in the user's cache folder."
        parser.add_argument("--no-compile-cache", action="store_true", help=text)
        parser.add_argument("--version", action="version", version=f"mlp-xp {__version__}")
    return options


def _options(kind: Any, default: Any) -> Iterator[Option]:
    """Yield the fields of a dataclass and of nested dataclasses, in order."""
    from docstring_parser import parse_from_object

    hints = get_type_hints(kind, include_extras=True)
    # A docstring of several lines becomes one line of help. A class's own docstrings replace the inherited ones.
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
            if isinstance(mark, Swept):
                yield from (option._replace(swept=True) for option in _options(mark.kind, preset))
                continue
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
    """Build an instance of a dataclass, including nested dataclasses, from the values of all fields."""
    hints = get_type_hints(kind, include_extras=True)

    def value_of(name: str) -> Any:
        mark = get_args(hints[name])[1] if get_origin(hints[name]) is Annotated else None
        if isinstance(mark, Swept):
            names = [option.name for option in _options(mark.kind, None)]
            return {each: values[each] for each in names if values[each] is not None}
        return _build(hints[name], values) if dataclasses.is_dataclass(hints[name]) else values[name]

    return kind(**{field.name: value_of(field.name) for field in dataclasses.fields(kind)})


class Condition(str):
    """A word such as `hidden=512,256`, which is not split at its commas."""

    __slots__ = ()


def _converter(option: Option) -> Callable[[str], Any]:
    """Return a function from a word to a value, or to a tuple for a field of several values: 64,32 means 64 32.

    An empty word is refused: as a path it would mean the current folder, and it is usually a shell's unset variable.
    """
    wanted, example = WANTED.get(option.kind, ("", ""))
    remedy = (
        f"give a {'path' if issubclass(option.kind, Path) else 'value'}{'' if option.metavar else ' or leave it out'}"
    )

    def convert(word: str) -> Any:
        parts = word.split(",") if option.several and not issubclass(option.kind, Path | Condition) else [word]
        if not word or (option.kind is str and not all(parts)):
            where = "is empty" if not word else f"{word!r} has an empty part"
            raise argparse.ArgumentTypeError(f"{where}; {remedy}")
        try:
            values = tuple(option.kind(part) for part in parts)
        except (ValueError, OverflowError) as error:  # also for more digits than Python converts
            form = f"a list of numbers such as {example} 32" if option.several else f"{wanted} such as {example}"
            if option.kind is int and len(word) > LONGEST_INTEGER:
                form = f"a whole number of at most {LONGEST_INTEGER} characters"
            raise argparse.ArgumentTypeError(f"{_shortened(word)} is not {form}") from error
        return values if option.several else values[0]

    return convert


def _swept_converter(option: Option) -> Callable[[str], Any]:
    """Return a function from a word to the values that it stands for: one of them, or a span as in 0..31."""
    one = _converter(option)

    def convert(word: str) -> Any:
        from mlp_xp.sweeps.grid import DOTS, parse_span

        if option.kind is bool:
            if word not in ("true", "false"):
                raise argparse.ArgumentTypeError(f"{_shortened(word)} is neither true nor false")
            return (word == "true",)
        if DOTS in word and option.kind in (int, float):
            try:
                return (parse_span(word, option.kind is int),)
            except MlpXpError as error:
                raise argparse.ArgumentTypeError(str(error)) from error
        return (one(word),)

    return convert


def _shortened(word: str) -> str:
    return repr(word) if len(word) <= LONGEST else f"{word[:LONGEST]!r}... ({len(word)} characters)"


def _help(option: Option) -> str:
    default = " ".join(map(str, option.default)) if option.several and option.default else option.default
    nothing = option.metavar or any(default is each for each in (None, False, (), dataclasses.MISSING))
    return (option.text + ("" if nothing else f" (default: {printable(str(default))})")).replace("%", "%%")


def _suggestion(word: str, options: list[Option]) -> str:
    """Return `" (did you mean --epochs?)"` for the option closest to a word, or an empty string."""
    bare = word.lstrip("-").replace("_", "-").lower()
    known = [option.shown.removeprefix("--") for option in options if not option.metavar]
    if not word.startswith("-"):
        return ""
    found = [OTHER_NAMES[bare]] if OTHER_NAMES.get(bare) in known else []
    found += [name for name in known if len(bare) > 1 and name.startswith(bare)]
    found += difflib.get_close_matches(bare, known, n=1)
    return f" (did you mean --{found[0]}?)" if found else ""


def _open_streams() -> None:
    r"""Make standard input, output and error usable where the caller has closed them, and for every character.

    A closed one becomes the null device, also as a file descriptor: the next file that is opened would get its number,
    and what a library writes to the standard output would end up in that file. A character that the encoding of the
    output lacks, and a byte of a file's name that is no character, is printed as an escape such as \xe9.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        stream = getattr(sys, name)
        if stream is None:
            # Python closes no such stream at its end; a warning about that would be a line of output.
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif mode == "w" and hasattr(stream, "reconfigure"):  # not so where a test captures the output
            stream.reconfigure(errors="backslashreplace")


def _flush_output() -> None:
    """Write out standard output and error. Raises OSError, such as BrokenPipeError."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def silence_output() -> None:
    """Discard output that cannot be written: Python would flush it again at exit, and report the same error again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):  # captured output, as in a test, has no file descriptor
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each of the package's own warnings once, as one line on stderr; leave all others to Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", MlpXpWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if issubclass(category, MlpXpWarning):
                print_line("warning", for_command_line(str(message)))
            else:
                show(message, category, *place, **others)

        warnings.showwarning = show_line
        yield


def _without_long_words(text: str) -> str:
    """Return text with long words cut in the middle. A path that a file system takes is left whole, to be copied."""
    for long, most in ((LONG_NAME, 200), (LONG_PATH, 200), (LONG_LINE, 2000)):
        text = long.sub(lambda found, most=most: f"{found[0][: most - 40]}...{found[0][-40:]}", text)  # type: ignore[misc]
    return text


def print_error(text: str) -> None:
    """Print an error as `print_line` does."""
    print_line("error", text)


def print_line(kind: str, text: str) -> None:
    """Print `kind: text`, or `text` of no kind, as one line on stderr, if it can be written. Raises BrokenPipeError.

    The line is not wrapped, so that a command in it can be copied from a terminal. Words that are too long for a path
    are cut, and control characters are shown as escapes.
    """
    try:
        print(f"{kind}{': ' if kind else ''}{printable(_without_long_words(text))}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:
        silence_output()


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and exit with the code that it returns, or 0 for None.

    An MlpXpError is printed as one line and gives its own exit code. A missing library, running out of memory, the
    package's warnings, and SYSTEM_FAULTS that were not turned into an MlpXpError are also reported in one line. Every
    other exception is a bug and keeps its traceback. With --debug, the traceback with all causes is printed first.

    If the reader of the output or of the errors has closed the pipe, as `head` does, the code is 141 and nothing more
    is printed. Output that the caller has closed, as in `>&-`, is discarded.
    """
    _open_streams()
    try:
        code = _end(main)
        _flush_output()
    except BrokenPipeError:
        code = 141
    except OSError as error:
        if error.errno not in SYSTEM_FAULTS:
            raise
        code = 1  # the errors cannot be printed, because their file is on a full disk
    finally:
        silence_output()
    sys.exit(code)


def _end(main: Callable[[], int | None]) -> Any:
    """Run a command's main function, print the error that ends it, and return the exit code."""
    try:
        if "--no-compile-cache" in sys.argv:
            from mlp_xp.backend import compile_afresh

            compile_afresh()
        with _warnings_as_lines():
            code = main() or 0
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # after --help and --version
        return stop.code
    except MlpXpError as error:
        _show_traceback(error)
        print_line(error.kind, error.on_command_line())
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "mlp_xp":
            raise
        _show_traceback(error)
        print_error(f"{error.name} {not_installed(_requirement(error.name))}")
        return 2
    except KeyboardInterrupt as error:
        _show_traceback(error)
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _is_lost():
            reason = "the current folder has been deleted; change to another one, or give absolute paths"
        elif error.errno in SYSTEM_FAULTS:
            place = "the output" if error.filename is None else repr(os.fspath(error.filename))
            reason = f"{place}: {error.strerror or error}; fix the file or folder, or use another one"
        else:
            raise
        _show_traceback(error)
        print_error(reason)
        return 2 if error.errno == errno.ENAMETOOLONG else 1
    except MemoryError as error:
        _show_traceback(error)
        print_error(f"out of memory: {str(error) or 'the sizes are too large'}; choose smaller sizes")
        return 2


def _is_lost() -> bool:
    """Return whether the current folder has been deleted, so that no relative path can be made absolute."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _requirement(module: str) -> str:
    """Return what pip must install for a missing module: in a clone this package, elsewhere the module."""
    clone = Path(__file__).resolve().parent.parent.parent
    return f"-e {shlex.quote(str(clone))}" if (clone / "pyproject.toml").exists() else module.partition(".")[0]


def called(name: str) -> str:
    """Return the command line of another command, started like this one: script, `mlp-xp` or `python -m mlp_xp`."""
    program = Path(sys.argv[0])
    if program.suffix == ".py":
        return f"{_python()} {shlex.quote(str(program.with_name(f'{name}.py')))}"
    start = program.name.rpartition(" ")[0]
    return f"{start.replace('python', _python(), 1) if start.startswith('python ') else start} {name}"


def _python() -> str:
    """Return the running Python as the caller can type it: `python` if that is the same one, or else its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    python = Path(sys.executable)
    with contextlib.suppress(ValueError, OSError):
        python = python.relative_to(Path.cwd())
    return shlex.quote(str(python))


def as_argument(path: Path) -> str:
    """Return a path as a word of a command line, which is not taken as an option."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def _show_traceback(error: BaseException) -> None:
    """With --debug, print the traceback of an exception, including causes that `from None` hides."""
    if "--debug" not in sys.argv:
        return
    link: BaseException | None = error
    while link is not None:
        link.__suppress_context__ = link.__cause__ is not None
        link = link.__cause__ or link.__context__
    traceback.print_exception(error)
