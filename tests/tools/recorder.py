"""NumPy as a namespace that records what the package asks of it, which `mlp_xp/backends/requirements.py` must list.

`python tests/tools/recorder.py` prints the lists.
"""

import operator
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
from data_sets import TINY, on_device

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.checks import INTEGERS
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.library import Backend, eager_scan
from mlp_xp.core.model import model_of
from mlp_xp.core.training import trajectory
from mlp_xp.data.arrays import fit_standardization, from_arrays

BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "@": "matmul", "//": "floordiv", "%": "mod", "**": "pow"}
OTHERS = {
    **{"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"},
    **{"-x": "neg", "+x": "pos", "~x": "invert", "abs(x)": "abs", "x[]": "getitem"},
}
BASE = TrainConfig(epochs=1, hidden=(3,), validation=20, report_every=100)
CONFIGS = (
    replace(BASE, optimizer="momentum", weight_decay=0.01),
    replace(BASE, hidden=(), update_order="simultaneous", batch_size=37, defer_updates=False),
    replace(BASE, activation="tanh", init="he", schedule="cosine"),
    replace(BASE, activation="relu", optimizer="adam", weight_decay=0.01, batch_size=37),
    replace(BASE, update_order="simultaneous", dropout=0.5, clip_norm=1.0),
)


class Recorder:
    """The namespace, and what was asked of it."""

    def __init__(self) -> None:
        self.functions: dict[str, set[str]] = {}
        self.dtypes: set[str] = set()
        self.attributes: set[str] = set()
        self.operators: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        thing = getattr(numpy, name)
        if isinstance(thing, type) and issubclass(thing, np.generic):
            self.dtypes.add(name)
            return thing
        words = self.functions.setdefault(name, set())

        def call(*args: Any, **kwargs: Any) -> Any:
            words.update(kwargs)
            return self.wrapped(thing(*map(bare, args), **{word: bare(value) for word, value in kwargs.items()}))

        return call

    def wrapped(self, value: Any) -> Any:
        return Recorded(value, self) if isinstance(value, np.ndarray | np.generic) else value

    def backend(self) -> Backend:
        return replace(
            open_backend("numpy"),
            xp=self,
            from_numpy=lambda array, dtype: self.asarray(array, dtype=dtype, copy=True),
            to_numpy=lambda array: np.array(bare(array)),
            scan=partial(eager_scan, xp=self),
            jit=lambda function, donate=(): function,
        )


class Recorded:
    """An array that records what is done with it."""

    def __init__(self, value: Any, recorder: Recorder) -> None:
        self._value, self._recorder = np.asarray(value), recorder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "device":  # which a library need not have: it is asked with a default
            raise AttributeError(name)
        self._recorder.attributes.add(name)
        return self._recorder.wrapped(getattr(self._value, name))


def bare(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(bare, value))
    return value._value if isinstance(value, Recorded) else value


def _add_method(sign: str, name: str, function: Callable[..., Any], reflected: bool = False) -> None:
    def method(self: Recorded, *other: Any) -> Any:
        self._recorder.operators.add(sign)
        operands = (*other, self) if reflected else (self, *other)
        return self._recorder.wrapped(function(*map(bare, operands)))

    setattr(Recorded, f"__{name}__", method)


for _sign, _name in (BINARY | OTHERS).items():
    _add_method(_sign, _name, getattr(operator, _name))
for _sign, _name in BINARY.items():
    _add_method(_sign, f"r{_name}", getattr(operator, _name), reflected=True)
    _add_method(f"{_sign}=", f"i{_name}", getattr(operator, f"i{_name}"))
for _kind in (float, int, bool):
    _add_method(f"{_kind.__name__}(x)", _kind.__name__, _kind)


def recorded() -> dict[str, Any]:
    """Train with each kind of setting, task and data; return the names of requirements.py with what was recorded."""
    recorder = Recorder()
    backend, random = recorder.backend(), np.random.RandomState(0)
    data = on_device(TINY, backend)
    for config in CONFIGS:
        for event in trajectory(Job(config, data, backend), stop_after=60):
            network = event.position.state.network
        model_of(network, config.activation, data, backend).outputs(data.test_inputs)
    X, columns = random.standard_normal((60, 3)), random.standard_normal((60, 2))
    for y in (X[:, 0] > 0, (columns > 0).astype(int), columns):
        dataset = from_arrays(X, y, 0.3, backend=backend)
        for _ in trajectory(Job(TrainConfig(epochs=1, hidden=(3,)), dataset, backend), stop_after=25):
            pass
    fit_standardization(backend.asarray(X), backend)  # of arrays on the device; NumPy does it for others
    optional = {*INTEGERS, "float64"} - {"int64", "uint8"}  # asked of a namespace that has them; the dtype of the run
    return {
        "FUNCTIONS": {
            name: tuple(sorted(recorder.functions[name] - {"device"})) for name in sorted(recorder.functions)
        },
        "DTYPES": tuple(sorted(recorder.dtypes - optional)),
        "ATTRIBUTES": tuple(sorted(recorder.attributes)),
        "OPERATORS": tuple(sorted(recorder.operators)),
    }


if __name__ == "__main__":
    for heading, found in recorded().items():
        print(f"{heading} = {found}")
