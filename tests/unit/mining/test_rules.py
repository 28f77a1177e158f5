"""Rank window, filters and choice, against definitions written as loops."""

import re
from typing import Any

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.search import NO_PASSAGE
from hybrid_dist.mining.rules import Rules, Window, choose, cut_window, too_close

BLOCK, RANKED, PASSAGES = 40, 30, 60


@pytest.fixture(scope="module")
def ranking() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers and scores [B, K] best first, which are relevant, and each query's own passage."""
    rng = np.random.default_rng(1)
    numbers = np.array([rng.permutation(PASSAGES)[:RANKED] for _ in range(BLOCK)])
    scores = -np.sort(-rng.random((BLOCK, RANKED)).astype(np.float32), axis=1)
    relevant = rng.random((BLOCK, RANKED)) < 0.2
    own = np.where(relevant.any(axis=1), numbers[np.arange(BLOCK), relevant.argmax(axis=1)], 99)
    numbers[::4, 12:], scores[::4, 12:], relevant[::4, 12:] = NO_PASSAGE, -np.inf, False
    return numbers, scores, relevant, own


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 8), (5, 9), (10, 20)])
def test_the_window_counts_ranks_without_relevant_passages(
    ranking: tuple[np.ndarray, ...], first: int, last: int
) -> None:
    numbers, scores, relevant, own = ranking
    window = cut_window(numbers, scores, relevant, own, Rules(first, last, number=1))
    assert window.numbers.shape == (BLOCK, last - first + 1)
    for query in range(BLOCK):
        ranked: list[tuple[int, float]] = []
        passed = 0
        for number, score, known in zip(
            numbers[query], scores[query], relevant[query], strict=True
        ):
            if number == NO_PASSAGE or len(ranked) == last:
                break
            if known:
                passed += number != own[query]
            else:
                ranked.append((number, score))
        expected = ranked[first - 1 :]
        listed = window.numbers[query] != NO_PASSAGE
        found = list(zip(window.numbers[query][listed], window.scores[query][listed], strict=True))
        assert found == expected
        assert np.isneginf(window.scores[query][~listed]).all()
        assert window.relevant[query] == passed


def test_what_lies_behind_the_window_does_not_matter(ranking: tuple[np.ndarray, ...]) -> None:
    """The search returns more than the window needs, by a number that depends on the block."""
    numbers, scores, relevant, own = ranking
    rules = Rules(2, 6, number=1)
    whole = cut_window(numbers, scores, relevant, own, rules)
    most = 6 + int(relevant.sum(axis=1).max())
    part = cut_window(numbers[:, :most], scores[:, :most], relevant[:, :most], own, rules)
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one, other)


def test_filters_compare_with_the_positive() -> None:
    scores = np.array([[0.9, 0.77, 0.75, 0.5], [-0.1, -0.2, -0.215, -0.6]], np.float32)
    positives = np.array([0.8, -0.2], np.float32)
    refused = too_close(scores, positives, Rules(1, 4, relative=0.95, absolute=0.3))
    assert refused["relative"].tolist() == [[True, True, False, False], [True, True, False, False]]
    assert refused["absolute"].tolist() == [[True, True, True, False], [True, True, True, False]]
    assert too_close(scores, positives, Rules(1, 4)) == {}


def window_of(rows: int, width: int, seed: int = 0) -> Window:
    rng = np.random.default_rng(seed)
    numbers = np.array([rng.permutation(10 * width)[:width] for _ in range(rows)])
    scores = -np.sort(-rng.random((rows, width)).astype(np.float32), axis=1)
    return Window(numbers, scores, np.zeros(rows, int))


def test_top_takes_the_best_that_are_kept() -> None:
    window = window_of(20, 12)
    kept = np.random.default_rng(2).random((20, 12)) < 0.4
    chosen = choose(window, kept, np.arange(20), Rules(3, 14, number=3, sample="top"))
    start = 0
    for query, count in enumerate(chosen.counts.tolist()):
        best = np.flatnonzero(kept[query])[:3]
        part = slice(start, start + count)
        assert chosen.numbers[part].tolist() == window.numbers[query][best].tolist()
        assert chosen.scores[part].tolist() == window.scores[query][best].tolist()
        assert chosen.ranks[part].tolist() == (best + 3).tolist()
        start += count
    assert start == len(chosen.numbers)


def test_new_scores_decide_what_is_top() -> None:
    window = Window(np.array([[7, 8, 9]]), np.array([[0.1, 0.3, 0.2]], np.float32), np.zeros(1))
    everything = np.ones((1, 3), bool)
    chosen = choose(window, everything, np.arange(1), Rules(1, 3, number=2, sample="top"))
    assert (chosen.numbers.tolist(), chosen.ranks.tolist()) == ([8, 9], [2, 3])


def test_a_sample_is_a_function_of_seed_row_and_passage() -> None:
    window, kept = window_of(50, 30), np.ones((50, 30), bool)
    rows, rules = np.arange(100, 150), Rules(1, 30, number=5)
    whole = choose(window, kept, rows, rules)
    assert whole.counts.tolist() == [5] * 50
    half = Window(*(array[25:] for array in window))
    part = choose(half, kept[25:], rows[25:], rules)
    assert whole.numbers[125:].tolist() == part.numbers.tolist()
    other = choose(window, kept, rows, Rules(1, 30, number=5, seed=2))
    assert other.numbers.tolist() != whole.numbers.tolist()
    moved = choose(window, kept, rows + 1, rules)
    assert moved.numbers.tolist() != whole.numbers.tolist()


def test_a_sample_is_uniform_over_the_window_and_keeps_to_the_filters() -> None:
    rows, width = 4000, 10
    window = Window(
        np.broadcast_to(np.arange(width), (rows, width)),
        np.broadcast_to(np.linspace(1, 0, width, dtype=np.float32), (rows, width)),
        np.zeros(rows),
    )
    kept = np.ones((rows, width), bool)
    kept[:, 4] = False
    chosen = choose(window, kept, np.arange(rows), Rules(1, width, number=3))
    counts = np.bincount(chosen.numbers, minlength=width)
    assert counts[4] == 0
    expected = 3 * rows / 9
    assert np.abs(np.delete(counts, 4) - expected).max() < 4 * expected**0.5
    by_query = chosen.scores.reshape(rows, 3)
    assert (np.diff(by_query, axis=1) < 0).all(), "best first, and none twice"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"first": 0}, "--from 0: ranks start at 1"),
        ({"first": -3}, "--from -3: ranks start at 1"),
        ({"first": 20, "last": 10}, "--from 20 is above --to 10"),
        ({"number": 0}, "--number 0: give 1 or more"),
        (
            {"first": 3, "last": 5, "number": 4},
            "--number 4: the window --from 3 --to 5 has 3 ranks",
        ),
        ({"relative": 0.0}, "--relative 0.0: is no share"),
        ({"relative": 1.5}, "--relative 1.5: is no share"),
        ({"relative": float("nan")}, "--relative nan: is no share"),
        ({"absolute": -0.1}, "--absolute -0.1: is no margin"),
        ({"absolute": float("inf")}, "--absolute inf: is no margin"),
    ],
)
def test_rules_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Rules(**given)
