"""All settings of a run: training, backend and data. Also recipes to start from, and
settings as one flat record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mlp_xp.core.config import TrainConfig
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import ConfigError, check_settings, declared, setting
from mlp_xp.errors import Argument, nearest, quoted


@dataclass(frozen=True)
class Settings:
    """A training configuration, a backend and a data set.

    With `data_dir`, `dataset` becomes None: a record of both would not say where the
    data are from.

    Raises:
        ConfigError: A value has the wrong type or is out of range.

    Examples:
        >>> settings = Settings(backend="jax", train=TrainConfig(epochs=1))
        >>> settings.dataset, settings.dtype
        ('mnist', 'float64')
    """

    backend: str = setting("numpy", may_change=True)
    """Array library to compute with: numpy, cupy, jax, torch, array-api-strict, or
    `module:namespace` for any other that follows the array API standard.
    """
    device: str | None = setting(None, may_change=True)
    """Device to compute on, in the library's notation, such as cuda:1. By default the
    library's own default.
    """
    dtype: str = setting("float64", choices=("float64", "float32"))
    """Floating-point type to compute with."""
    dataset: str | None = setting("mnist", may_change=True)
    """Data set: mnist, fashion-mnist, kmnist, emnist-digits or emnist-letters. All but
    mnist are downloaded once.
    """
    data_dir: str | None = setting(None, may_change=True, is_path=True)
    """Your own data instead of a named data set: a table with a header, such as CSV, a
    .npz archive, or a folder with pictures for each class, with two tables, .npy files,
    or IDX or CSV files like MNIST's.
    """
    data_options: DataOptions = field(default_factory=DataOptions)
    start_from: str | None = setting(None, is_path=True)
    """Begin with the trained weights of this run, which needs the same hidden layers.
    If the classes are others, the output layer is drawn as for a new run. Inputs are
    prepared as the new data require.
    """
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.data_dir is not None:
            object.__setattr__(self, "dataset", None)
        elif self.dataset is None:
            raise ConfigError(
                "is missing; name a data set, or give data_dir", setting="dataset"
            )

    @property
    def data(self) -> str | Path:
        """The name of the data set, or the path of your own data, as `load_dataset`
        takes it.
        """
        return Path(self.data_dir) if self.data_dir else str(self.dataset)


SETTINGS = declared(Settings)
"""All settings of a run, by name, in the order of the command line."""

# Sets of settings to start from. Except for the notebook's, they use what is common
# today.
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
        train=replace(
            _MODERN,
            epochs=10,
            batch_size=128,
            hidden=(512, 256),
            learning_rate=0.05,
            weight_decay=1e-4,
        ),
    ),
    "small": Settings(
        dtype="float32",
        train=replace(_MODERN, epochs=8, batch_size=32, learning_rate=0.02),
    ),
    # For grey images such as digits. With JAX it takes ten minutes on two cores;
    # benchmarks/mnist.py measures it.
    "deformed": Settings(
        dtype="float32",
        train=replace(
            _MODERN,
            epochs=240,
            batch_size=128,
            hidden=(1000, 500),
            activation="gelu",
            optimizer="adamw",
            learning_rate=0.001,
            weight_decay=0.1,
            decay_bias=False,
            report_every=60_000,
            deform=True,
            deform_pixels=1.4,
            deform_smoothness=7.0,
        ),
    ),
    # For tables from some twenty rows on, with a schedule that lets a run be trained
    # longer. benchmarks/own_recipe.py measures it.
    "own": Settings(
        train=replace(
            _MODERN,
            epochs=200,
            batch_size=16,
            init="glorot",
            optimizer="adamw",
            learning_rate=0.003,
            schedule="constant",
            weight_decay=1.5,
            validation=0.1,
            patience=20,
        ),
    ),
}


def flatten(settings: Any) -> dict[str, Any]:
    """Return the settings as one flat record, as in config.json and on the command
    line.
    """
    record: dict[str, Any] = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        record |= flatten(value) if is_dataclass(value) else {each.name: value}
    return record


def settings_of(base: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings with some of them changed, which are given by name. Raises
    ConfigError.
    """

    def changed(part: Any) -> Any:
        values = {each.name: getattr(part, each.name) for each in fields(part)}
        inner = {
            name: changed(value)
            for name, value in values.items()
            if is_dataclass(value)
        }
        return replace(
            part,
            **inner,
            **{name: changes[name] for name in values.keys() & changes.keys()},
        )

    found: Settings = changed(base)
    return found


def unflatten(record: Mapping[str, Any], file: Path) -> Settings:
    """Return the settings of a flat record in a file. Raises ConfigError, which names
    the file and the field.
    """
    for name in record:
        if name not in SETTINGS:
            raise ConfigError(
                f"the field {name!r:.60} is not known{nearest(name[:99], SETTINGS)}",
                file=file,
                remedy=f"choose one of {', '.join(SETTINGS)}",
            )
    try:
        return settings_of(Settings(), record)
    except ConfigError as error:
        error.file = file
        raise


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings whose paths do not depend on the current folder, as config.json
    has them.
    """
    record = flatten(settings)
    paths = [
        each.name for each in SETTINGS.values() if each.is_path and record[each.name]
    ]
    return settings_of(
        settings, {name: str(Path(record[name]).resolve()) for name in paths}
    )


def of_recipe(recipe: Settings, given: Mapping[str, Any]) -> Settings:
    """Return a recipe for options that override some of it, by name, each a value or
    several of them.

    What would not fit them is 0, unless it is given too: the weight decay with an
    optimizer for which the number means another thing, and the patience without
    held-out samples.
    """
    values = (
        given.get(name, getattr(recipe.train, name))
        for name in ("optimizer", "validation")
    )
    optimizers, held_out = (
        value if isinstance(value, list | tuple) else [value] for value in values
    )
    another_meaning = (
        len({name == "adamw" for name in (recipe.train.optimizer, *optimizers)}) > 1
    )
    changes = {"weight_decay": another_meaning, "patience": 0 in held_out}
    return settings_of(
        recipe, {name: 0 for name, is_changed in changes.items() if is_changed}
    )


def with_fitting_batches(settings: Settings, samples: int) -> Settings:
    """Return settings whose batches, which nobody chose, are not larger than the
    training set.
    """
    left = samples - settings.train.held_out(samples)
    return (
        settings_of(settings, {"batch_size": left})
        if 0 < left < settings.train.batch_size
        else settings
    )


def words(name: str) -> str:
    """Return the name of a setting or a column as words: learning_rate is `learning
    rate`.
    """
    return name.replace("_", " ")


def shown(value: Any) -> str:
    """Return the value of a setting as text: as on the command line, and a float
    without needless digits.
    """
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.12g}"
    return (
        str(value).lower() if value is None or isinstance(value, bool) else str(value)
    )


def described(settings: Mapping[str, Any]) -> str:
    """Return settings as text: `learning rate 0.1, hidden 64,32`."""
    return ", ".join(
        f"{words(name)} {shown(value)}" for name, value in settings.items()
    )


def check_unchanged(
    saved: Settings, wanted: Settings, file: Path | None = None
) -> None:
    """Raise ConfigError if a setting differs that a resumed run must keep. file: where
    the saved ones are.

    How the data are read may change: `RunFolder.check_data` compares the data
    themselves. The number of epochs may differ where no step depends on it: the run
    then becomes a longer or a shorter one.
    """
    before, now = (flatten(with_absolute_paths(each)) for each in (saved, wanted))
    free = {name for name, each in SETTINGS.items() if each.may_change} | declared(
        DataOptions
    ).keys()
    if saved.train.schedule == "constant":
        free.add("epochs")
    for name, value in now.items():
        if name not in free and before[name] != value:
            texts = [
                quoted(each) if isinstance(each, str) else repr(each)
                for each in (before[name], value)
            ]
            raise ConfigError(
                f"a resumed run keeps its settings ({texts[0]}, not {texts[1]})",
                remedy=("leave it out, or start a new run with ", Argument("config")),
                file=file,
                setting=name,
            )
