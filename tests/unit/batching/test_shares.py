"""Plans over sources with weights and mixes of their own, and with a mix that changes."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hybrid_dist.batching import KINDS, Plan, Stream, shard_batch
from hybrid_dist.config.schema import Align, Batching
from hybrid_dist.config.sources import Mix, MixEnd
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.errors import UserError
from tests.support.plans import batching, corpus

ALONE = TrainingSource("alone", corpus({"aa": [*range(50)]}))
SMALL = TrainingSource("small", corpus({"aa": [*range(40)], "bb": [*range(40)]}))
LARGE = TrainingSource("large", corpus({"bb": [*range(120)], "cc": [*range(120)]}))
HALVES = batching(Mix(monolingual=1, cross_lingual=1), 10)
ENDING = replace(HALVES, mix=Mix(monolingual=1), mix_end=MixEnd(cross_lingual=3, multilingual=1))


def counts(plan: Plan, steps: int) -> Counter[tuple[int, str]]:
    return Counter((s.source, s.kind) for s in (plan.stream_at(step)[0] for step in range(steps)))


def test_a_weight_is_a_share_of_the_batches_whatever_the_size() -> None:
    sources = [replace(SMALL, weight=3.0), replace(LARGE, weight=1.0)]
    drawn = counts(Plan(sources, HALVES, 3), 800)
    for kind in ("monolingual", "cross_lingual"):
        assert drawn[0, kind] == pytest.approx(300, abs=2)
        assert drawn[1, kind] == pytest.approx(100, abs=2)


def test_without_weights_sources_with_a_mix_are_drawn_by_their_pairs() -> None:
    sources = [replace(SMALL, mix=Mix(multilingual=1)), LARGE]
    drawn = counts(Plan(sources, HALVES, 3), 800)
    assert drawn[0, "multilingual"] == pytest.approx(200, abs=2)  # 80 of 320 pairs
    assert drawn[1, "monolingual"] == pytest.approx(300, abs=2)
    assert drawn[1, "cross_lingual"] == pytest.approx(300, abs=2)
    assert len(drawn) == 3


def test_a_source_of_weight_zero_is_left_out() -> None:
    drawn = counts(Plan([replace(SMALL, weight=0.0), replace(LARGE, weight=1.0)], HALVES, 3), 50)
    assert {source for source, _ in drawn} == {1}
    nothing = TrainingSource("tiny", corpus({"aa": [1, 2]}), weight=0.0)
    assert not Plan([nothing, replace(LARGE, weight=1.0)], HALVES, 3).small_streams


def test_translations_of_a_source_of_weight_zero_are_none() -> None:
    sources = [replace(SMALL, weight=0.0), replace(ALONE, weight=1.0)]
    monolingual = batching(Mix(monolingual=1), 10)
    with pytest.raises(UserError, match=r"align.weight: no uid of data.train is in two languages"):
        Plan(sources, monolingual, 3, align=Align(weight=1))


def test_a_source_takes_those_kinds_of_the_common_mix_that_it_has() -> None:
    sources = [replace(ALONE, weight=1.0), replace(SMALL, weight=1.0)]
    drawn = counts(Plan(sources, HALVES, 1), 400)
    assert drawn == {(0, "monolingual"): 200, (1, "monolingual"): 100, (1, "cross_lingual"): 100}


def test_languages_within_a_source_are_drawn_by_alpha_and_weights() -> None:
    options = replace(HALVES, mix=Mix(monolingual=1), language_weights={"bb": 3.0})
    plan = Plan([replace(SMALL, weight=1.0)], options, 1)
    drawn = Counter(plan.stream_at(step)[0].name for step in range(400))
    assert drawn == {"aa": 100, "bb": 300}


def test_the_mix_changes_linearly() -> None:
    plan = Plan([SMALL, LARGE], ENDING, 1, steps=1000)
    kinds = np.array([KINDS.index(plan.stream_at(step)[0].kind) for step in range(1300)])
    for first in range(0, 1300, 100):
        middle = min((first + 50) / 1000, 1)
        expected = np.array([1 - middle, 0.75 * middle, 0.25 * middle])
        given = np.bincount(kinds[first : first + 100], minlength=3) / 100
        assert np.abs(given - expected).max() <= 0.0201, first
    sizes = plan.batch_counts(1000)
    large = sum(n for stream, n in sizes.items() if stream.source == 1)
    assert large == pytest.approx(750, abs=4)  # by size, as with a mix that stays


def test_passes_stay_whole_while_the_mix_changes() -> None:
    plan = Plan([SMALL], ENDING, 1, steps=300)
    seen: dict[Stream, list[int]] = {}
    for step in range(300):
        batch = plan.batch(step)
        seen.setdefault(batch.stream, []).extend(batch.uid.tolist())
    for uids in seen.values():
        for start in range(0, len(uids) - 40, 40):
            assert len(set(uids[start : start + 40])) == 40


def test_any_step_is_the_same_in_a_new_process_and_on_any_number_of_ranks() -> None:
    sources = [replace(SMALL, weight=2.0), replace(LARGE, weight=1.0, mix=Mix(multilingual=1))]
    walked = Plan(sources, ENDING, 5, steps=100)
    batches = [walked.batch(step) for step in range(120)]
    for step in (0, 37, 99, 119):
        resumed = Plan(sources, ENDING, 5, steps=100).batch(step)
        assert resumed.stream == batches[step].stream
        assert np.array_equal(resumed.query_row, batches[step].query_row)
        for world in (1, 3, 10):
            rows = [shard_batch(resumed.lengths, rank, world, 4).rows for rank in range(world)]
            assert sorted(np.concatenate(rows).tolist()) == list(range(10))
    counted = Counter(batch.stream for batch in batches)
    assert Plan(sources, ENDING, 5, steps=100).batch_counts(120) == counted


def test_wanted_shares_are_those_of_the_settings() -> None:
    for plan in (Plan([SMALL, LARGE], HALVES, 1), Plan([SMALL, LARGE], ENDING, 1, steps=100)):
        wanted = plan.wanted_shares(200)
        assert sum(wanted.values()) == pytest.approx(1)
        mono = sum(share for stream, share in wanted.items() if stream.kind == "monolingual")
        assert mono == pytest.approx(0.5 if plan.streams["multilingual"] == [] else 0.25)


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        (
            replace(ALONE, mix=Mix(cross_lingual=1)),
            HALVES,
            "data.train.0.mix.cross_lingual: alone has one language (aa); set "
            "data.train.0.mix.cross_lingual to 0",
        ),
        (
            replace(SMALL, mix=Mix(multilingual=1)),
            replace(HALVES, size=50),
            "batching.size: 50 is more than any multilingual stream has (small: parallel uids: "
            "40); choose 40 or less, or set data.train.0.mix.multilingual to 0",
        ),
        (
            replace(ALONE, weight=1.0),
            replace(HALVES, mix=Mix(multilingual=1)),
            "data.train: alone fills no batch of 10 of any kind of batching.mix; give it a `mix`",
        ),
        (
            replace(ALONE, weight=1.0),
            replace(HALVES, mix_end=MixEnd(cross_lingual=1)),
            "data.train: alone fills no batch of 10 of any kind of batching.mix_end",
        ),
    ],
)
def test_mixes_that_a_source_cannot_give_are_rejected(
    first: TrainingSource, options: Batching, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Plan([first, LARGE], options, 1, steps=10)


def test_a_kind_at_the_end_that_no_source_has_is_rejected() -> None:
    options = replace(HALVES, mix=Mix(monolingual=1), mix_end=MixEnd(cross_lingual=1))
    with pytest.raises(UserError, match=r"^batching\.mix_end\.cross_lingual: data.train has one"):
        Plan([ALONE], options, 1, steps=10)


def test_a_mix_that_ends_needs_the_steps_of_a_run() -> None:
    with pytest.raises(UserError, match=r"batching\.mix_end: needs the number of steps of a run"):
        Plan([SMALL], ENDING, 1)
