"""The processes of `make gpu` that open a library on the card, for a first look or for the parity check.

Usage: `python -m mlp_xp.bench.gpu_worker JSON`, with `task`, `library` and the arguments of the task. Results are
written to files, so that finished results are kept if the process is killed or crashes.
"""

import importlib
import importlib.metadata
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backend import Backend, BackendError, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.datasets import load_dataset
from mlp_xp.files import write_whole
from mlp_xp.parity.compare import Comparison, Failure, check
from mlp_xp.parity.report import also, json_record, mismatches, row
from mlp_xp.plan import ceil_divide
from mlp_xp.training import DivergenceError

DEVICE = "cuda:0"
"""The device name, which every library's backend accepts."""


class Case(NamedTuple):
    """A configuration of the parity check."""

    name: str
    title: str
    dtype: str
    batch_size: int
    steps: int | None
    """None for an epoch."""


CASES = tuple(
    Case(f"{name}-{dtype}", f"{title}, {dtype}", dtype, batch_size, steps)
    for dtype in ("float64", "float32")
    for name, title, batch_size, steps in (
        ("one", "one sample a step", 1, 2000),
        ("batch-128", "batches of 128", 128, None),
    )
)


def look(library: str, stand_in: bool) -> dict[str, Any]:
    """Return the `version`, `device` and `card` that a library reports; or `unseen` with the reason.

    stand_in: whether the module cupy may be something other than CuPy.
    """
    try:
        backend = open_backend(library, DEVICE)
    except BackendError as error:
        return {"unseen": str(error)}
    if not stand_in and library == "cupy" and not of_a_distribution("cupy"):
        place = importlib.import_module("cupy").__file__
        return {"unseen": f"{place} belongs to no installed distribution of CuPy; remove its folder from PYTHONPATH"}
    return {"version": backend.version, "device": backend.device_name, "card": card_name(library, backend)}


def of_a_distribution(module: str) -> bool:
    """Return whether the file of an imported module belongs to an installed distribution."""
    file = Path(str(importlib.import_module(module).__file__)).resolve()
    names = importlib.metadata.packages_distributions().get(module, [])
    files = [(each, path) for each in map(importlib.metadata.distribution, names) for path in each.files or []]
    return any(Path(str(each.locate_file(path))).resolve() == file for each, path in files if path.name == file.name)


def card_name(library: str, backend: Backend) -> str:
    """Return the name of the card that a library reports."""
    module = importlib.import_module(library)
    if library == "cupy":
        return str(module.cuda.runtime.getDeviceProperties(int(backend.device))["name"].decode())
    if library == "torch":
        return str(module.cuda.get_device_name(backend.device))
    return str(backend.device.device_kind)


def compare_case(library: str, case: Case, data_dir: str | None, steps: int | None) -> dict[str, Any]:
    """Compare a library on the card with NumPy in float64.

    Returns `steps`, `rows` for the columns of `parity.report`, and `faults`, one line each; if all losses are finite
    also `also`, `deviations` and `tolerance` of every step, and `record`. steps: the largest number of steps.
    """
    dataset = load_dataset(data_dir or "mnist")
    config = replace(TrainConfig(), batch_size=case.batch_size)
    number = case.steps or ceil_divide(dataset.train_images.shape[0], case.batch_size)
    number = min(number, steps) if steps else number
    arguments = {"steps": number, "dtype": case.dtype, "batch_size": case.batch_size, "tolerance": None}
    backend = open_backend(library, DEVICE, case.dtype)
    try:
        reference, found = check(config, dataset, [backend], number)
    except DivergenceError as error:
        return {"steps": number, "rows": [], "faults": [str(error)]}
    if isinstance(found, Failure):
        return {"steps": number, "rows": [], "faults": [found.reason]}
    assert isinstance(reference, Comparison)
    comparisons = [reference, found]
    faults = [fault for comparison in comparisons for fault in mismatches(comparison, config)]
    return {
        "steps": number,
        "rows": [row(comparison, i) for i, comparison in enumerate(comparisons)],
        "also": also(found),
        "faults": faults,
        "deviations": found.deviations.tolist(),
        "tolerance": found.allowed.tolist(),
        "record": json_record(comparisons, [], {}, arguments, faults),
    }


def main() -> int:
    """Do one task. Returns 1 if a library does not agree."""
    asked = json.loads(sys.argv[1])
    folder, library = Path(asked["folder"]), asked["library"]
    if asked["task"] == "look":
        write_json(folder / f"look-{library}.json", look(library, asked["stand_in"]))
        return 0
    faults = []
    for case in CASES:
        print(f"{library}: {case.title}", flush=True)
        found = compare_case(library, case, asked["data_dir"], asked["steps"])
        write_json(folder / f"parity-{library}-{case.name}.json", found)
        faults += found["faults"]
    print(*faults, sep="\n", flush=True)
    return 1 if faults else 0


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file completely or not at all."""
    write_whole(path, (json.dumps(content) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
