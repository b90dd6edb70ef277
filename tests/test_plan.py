"""Any epoch is cut whole, in order, into few lengths, at the reports, within memory."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_xp.config import TrainConfig
from mlp_xp.network import count_parameters
from mlp_xp.plan import (
    CHUNK_WORK,
    ENOUGH_STEPS,
    Chunk,
    ceil_divide,
    chunk_lengths,
    cut,
    plan_epoch,
)

quick = settings(deadline=None, derandomize=True, database=None, max_examples=300)


@st.composite
def epochs(draw):
    """(samples, config, parameters): small, odd, and with networks too large for any chunk."""
    samples = draw(st.integers(1, 3000))
    config = TrainConfig(
        batch_size=draw(st.one_of(st.integers(1, min(samples, 9)), st.integers(1, samples))),
        report_every=draw(st.integers(1, 4000)),
        checkpoint_every=draw(st.integers(0, 4000)),
        validation=draw(st.sampled_from([0, 1, 5])),
    )
    parameters = draw(st.one_of(st.integers(1, 10**6), st.integers(1, 2 * CHUNK_WORK)))
    return samples, config, parameters


def steps_of(plan: list[Chunk]) -> list[range]:
    """The samples of every step."""
    return [
        range(chunk.start + i * chunk.batch_size, chunk.start + (i + 1) * chunk.batch_size)
        for chunk in plan
        for i in range(chunk.steps)
    ]


@quick
@given(epochs())
def test_a_plan_covers_the_epoch_once_in_order(epoch):
    samples, config, _ = epoch
    steps = steps_of(plan_epoch(*epoch))
    assert [sample for step in steps for sample in step] == list(range(samples))
    assert all(len(step) == config.batch_size for step in steps[:-1])
    assert len(steps[-1]) == (samples % config.batch_size or config.batch_size)


@quick
@given(epochs())
def test_a_plan_has_few_shapes(epoch):
    """At most three for full batches and one for the rest: each is a compilation on a backend that compiles."""
    _, config, _ = epoch
    plan = plan_epoch(*epoch)
    assert len({chunk.steps for chunk in plan if chunk.batch_size == config.batch_size}) <= 3
    assert all(chunk.steps >= 1 for chunk in plan)
    assert [chunk.steps for chunk in plan if chunk.batch_size != config.batch_size] in ([], [1])


@quick
@given(epochs())
def test_a_chunk_is_no_longer_than_its_work_allows(epoch):
    _, _, parameters = epoch
    for chunk in plan_epoch(*epoch):
        assert chunk.steps * chunk.batch_size * parameters <= CHUNK_WORK or chunk.steps <= ENOUGH_STEPS


def multiples(steps: list[range], interval: int) -> list[tuple[int, int]]:
    """By counting: the number of every step that contains multiples of the interval, and the first of these."""
    found = [(i, next((sample for sample in step if sample % interval == 0), None)) for i, step in enumerate(steps)]
    return [(i, sample) for i, sample in found if sample is not None]


@quick
@given(epochs())
def test_what_follows_a_chunk_is_what_counting_finds(epoch):
    samples, config, _ = epoch
    plan = plan_epoch(*epoch)
    last_steps = [step - 1 for step in itertools.accumulate(chunk.steps for chunk in plan)]
    end = last_steps[-1]
    reports = [(step, chunk.report) for step, chunk in zip(last_steps, plan, strict=True) if chunk.report is not None]
    expected = multiples(steps_of(plan), config.report_every)
    if config.validation and end not in dict(expected):
        expected.append((end, samples))
    assert reports == expected
    checkpoints = {step for step, chunk in zip(last_steps, plan, strict=True) if chunk.checkpoint}
    wanted = multiples(steps_of(plan), config.checkpoint_every) if config.checkpoint_every else []
    assert checkpoints == {step for step, _ in wanted} | {end}
    assert [step for step, chunk in zip(last_steps, plan, strict=True) if chunk.validate] == (
        [end] if config.validation else []
    )


@quick
@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_ceil_divide_is_the_exact_quotient_rounded_up(a, b):
    assert ceil_divide(a, b) == math.ceil(Fraction(a, b))


@quick
@given(st.integers(0, 10**5), st.lists(st.integers(1, 3000), max_size=3))
def test_cut_adds_up_with_the_longest_first(steps, lengths):
    lengths = sorted(lengths, reverse=True)
    parts = list(cut(steps, [*lengths, 1]))
    assert sum(parts) == steps
    assert parts == sorted(parts, reverse=True)
    assert set(parts) <= {*lengths, 1}
    for length, following in itertools.pairwise([*lengths, 1]):
        shorter = sum(part for part in parts if part < length)
        assert shorter < length or following == length, "as few as can be"


@quick
@given(st.integers(1, 5000), st.integers(1, 2 * CHUNK_WORK), st.integers(1, 10**6))
def test_the_lengths_fall_to_one(batch_size, parameters, interval):
    lengths = chunk_lengths(batch_size, parameters, interval)
    assert len(lengths) == 3
    assert list(lengths) == sorted(lengths, reverse=True)
    assert lengths[-1] == 1


def test_reports_are_not_moved_by_checkpoints():
    """A checkpoint every so often, or none, and the reports are at the same samples."""
    for other in (0, 7, 64, 1000):
        plan = plan_epoch(1000, TrainConfig(batch_size=8, report_every=300, checkpoint_every=other), 50_890)
        assert [chunk.report for chunk in plan if chunk.report is not None] == [0, 300, 600, 900]


@pytest.mark.parametrize(
    ("samples", "report_every", "checkpoint_every"),
    [(300, 10_000, 0), (300, 10_000, 400), (300, 400, 10_000), (1, 1, 1)],
)
def test_reports_further_apart_than_an_epoch_leave_its_chunks_long(samples, report_every, checkpoint_every):
    config = TrainConfig(report_every=report_every, checkpoint_every=checkpoint_every)
    assert len(plan_epoch(samples, config, 50_890)) <= 2


@pytest.mark.parametrize(("report_every", "checkpoint_every"), [(10_000, 1000), (1000, 10_000)])
def test_what_lies_between_two_checkpoints_is_few_chunks(report_every, checkpoint_every):
    """A stretch of 1000 steps, whose work is less than a chunk may have, is cut in two at most."""
    config = TrainConfig(report_every=report_every, checkpoint_every=checkpoint_every)
    assert CHUNK_WORK > 1000 * 50_890
    assert len(plan_epoch(10_000, config, 50_890)) <= 1 + 2 * 10


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(1, (784, 64, 10)), (32, (784, 64, 10)), (128, (784, 512, 256, 10)), (1024, (784, 2048, 2048, 10))],
)
def test_small_and_large_networks_are_both_well_served(batch_size, sizes):
    """Four of five steps of an epoch of MNIST are in chunks of the longest length, which is long for its work."""
    parameters = count_parameters(sizes)
    config = TrainConfig(batch_size=batch_size)
    interval = config.report_every
    plan = plan_epoch(60000, config, parameters)
    longest = max(chunk.steps for chunk in plan)
    steps = sum(chunk.steps for chunk in plan)
    assert sum(chunk.steps for chunk in plan if chunk.steps == longest) >= 0.8 * steps
    # Half of the work, or half of enough steps, is used at least, unless the reports are closer to one another.
    half = max(CHUNK_WORK / (batch_size * parameters), ENOUGH_STEPS) / 2
    assert longest >= min(half, interval // batch_size - 1)
