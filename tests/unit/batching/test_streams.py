"""Streams of several sources, of single pairs, and by explicit weights."""

from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.batching import Plan
from hybrid_dist.batching.streams import pair_sizes, pair_uids
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.errors import UserError
from tests.support.plans import QUANTILE, batching, chi_square, corpus

SMALL = TrainingSource("small", corpus({"aa": [*range(40)], "bb": [*range(40)]}))
LARGE = TrainingSource(
    "large", corpus({"bb": [*range(120)], "cc": [*range(120)], "dd": [*range(9)]})
)
UNEQUAL = corpus({"aa": [*range(90)], "bb": [*range(60)], "cc": [*range(30, 60)]})


def names(plan: Plan, steps: int) -> list[str]:
    return [plan.stream_at(step)[0].name for step in range(steps)]


def test_a_source_is_drawn_by_its_size_then_its_language() -> None:
    plan = Plan([SMALL, LARGE], batching(Mix(monolingual=1), 10), 3)
    drawn = names(plan, 4000)
    streams = ["small: aa", "small: bb", "large: bb", "large: cc"]
    assert set(drawn) == set(streams)
    counts = np.array([drawn.count(name) for name in streams])
    assert chi_square(counts, np.array([40, 40, 120, 120])) < QUANTILE[3]
    assert [stream.name for stream in plan.small_streams] == ["large: dd"]


def test_a_batch_takes_rows_of_one_source() -> None:
    plan = Plan([SMALL, LARGE], batching(Mix(monolingual=1, cross_lingual=1), 10), 3)
    for step in range(40):
        batch = plan.batch(step)
        index = plan.sources[batch.stream.source].index
        assert np.array_equal(index.row_uid[batch.query_row], batch.uid)
        assert np.array_equal(index.row_uid[batch.passage_row], batch.uid)
    kinds = {(batch.kind, batch.stream.source) for batch in map(plan.batch, range(40))}
    assert len(kinds) == 4


def test_a_source_in_one_language_gives_the_kinds_it_can() -> None:
    alone = TrainingSource("alone", corpus({"zz": [*range(50)]}))
    plan = Plan([alone, SMALL], batching(Mix(monolingual=1, cross_lingual=1), 10), 1)
    assert {batch.stream.source for batch in map(plan.batch, range(60))} == {0, 1}
    crossed = [batch for batch in map(plan.batch, range(60)) if batch.kind == "cross_lingual"]
    assert {batch.stream.source for batch in crossed} == {1}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pairs_are_drawn_by_the_size_of_their_parallel_set(temperature: float) -> None:
    options = batching(Mix(cross_lingual=1), 8, temperature)
    plan = Plan([TrainingSource("x", UNEQUAL)], replace(options, cross_lingual="pairwise"), 2)
    sizes = {"aa -> bb": 60, "bb -> aa": 60, "aa -> cc": 30, "cc -> aa": 30}
    sizes |= {"bb -> cc": 30, "cc -> bb": 30}
    drawn = names(plan, 4000)
    assert set(drawn) == set(sizes)
    counts = np.array([drawn.count(name) for name in sizes])
    assert chi_square(counts, np.array(list(sizes.values())) ** temperature) < QUANTILE[5]


def test_explicit_weights_draw_languages() -> None:
    weights = {"aa": 3.0, "bb": 0.0}
    options = replace(batching(Mix(monolingual=1), 8), language_weights=weights)
    drawn = names(Plan([TrainingSource("x", UNEQUAL)], options, 2), 4000)
    counts = np.array([drawn.count(name) for name in ("aa", "cc")])
    assert counts.sum() == 4000
    assert chi_square(counts, np.array([3.0, 1.0])) < QUANTILE[1]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ab": 1.0}, r"language_weights: no pair is in 'ab' \(data.train has aa, bb, cc\)"),
        (dict.fromkeys(("aa", "bb", "cc"), 0.0), r"language_weights leaves no language"),
    ],
)
def test_wrong_weights_are_refused(weights: dict[str, float], message: str) -> None:
    options = Batching(size=8, mix=Mix(monolingual=1), language_weights=weights)
    with pytest.raises(UserError, match=message):
        Plan([TrainingSource("x", UNEQUAL)], options, 1)


def test_parallel_sets_are_those_of_loops() -> None:
    held = {"aa": {*range(90)}, "bb": {*range(60)}, "cc": {*range(30, 60)}}
    sizes = pair_sizes(UNEQUAL)
    for a, one in enumerate(held.values()):
        for b, other in enumerate(held.values()):
            assert sizes[a, b] == len(one & other)
            uids = pair_uids(UNEQUAL, a, b)
            assert uids.tolist() == sorted(one & other)
            rows = UNEQUAL.row_of(uids, a)
            assert np.array_equal(UNEQUAL.row_uid[rows], uids)
            assert np.all(UNEQUAL.row_language[rows] == a)
            assert np.all(UNEQUAL.language_of(rows) == a)
