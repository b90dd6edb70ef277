"""The members of a sweep: all combinations of values, or some that Optuna chooses.

A setting has values, or a span such as 0..31. In a sweep of all combinations, a span of
whole numbers stands for each of them. Any other span is for Optuna. Seeds and folds are
never chosen: each chosen combination is trained with all of them, for a mean and a
standard deviation. Nothing here touches a file.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.core.config import TrainConfig
from mlp_xp.declared import ConfigError, check_choice, check_settings, setting
from mlp_xp.errors import Argument, check_type
from mlp_xp.runs import records
from mlp_xp.runs.names import default_folder, in_folder_name
from mlp_xp.runs.settings import (
    RECIPES,
    SETTINGS,
    Settings,
    described,
    flatten,
    of_recipe,
    settings_of,
    with_absolute_paths,
)
from mlp_xp.runs.sweep_folder import Member, SweepFolder, numbered

REPEATS = "seed", "fold"  # runs of one combination differ only in these
_MOST_MEMBERS = 100_000  # all are listed in one file
DIGITS = 4  # significant digits of a sampled number, to keep tables legible
_DOTS = ".."


@dataclass(frozen=True)
class SweepOptions:
    """How the members of a sweep are chosen, and where they are trained."""

    sweep_dir: str | None = setting(None, is_path=True, aliases=("--run-dir",))
    """Folder of the sweep. By default a folder below runs, named after the settings."""
    optuna: int | None = setting(None, least=1)
    """Let Optuna choose this many combinations by the accuracy (or R²) on held-out
    samples, and train each with every --seed and --fold. A range may have fractions,
    such as 0.001..0.1. Needs --validation.
    """
    sampling_seed: int = setting(0, most=2**32 - 1)
    """Random seed of --optuna. The choices also depend on the order in which members
    end, unless --jobs is 1.
    """
    jobs: int | None = setting(None, least=1)
    """Processes at once, each with one thread. By default one per core, or as many as
    the memory admits, and one on a GPU.
    """
    cluster: str | None = setting(None)
    """Train on a cluster instead, such as dask://host:8786. Its machines share the
    folder of the sweep.
    """
    retry_failed: bool = setting(False)
    """Train failed members again."""
    cache_dir: str | None = setting(None, is_path=True)
    """Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of
    the system.
    """

    def __post_init__(self) -> None:
        check_settings(self)
        exclusive = (("cluster", "optuna"), ("cluster", "jobs"))
        for one, other in exclusive:
            if getattr(self, one) and getattr(self, other):
                fault = ("cannot be combined with ", Argument(other))
                remedy = "leave out one of the two"
                raise ConfigError(fault, remedy=remedy, setting=one)


_NO_OPTIONS = SweepOptions()


class Span(NamedTuple):
    """The numbers from `first` to `last`, both included, for the setting `name`."""

    name: str
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.first}{_DOTS}{self.last}"

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return SETTINGS[self.name].kind is not float

    @property
    def by_ratio(self) -> bool:
        """Whether values are sampled log-uniformly."""
        return SETTINGS[self.name].by_ratio and self.first > 0

    def value(self, number: float) -> Any:
        """Return a number, rounded and within the span, as a value of the setting."""
        rounded = round(number) if self.whole else float(f"{number:.{DIGITS}g}")
        return _as_value(self.name, min(max(rounded, self.first), self.last))


Values = tuple[Any, ...] | Span


class Plan(NamedTuple):
    """The settings of all members of a sweep."""

    base: Settings
    """The settings of all members, before their own values."""
    varied: dict[str, Values]
    """The varied settings: their values, or the span to sample from."""
    options: SweepOptions
    members: tuple[Member, ...] = ()
    """All members, unless Optuna chooses each one by the results before it."""

    def folder(self) -> SweepFolder:
        """Return the folder of the sweep.

        By default it is `runs/sweep-<data>-<label>-<backend>-<digest>`. The same plan
        has the same folder, and can be continued there.
        """
        if self.options.sweep_dir:
            return SweepFolder(self.options.sweep_dir)
        text = json.dumps(self.record({}, ()), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        data, backend = Path(self.base.data).name, self.base.backend.replace(":", "-")
        label = in_folder_name(self.base.data_options.label)
        return SweepFolder(default_folder("sweep", data, label, backend, digest))

    def record(
        self, sums: Mapping[str, str], members: Sequence[Member]
    ) -> dict[str, Any]:
        """Return the content of sweep.json.

        Args:
            sums: The checksums of the data and of models to start from, by name.
            members: The members chosen so far.
        """
        varied = {}
        for name, values in self.varied.items():
            varied[name] = str(values) if isinstance(values, Span) else values
        return {
            "format": records.FORMAT,
            "optuna": self.options.optuna,
            "sampling_seed": self.options.sampling_seed,
            "settings": flatten(self.base),
            "options": varied,
            "sums": dict(sums),
            "members": [member.settings for member in members],
        }

    @property
    def total(self) -> int:
        """The number of members."""
        if self.options.optuna:
            return self.options.optuna * len(self.repeats)
        return math.prod(map(len, self.varied.values()))

    @property
    def sampled(self) -> dict[str, Values]:
        """The varied settings without seed and fold."""
        return {
            name: values for name, values in self.varied.items() if name not in REPEATS
        }

    @property
    def repeats(self) -> list[dict[str, Any]]:
        """The seeds and folds, with all of which each sampled combination is trained.

        If neither varies, this is one empty combination.
        """
        return _combinations(
            {name: values for name, values in self.varied.items() if name in REPEATS}
        )


def plan_of(
    base: Settings | TrainConfig | str | None,
    values: Mapping[str, Any],
    options: SweepOptions,
) -> Plan:
    """Return the plan of a sweep, with the arguments of `mlp_xp.sweep`.

    Raises:
        ConfigError: There is no such recipe, or a setting is out of range.
        MlpXpError: The base is something else.
    """
    values = {name: _as_python(value) for name, value in values.items()}
    if isinstance(base, str):
        check_choice("base", base, RECIPES)
        settings = of_recipe(RECIPES[base], values)
        return make_plan(settings, values, options)
    if isinstance(base, TrainConfig):
        base = Settings(train=base)
    remedy = "give Settings, a TrainConfig, or the name of a recipe"
    check_type(base, Settings | None, "base", remedy)
    return make_plan(base or Settings(), values, options)


def _as_python(value: Any) -> Any:
    """Return lists and numbers of Python for arrays and numbers of NumPy."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(map(_as_python, value))
    return value


def make_plan(
    base: Settings,
    given: Mapping[str, Any],
    options: SweepOptions = _NO_OPTIONS,
) -> Plan:
    """Return the plan of a sweep, with the settings of every member checked.

    The settings are not yet checked with the data of the member.

    Args:
        base: The settings of all members, before their own values.
        given: For each setting a single value, or several. Texts such as "0..31" are
            spans. A value of `hidden` is a number, for one layer, or a tuple. `cv`
            without `fold` stands for all its folds.
        options: The options of the sweep.

    Raises:
        ConfigError: A setting is wrong, in all members or in the named one.
    """
    fixed, varied = _split(given, options)
    base = with_absolute_paths(settings_of(base, fixed))
    _check_base(base, given)
    if base.data_options.cv and base.data_options.fold is None:
        varied.setdefault("fold", tuple(range(base.data_options.cv)))
    plan = Plan(base, varied, options)
    if options.optuna and not plan.sampled:
        fault = (
            "no setting but seed and fold has several values or a range, so there is "
            "nothing to choose from"
        )
        raise ConfigError(fault, setting="optuna")
    if plan.total > _MOST_MEMBERS:
        fault = f"the sweep has more than {_MOST_MEMBERS} members"
        raise ConfigError(fault, remedy="give fewer values")
    if not options.optuna:
        plan = plan._replace(members=numbered(_combinations(varied)))
    for _, settings in examples(plan):  # raises for wrong settings
        if options.optuna and settings.train.validation == 0:
            fault = "0 held-out samples, but Optuna chooses by the accuracy on them"
            raise ConfigError(fault, remedy="hold some out", setting="validation")
    return plan


def _split(
    given: Mapping[str, Any], options: SweepOptions
) -> tuple[dict[str, Any], dict[str, Values]]:
    """Separate the settings with one value from those that vary."""
    fixed: dict[str, Any] = {}
    varied: dict[str, Values] = {}
    for name, value in given.items():
        check_choice(name, name, SETTINGS)
        values = _read(
            name, value, sampled=bool(options.optuna) and name not in REPEATS
        )
        if isinstance(values, Span) or len(values) > 1:
            varied[name] = values
        else:
            fixed[name] = values[0]
    return fixed, varied


def _check_base(base: Settings, given: Mapping[str, Any]) -> None:
    if not isinstance(base.train.activation, str):
        raise ConfigError(
            "it is a pair of functions, which a run folder cannot store; name one",
            setting="activation",
        )
    if "dataset" in given and (base.data_dir or "data_dir" in given):
        raise ConfigError(
            "is another data set than data_dir; give one of the two", setting="dataset"
        )


def examples(plan: Plan) -> Iterator[tuple[str, Settings]]:
    """Yield the settings of all members, after a note that says which member it is.

    Optuna has not chosen its members yet. Their most extreme settings stand for them.

    Raises:
        ConfigError: The settings of a member are wrong together.
    """
    found = [member.settings for member in plan.members]
    for changes in found or _extremes(plan.varied):
        note = f"in a member with {described(changes)}" if changes else ""
        try:
            settings = settings_of(plan.base, changes)
        except ConfigError as error:
            error.notes.append(note)
            raise
        yield note, settings


def _as_value(name: str, value: Any) -> Any:
    """Return a value of a setting in the form of the setting.

    For `hidden`, 64 means one layer of 64 units.
    """
    if SETTINGS[name].is_path:  # a worker may have another current folder
        return value and str(Path(value).resolve())
    if SETTINGS[name].kind is tuple:
        return (value,) if isinstance(value, int) else tuple(value)
    return value


def _read(name: str, value: Any, *, sampled: bool) -> Values:
    """Return the different values of a setting, or the span to sample from."""
    is_several = isinstance(value, Sequence) and not isinstance(value, str)
    parts = value if is_several else [value]
    values: list[Any] = []
    for part in parts:
        span = _span(name, part)
        if span is None:
            values.append(_as_value(name, part))
        elif sampled and len(parts) == 1:
            return span
        elif span.whole:
            # One value too many is enough to refuse them, without a list of them all.
            first = int(span.first)
            last = min(int(span.last), first + _MOST_MEMBERS)
            values += [span.value(number) for number in range(first, last + 1)]
        else:
            raise ConfigError(
                f"the range {span} is for Optuna: give it alone, and optuna with a "
                "number of combinations",
                setting=name,
            )
    if not values:
        raise ConfigError("has no value; give one or leave it out", setting=name)
    return tuple(dict.fromkeys(values))


def _span(name: str, word: Any) -> Span | None:
    """Return the span of a word such as `0..31`, or None for any other value.

    Raises:
        ConfigError: Another word with dots is given.
    """
    kind = SETTINGS[name].kind
    if not isinstance(word, str) or _DOTS not in word:
        return None
    if kind not in (int, tuple, float):
        return None
    number = float if kind is float else int
    with suppress(ValueError):
        first, last = map(number, word.split(_DOTS))
        if -math.inf < first < last < math.inf:
            return Span(name, first, last)
    fault = f"{word!r:.80} is not a range"
    remedy = "give two finite numbers, the smaller first, as in 0..31"
    raise ConfigError(fault, remedy=remedy, setting=name)


def _combinations(varied: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        dict(zip(varied, values, strict=True))
        for values in itertools.product(*varied.values())
    ]


def _extremes(varied: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return settings with every value and both ends of every span.

    The last one has the last value of each setting.
    """
    extremes: dict[str, Sequence[Any]] = {}
    for name, values in varied.items():
        extremes[name] = values
        if isinstance(values, Span):
            extremes[name] = [values.value(values.first), values.value(values.last)]
    longest = max(map(len, extremes.values()))
    return [
        {name: values[min(i, len(values) - 1)] for name, values in extremes.items()}
        for i in range(longest)
    ]
