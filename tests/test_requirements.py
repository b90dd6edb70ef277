"""The list of what the package asks of a library is what it really uses, over runs of all configurations."""

import operator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
from data_sets import TINY, on_device

from mlp_xp.arrays import fit_standardization
from mlp_xp.backend import open_backend
from mlp_xp.checks import INTEGERS
from mlp_xp.config import UPDATE_ORDERS, TrainConfig
from mlp_xp.dataset import Dataset
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.loops import eager_scan
from mlp_xp.metrics import predict
from mlp_xp.optimizers import OPTIMIZERS
from mlp_xp.parity.requirements import lines, requirements
from mlp_xp.training import trajectory

BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "@": "matmul", "//": "floordiv", "%": "mod", "**": "pow"}
COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
UNARY = {"-x": "neg", "+x": "pos", "~x": "invert"}
seen: dict[str, set[str]] = {"attributes": set(), "operators": set(), "names": set(), "keywords": set()}


class Recorded:
    """A NumPy array that notes what is done with it."""

    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "device":  # which a library need not have: it is asked with a default
            raise AttributeError(name)
        seen["attributes"].add(name)
        return wrapped(getattr(self._value, name))


def wrapped(value: Any) -> Any:
    return Recorded(value) if isinstance(value, np.ndarray | np.generic) else value


def bare(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(bare, value))
    return value._value if isinstance(value, Recorded) else value


def note(sign: str, function: Any, *operands: Any) -> Any:
    seen["operators"].add(sign)
    return wrapped(function(*map(bare, operands)))


def methods() -> None:
    for sign, name in {**BINARY, **COMPARISONS, **UNARY}.items():
        function = getattr(operator, name)
        setattr(Recorded, f"__{name}__", lambda self, *other, s=sign, f=function: note(s, f, self, *other))
        if sign in BINARY:
            setattr(Recorded, f"__r{name}__", lambda self, other, s=sign, f=function: note(s, f, other, self))
            in_place = getattr(operator, f"i{name}")
            setattr(Recorded, f"__i{name}__", lambda self, other, s=sign, f=in_place: note(s + "=", f, self, other))
    Recorded.__getitem__ = lambda self, index: note("x[]", operator.getitem, self, index)
    for kind in (float, int, bool):
        setattr(Recorded, f"__{kind.__name__}__", lambda self, k=kind: note(f"{k.__name__}(x)", k, self))


methods()


class Namespace:
    """NumPy's namespace, noting which names are used and which keyword arguments are passed."""

    def __getattr__(self, name: str) -> Any:
        thing = getattr(numpy, name)
        seen["names"].add(name)
        if isinstance(thing, type) or not callable(thing):
            return thing

        def call(*args: Any, **kwargs: Any) -> Any:
            seen["keywords"] |= {f"{name}({word})" for word in kwargs}
            return wrapped(thing(*map(bare, args), **{word: bare(value) for word, value in kwargs.items()}))

        return call


def test_the_list_is_what_runs_of_all_configurations_use():
    xp = Namespace()
    backend = replace(
        open_backend("numpy"),
        name="recording",
        xp=xp,
        from_numpy=lambda array, dtype: xp.asarray(array, dtype=dtype, copy=True),
        to_numpy=lambda array: np.array(array._value),
        scan=partial(eager_scan, xp=xp),
        jit=lambda function, donate=(): function,
    )
    data = on_device(TINY, backend)
    configs = [
        TrainConfig(
            epochs=1, batch_size=batch_size, hidden=hidden, validation=20, report_every=100, activation=activation,
            optimizer=optimizer, update_order=order, weight_decay=decay, defer_updates=defer,
        )
        for (optimizer, decay), activation, order, batch_size, hidden, defer in product(
            product(OPTIMIZERS, (0.0, 0.01)), ACTIVATIONS, UPDATE_ORDERS, (1, 37), ((), (3,)), (True, False)
        )
        if (hidden or activation == "sigmoid") and (optimizer == "sgd" or activation == "relu")
    ]  # fmt: skip
    regular = replace(configs[0], hidden=(3,), dropout=0.5, clip_norm=1.0, update_order="simultaneous")
    for config in (*configs, regular):
        for event in trajectory(config, data, backend, stop_after=25):
            network = event.position.state.network
        predict(network, data.test_images, activation=config.activation, backend=backend)
    random = np.random.RandomState(0)
    X, columns = random.standard_normal((60, 3)), random.standard_normal((60, 2))
    for y in (X[:, 0] > 0, (columns > 0).astype(int), columns):
        data = Dataset.from_arrays(X, y, 0.3, backend=backend)
        for _ in trajectory(TrainConfig(epochs=1, hidden=(3,)), data, backend, stop_after=25):
            pass
    fit_standardization(backend.asarray(X), backend)  # of arrays on the device; NumPy does it for others
    listed = requirements()
    names = {name.partition("(")[0] for name in listed.functions}
    optional = {*INTEGERS, "float64"}
    assert seen["names"] - optional == names | {*listed.dtypes} - optional
    assert {*listed.dtypes} <= seen["names"]
    keywords = {
        f"{name.partition('(')[0]}({word})"
        for name in listed.functions
        for word in name.partition("(")[2].strip(")").split(", ")
        if word
    }
    assert seen["keywords"] - {"arange(device)", "ones(device)"} == keywords
    assert seen["attributes"] == {*listed.attributes}
    assert seen["operators"] == {*listed.operators}


def test_the_list_names_a_place_for_each():
    text = lines()
    assert "functions:" in text
    assert any(line.startswith("  log1p ") and "losses.py:" in line for line in text)
    for names in requirements():
        for places in names.values():
            assert all(":" in place for place in places)
