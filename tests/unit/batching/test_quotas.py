"""The schedule of shares that differ by source and change over the steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.batching.quotas import Leaf, QuotaSchedule

SHARE = st.sampled_from((0.0, 1.0, 0.3, 7.0, 1e-4))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[Leaf], int]:
    """Streams of one to three kinds and some sources, with shares that add up to 1 at both ends."""
    places = [
        (kind, choice, source)
        for kind in range(draw(st.integers(1, 3)))
        for choice, source in enumerate(sorted(draw(st.lists(st.integers(0, 2), min_size=1))))
    ]
    weights = st.lists(SHARE, min_size=len(places), max_size=len(places)).filter(any)
    start, end = (np.array(draw(weights)) for _ in range(2))
    ends = zip(start / start.sum(), end / end.sum(), strict=True)
    leaves = [Leaf(*place, a, b) for place, (a, b) in zip(places, ends, strict=True)]
    return leaves, draw(st.integers(1, 300))


def earned(leaf: Leaf, changing: int, step: int) -> float:
    """The sum of the leaf's shares at the middles of the first steps."""
    middles = np.minimum((np.arange(step) + 0.5) / changing, 1)
    return float((leaf.start + (leaf.end - leaf.start) * middles).sum())


@settings(deadline=None, max_examples=60)
@given(schedules())
def test_batches_follow_the_shares_and_are_numbered_without_a_gap(
    problem: tuple[list[Leaf], int],
) -> None:
    leaves, changing = problem
    schedule = QuotaSchedule(leaves, changing)
    used = dict.fromkeys([(leaf.kind, leaf.choice) for leaf in leaves], 0)
    depth = 2 + 2 + int(np.ceil(np.log2(len(leaves))))  # kinds, sources, streams
    for step in range(400):
        kind, choice, number = schedule(step)
        assert number == used[kind, choice]
        used[kind, choice] += 1
        if step % 20 == 0:
            for leaf in leaves:
                ahead = used[leaf.kind, leaf.choice] - earned(leaf, changing, step + 1)
                assert abs(ahead) <= depth / 2 + 1e-6
            for kind in range(3):
                of_kind = [leaf for leaf in leaves if leaf.kind == kind]
                count = sum(used[leaf.kind, leaf.choice] for leaf in of_kind)
                share = sum(earned(leaf, changing, step + 1) for leaf in of_kind)
                assert abs(count - share) <= 1 + 1e-6
    assert schedule.batch_counts(400) == {key: count for key, count in used.items() if count}
    wanted = schedule.wanted(400)
    for leaf in leaves:
        share = earned(leaf, changing, 400) / 400
        assert wanted.get((leaf.kind, leaf.choice), 0.0) == pytest.approx(share, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(schedules(), st.lists(st.integers(0, 10**9), min_size=2, max_size=6))
def test_a_step_needs_no_other(problem: tuple[list[Leaf], int], steps: list[int]) -> None:
    """At far steps too: a stream's number is its count of batches before."""
    schedule = QuotaSchedule(*problem)
    found = {step: schedule(step) for step in steps}
    for step in sorted(steps):
        kind, choice, number = QuotaSchedule(*problem)(step)
        assert found[step] == (kind, choice, number)
        assert schedule.batch_counts(step)[kind, choice] == number
        assert schedule.batch_counts(step + 1)[kind, choice] == number + 1
        assert sum(schedule.batch_counts(step).values()) == step


def test_a_stream_whose_share_vanishes_is_drawn_to_the_end_of_its_share() -> None:
    leaves = [Leaf(0, 0, 0, 1.0, 0.0), Leaf(1, 0, 0, 0.0, 1.0)]
    schedule = QuotaSchedule(leaves, 1000)
    kinds = np.array([schedule(step)[0] for step in range(1200)])
    for part, share in ((slice(0, 100), 0.05), (slice(450, 550), 0.5), (slice(900, 1000), 0.95)):
        assert kinds[part].mean() == pytest.approx(share, abs=0.011)
    assert kinds[1000:].all()
