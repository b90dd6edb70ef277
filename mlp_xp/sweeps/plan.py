"""The members of a sweep: every combination of values, or samples of them.

A setting has values, or a span such as 0..31. In a grid, a span of whole numbers stands
for each of them. Any other span is sampled from. Seeds and folds are never sampled:
each sample is trained with all of them, for a mean and a standard deviation.
Nothing here touches a file.
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.core.config import TrainConfig
from mlp_xp.declared import ConfigError, check_choice, check_settings, setting
from mlp_xp.errors import Argument, MlpXpError
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

REPEATS = "seed", "fold"  # runs that differ in them alone are summarised together
_MOST_MEMBERS = 100_000  # all are listed in one file
DIGITS = 4  # significant digits of a sampled number, to keep tables legible
_DOTS = ".."


@dataclass(frozen=True)
class SweepOptions:
    """How the members of a sweep are chosen, and where they are trained.

    Raises:
        ConfigError: An option is out of its range, or two options exclude each other.
    """

    sweep_dir: str | None = setting(None, is_path=True, aliases=("--run-dir",))
    """Folder of the sweep. By default a folder below runs, named after the settings."""
    random: int | None = setting(None, least=1)
    """Draw this many settings at random instead of taking all combinations, and train
    each with every --seed and --fold. One of several values is drawn, or a number from
    a range, which may have fractions, such as 0.001..0.1. The numbers of learning-rate,
    weight-decay, batch-size and hidden are log-uniform if the range starts above 0. All
    others are uniform.
    """
    optuna: int | None = setting(None, least=1)
    """Let Optuna choose this many settings by the accuracy (or R²) on held-out samples.
    Seeds and ranges are as for --random. Needs --validation.
    """
    sampling_seed: int = setting(0, most=2**32 - 1)
    """Random seed of --random and --optuna. The choices of Optuna also depend on the
    order in which members end, unless --jobs is 1.
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
        exclusive = (("random", "optuna"), ("cluster", "optuna"), ("cluster", "jobs"))
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

    def draw(self, generator: random.Random) -> Any:
        """Return a random value."""
        if self.by_ratio:
            exponent = generator.uniform(math.log(self.first), math.log(self.last))
            return self.value(math.exp(exponent))
        if self.whole:
            return self.value(generator.randint(int(self.first), int(self.last)))
        return self.value(generator.uniform(self.first, self.last))


Values = tuple[Any, ...] | Span


class Plan(NamedTuple):
    """The settings of all members of a sweep."""

    base: Settings
    """The settings of all members, before their own values."""
    options: dict[str, Values]
    """The varied settings: their values, or the span to sample from."""
    how: SweepOptions
    fit_batches: bool
    """Whether batches shrink to a small training set, if nobody chose their size."""
    members: tuple[Member, ...] = ()
    """All members of a grid or of random samples. Optuna has none yet, and chooses
    each member by the results before it.
    """

    def folder(self) -> SweepFolder:
        """Return the folder of the sweep.

        By default it is `runs/sweep-<data>-<label>-<backend>-<digest>`. The same plan
        has the same folder, and can be continued there.
        """
        if self.how.sweep_dir:
            return SweepFolder(self.how.sweep_dir)
        text = json.dumps(self.record({}, ()), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        data, backend = Path(self.base.data).name, self.base.backend.replace(":", "-")
        label = in_folder_name(self.base.data_options.label)
        return SweepFolder(default_folder("sweep", data, label, backend, digest))

    def record(
        self, sums: Mapping[str, str], members: Sequence[Member]
    ) -> dict[str, Any]:
        """Return the content of sweep.json.

        sums: the checksums of data and of models to start from, by name.
        """
        options = {}
        for name, values in self.options.items():
            options[name] = str(values) if isinstance(values, Span) else values
        return {
            "format": records.FORMAT,
            "random": self.how.random,
            "optuna": self.how.optuna,
            "sampling_seed": self.how.sampling_seed,
            "settings": flatten(self.base),
            "options": options,
            "sums": dict(sums),
            "members": [member.settings for member in members],
        }

    @property
    def samples(self) -> int | None:
        """The number of sampled settings, each with every seed; None for a grid."""
        return self.how.optuna or self.how.random

    @property
    def total(self) -> int:
        """The number of members."""
        if self.samples:
            return self.samples * len(self.repeats)
        return math.prod(map(len, self.options.values()))

    @property
    def sampled(self) -> dict[str, Values]:
        """The varied settings without seeds and folds."""
        return {
            name: values for name, values in self.options.items() if name not in REPEATS
        }

    @property
    def repeats(self) -> list[dict[str, Any]]:
        """Every seed and fold as settings, to train each sample with.

        If neither varies, this is one setting without values.
        """
        options = {name: self.options[name] for name in self.options if name in REPEATS}
        return _combinations(options)


def plan_of(
    base: Settings | TrainConfig | str | None,
    values: Mapping[str, Any],
    options: SweepOptions,
) -> Plan:
    """Return the plan of a sweep; see `mlp_xp.sweep`.

    base: all other settings, the settings of training, or the name of a recipe. values:
    for each setting its values, or the text of a range. Raises ConfigError if there is
    no such recipe, or a setting is out of range, and MlpXpError for any other base.
    """
    is_recipe = isinstance(base, str)
    if isinstance(base, str):
        check_choice("base", base, RECIPES)
        base = of_recipe(RECIPES[base], values)
    elif base is None:
        base = Settings()
    elif isinstance(base, TrainConfig):
        base = Settings(train=base)
    if not isinstance(base, Settings):
        fault = (
            f"{base!r:.80} is neither Settings nor a TrainConfig nor a recipe's name"
        )
        raise MlpXpError(fault, setting="base")
    return make_plan(base, values, options, is_recipe=is_recipe)


def make_plan(
    base: Settings,
    given: Mapping[str, Any],
    how: SweepOptions = _NO_OPTIONS,
    *,
    is_recipe: bool = False,
) -> Plan:
    """Return the plan of a sweep, with the settings of every member checked.

    The settings are not yet checked with the data of the member. given: for each
    setting a single value, or several. Texts such as "0..31" are spans. A value of
    `hidden` is a number, for one layer, or a tuple. `cv` without `fold` stands for all
    its folds. is_recipe: whether the base is a recipe, whose batches shrink to a small
    training set, as in `train`. Raises ConfigError, with the setting, and with the
    member if only some fail.
    """
    is_sampled = bool(how.random or how.optuna)
    options: dict[str, Values] = {}
    for name, value in given.items():
        check_choice(name, name, SETTINGS)
        options[name] = _read(name, value, sampled=is_sampled and name not in REPEATS)
    fixed = {}
    for name, values in options.items():
        if not isinstance(values, Span) and len(values) == 1:
            fixed[name] = values[0]
    base = with_absolute_paths(settings_of(base, fixed))
    _check_base(base, given)
    if base.data_options.cv and base.data_options.fold is None:
        options.setdefault("fold", tuple(range(base.data_options.cv)))
    varied = {name: values for name, values in options.items() if name not in fixed}
    plan = Plan(base, varied, how, is_recipe and "batch_size" not in given)
    if plan.samples and not plan.sampled:
        fault = (
            "no setting but seed and fold has several values or a range, so there is "
            "nothing to choose from"
        )
        raise ConfigError(fault, setting="random" if how.random else "optuna")
    if plan.total > _MOST_MEMBERS:
        fault = f"the sweep has more than {_MOST_MEMBERS} members"
        raise ConfigError(fault, remedy="give fewer values")
    plan = plan._replace(members=_members(plan))
    for _, settings in examples(plan):  # raises for wrong settings
        if how.optuna and settings.train.validation == 0:
            fault = "0 held-out samples, but Optuna chooses by the accuracy on them"
            raise ConfigError(fault, remedy="hold some out", setting="validation")
    return plan


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


def _members(plan: Plan) -> tuple[Member, ...]:
    """Return the members of a grid or of random samples."""
    found: list[dict[str, Any]] = []
    if plan.how.random:
        for drawn in _sample(plan.sampled, plan.how):
            found += [{**drawn, **repeat} for repeat in plan.repeats]
    elif not plan.how.optuna:
        found = _combinations(plan.options)
    return numbered(found)


def examples(plan: Plan) -> Iterator[tuple[str, Settings]]:
    """Yield the settings of all members, after a text with the name of the member.

    Optuna has not chosen its members yet. Their most extreme settings stand for them.
    Raises ConfigError, with the member, for settings that are wrong together.
    """
    found = [member.settings for member in plan.members]
    for changes in found or _extremes(plan.options):
        place = f"in a member with {described(changes)}" if changes else ""
        try:
            settings = settings_of(plan.base, changes)
        except ConfigError as error:
            error.notes.append(place)
            raise
        yield place, settings


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
    is_several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
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
                f"the range {span} is to be sampled from: give it alone, and random or "
                "optuna with a number of members",
                setting=name,
            )
    if not values:
        raise ConfigError("has no value; give one or leave it out", setting=name)
    return tuple(dict.fromkeys(values))


def _span(name: str, word: Any) -> Span | None:
    """Return the span of a word such as `0..31`, or None for any other value.

    Raises ConfigError for any other word with dots.
    """
    kind = SETTINGS[name].kind
    if not isinstance(word, str) or _DOTS not in word:
        return None
    if kind not in (int, tuple, float):
        return None
    with suppress(ValueError):
        first, last = map(float if kind is float else int, word.split(_DOTS))
        if -math.inf < first < last < math.inf:
            return Span(name, first, last)
    fault = f"{word!r:.80} is not a range"
    remedy = "give two finite numbers, the smaller first, as in 0..31"
    raise ConfigError(fault, remedy=remedy, setting=name)


def _combinations(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        dict(zip(options, values, strict=True))
        for values in itertools.product(*options.values())
    ]


def _extremes(options: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return settings with every value and both ends of every span.

    The last one has the last value of each setting.
    """
    extremes: dict[str, Sequence[Any]] = {}
    for name, values in options.items():
        extremes[name] = values
        if isinstance(values, Span):
            extremes[name] = [values.value(values.first), values.value(values.last)]
    longest = max(map(len, extremes.values()))
    return [
        {name: values[min(i, len(values) - 1)] for name, values in extremes.items()}
        for i in range(longest)
    ]


def _sample(options: Mapping[str, Values], how: SweepOptions) -> list[dict[str, Any]]:
    """Return different settings, each value drawn independently of the others."""
    generator, wanted = random.Random(how.sampling_seed), how.random or 0
    found: dict[str, dict[str, Any]] = {}
    for _ in range(1000 * wanted):
        settings = {}
        for name, values in options.items():
            if isinstance(values, Span):
                settings[name] = values.draw(generator)
            else:
                settings[name] = generator.choice(values)
        found.setdefault(repr(settings), settings)
        if len(found) == wanted:
            return list(found.values())
    raise ConfigError(
        f"{wanted} different settings are wanted, but there are only {len(found)}",
        remedy="take fewer, or a grid",
        setting="random",
    )
