"""Findings of programs that mix libraries, dtypes and devices: no more, and no fewer."""

import json
import sys
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from array_api_compat import to_device as move

from array_lockstep import LockstepError, assert_lockstep, command, lockstep
from array_lockstep.allowances import matches, read_allowances
from array_lockstep.libraries import open_library
from array_lockstep.places import Place
from array_lockstep.records import Record

LIBRARIES = ("torch", "jax", "array-api-strict")
each_library = pytest.mark.parametrize("library", LIBRARIES)
HOST = np.arange(1.0, 7.0) / 7


def names(records: list[Record]) -> set[str]:
    return {each.name for each in records}


# Operands and functions of NumPy.


MIXED = {
    "np.float64(.5) < x": lambda x: np.float64(0.5) < x,
    "np.float32(2) * x": lambda x: np.float32(2) * x,
    "x - np.float32(2)": lambda x: x - np.float32(2),
    "np.clip(x, .2, .3)": lambda x: np.clip(x, 0.2, 0.3),
    "np.reshape(x, (2, 3))": lambda x: np.reshape(x, (2, 3)),
    "np.exp(x)": np.exp,
    "np.add(x, x)": lambda x: np.add(x, x),
    "np.sort(x)": np.sort,
    "np.mean(x)": np.mean,
    "np.ones(6) * x": lambda x: np.ones(6) * x,
}


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize("program", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("library", ["numpy", *LIBRARIES])
def test_operands_of_numpy_give_the_same_type_as_untraced(library, program):
    xp = open_library(library).xp
    try:
        expected: Any = program(xp.asarray(HOST))
    except TypeError as error:
        expected = error
    run = lockstep(program, (HOST,), library=library)
    assert run.deviations == []
    if isinstance(expected, TypeError):
        assert type(run.exception) is TypeError
        return
    assert type(run.result) is type(expected)
    np.testing.assert_array_equal(np.asarray(run.result), np.asarray(expected))
    if isinstance(expected, np.ndarray | np.generic) and library != "numpy":
        assert run.transfers


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@each_library
def test_a_function_of_numpy_copies_to_the_host(library):
    run = lockstep(np.exp, (HOST,), library=library)
    (found,) = run.transfers
    assert found.place.text.startswith("run = lockstep(np.exp, (HOST,)")
    assert lockstep(np.exp, (HOST,), library="numpy").transfers == []


@pytest.mark.needs("torch")
def test_where_of_two_numbers_is_outside_the_standard():
    def program(x: Any) -> Any:
        return array_namespace(x).where(x > 0, 2.0, 0.0)

    run = lockstep(program, (HOST,))
    assert (run.deviations, names(run.outside)) == ([], {"where"})


# The end, and dtypes.


@pytest.mark.needs("torch")
def test_default_dtypes_of_floats_do_not_differ():
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        return xp.linspace(0, 1, 5), xp.zeros(3) * 1j

    run = lockstep(program, (HOST,))
    assert run.differs == []
    assert run.end.startswith("0 eps")

    def narrow(x: Any) -> Any:
        """Branch for PyTorch alone, to a dtype that is not its default."""
        xp = array_namespace(x)
        return xp.astype(x, xp.float16) if hasattr(x, "numpy") else x

    (found,) = lockstep(narrow, (HOST,)).differs
    assert "float16 instead of float64" in found.call
    assert found.place.text == "def narrow(x: Any) -> Any:"


@pytest.mark.needs("torch")
@pytest.mark.parametrize("library", ["torch", "numpy"])
@pytest.mark.parametrize(
    ("of_torch", "of_others"),
    [("float32", "float64"), ("float64", "float32"), ("int32", "int64")],
)
def test_dtypes_that_the_program_chooses_differ(of_torch, of_others, library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        dtype = of_torch if "torch" in xp.__name__ else of_others
        return xp.astype(x, getattr(xp, dtype))

    found = lockstep(program, (HOST.astype("float32"),), library=library).differs
    assert bool(found) == (library == "torch")


@each_library
def test_conversions_that_the_program_asks_for_are_no_upcasts(library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        wide = xp.astype(x, xp.float64), xp.sum(x, dtype=xp.float64)
        return wide, xp.asarray(x, dtype=xp.float64), x * wide[0]

    run = lockstep(program, (HOST.astype("float32"),), library=library)
    assert names(run.upcasts) == {"mul"}
    assert names(run.conversions) == {"astype", "sum", "asarray"}
    reason = {"upcasts": {"mul": "the wide weights are meant"}}
    assert_lockstep(program, (HOST.astype("float32"),), library=library, allow=reason)


# Copies and waits.


@each_library
def test_text_of_an_array_copies_it_to_the_host(library):
    def program(x: Any) -> Any:
        return repr(x), str(x), f"{x[0]}"

    run = lockstep(program, (HOST,), library=library)
    assert [each.name for each in run.transfers] == ["repr", "str", "format"]
    assert run.syncs == []


@each_library
def test_a_shape_that_depends_on_values_waits_for_them(library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        few = x[x > 0.5], xp.nonzero(x), xp.unique_values(x), xp.unique_counts(x)
        repeated = xp.repeat(x, xp.asarray([1, 2, 0, 0, 1, 1])), xp.repeat(x, 2)
        x[0], x[:2], xp.where(x > 0.5, x, 0 * x)
        return few, repeated

    run = lockstep(program, (HOST,), library=library)
    found = ["getitem", "nonzero", "unique_values", "unique_counts", "repeat"]
    assert [each.name for each in run.syncs] == found


@each_library
def test_arrays_of_the_host_are_copied_to_the_device(library):
    def program(x: Any) -> Any:
        xp = array_namespace(x)
        return xp.asarray(np.ones(6)) + xp.asarray([1.0, 2, 3, 4, 5, 6]) + xp.asarray(x)

    run = lockstep(program, (HOST,), library=library)
    assert [each.call for each in run.transfers] == ["xp.asarray(numpy.ndarray)"]


@pytest.mark.needs("torch")
def test_moves_to_the_host_are_copies_even_where_the_device_is_the_host():
    def program(x: Any) -> Any:
        moved = x.to("cpu"), x.to(device="cpu"), move(x, "cpu"), x.cpu()
        return moved, x.to(x.dtype), move(x, x.device)

    run = lockstep(program, (HOST,))
    assert [each.name for each in run.transfers] == ["to", "cpu"]
    assert run.transfers[0].times == 3


def test_a_device_is_left_for_the_host():
    strict = pytest.importorskip("array_api_strict")
    other, host = strict.Device("device1"), strict.Device("CPU_DEVICE")

    def program(x: Any) -> Any:
        if not hasattr(x, "_array"):
            return x, x
        here = x.to_device(host)
        return here, here.to_device(here.device)

    hook = type("Hook", (), {"xp": strict, "device": other})()
    hook.to_numpy = open_library("array-api-strict").to_numpy
    run = lockstep(program, (HOST,), library=hook)
    assert [each.name for each in run.transfers] == ["to_device"]
    assert run.transfers[0].place.text == "here = x.to_device(host)"


# Expected findings.


PLACE = Place("experiments/softmax.py", 47, "Softmax.fit.<locals>.step")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("max", True),
        ("exp", False),
        ("softmax.py", True),
        ("experiments/softmax.py", True),
        ("max.py", False),
        ("experiments", False),
        ("step", True),
        ("Softmax.fit.<locals>.step", True),
        ("tep", False),
        ("softmax.py:47", False),
        ("*", True),
    ],
)
def test_a_word_is_an_operation_a_function_or_a_file(word, expected):
    assert matches(word, Record("max", "xp.max(x)", PLACE)) is expected


def waits(x: Any) -> Any:
    return x if bool(x[0] > 0) else -x


LINE = "return x if bool(x[0] > 0) else -x"


@pytest.mark.parametrize("word", [LINE, "waits", "bool", "test_findings.py"])
def test_a_finding_with_a_reason_is_expected(word):
    assert_lockstep(waits, (HOST,), library="numpy", allow={"syncs": {word: "once"}})


def test_a_word_that_nothing_matches_any_more_fails():
    allow = {"syncs": {"bool": "once", "fit": "no more"}}
    with pytest.raises(AssertionError, match="matches 'fit' any more"):
        assert_lockstep(waits, (HOST,), library="numpy", allow=allow)


@pytest.mark.parametrize(
    "allow",
    [
        {"syncs": True},
        {"syncs": ["bool"]},
        {"syncs": {"bool": ""}},
        {"waits": {"bool": "once"}},
        ["syncs"],
    ],
)
def test_expected_findings_need_a_reason_each(allow):
    with pytest.raises(LockstepError, match=r"^allow"):
        assert_lockstep(waits, (HOST,), library="numpy", allow=allow)


def test_expected_findings_are_read_from_pyproject(tmp_path):
    path = tmp_path / "pyproject.toml"
    assert read_allowances(tmp_path).reasons == {}
    path.write_text('[tool.array-lockstep.allow.syncs]\n"Lasso.fit" = "one decision"\n')
    allowances = read_allowances(tmp_path)
    assert allowances.reasons == {"syncs": {"Lasso.fit": "one decision"}}
    found = Record("bool", "bool(array)", Place("lasso.py", 3, "Lasso.fit"))
    assert not allowances.allow("transfers", found)
    assert len([*allowances.unneeded()]) == 1
    assert allowances.allow("syncs", found)
    assert [*allowances.unneeded()] == []
    for text in (
        "[tool.array-lockstep]\nalow = 1\n",
        "[tool",
        "[tool.array-lockstep]\nallow = 1",
    ):
        path.write_text(text)
        with pytest.raises(LockstepError, match="pyproject"):
            read_allowances(tmp_path)


def test_a_run_has_plain_values():
    run = lockstep(waits, (HOST,), library="numpy")
    found = json.loads(json.dumps(run.to_dict()))
    assert found["verdict"] == run.verdict
    (sync,) = found["syncs"]
    assert sync["function"] == "waits"
    assert sync["text"] == LINE
    assert (sync["name"], sync["times"]) == ("bool", 1)
    assert sync["file"].endswith("test_findings.py")
    assert found["error"] == []


PROGRAM = """
import numpy as np

def waits(x):
    return x if bool(x[0] > 0) else -x

def program():
    return waits, (np.ones(3),)

def other():
    return np.negative, (np.ones(3),)
"""


@pytest.fixture
def command_in(tmp_path, monkeypatch):
    """The command in a folder with a program and a table of expected findings."""
    (tmp_path / "own_program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(allowed, *words):
        (tmp_path / "pyproject.toml").write_text(allowed)
        words = ("own_program:program", "--backends", "numpy", *words)
        return command.main(words)

    yield run
    sys.modules.pop("own_program", None)


def test_the_command_annotates_the_line(command_in, capsys):
    assert command_in("", "--format", "github") == 0
    line = capsys.readouterr().out.strip()
    start, _, message = line.removeprefix("::").partition("::")
    assert start.startswith("warning file=own_program.py,line=5,title=numpy ")
    assert message == "bool(array)"


def test_the_command_prints_json(command_in, capsys):
    assert command_in("", "--format", "json") == 0
    (sync,) = json.loads(capsys.readouterr().out)["syncs"]
    assert (sync["file"], sync["line"]) == ("own_program.py", 5)


def test_the_command_names_the_program_of_each_line(command_in, capsys):
    assert command_in("", "--format", "text") == 0
    assert capsys.readouterr().out.startswith("numpy ")
    names = ["own_program:program", "own_program:other"]
    command.main([*names, "--format", "json", "--backends", "numpy"])
    runs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [run["program"] for run in runs] == names
    assert [run["verdict"].partition(" ")[0] for run in runs] == names


def test_the_command_checks_expected_findings(command_in, capsys):
    allowed = '[tool.array-lockstep.allow.syncs]\nwaits = "one decision"\n'
    assert command_in("", "--check") == 1
    assert command_in(allowed, "--check") == 0
    assert command_in(f'{allowed}fit = "no more"\n', "--check") == 1
    assert "matches 'fit' any more" in capsys.readouterr().err
    assert command_in("[tool.array-lockstep]\nalow = 1", "--check") == 2
