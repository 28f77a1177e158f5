"""The translations that a batch is aligned with."""

from typing import Literal

import numpy as np
import pytest

from hybrid_dist.batching import GlobalBatch, Plan
from hybrid_dist.config.schema import Align, Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import Index, TrainingSource
from hybrid_dist.errors import UserError
from tests.support.plans import QUANTILE, chi_square, corpus

MIXED = Mix(monolingual=2, cross_lingual=1, multilingual=1)
SOME = corpus({"aa": [*range(80)], "bb": [*range(20, 90)], "cc": [*range(30, 70), 95], "dd": [99]})
"""Uids in one language, in two and in three."""


def plan_of(index: Index, mix: Mix = MIXED, size: int = 16, **align: object) -> Plan:
    sources = [TrainingSource("corpus", index)]
    settings = Align(weight=1, **align)  # type: ignore[arg-type]
    return Plan(sources, Batching(size=size, mix=mix), 3, align=settings)


@pytest.mark.parametrize("of", ["queries", "passages", "both"])
def test_translations_have_the_same_uid_in_another_language(
    of: Literal["queries", "passages", "both"],
) -> None:
    plan, kinds = plan_of(SOME, of=of), set()
    for step in range(60):
        batch = plan.batch(step)
        parallel = batch.parallel
        assert parallel is not None
        assert (parallel.query_row is None) == (of == "passages")
        assert (parallel.passage_row is None) == (of == "queries")
        in_two = np.isin(batch.uid, SOME.parallel_uids)
        assert np.array_equal(parallel.aligned, in_two), "a share of 1 takes every one"
        kinds.add((batch.kind, bool(in_two.all())))
        sides = ((batch.query_row, parallel.query_row), (batch.passage_row, parallel.passage_row))
        for rows, others in sides:
            if others is not None:
                others, rows = others[in_two], rows[in_two]
                assert np.array_equal(SOME.row_uid[others], batch.uid[in_two])
                assert np.all(SOME.language_of(others) != SOME.language_of(rows))
    assert ("monolingual", False) in kinds and ("cross_lingual", True) in kinds


def test_every_other_language_is_equally_likely_and_passes_draw_anew() -> None:
    index = corpus({lang: [*range(64)] for lang in ("aa", "bb", "cc", "dd")})
    plan = plan_of(index, Mix(monolingual=1), 64, of="both")
    counts, drawn = {"query_row": np.zeros((4, 4)), "passage_row": np.zeros((4, 4))}, []
    for step in range(120):
        batch = plan.batch(step)
        for side, of_side in counts.items():
            others = getattr(batch.parallel, side)
            languages = index.language_of(batch.query_row), index.language_of(others)
            np.add.at(of_side, languages, 1)
        at = np.argsort(batch.uid)
        assert batch.parallel is not None and batch.parallel.query_row is not None
        drawn.append((batch.stream.name, batch.parallel.query_row[at]))
    for of_side in counts.values():
        for language, to in enumerate(of_side):
            others = np.delete(to, language)
            assert to[language] == 0
            assert chi_square(others, np.ones(3)) < QUANTILE[2]
    same = [rows for name, rows in drawn if name == "aa"][:2]
    assert 0.1 < np.mean(same[0] == same[1]) < 0.6, "a third, if drawn anew"


def test_a_share_of_the_rows_is_aligned() -> None:
    index = corpus({lang: [*range(64)] for lang in ("aa", "bb")})
    plan = plan_of(index, Mix(cross_lingual=1), 64, share=0.25)
    aligned = [aligned_of(plan.batch(step)) for step in range(100)]
    assert 0.22 < np.mean(aligned) < 0.28
    assert len({tuple(one) for one in aligned}) > 90


def aligned_of(batch: GlobalBatch) -> np.ndarray:
    assert batch.parallel is not None
    return batch.parallel.aligned


def test_rows_of_batches_do_not_depend_on_alignment() -> None:
    sources = [TrainingSource("corpus", SOME)]
    without = Plan(sources, Batching(size=16, mix=MIXED), 3, align=Align())
    for step in range(20):
        one, other = plan_of(SOME).batch(step), without.batch(step)
        assert other.parallel is None
        assert np.array_equal(one.query_row, other.query_row)
        assert np.array_equal(one.passage_row, other.passage_row)


def test_pairs_without_translations_are_refused() -> None:
    index = corpus({"aa": [*range(20)], "bb": [*range(20, 40)]})
    with pytest.raises(UserError, match=r"align.weight: no uid of data.train is in two languages"):
        plan_of(index, Mix(monolingual=1))
