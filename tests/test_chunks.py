"""Any epoch is cut whole, in order, into few lengths, at the reports, within memory."""

import inspect
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_xp.chunks import (
    CHUNK_WORK,
    ENOUGH_STEPS,
    Chunk,
    chunk_lengths,
    cut,
    hit,
    plan_epoch,
)
from mlp_xp.config import TrainConfig
from mlp_xp.network import count_parameters

quick = settings(deadline=None, derandomize=True, database=None, max_examples=300)


@st.composite
def epochs(draw):
    """(samples, batch_size, parameters, intervals): small, odd, and with networks too large for any chunk."""
    samples = draw(st.integers(1, 3000))
    batch_size = draw(st.one_of(st.integers(1, min(samples, 9)), st.integers(1, samples)))
    parameters = draw(st.one_of(st.integers(1, 10**6), st.integers(1, 2 * CHUNK_WORK)))
    intervals = draw(st.lists(st.integers(1, 4000), min_size=1, max_size=3))
    return samples, batch_size, parameters, intervals


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
    samples, batch_size, _, _ = epoch
    steps = steps_of(plan_epoch(*epoch))
    assert [sample for step in steps for sample in step] == list(range(samples))
    assert all(len(step) == batch_size for step in steps[:-1])
    assert len(steps[-1]) == (samples % batch_size or batch_size)


@quick
@given(epochs())
def test_a_plan_has_few_shapes(epoch):
    """At most three for full batches and one for the rest: each is a compilation on a backend that compiles."""
    _, batch_size, _, _ = epoch
    plan = plan_epoch(*epoch)
    assert len({chunk.steps for chunk in plan if chunk.batch_size == batch_size}) <= 3
    assert all(chunk.steps >= 1 for chunk in plan)
    assert [chunk.steps for chunk in plan if chunk.batch_size != batch_size] in ([], [1])


@quick
@given(epochs())
def test_a_chunk_is_no_longer_than_its_work_allows(epoch):
    _, _, parameters, _ = epoch
    for chunk in plan_epoch(*epoch):
        assert chunk.steps * chunk.batch_size * parameters <= CHUNK_WORK or chunk.steps <= ENOUGH_STEPS


@quick
@given(epochs())
def test_every_report_ends_a_chunk(epoch):
    samples, _, _, intervals = epoch
    last = {s for chunk in plan_epoch(*epoch) for s in range(chunk.stop - chunk.batch_size, chunk.stop)}
    for interval in intervals:
        assert last.issuperset(range(0, samples, interval))


@quick
@given(epochs())
def test_hits_are_the_first_multiple_in_each_step_that_has_one(epoch):
    plan = plan_epoch(*epoch)
    for interval in epoch[3]:
        expected = [next((s for s in step if s % interval == 0), None) for step in steps_of(plan)]
        hits = [hit(chunk, interval) for chunk in plan]
        assert [sample for sample in hits if sample is not None] == [s for s in expected if s is not None]


@quick
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 500), st.integers(1, 500))
def test_hit_is_what_counting_finds(start, steps, batch_size, interval):
    chunk = Chunk(start, steps, batch_size)
    last = range(chunk.stop - batch_size, chunk.stop)
    assert hit(chunk, interval) == next((sample for sample in last if sample % interval == 0), None)


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


def test_reports_are_not_moved_by_other_intervals():
    """A checkpoint every so often, or none, and the reports are at the same samples."""
    for other in (7, 64, 1000):
        plan = plan_epoch(1000, 8, 50_890, [300, other])
        assert [hit(chunk, 300) for chunk in plan if hit(chunk, 300) is not None] == [0, 300, 600, 900]


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(1, (784, 64, 10)), (32, (784, 64, 10)), (128, (784, 512, 256, 10)), (1024, (784, 2048, 2048, 10))],
)
def test_small_and_large_networks_are_both_well_served(batch_size, sizes):
    """Four of five steps of an epoch of MNIST are in chunks of the longest length, which is long for its work."""
    parameters = count_parameters(sizes)
    interval = inspect.signature(TrainConfig).parameters["report_every"].default
    plan = plan_epoch(60000, batch_size, parameters, [interval])
    longest = max(chunk.steps for chunk in plan)
    steps = sum(chunk.steps for chunk in plan)
    assert sum(chunk.steps for chunk in plan if chunk.steps == longest) >= 0.8 * steps
    # Half of the work, or half of enough steps, is used at least, unless the reports are closer to one another.
    half = max(CHUNK_WORK / (batch_size * parameters), ENOUGH_STEPS) / 2
    assert longest >= min(half, interval // batch_size - 1)
