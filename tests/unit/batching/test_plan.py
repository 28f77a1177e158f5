"""The plan: every step's global batch, over random corpora and all mixes."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.batching import GlobalBatch, Plan, Stream, max_batch_size
from hybrid_dist.batching.randomness import key, permuted, uniform
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import Index, TrainingSource
from hybrid_dist.errors import UserError
from tests.support.plans import QUANTILE, batching, chi_square, corpus

LANGUAGES = ("aa", "bb", "cc", "dd")


def plan_of(index: Index, options: Batching, seed: int) -> Plan:
    return Plan([TrainingSource("corpus", index)], options, seed)


FULL = corpus({lang: list(range(60)) for lang in LANGUAGES})
MIXED = Mix(monolingual=2, cross_lingual=1, multilingual=1)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Index, Batching, int]:
    """Languages of unequal sizes that share some uids; a mix; a batch size that fits."""
    uids = st.sets(st.integers(0, 40), min_size=14, max_size=41)
    langs = LANGUAGES[: draw(st.integers(2, 4))]
    present = {lang: [*range(6), *(n + 6 for n in draw(uids))] for lang in langs}
    weights = draw(st.tuples(*[st.sampled_from((0.0, 1.0, 0.3, 7.0))] * 3).filter(any))
    mix = Mix(monolingual=weights[0], cross_lingual=weights[1], multilingual=weights[2])
    texts = st.sampled_from((3, 20, 10**9))
    index = corpus(present, draw(texts), draw(texts))
    options = batching(mix, 2, draw(st.sampled_from((0.0, 0.5, 1.0))))
    options = replace(options, cross_lingual=draw(st.sampled_from(("diverse", "pairwise"))))
    size = draw(st.integers(2, max_batch_size([TrainingSource("corpus", index)], options)))
    return index, replace(options, size=size), draw(st.integers(0, 9))


def same(a: GlobalBatch, b: GlobalBatch) -> bool:
    return (a.step, a.stream) == (b.step, b.stream) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("uid", "query_row", "passage_row", "clusters", "lengths")
    )


@settings(deadline=None, max_examples=25)
@given(problems())
def test_a_batch_is_whole_and_of_its_kind(problem: tuple[Index, Batching, int]) -> None:
    index, options, seed = problem
    plan = plan_of(index, options, seed)
    for step in range(25):
        batch = plan.batch(step)
        assert batch.step == step
        assert getattr(options.mix, batch.kind) > 0
        assert len(batch) == len(set(batch.uid.tolist())) == options.size
        assert np.array_equal(index.row_uid[batch.query_row], batch.uid)
        assert np.array_equal(index.row_uid[batch.passage_row], batch.uid)
        assert np.array_equal(batch.clusters[:, 0], index.uid_passage_cluster[batch.uid])
        assert np.array_equal(batch.clusters[:, 1], index.uid_query_cluster[batch.uid])
        query_lang = index.row_language[batch.query_row]
        passage_lang = index.row_language[batch.passage_row]
        if batch.kind == "monolingual":
            assert {index.languages[i] for i in {*query_lang, *passage_lang}} == {batch.stream.name}
            assert np.array_equal(batch.query_row, batch.passage_row)
        if batch.kind == "cross_lingual":
            assert np.all(query_lang != passage_lang)
            if options.cross_lingual == "pairwise":
                assert (len(set(query_lang)), len(set(passage_lang))) == (1, 1)
                names = (index.languages[query_lang[0]], index.languages[passage_lang[0]])
                assert batch.stream.name == " -> ".join(names)


@settings(deadline=None, max_examples=20)
@given(problems(), st.permutations(range(12)))
def test_a_batch_depends_on_its_step_alone(
    problem: tuple[Index, Batching, int], order: list[int]
) -> None:
    plan, expected = plan_of(*problem), {}
    for step in order:
        expected[step] = plan.batch(step)
    resumed = plan_of(*problem)
    for step in range(order[0], 12):
        assert same(plan.batch(step), expected[step])
        assert same(resumed.batch(step), expected[step])


def test_a_late_step_is_the_same_computed_first_or_after_all_others() -> None:
    options = batching(MIXED, 16)
    walked = plan_of(FULL, options, 1)
    expected = [walked.batch(step) for step in range(0, 40_001, 1000)][-1]
    assert same(plan_of(FULL, options, 1).batch(40_000), expected)


@settings(deadline=None, max_examples=20)
@given(problems())
def test_a_stream_shows_no_row_twice_in_a_pass(problem: tuple[Index, Batching, int]) -> None:
    """A pass takes all rows but a tail smaller than a batch; which ones, changes by pass."""
    index, options, _ = problem
    plan = plan_of(*problem)
    held = {
        language: set(index.row_uid[first:last].tolist())
        for language, first, last in zip(
            index.languages, index.language_starts[:-1], index.language_starts[1:], strict=True
        )
    }
    streams: dict[Stream, list[int]] = {}
    for step in range(60):
        batch = plan.batch(step)
        streams.setdefault(batch.stream, []).extend(batch.uid.tolist())
    for stream, seen in streams.items():
        names = [index.languages[i] for i in stream.languages]
        if names:
            uids = set.intersection(*(held[name] for name in names))
        else:
            uids = {u for a, b in combinations(held.values(), 2) for u in a & b}
        assert stream.num_uids == len(uids)
        assert set(seen) <= uids
        per_pass = len(uids) // options.size * options.size
        for start in range(0, len(seen), per_pass):
            part = seen[start : start + per_pass]
            assert len(set(part)) == len(part)


def test_passes_differ_in_order_and_in_the_rows_left_over() -> None:
    plan = plan_of(FULL, batching(Mix(cross_lingual=1), 16), 3)  # 3 batches and 12 rows a pass
    passes = [
        np.concatenate([plan.batch(3 * n + step).uid for step in range(3)]) for n in range(20)
    ]
    for one, other in combinations(passes, 2):
        assert set(one.tolist()) != set(other.tolist())
        assert not np.array_equal(one, other)
    assert set(np.concatenate(passes).tolist()) == set(range(60))


@pytest.mark.parametrize("kind", ["monolingual", "cross_lingual", "multilingual"])
def test_seeds_differ(kind: str) -> None:
    options = batching(Mix(**{kind: 1.0}), 16)
    one, other = (plan_of(FULL, options, seed) for seed in (1, 2))
    assert not any(same(one.batch(step), other.batch(step)) for step in range(20))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_languages_are_drawn_by_size_to_the_power_of_the_temperature(temperature: float) -> None:
    sizes = np.array([400, 200, 100, 50])
    index = corpus({lang: list(range(n)) for lang, n in zip(LANGUAGES, sizes, strict=True)})
    plan = plan_of(index, batching(Mix(monolingual=1), 8, temperature), 7)
    drawn = [plan.stream_at(step)[0].name for step in range(4000)]
    counts = np.array([drawn.count(lang) for lang in LANGUAGES])
    assert chi_square(counts, sizes**temperature) < QUANTILE[3]
    others = {0.0, 0.5, 1.0} - {temperature}
    assert min(chi_square(counts, sizes**other) for other in others) > 100


@pytest.mark.parametrize(("kind", "pairs"), [("cross_lingual", 12), ("multilingual", 16)])
def test_language_pairs_are_drawn_equally(kind: str, pairs: int) -> None:
    plan = plan_of(FULL, batching(Mix(**{kind: 1.0}), 60), 5)
    counts = np.zeros((4, 4), int)
    for step in range(100):
        batch = plan.batch(step)
        languages = (FULL.row_language[rows] for rows in (batch.query_row, batch.passage_row))
        np.add.at(counts, tuple(languages), 1)
    drawn = counts if kind == "multilingual" else counts[~np.eye(4, dtype=bool)]
    assert np.count_nonzero(counts) == pairs
    assert chi_square(drawn.ravel(), np.ones(pairs)) < QUANTILE[pairs - 1]


def test_a_uids_languages_change_from_pass_to_pass() -> None:
    plan = plan_of(FULL, batching(Mix(multilingual=1), 60), 5)
    chosen = [
        plan.batch(step).query_row[np.argsort(plan.batch(step).uid)].tolist() for step in range(5)
    ]
    for one, other in combinations(chosen, 2):
        equal = np.mean(np.array(one) == np.array(other))
        assert 0.05 < equal < 0.55  # a quarter, if drawn anew


def test_only_uids_of_two_languages_are_paired_across_languages() -> None:
    index = corpus({"aa": [*range(20)], "bb": [*range(10, 40)], "cc": [*range(15, 20), 50]})
    plan = plan_of(index, batching(Mix(cross_lingual=1, multilingual=1), 10), 1)
    seen = {index.row_uid[row] for step in range(30) for row in plan.batch(step).query_row}
    assert seen == set(range(10, 20))


@settings(deadline=None, max_examples=15)
@given(problems())
def test_false_negatives_are_ordered_pairs_of_rows_that_share_a_text(
    problem: tuple[Index, Batching, int],
) -> None:
    index, plan = problem[0], plan_of(*problem)
    for step in range(3):
        batch = plan.batch(step)
        count = 0
        for a in batch.uid:
            for b in batch.uid:
                shared = index.uid_passage_cluster[a] == index.uid_passage_cluster[b]
                count += bool(
                    a != b and (shared or index.uid_query_cluster[a] == index.uid_query_cluster[b])
                )
        assert batch.false_negatives() == count


@pytest.mark.parametrize(
    ("present", "mix", "size", "message"),
    [
        ({"aa": 9}, Mix(cross_lingual=1), 4, r"cross_lingual: data.train has one language \(aa\)"),
        ({"aa": 9}, Mix(multilingual=1), 4, r"mix.multilingual: data.train has one language"),
        ({"aa": 9, "bb": 3}, Mix(cross_lingual=1), 4, r"choose 3 or less"),
        ({"aa": 9, "bb": 3}, Mix(monolingual=1), 10, r"10 is more than .* \(aa: 9\); choose 9"),
        ({"aa": 9, "bb": 9}, Mix(monolingual=1, multilingual=1), 10, r"batching.size: 10 is more"),
    ],
)
def test_mixes_that_the_pairs_cannot_give_are_refused(
    present: dict[str, int], mix: Mix, size: int, message: str
) -> None:
    index = corpus({lang: list(range(n)) for lang, n in present.items()})
    with pytest.raises(UserError, match=message):
        plan_of(index, batching(mix, size), 1)


@pytest.mark.parametrize("mix", [Mix(monolingual=1), Mix(monolingual=1, multilingual=1)])
def test_small_languages_give_no_monolingual_batch_and_are_named(mix: Mix) -> None:
    index = corpus({"aa": list(range(30)), "bb": list(range(12)), "cc": list(range(11))})
    plan = plan_of(index, batching(mix, 12), 1)
    drawn = [plan.stream_at(step)[0] for step in range(60)]
    assert {stream.name for stream in drawn if stream.kind == "monolingual"} == {"aa", "bb"}
    assert [stream.too_small_message(12) for stream in plan.small_streams] == [
        "cc: 11 pairs give no monolingual batch of 12 (batching.size 11 or less would admit it)"
    ]


def test_the_largest_size_is_the_largest_that_every_language_and_kind_can_give() -> None:
    index = corpus({"aa": list(range(30)), "bb": list(range(20, 45)), "cc": list(range(28, 60))})
    for mix, size in ((Mix(monolingual=1), 25), (Mix(cross_lingual=1), 25), (MIXED, 25)):
        assert max_batch_size([TrainingSource("corpus", index)], batching(mix, 2)) == size, mix
    disjoint = corpus({"aa": list(range(10)), "bb": list(range(8, 30))})
    assert (
        max_batch_size([TrainingSource("corpus", disjoint)], batching(Mix(multilingual=1), 2)) == 2
    )
    assert plan_of(disjoint, batching(Mix(multilingual=1), 2), 1).batch(0).kind == "multilingual"


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 400) | st.integers(4090, 9000))
def test_a_permutation_is_one(number: int, n: int) -> None:
    everyone = permuted(number, n, np.arange(n))
    assert sorted(everyone.tolist()) == list(range(n))
    some = np.arange(n)[:: max(1, n // 7)]
    assert np.array_equal(permuted(number, n, some), everyone[some])


@pytest.mark.parametrize("n", [5, 5000])  # one sorted, one by the Feistel network
def test_permutations_favour_no_place(n: int) -> None:
    """Where each of a few positions goes over many keys, in bins, is spread evenly."""
    bins = np.zeros((4, 5))
    for number in range(3000):
        places = permuted(key(number), n, np.array([0, 1, n // 2, n - 1]))
        bins[np.arange(4), places * 5 // n] += 1
    # 4 degrees of freedom each; the 99.9% quantile is 18.47
    assert max(chi_square(row, np.ones(5)) for row in bins) < 18.47


def test_the_random_sequence_is_the_one_that_older_runs_had() -> None:
    """Another sequence would give a resumed run other batches than it began with."""
    assert key(1, "monolingual/en", 0) == 9772198581496487878
    assert permuted(key(1, "a"), 12, np.arange(12)).tolist() == [
        7,
        8,
        6,
        10,
        11,
        1,
        0,
        2,
        5,
        4,
        9,
        3,
    ]
    assert permuted(key(1, "a"), 50_000_000, np.arange(3)).tolist() == [
        26363493,
        16908218,
        41950138,
    ]
    assert uniform(5, np.arange(3)).tolist() == pytest.approx(
        [0.386768045983934, 0.7523070158382239, 0.2327091656774618], abs=1e-15
    )
    batch = plan_of(FULL, batching(MIXED, 6), 1).batch(5)
    assert batch.kind == "cross_lingual"
    assert batch.query_row.tolist() == [71, 35, 30, 108, 88, 140]
    assert batch.passage_row.tolist() == [131, 95, 210, 228, 208, 20]


@settings(deadline=None, max_examples=15)
@given(problems(), st.integers(0, 40))
def test_batch_counts_are_those_of_the_first_steps(
    problem: tuple[Index, Batching, int], steps: int
) -> None:
    plan = plan_of(*problem)
    counted = Counter(plan.stream_at(step)[0] for step in range(steps))
    assert plan_of(*problem).batch_counts(steps) == counted
