"""Folders of runs and sweeps without a training.

They hold only the records, as `train` writes them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlp_xp.core.signature import Signature
from mlp_xp.core.task import TASKS
from mlp_xp.runs.settings import Settings, flatten


def a_report(epoch: int, sample: int, **results: float) -> dict[str, Any]:
    """Return a report with these results, and defaults for all others."""
    return {
        "epoch": epoch,
        "sample": sample,
        "loss": 1.0,
        "accuracy": 0.5,
        "seconds": 1.0,
        "train_loss": 1.0,
        "test_loss": 1.0,
        "samples_per_second": 100.0,
        **results,
    }


def a_config(settings: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Return the content of config.json of a run with these settings.

    All other settings have their defaults.
    """
    task = TASKS[settings.get("task") or "classes"]
    outputs = ("y",) if task.floats else tuple("0123456789")
    return {
        "format": 3,
        "settings": {**flatten(Settings()), **settings},
        "device": "cpu",
        "versions": {},
        "threads": {"number": 1},
        "machine": "Linux x86_64",
        "train_samples": 1000,
        "signature": Signature((28, 28), outputs, task).record(),
        "data_crc32": "12345678",
        **facts,
    }


def write_run(
    folder: Path,
    settings: dict[str, Any],
    reports: Sequence[dict[str, Any]] = (),
    result: dict[str, Any] | None = None,
) -> Path:
    """Write the records of a run.

    result: the results in its closing report; None for an unfinished run.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(a_config(settings)))
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in reports)
    )
    if result is not None:
        (folder / "result.json").write_text(json.dumps(a_report(1, 1000, **result)))
    return folder


def write_sweep(
    folder: Path,
    members: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any] | None],
    *,
    common: dict[str, Any] | None = None,
    failures: dict[str, Any] | None = None,
) -> Path:
    """Write the records of a sweep.

    members: the varying settings of each member; results: None for a member without a
    run.
    """
    common = {**flatten(Settings()), **(common or {})}
    folder.mkdir()
    names = {name: None for each in members for name in each}
    plan = {
        "format": 3,
        "optuna": None,
        "sampling_seed": 0,
        "settings": common,
        "options": {name: [each.get(name) for each in members] for name in names},
        "sums": {},
        "members": [*members],
    }
    (folder / "sweep.json").write_text(json.dumps(plan))
    if failures:
        (folder / "failures.json").write_text(json.dumps(failures))
    for i, (settings, result) in enumerate(zip(members, results, strict=True)):
        if result is not None:
            run = folder / "members" / f"{i:04d}"
            write_run(run, {**common, **settings}, reports_before(result), result)
    return folder


def reports_before(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return four reports before these results.

    The loss falls, and accuracies on held-out samples rise.
    """
    last_loss = result.get("train_loss", 1.0)
    reports = [
        a_report(epoch, sample, train_loss=last_loss + 1 - epoch / 2 - sample / 2000)
        for epoch in (0, 1)
        for sample in (0, 500)
    ]
    accuracy = result.get("validation_accuracy")
    if accuracy is not None:
        reports[1]["validation_accuracy"] = accuracy / 2
        reports[3]["validation_accuracy"] = accuracy
    return reports
