"""Folders of runs and sweeps that were never trained: only their records, written as
`train` writes them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlp_xp.core.signature import Signature
from mlp_xp.core.task import TASKS
from mlp_xp.runs.settings import Settings, flatten


def a_report(epoch: int, sample: int, **results: float) -> dict[str, Any]:
    rest = {
        "loss": 1.0,
        "accuracy": 0.5,
        "seconds": 1.0,
        "train_loss": 1.0,
        "test_loss": 1.0,
    }
    return {
        "epoch": epoch,
        "sample": sample,
        **rest,
        "samples_per_second": 100.0,
        **results,
    }


def a_config(settings: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Return the content of config.json of a run with these settings, and defaults for
    all others.
    """
    task = TASKS[settings.get("task") or "classes"]
    signature = Signature((28, 28), tuple("0123456789"), task)
    data = {
        "train_samples": 1000,
        "signature": signature.record(),
        "data_crc32": "12345678",
    }
    place = {
        "device": "cpu",
        "versions": {},
        "threads": {"number": 1},
        "machine": "Linux x86_64",
    }
    return {
        "format": 3,
        "settings": {**flatten(Settings()), **settings},
        **place,
        **data,
        **facts,
    }


def write_run(
    folder: Path,
    settings: dict[str, Any],
    reports: Sequence[dict[str, Any]] = (),
    result: dict[str, Any] | None = None,
) -> Path:
    """Write a run's records. result: the results in its closing report; None for an
    unfinished run.
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
    """Write a sweep of runs. members: the settings of each that vary; results: None for
    one that has not run.
    """
    common = {**flatten(Settings()), **(common or {})}
    named = [{"name": f"{i:04d}", "settings": each} for i, each in enumerate(members)]
    folder.mkdir()
    options = {
        name: [each.get(name) for each in members] for each in members for name in each
    }
    plan = {
        "format": 3,
        "random": None,
        "optuna": None,
        "sampling_seed": 0,
        "settings": common,
    }
    plan |= {"options": options, "sums": {}}
    (folder / "sweep.json").write_text(json.dumps({**plan, "members": [*members]}))
    if failures:
        (folder / "failures.json").write_text(json.dumps(failures))
    for member, result in zip(named, results, strict=True):
        if result is not None:
            reports = [
                a_report(
                    epoch,
                    sample,
                    train_loss=result.get("train_loss", 1.0)
                    + 1
                    - epoch / 2
                    - sample / 2000,
                )
                for epoch, sample in ((0, 0), (0, 500), (1, 0), (1, 500))
            ]
            if "validation_accuracy" in result:
                reports[1]["validation_accuracy"] = result["validation_accuracy"] / 2
                reports[3]["validation_accuracy"] = result["validation_accuracy"]
            write_run(
                folder / "members" / member["name"],
                {**common, **member["settings"]},
                reports,
                result,
            )
    return folder
