"""All settings of a run: training configuration, backend and data. Also recipes, and settings in a file."""

import dataclasses
import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends import hooks
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import ConfigError, TrainConfig, check_type
from mlp_xp.core.dataset import PREPARATIONS, TARGETS, Origin
from mlp_xp.core.library import Backend
from mlp_xp.core.task import TASKS
from mlp_xp.data.own import check_origin
from mlp_xp.errors import DatasetError, nearest
from mlp_xp.runs import records


@dataclass(frozen=True)
class Settings:
    """A training configuration, a backend and a data set."""

    backend: str = "numpy"
    """numpy, cupy, jax, torch, array-api-strict, or `module:namespace` for another array API library."""
    device: str | None = None
    """The device, in the library's notation, such as cuda:1. By default the library's default device."""
    dtype: str = "float64"
    """float64 or float32."""
    dataset: str | None = "mnist"
    """mnist, fashion-mnist, kmnist, emnist-digits or emnist-letters; all but mnist are downloaded once. Not with
    --data-dir."""
    data_dir: str | None = None
    """Your own data instead of a named data set: a table with a header (CSV, Parquet), a .npz archive, or a folder with
    pictures for each class, with two tables, .npy files, or IDX or CSV files like MNIST's."""
    label: str | None = None
    """Column with the labels, where --data-dir has tables with a header. Separate several with commas: they are numbers
    to predict, or labels that are 0 or 1 each."""
    exclude: str | None = None
    """Columns to ignore, such as a row id; separate several with commas."""
    test_fraction: float = 0.2
    """Share of the samples to test on, below 1, if --data-dir has no test set of its own. 0: no test."""
    split_seed: int = 0
    """Seed of the shuffle that selects these samples, from 0 to 2**32 - 1."""
    picture_size: int | None = None
    """Pixels on a side to resize the pictures in --data-dir to. By default they must have one size."""
    task: str | None = None
    """classes, labels or regression. By default regression where the labels in --data-dir are numbers with a decimal
    point, labels where there are several for each sample, and else classes; many whole numbers may be either, and need
    it."""
    stratify: bool = True
    """Select these samples of each class in proportion, where there are classes; at least one where it has two."""
    scale_targets: bool = True
    """For regression on --data-dir, train on numbers with mean 0 and standard deviation 1. Predictions and errors stay
    in the units of the data, and only the loss is in units of the standard deviations."""
    start_from: str | None = None
    """Begin with the trained weights of this run, which needs the same hidden layers. If the classes are others, the
    output layer is drawn as for a new run. Inputs are prepared as the new data require."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError for a value of the wrong type or out of range, or an empty name.

        With `data_dir`, `dataset` becomes None: a record of both would not say where the data are from.
        """
        for name, kind in (("test_fraction", float), ("split_seed", int), ("stratify", bool), ("scale_targets", bool)):
            object.__setattr__(self, name, check_type(name, getattr(self, name), kind))
        try:
            check_origin(self.origin)
        except DatasetError as error:
            raise ConfigError(error.text, setting=error.setting) from error
        if self.data_dir is not None:
            object.__setattr__(self, "dataset", None)
        required = ("backend", "dtype") if self.data_dir is not None else ("backend", "dtype", "dataset")
        for name in (*required, "device", "data_dir", "label", "exclude", "start_from"):
            value = getattr(self, name)
            if (value is not None or name in required) and not check_type(name, value, str):
                raise ConfigError("is an empty string; give a name or leave it out", setting=name)

    @property
    def data(self) -> str:
        """The name of the data set, or the path of your own data."""
        return str(self.data_dir or self.dataset)

    @property
    def origin(self) -> Origin:
        """How `load_dataset` reads the data."""
        return Origin(*(getattr(self, name) for name in Origin._fields))

    def open_backend(self, threads: int | None = None) -> Backend:
        """Open the backend, as `open_backend` does."""
        return open_backend(self.backend, self.device, self.dtype, threads)


# Sets of settings to start from. Except for the notebook's, they use what is common today.
_MODERN = TrainConfig(
    warm_up_steps=0,
    update_order="simultaneous",
    activation="relu",
    init="he",
    optimizer="momentum",
    schedule="cosine",
)
RECIPES = {
    "notebook": Settings(),
    "standard": Settings(
        dtype="float32",
        train=replace(_MODERN, epochs=10, batch_size=128, hidden=(512, 256), learning_rate=0.05, weight_decay=1e-4),
    ),
    "small": Settings(dtype="float32", train=replace(_MODERN, epochs=8, batch_size=32, learning_rate=0.02)),
    # For tables from some twenty rows on, with a schedule that lets a run be trained longer.
    "own": Settings(
        train=replace(_MODERN, epochs=30, batch_size=16, optimizer="adam", learning_rate=0.003, schedule="constant"),
    ),
}


def flatten(settings: Settings) -> dict[str, Any]:
    """Return the settings as one flat record, as in config.json and on the command line."""
    record = dataclasses.asdict(settings)
    return {**{k: v for k, v in record.items() if k != "train"}, **record["train"]}


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings whose paths do not depend on the current folder, as config.json has them."""
    data_dir, start_from = (path and str(Path(path).resolve()) for path in (settings.data_dir, settings.start_from))
    return replace(settings, data_dir=data_dir, start_from=start_from)


# Settings that may change when a run is resumed: they decide where it computes and reads, not what.
FREE_SETTINGS = ("backend", "device", "data_dir")
# Settings that mean something for your own data alone; what they did there is compared by `run_folder.check_data`.
OF_OWN_DATA = ("stratify", "scale_targets")
# The fields of a run's config.json.
CONFIG_FIELDS = {
    "format": int,
    "settings": dict[str, Any],
    "device": str | None,
    "versions": dict[str, str],
    "threads": dict[str, int | str | None],
    "machine": str,
    "train_samples": int,
    "image_shape": list[int],
    "class_names": list[str],
    "task": TASKS,
    "preparation": PREPARATIONS,
    "targets": TARGETS,
    "data_crc32": str,
    "start_from_sha256": str | None,
    "segments": list[dict[str, Any]] | None,
}


class Change(NamedTuple):
    """A setting that a resumed run must keep, but does not have any more. Values as JSON has them."""

    name: str
    saved: Any
    wanted: Any
    reason: str = ""


def first_change(
    saved: Settings, wanted: Settings, free: tuple[str, ...] = (*FREE_SETTINGS, *OF_OWN_DATA)
) -> Change | None:
    """Return the first setting that differs and must not, or None. free: those that may.

    The number of epochs may differ where no step depends on it: the run then becomes a longer or a shorter one. The
    dataset may where one of both has files instead: `run_folder.check_data` compares the data themselves.
    """
    before, now = (json.loads(json.dumps(flatten(with_absolute_paths(each)))) for each in (saved, wanted))
    for name in now:
        if name in free or before[name] == now[name]:
            continue
        if name == "epochs" and saved.train.schedule == "constant":
            continue
        if name == "dataset" and None in (before[name], now[name]):
            continue
        reason = f"; the schedule {saved.train.schedule} depends on them, from the first step" * (name == "epochs")
        return Change(name, before[name], now[name], reason)
    return None


def unflatten(record: dict[str, Any], where: str) -> Settings:
    """Return the settings of a flat record. Raises ConfigError, which names `where` and the wrong field."""
    known = flatten(Settings())
    inner = {f.name for f in dataclasses.fields(TrainConfig)}
    for name in record:
        if name not in known:
            raise ConfigError(
                f"{where}: the field {records.shortened(name)} is not known{nearest(name[:99], known)}; choose one of "
                f"{', '.join(known)}"
            )
    try:
        train = TrainConfig(**{name: value for name, value in record.items() if name in inner})
        return Settings(**{name: value for name, value in record.items() if name not in inner}, train=train)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_settings(
    path: Path, advice: str = "restore it from a copy, or train again"
) -> tuple[Settings, dict[str, Any]]:
    """Return the settings in a JSON file, a run's config.json or settings alone, and the file's whole record.

    advice: what to do about a damaged file; by default about a run's. Raises MlpXpError.
    """
    where = repr(str(path))
    record = records.check_fields(records.read_json(path, advice), {}, where, advice)
    if "settings" not in record:
        return unflatten(record, where), record
    records.check_format(record, where)
    records.check_fields(record, CONFIG_FIELDS, where, advice)
    return unflatten(record["settings"], where), record


def check_foreign(settings: Settings, named: str | None, where: str) -> None:
    """Raise ConfigError if settings from a file name a foreign backend that the user has not named too.

    named: the backend that the user gave, or None. To open a foreign backend is to import a module, which may run any
    code; a file, which may come from anybody, must not decide that alone.
    """
    if (":" in settings.backend or settings.backend in hooks()) and named is None:
        raise ConfigError(
            f"{where} wants the module {settings.backend!r}, which is imported only if you name it too: give "
            f"--backend {shlex.quote(settings.backend)} to allow it, or another backend",
            setting="backend",
        )
