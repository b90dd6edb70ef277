"""The lists of requirements are the operations of runs with all settings."""

from dataclasses import replace
from typing import Any

import pytest
from data_sets import TINY

from array_lockstep.operators import SYMBOLS
from array_lockstep.tracer import LibraryCall, Namespace, Traced, Tracer
from mlp_xp.backends import _requirements as requirements
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.parity import tracing

BASE = TrainConfig(epochs=1, hidden=(3,), validation=20, report_every=100)
CONFIGS = (
    replace(BASE, optimizer="momentum", weight_decay=0.01),
    replace(
        BASE, hidden=(), update_order="simultaneous", batch_size=37, defer_updates=False
    ),
    replace(BASE, activation="tanh", init="he", schedule="cosine"),
    replace(
        BASE, activation="relu", optimizer="adam", weight_decay=0.01, batch_size=37
    ),
    replace(BASE, update_order="simultaneous", dropout=0.5, clip_norm=1.0, deform=True),
)
SIGNS = SYMBOLS | {"getitem": "x[]", "neg": "-x"}
# A library need not have them. They are asked for with a default.
OPTIONAL = [
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "float64",
    "device",
    "__name__",
]


@pytest.mark.slow
def test_the_lists_are_the_operations_of_runs_with_all_settings(monkeypatch):
    functions: dict[str, set[str]] = {}
    names: set[str] = set()  # of operators, attributes and dtypes
    call = Tracer.call

    def recorded(self: Tracer, made: LibraryCall) -> Any:
        if made.reference is None:
            names.add(SIGNS.get(made.name, made.name))
        else:
            words = functions.setdefault(made.name, set())
            words.update({*made.kwargs} - {"device"})
        return call(self, made)

    def noted(look: Any) -> Any:
        def look_and_note(self: Any, name: str) -> Any:
            found = look(self, name)
            names.add(name)
            return found

        return look_and_note

    monkeypatch.setattr(Tracer, "call", recorded)
    for kind in (Traced, Namespace):
        monkeypatch.setattr(kind, "__getattr__", noted(kind.__getattr__))
    for config in CONFIGS:
        tracing.trace(config, TINY, open_backend(), 60)
    list(tracing.small_runs(open_backend()))  # the other tasks

    functions["asarray"] |= {"copy", "dtype"}  # of `Backend.from_numpy`
    found = {name: tuple(sorted(words)) for name, words in functions.items()}
    assert found == requirements.FUNCTIONS
    names -= {*functions, *OPTIONAL}
    others = (requirements.DTYPES, requirements.ATTRIBUTES, requirements.OPERATORS)
    assert names == {name for each in others for name in each}
