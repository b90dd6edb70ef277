"""Parity as an assertion, for the tests of an array library."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import MlpXpError, with_colon
from mlp_xp.parity.compare import Comparison, Failure, check, reports
from mlp_xp.parity.operations import Operation
from mlp_xp.parity.programs import checked, is_allowed, record_of
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.tracing import trace


def assert_parity(
    library: Any,
    *,
    dtype: str = "float64",
    steps: int = 200,
    config: TrainConfig | None = None,
    dataset: Dataset | None = None,
    reproducers: str | Path | None = None,
    allow: Mapping[str, Any] | None = None,
) -> None:
    """Train on an array library and on NumPy, and assert that every step agrees.

    Args:
        library: An array namespace, a hook (see docs/libraries.md), a name for
            `open_backend` such as "my_library:xp", or a backend. A backend keeps its
            own dtype.
        dtype: "float64" or "float32".
        steps: The number of steps after the warm-up, at least 1.
        config: The settings of training; by default the notebook's network, with
            batches of one.
        dataset: The data, with arrays on the host; by default the first images of
            MNIST.
        reproducers: A folder for a script that shows the first deviation with only
            NumPy and the library.
        allow: Expected deviations, as for `assert_lockstep`, such as
            `{"deviations": {"exp": "half of the digits"}}`. A word is the name of an
            operation, or its place, as `file.py` or `file.py:47`. It may also be a part
            of the call with brackets or spaces, such as "[::-2". An allowed operation
            excuses deviating steps, but no error. All allowed deviations are printed in
            one line.

    Raises:
        AssertionError: A step or an operation of the probe deviates, or the library
            fails. The error names the operations that deviate in a trace up to this
            step, and in the probe. Then it names each deviating quantity and its first
            step, or the library's own error.
        ValueError: `allow` has a kind other than `deviations`, or a text in place of a
            list.
        BackendError: The library lacks something.
        ConfigError: The settings do not fit the data.

    Examples:
        >>> import array_api_compat.numpy
        >>> assert_parity(array_api_compat.numpy, steps=20)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if isinstance(library, Backend):
        backend = library
    elif isinstance(library, str):
        backend = open_backend(library, None, dtype)
    else:
        backend = open_namespace(library, dtype)
    config = config or TrainConfig(report_every=100)
    if dataset is None:
        dataset = _first_images()
    expected = checked(allow, ["deviations"]).get("deviations", ())

    _, result = check(config, dataset, [backend], steps)
    faults, until = _faults_of(result, steps, config.warm_up_steps)
    traced: list[Operation] = []
    if until:
        traced, note = _find_operations(config, dataset, backend, until)
        if not traced:
            faults.insert(0, note)
    operations = [*traced, *result.operations]
    unexpected = [each for each in operations if not _is_expected(each, expected)]
    excused = Counter(each.name for each in operations if _is_expected(each, expected))
    if excused:
        counts = ", ".join(f"{name} ({times})" for name, times in excused.items())
        print(f"{with_colon(backend.name)} allowed deviations: {counts}")
    is_excused = bool(traced) and isinstance(result, Comparison)
    if not unexpected and (is_excused or not faults):
        return
    lines = [*reports(backend, unexpected), *faults]
    if unexpected and reproducers is not None:
        made = write_reproducer(backend, unexpected[0], Path(reproducers))
        lines.append(f"reproducer: {made}")
    raise AssertionError("\n".join(lines))


def _faults_of(
    result: Comparison | Failure, steps: int, warm_up_steps: int
) -> tuple[list[str], int]:
    """Return a line for each fault of a run, and the steps up to the first fault."""
    if isinstance(result, Failure):
        return [result.reason], steps
    faults = list(result.mismatches())
    firsts = [each.first_step for each in result.quantities.values() if each.first_step]
    if not firsts:
        return faults, 0
    if result.predictions_differ:
        faults.append(str(result))
    return faults, max(1, min(firsts) - warm_up_steps)


def _is_expected(operation: Operation, allowed: Any) -> bool:
    if is_allowed(record_of(operation), allowed):
        return True
    call = str(operation.call or "")
    return any(word in call for word in allowed or () if not word.isidentifier())


def _first_images() -> Dataset:
    """Return enough of MNIST to have every class in reports."""
    mnist, host = load_dataset(), open_backend()
    train = mnist.train.take(np.arange(2000), host)
    test = mnist.test and mnist.test.take(np.arange(500), host)
    return replace(mnist, train=train, test=test)


def _find_operations(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> tuple[list[Operation], str]:
    """Trace a run. Return operations that deviate or raise, and a note if none do."""
    name = with_colon(backend.name)
    try:
        tracer = trace(config, dataset, backend, steps)
    except MlpXpError as error:
        # such as an infinite loss, although all operations are right
        return [], f"{name} the trace ends, and no operation deviates: {error}"
    operations = list(tracer.deviating.values())
    if tracer.raised:
        operations.append(tracer.raised)
    return operations, (
        f"{name} no operation deviates in a trace of the first steps; the fault may be "
        "in compiled code, or depend on earlier calls"
    )
