"""The members of a sweep: every combination of the given values, or samples of them. Nothing here touches a file.

A setting has values, or a span such as 0..31. In a grid, a span of whole numbers stands for each of them; any other
span is sampled from. Seeds are never sampled: each sample is trained with every seed, so that it has a mean and a
standard deviation.
"""

import itertools
import math
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlp_xp.core.config import ConfigError
from mlp_xp.runs.settings import SETTINGS, Settings, flatten, settings_of
from mlp_xp.runs.sweep_index import GRID, OPTUNA, RANDOM, Member

SEED = "seed"
# All members are named in one file.
MOST_MEMBERS = 100_000
DIGITS = 4  # significant digits of a sampled number, to keep tables legible
DOTS = ".."


class Span(NamedTuple):
    """The numbers from `first` to `last`, both included."""

    first: float
    last: float
    whole: bool
    """Whether only whole numbers are meant."""

    def __str__(self) -> str:
        return f"{self.first}{DOTS}{self.last}"

    def by_ratio(self, name: str) -> bool:
        """Return whether values of the setting `name` are sampled log-uniformly from this span."""
        return SETTINGS[name].by_ratio and self.first > 0

    def value(self, name: str, number: float) -> Any:
        """Return a sampled number, rounded and within the span, as a value of the setting `name`."""
        rounded = round(number) if self.whole else float(f"{number:.{DIGITS}g}")
        return as_value(name, min(max(rounded, self.first), self.last))


Values = tuple[Any, ...] | Span


class Plan(NamedTuple):
    """What a sweep trains."""

    kind: str
    """GRID, RANDOM or OPTUNA."""
    base: Settings
    """The settings that do not vary."""
    options: dict[str, Values]
    """The settings that vary: their values, or the span that they are sampled from."""
    total: int
    """Number of members."""
    seed: int
    """Seed of the sampling; 0 for a grid."""
    members: tuple[Member, ...]
    """All members of a grid or of random samples; none for Optuna, which chooses each by the results before it."""
    fit_batches: bool = False
    """Whether batches, whose size nobody chose, become as small as a small training set."""

    @property
    def sampled(self) -> dict[str, Values]:
        """The settings that vary, without the seeds."""
        return {name: values for name, values in self.options.items() if name != SEED}

    @property
    def seeds(self) -> tuple[dict[str, Any], ...]:
        """What each sample is trained with: each seed as a setting, or one empty setting if the seed does not vary."""
        return tuple({SEED: seed} for seed in self.options[SEED]) if SEED in self.options else ({},)


def make_plan(
    base: Settings,
    given: Mapping[str, Any],
    *,
    samples: int | None = None,
    trials: int | None = None,
    seed: int = 0,
) -> Plan:
    """Return the plan of a sweep. The settings of every member are checked, but not yet with its data.

    given: for each setting a sequence of values, in which texts such as "0..31" are spans, or a single value. A value
    of `hidden` is a number, for one layer, or a tuple. samples: draw this many settings at random instead of taking all
    combinations. trials: let Optuna choose this many. Both train each setting with every seed. seed: seed of the
    sampling. Raises ConfigError, which names the setting, and the member if only some fail.
    """
    wanted, option = (samples, "random") if trials is None else (trials, "optuna")
    options: dict[str, Values] = {}
    for name, value in given.items():
        if name not in SETTINGS:
            raise ConfigError(f"is not a setting of a run; choose from {', '.join(SETTINGS)}", setting=name)
        options[name] = _read(name, value, sampled=name != SEED and wanted is not None)
    fixed = {name: values[0] for name, values in options.items() if not isinstance(values, Span) and len(values) == 1}
    options = {name: values for name, values in options.items() if name not in fixed}
    base = settings_of(base, fixed)
    if not isinstance(base.train.activation, str):
        raise ConfigError("it is a pair of functions, which a run folder cannot store; name one", setting="activation")
    if "dataset" in given and (base.data_dir or "data_dir" in given):
        raise ConfigError("is another data set than data_dir; give one of the two", setting="dataset")
    base = settings_of(base, {name: _absolute(path) for name, path in flatten(base).items() if SETTINGS[name].is_path})
    kind = GRID if wanted is None else RANDOM if trials is None else OPTUNA
    plan = Plan(kind, base, options, 0, 0 if wanted is None else seed, ())
    if wanted is not None and not plan.sampled:
        raise ConfigError(
            "no setting but the seed has several values or a range, so there is nothing to choose from", setting=option
        )
    total = math.prod(map(len, options.values())) if wanted is None else wanted * len(plan.seeds)
    if total > MOST_MEMBERS:
        raise ConfigError(f"the sweep has {total} members, more than {MOST_MEMBERS}; give fewer values")
    if kind == OPTUNA:
        found = []
    elif wanted is None:
        found = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    else:
        found = [{**drawn, **seed} for drawn in _sample(plan.sampled, wanted, seed) for seed in plan.seeds]
    plan = plan._replace(total=total, members=tuple(Member(f"{i:04d}", each) for i, each in enumerate(found)))
    for _, settings in examples(plan):  # which checks them
        if kind == OPTUNA and settings.train.validation == 0:
            raise ConfigError(
                "0 held-out samples, but Optuna chooses by the accuracy on them; hold some out", setting="validation"
            )
    return plan


def examples(plan: Plan) -> Iterator[tuple[str, Settings]]:
    """Yield the settings of all members, each with a text that names it. Of Optuna's members, yield extreme ones.

    Raises ConfigError for settings that are wrong together, which names the member.
    """
    for settings in [member.settings for member in plan.members] or _corners(plan.options):
        place = f"in a member with {described(settings)}" if settings else ""
        try:
            found = settings_of(plan.base, settings)
        except ConfigError as error:
            error.notes.append(place)
            raise
        yield place, found


def shown(value: Any) -> str:
    """Return a value as it is given on the command line: layers as 512,256."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def described(settings: Mapping[str, Any]) -> str:
    """Return settings as text: `seed 3, learning_rate 0.1`."""
    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())


def as_value(name: str, number: Any) -> Any:
    """Return a number as a value of the setting `name`: for `hidden`, 64 means one layer of 64 units."""
    return (number,) if SETTINGS[name].kind is tuple and isinstance(number, int) else number


def _absolute(path: str | None) -> str | None:
    """Return a path as a worker with another current folder needs it. Links stay: a data set has the link's name."""
    return path and os.path.abspath(path)  # noqa: PTH100


def _read(name: str, value: Any, *, sampled: bool) -> Values:
    """Return the values of a setting, or the span to sample from."""
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    values: list[Any] = []
    for part in value if several else [value]:
        span = _span(name, part)
        if span is None:
            values.append(part)
        elif sampled and (not several or len(value) == 1):
            return span
        elif not span.whole:
            raise ConfigError(
                f"the range {span} is to be sampled from: give it alone, and random or optuna with a number of members",
                setting=name,
            )
        elif span.last - span.first >= MOST_MEMBERS:
            raise ConfigError(f"the range {span} has more than {MOST_MEMBERS} numbers", setting=name)
        else:
            values += range(int(span.first), int(span.last) + 1)
    if SETTINGS[name].is_path:
        values = [*map(_absolute, values)]
    if SETTINGS[name].kind is tuple:
        values = [as_value(name, each) if isinstance(each, int) else tuple(each) for each in values]
    for each, times in Counter(values).items():
        if times > 1:
            raise ConfigError(f"{shown(each)} is given twice", setting=name)
    if not values:
        raise ConfigError("has no value; give one or leave it out", setting=name)
    return tuple(values)


def _span(name: str, word: Any) -> Span | None:
    """Return the span that a word such as `0..31` means; None for any other value. Raises ConfigError."""
    whole = SETTINGS[name].kind in (int, tuple)
    if not isinstance(word, str) or DOTS not in word or not (whole or SETTINGS[name].kind is float):
        return None
    first, _, last = word.partition(DOTS)
    kind, example = (int, "0..31") if whole else (float, "0.001..0.1")
    try:
        span = Span(kind(first), kind(last), whole)
    except ValueError as error:
        wanted = f"{'whole ' * whole}numbers such as {example}"
        raise ConfigError(f"{word!r:.80} is not a range of {wanted}", setting=name) from error
    if not -math.inf < span.first < span.last < math.inf:
        raise ConfigError(
            f"the range {word!r:.80} is empty or endless; give two finite numbers, the smaller first, as in {example}",
            setting=name,
        )
    return span


def _corners(options: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Yield every value and both ends of every span with the first ones of the others; then the last ones together."""
    ends = {
        name: [as_value(name, end) for end in values[:2]] if isinstance(values, Span) else values
        for name, values in options.items()
    }
    first = {name: values[0] for name, values in ends.items()}
    for name, values in ends.items():
        for value in values:
            yield {**first, name: value}
    yield {name: values[-1] for name, values in ends.items()}


def _sample(options: Mapping[str, Values], count: int, seed: int) -> list[dict[str, Any]]:
    """Return different settings, each value drawn independently of the others."""
    generator = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(1000 * count):
        settings = {name: _draw(name, values, generator) for name, values in options.items()}
        found.setdefault(repr(settings), settings)
        if len(found) == count:
            return [*found.values()]
    raise ConfigError(
        f"{count} different settings are wanted, but there are only {len(found)}; take fewer, or a grid",
        setting="random",
    )


def _draw(name: str, values: Values, generator: random.Random) -> Any:
    if not isinstance(values, Span):
        return generator.choice(values)
    if values.by_ratio(name):
        return values.value(name, math.exp(generator.uniform(math.log(values.first), math.log(values.last))))
    if values.whole:
        return as_value(name, generator.randint(int(values.first), int(values.last)))
    return values.value(name, generator.uniform(values.first, values.last))
