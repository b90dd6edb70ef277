"""Libraries with habits of their own, as modules of the current folder."""

import sys

import pytest
from helpers import NAMESPACE


@pytest.fixture
def habits(tmp_path, monkeypatch, forget):
    """Write HABITS to the current folder, which is not on Python's path."""
    (tmp_path / "habits.py").write_text(NAMESPACE + HABITS, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget("habits")


HABITS = """

def asarray(x, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=copy)


def arange(stop, dtype=None):
    return numpy.arange(stop, dtype=dtype)


def ones(shape, dtype=None):
    return numpy.ones(shape, dtype=dtype)


class OnlyFloat32(Namespace):
    def __getattr__(self, name):
        return getattr(numpy, "" if name == "float64" else name)


class Boxed:  # an array that NumPy knows nothing of
    def __init__(self, x, dtype=None, copy=None):
        self.value = numpy.asarray(x, dtype=dtype, copy=copy)
        self.dtype, self.shape = self.value.dtype, self.value.shape


def fails(*args, **kwargs):
    raise RuntimeError("no array\\ntoday")


def shared(x, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=None if x.size > 2 else copy)


def widened(x, dtype=None, copy=None):
    return numpy.asarray(x, dtype="float64")


def tripled(x, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype) * int(1 + 2 * (x[0] == 0.5))


without_device = Namespace(asarray=asarray, arange=arange, ones=ones)
only_float32 = OnlyFloat32()
boxes = Namespace(asarray=Boxed)
failing = Namespace(asarray=fails)
sharing = Namespace(asarray=shared)
widening = Namespace(asarray=widened)
inexact = Namespace(asarray=tripled)


class WithAllNames:  # as a module that imports all of a library's names
    xp = boxes

    def __getattr__(self, name):
        return getattr(numpy, name)

    def to_numpy(self, x):
        return x.value.copy()


Hook = WithAllNames()
"""


@pytest.fixture
def forget(monkeypatch):
    """Make a library look as if it had never been imported, until the test ends."""

    def forget_one(name: str) -> None:
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    return forget_one
