"""The settings of a run, recipes to start from, and settings as one flat record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mlp_xp.core.config import TrainConfig
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import AUTO, ConfigError, check_settings, declared, setting
from mlp_xp.errors import Argument, nearest


@dataclass(frozen=True)
class Settings:
    """A training configuration, a backend and a data set.

    If `data_dir` is given, `dataset` becomes None, so that a record names one source of
    data.

    Raises:
        ConfigError: A value has the wrong type or is out of range.

    Examples:
        >>> settings = Settings(backend="jax", train=TrainConfig(epochs=1))
        >>> settings.dataset, settings.dtype
        ('mnist', 'float64')
    """

    backend: str = setting("numpy", may_change=True, group="Backend")
    """Array library to compute with: numpy, cupy, jax, torch, array-api-strict, or
    `module:namespace` for any other that follows the array API standard.
    """
    device: str | None = setting(None, may_change=True, group="Backend")
    """Device to compute on, in the library's notation, such as cuda:1. By default the
    library's own default.
    """
    dtype: str = setting("float64", choices=("float64", "float32"), group="Backend")
    """Floating-point type to compute with."""
    dataset: str | None = setting("mnist", may_change=True, group="Data")
    """Data set: mnist, fashion-mnist, kmnist, emnist-digits or emnist-letters. All but
    mnist are downloaded once.
    """
    data_dir: str | None = setting(None, may_change=True, is_path=True, group="Data")
    """Your own data instead of a named data set: a table with a header, such as CSV, a
    .npz archive, or a folder with pictures for each class, with two tables, .npy files,
    or IDX or CSV files like MNIST's.
    """
    data_options: DataOptions = field(default_factory=DataOptions)
    start_from: str | None = setting(None, is_path=True, group="Run")
    """Begin with the trained weights of this run, which needs the same hidden layers.
    If the task or the outputs differ, the output layer is drawn as for a new run.
    Inputs are prepared as the new data require.
    """
    networks: int = setting(1, least=1, most=100, group="Run")
    """Train this many networks at once, and average their outputs: the numbers, or the
    logits of classes and labels. They differ in their seeds.
    """
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.networks > 1 and self.start_from is not None:
            fault = ("cannot be combined with several ", Argument("networks"))
            remedy = "leave out one of the two"
            raise ConfigError(fault, remedy=remedy, setting="start_from")
        if self.data_dir is not None:
            object.__setattr__(self, "dataset", None)
        elif self.dataset is None:
            raise ConfigError(
                "is missing; name a data set, or give data_dir", setting="dataset"
            )

    @property
    def data(self) -> str | Path:
        """The name of the data set, or the path of your own data."""
        return Path(self.data_dir) if self.data_dir else str(self.dataset)


SETTINGS = declared(Settings)
"""All settings of a run, by name, in the order of the command line."""

# Recipes are settings to start from. All except the notebook's use choices common
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
    # For grey images such as digits. docs/mnist.md has its time.
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
    # For tables of about twenty rows or more, measured by benchmarks/tables.py. Of 40
    # settings on held-out rows of 32 tables, an average of networks gained most. A
    # stronger decay is better for some tables of hundreds of rows, and worse for all of
    # thousands, where it pulls more than the data do. Near these values all are alike:
    # half and twice the rate, the units and the batch, more patience, GELU. Without
    # dropout, or with the initialisation `he`, networks are worse. If the biases begin
    # at 0, all weights first learn that a rare class is rare, and rows far from the
    # mean get the lowest probability of it. In the median table the recipe takes 2.3
    # times as long as a single network of 64 units.
    "own": Settings(
        networks=3,
        train=replace(
            _MODERN,
            epochs=AUTO,
            batch_size=AUTO,
            report_every=AUTO,
            hidden=(64, 64),
            init="glorot",
            fit_bias=True,
            optimizer="adamw",
            learning_rate=0.002,
            schedule="constant",
            weight_decay=0.1,
            dropout=AUTO,
            validation=0.1,
            patience=20,
        ),
    ),
}


def flatten(settings: Any) -> dict[str, Any]:
    """Return settings as one flat record, as in config.json and on the command line."""
    record: dict[str, Any] = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if is_dataclass(value):
            record |= flatten(value)
        else:
            record[each.name] = value
    return record


def settings_of(base: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings with changes, given by name.

    Raises:
        ConfigError: A name is unknown, or a value is wrong.
    """
    for name in changes:
        if name not in SETTINGS:
            fault = f"the field {name!r:.60} is not known{nearest(name[:99], SETTINGS)}"
            raise ConfigError(fault, remedy=f"choose one of {', '.join(SETTINGS)}")
    settings: Settings = _changed(base, changes)
    return settings


def _changed(part: Any, changes: Mapping[str, Any]) -> Any:
    """Return a dataclass with changes to its fields, and to dataclasses in them."""
    values = {}
    for each in fields(part):
        value = getattr(part, each.name)
        if is_dataclass(value):
            values[each.name] = _changed(value, changes)
        elif each.name in changes:
            values[each.name] = changes[each.name]
    return replace(part, **values)


def unflatten(record: Mapping[str, Any], file: Path) -> Settings:
    """Return the settings of a flat record in a file.

    Raises:
        ConfigError: A field is unknown, or its value is wrong. The error names the file
            and the field.
    """
    try:
        return settings_of(Settings(), record)
    except ConfigError as error:
        error.file = file
        raise


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings with absolute paths, as config.json has them."""
    paths = {}
    for name, value in flatten(settings).items():
        if value and SETTINGS[name].is_path:
            paths[name] = str(Path(value).resolve())
    return settings_of(settings, paths)


def of_recipe(recipe: Settings, given: Mapping[str, Any]) -> Settings:
    """Return a recipe without settings that do not suit the given options.

    The result does not contain the options themselves. An option is a value, or several
    values. The weight decay becomes 0 if an option changes between AdamW and other
    optimizers, because the number has another meaning there. The patience becomes 0 if
    no samples are held out. A run that starts from another run has a single network.
    """
    train = recipe.train
    optimizers = {train.optimizer, *_as_list(given.get("optimizer", []))}
    is_mixed = "adamw" in optimizers and len(optimizers) > 1
    changes = {}
    if is_mixed:
        changes["weight_decay"] = 0
    if 0 in _as_list(given.get("validation", train.validation)):
        changes["patience"] = 0
    if given.get("start_from") is not None:
        changes["networks"] = 1
    return settings_of(recipe, changes)


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def words(name: str) -> str:
    """Return a setting or column in words: `learning rate` for learning_rate."""
    return name.replace("_", " ")


def shown(value: Any) -> str:
    """Return a value as text, as on the command line and without needless digits."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.12g}"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def described(settings: Mapping[str, Any]) -> str:
    """Return settings as text: `learning rate 0.1, hidden 64,32`."""
    return ", ".join(
        f"{words(name)} {shown(value)}" for name, value in settings.items()
    )


def check_unchanged(
    saved: Settings, wanted: Settings, file: Path | None = None
) -> None:
    """Raise ConfigError if a setting differs that a resumed run must keep.

    Settings of the reading of data may differ, because `resuming.check_data` compares
    the data. The number of epochs may differ if no step depends on it. The run then
    becomes longer or shorter.

    Args:
        saved: The settings of the run.
        wanted: The settings to resume it with.
        file: The file with the saved settings, for the message.
    """
    before = flatten(with_absolute_paths(saved))
    now = flatten(with_absolute_paths(wanted))
    may_change = {name for name, each in SETTINGS.items() if each.may_change}
    may_change.update(declared(DataOptions))
    if saved.train.schedule == "constant":
        may_change.add("epochs")
    for name, value in now.items():
        if name not in may_change and before[name] != value:
            fault = (
                f"a resumed run keeps its settings ({before[name]!r}, not {value!r})"
            )
            if name == "epochs":
                fault += ", unless it has a constant schedule"
            raise ConfigError(
                fault,
                remedy=("leave it out, or start a new run with ", Argument("config")),
                file=file,
                setting=name,
            )
