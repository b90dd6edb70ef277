"""The members of a sweep: every combination of the given values, or samples of them.
Nothing here touches a file.

A setting has values, or a span such as 0..31. In a grid, a span of whole numbers stands
for each of them; any other span is sampled from. Seeds and folds are never sampled:
each sample is trained with every one, so that it has a mean and a standard deviation.
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.core.config import TrainConfig
from mlp_xp.declared import ConfigError, check_choice, check_settings, setting
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.runs import records
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

# What repeats a setting: its runs are summarised together.
REPEATS = "seed", "fold"
# All members are named in one file.
_MOST_MEMBERS = 100_000
DIGITS = 4  # significant digits of a sampled number, to keep tables legible
_DOTS = ".."


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep does with the values of its settings, where, and how. Raises
    ConfigError.
    """

    sweep_dir: str | None = setting(None, is_path=True, aliases=("--run-dir",))
    """Folder of the sweep. By default one below runs, named after the settings."""
    random: int | None = setting(None, least=1)
    """Draw this many settings at random instead of taking all combinations, and train
    each with every --seed and --fold. Of several values, one is drawn. From a range,
    also one of fractions such as 0.001..0.1, a number is drawn: log-uniformly for
    learning-rate, weight-decay, batch-size and hidden if it starts above 0, and
    otherwise uniformly.
    """
    optuna: int | None = setting(None, least=1)
    """Let Optuna choose this many settings by the accuracy (or R²) on held-out samples.
    Seeds and ranges are as for --random. Needs --validation.
    """
    sampling_seed: int = setting(0, most=2**32 - 1)
    """Random seed of --random and --optuna. What Optuna chooses also depends on the
    order in which members end, unless --jobs is 1.
    """
    jobs: int | None = setting(None, least=1)
    """Processes at once, each with one thread. By default one per core, or as many as
    the memory admits; one on a GPU.
    """
    cluster: str | None = setting(None)
    """Train on a cluster instead, such as dask://host:8786, whose machines share the
    sweep's folder.
    """
    retry_failed: bool = setting(False)
    """Train members again that have failed."""
    cache_dir: str | None = setting(None, is_path=True)
    """Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of
    the system.
    """

    def __post_init__(self) -> None:
        check_settings(self)
        for one, other in (
            ("random", "optuna"),
            ("cluster", "optuna"),
            ("cluster", "jobs"),
        ):
            if getattr(self, one) and getattr(self, other):
                fault = (
                    "cannot be combined with ",
                    Argument(other),
                    "; leave out one of the two",
                )
                raise ConfigError(fault, setting=one)


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
            return self.value(
                math.exp(generator.uniform(math.log(self.first), math.log(self.last)))
            )
        ends = self.first, self.last
        return self.value(
            generator.randint(*map(int, ends))
            if self.whole
            else generator.uniform(*ends)
        )


Values = tuple[Any, ...] | Span


class Plan(NamedTuple):
    """What a sweep trains."""

    base: Settings
    """The settings that do not vary."""
    options: dict[str, Values]
    """The settings that vary: their values, or the span that they are sampled from."""
    how: SweepOptions
    fit_batches: bool
    """Whether batches, whose size nobody chose, become as small as a small training
    set.
    """
    members: tuple[Member, ...] = ()
    """All members of a grid or of random samples; none for Optuna, which chooses each
    by the results before it.
    """

    def folder(self) -> SweepFolder:
        """Return the folder of the sweep: the given one, or
        `runs/sweep-<data>-<backend>-<digest>`.

        The same plan has the same folder, so that it can go on.
        """
        if self.how.sweep_dir:
            return SweepFolder(self.how.sweep_dir)
        text = json.dumps(self.record({}, ()), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        data, backend = Path(self.base.data).name, self.base.backend.replace(":", "-")
        return SweepFolder(Path("runs") / f"sweep-{data}-{backend}-{digest}")

    def record(
        self, sums: Mapping[str, str], members: Sequence[Member]
    ) -> dict[str, Any]:
        """Return the content of sweep.json.

        Args:
            sums: The checksums of data and of models to start from, by name.
            members: The members, each with the settings that vary.
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
        """How many settings are sampled, each with every seed; None for a grid."""
        return self.how.optuna or self.how.random

    @property
    def total(self) -> int:
        """Number of members."""
        return (
            self.samples * len(self.repeats)
            if self.samples
            else math.prod(map(len, self.options.values()))
        )

    @property
    def sampled(self) -> dict[str, Values]:
        """The settings that vary, without seeds and folds."""
        return {
            name: values for name, values in self.options.items() if name not in REPEATS
        }

    @property
    def repeats(self) -> list[dict[str, Any]]:
        """What each sample is trained with: every seed and fold as settings; one empty
        setting if neither varies.
        """
        return _combinations(
            {name: values for name, values in self.options.items() if name in REPEATS}
        )


def plan_of(
    base: Settings | TrainConfig | str | None,
    values: Mapping[str, Any],
    options: SweepOptions,
) -> Plan:
    """Return the plan of a sweep; see `mlp_xp.sweep`.

    Args:
        base: All other settings, or the settings of training, or the name of a recipe.
        values: For each setting its values, or the text of a range.
        options: How to train the members.

    Raises:
        ConfigError: There is no such recipe, or a setting is out of range.
        MlpXpError: The base is something else.
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
    """Return the plan of a sweep. The settings of every member are checked, but not yet
    with its data.

    given: for each setting a sequence of values, in which texts such as "0..31" are
    spans, or a single value. A value of `hidden` is a number, for one layer, or a
    tuple. `cv` alone stands for all its folds. is_recipe: whether the base is a recipe,
    whose batches become as small as a small training set, as in `train`. Raises
    ConfigError, which names the setting, and the member if only some fail.
    """
    options: dict[str, Values] = {}
    for name, value in given.items():
        check_choice(name, name, SETTINGS)
        options[name] = _read(
            name, value, sampled=bool(how.random or how.optuna) and name not in REPEATS
        )
    fixed = {
        name: values[0]
        for name, values in options.items()
        if not isinstance(values, Span) and len(values) == 1
    }
    base = with_absolute_paths(settings_of(base, fixed))
    if not isinstance(base.train.activation, str):
        raise ConfigError(
            "it is a pair of functions, which a run folder cannot store; name one",
            setting="activation",
        )
    if "dataset" in given and (base.data_dir or "data_dir" in given):
        raise ConfigError(
            "is another data set than data_dir; give one of the two", setting="dataset"
        )
    if base.data_options.cv and base.data_options.fold is None:
        options.setdefault("fold", tuple(range(base.data_options.cv)))
    varied = {name: values for name, values in options.items() if name not in fixed}
    plan = Plan(base, varied, how, is_recipe and "batch_size" not in given)
    if plan.samples and not plan.sampled:
        fault = "no setting but seed and fold has several values or a range, so there is nothing to choose from"
        raise ConfigError(fault, setting="random" if how.random else "optuna")
    if plan.total > _MOST_MEMBERS:
        raise ConfigError(
            f"the sweep has more than {_MOST_MEMBERS} members; give fewer values"
        )
    found = []
    if how.random:
        found = [
            {**drawn, **repeat}
            for drawn in _sample(plan.sampled, how)
            for repeat in plan.repeats
        ]
    elif not how.optuna:
        found = _combinations(varied)
    plan = plan._replace(members=numbered(found))
    for _, settings in examples(plan):  # which checks them
        if how.optuna and settings.train.validation == 0:
            fault = "0 held-out samples, but Optuna chooses by the accuracy on them; hold some out"
            raise ConfigError(fault, setting="validation")
    return plan


def examples(plan: Plan) -> Iterator[tuple[str, Settings]]:
    """Yield the settings of all members, or extreme ones of those that Optuna may
    choose, after a text that names each.

    Raises ConfigError for settings that are wrong together, which names the member.
    """
    for settings in [member.settings for member in plan.members] or _extremes(
        plan.options
    ):
        place = f"in a member with {described(settings)}" if settings else ""
        try:
            found = settings_of(plan.base, settings)
        except ConfigError as error:
            error.notes.append(place)
            raise
        yield place, found


def _as_value(name: str, value: Any) -> Any:
    """Return a value of the setting `name` in its own form: for `hidden`, 64 means one
    layer of 64 units.
    """
    if SETTINGS[name].is_path:  # a worker may have another current folder
        return value and str(Path(value).resolve())
    if SETTINGS[name].kind is tuple:
        return (value,) if isinstance(value, int) else tuple(value)
    return value


def _read(name: str, value: Any, *, sampled: bool) -> Values:
    """Return the different values of a setting, or the span to sample from."""
    parts = (
        value
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
        else [value]
    )
    values: list[Any] = []
    for part in parts:
        span = _span(name, part)
        if span is None:
            values.append(_as_value(name, part))
        elif sampled and len(parts) == 1:
            return span
        elif span.whole:
            # One more than all members may be, so that too many are refused without a
            # list of them all.
            last = min(int(span.last), int(span.first) + _MOST_MEMBERS)
            values += [
                span.value(number) for number in range(int(span.first), last + 1)
            ]
        else:
            raise ConfigError(
                f"the range {span} is to be sampled from: give it alone, and random or optuna with a number of members",
                setting=name,
            )
    if not values:
        raise ConfigError("has no value; give one or leave it out", setting=name)
    return tuple(dict.fromkeys(values))


def _span(name: str, word: Any) -> Span | None:
    """Return the span that a word such as `0..31` means; None for any other value.
    Raises ConfigError.
    """
    kind = SETTINGS[name].kind
    if (
        not isinstance(word, str)
        or _DOTS not in word
        or kind not in (int, tuple, float)
    ):
        return None
    try:
        first, last = map(float if kind is float else int, word.split(_DOTS))
        if -math.inf < first < last < math.inf:
            return Span(name, first, last)
    except ValueError:
        pass
    fault = f"{word!r:.80} is not a range; give two finite numbers, the smaller first, as in 0..31"
    raise ConfigError(fault, setting=name)


def _combinations(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        dict(zip(options, values, strict=True))
        for values in itertools.product(*options.values())
    ]


def _extremes(options: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return settings in which every value and both ends of every span occur, the last
    ones of all of them together.
    """
    ends = {
        name: [values.value(values.first), values.value(values.last)]
        if isinstance(values, Span)
        else values
        for name, values in options.items()
    }
    longest = max(map(len, ends.values()))
    return [
        {name: values[min(i, len(values) - 1)] for name, values in ends.items()}
        for i in range(longest)
    ]


def _sample(options: Mapping[str, Values], how: SweepOptions) -> list[dict[str, Any]]:
    """Return different settings, each value drawn independently of the others."""
    generator, wanted = random.Random(how.sampling_seed), how.random or 0
    found: dict[str, dict[str, Any]] = {}
    for _ in range(1000 * wanted):
        settings = {
            name: values.draw(generator)
            if isinstance(values, Span)
            else generator.choice(values)
            for name, values in options.items()
        }
        found.setdefault(repr(settings), settings)
        if len(found) == wanted:
            return [*found.values()]
    raise ConfigError(
        f"{wanted} different settings are wanted, but there are only {len(found)}; take fewer, or a grid",
        setting="random",
    )
