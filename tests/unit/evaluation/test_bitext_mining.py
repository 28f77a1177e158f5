"""Bitext mining against a plain implementation of the same rules, with loops."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import bitext
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.bitext_mining import (
    Margin,
    Mined,
    best_threshold,
    candidates,
)
from hybrid_dist.runtime.ranks import Ranks
from tests.support import evaluation_sets
from tests.support.evaluation_problems import unit_vectors
from tests.support.small_models import write_model


def noisy_corpora(seed: int, parallel: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose first rows are near each other, with others around them."""
    rng = np.random.default_rng(seed)
    one, other = unit_vectors(rng, 90), unit_vectors(rng, 70)
    noise = 0.9 * rng.standard_normal((parallel, one.shape[1])) / np.sqrt(one.shape[1])
    near = one[:parallel] + noise
    other[:parallel] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return one, other.astype(np.float32)


def plainly_mined(
    one: np.ndarray, other: np.ndarray, margin: Margin, neighbours: int
) -> list[tuple[float, int, int]]:
    """Score, row and other row of each candidate, best first."""
    scores = one.astype(float) @ other.astype(float).T

    def nearest(table: np.ndarray) -> list[list[int]]:
        return [sorted(range(len(row)), key=lambda n: -row[n])[:neighbours] for row in table]

    ahead, back = nearest(scores), nearest(scores.T)
    mean = [sum(scores[i, j] for j in near) / len(near) for i, near in enumerate(ahead)]
    other_mean = [sum(scores[i, j] for i in near) / len(near) for j, near in enumerate(back)]

    def score(i: int, j: int) -> float:
        usual = (mean[i] + other_mean[j]) / 2
        value = {"ratio": scores[i, j] / usual, "distance": scores[i, j] - usual}
        return float(value.get(margin, scores[i, j]))

    proposed = [max((score(i, j), i, j) for j in near) for i, near in enumerate(ahead)]
    proposed += [max((score(i, j), i, j) for i in near) for j, near in enumerate(back)]
    kept: list[tuple[float, int, int]] = []
    for value, i, j in sorted(proposed, key=lambda found: -found[0]):
        if all(i != row and j != other_row for _, row, other_row in kept):
            kept.append((value, i, j))
    return kept


def plain_f1(kept: list[tuple[float, int, int]], gold: set[tuple[int, int]], at: float) -> float:
    found = {(i, j) for value, i, j in kept if value >= at}
    correct = len(found & gold)
    if not correct:
        return 0.0
    precision, recall = correct / len(found), correct / len(gold)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("margin", "neighbours"), [("ratio", 4), ("distance", 4), ("distance", 1000), ("cosine", 4)]
)
def test_candidates_threshold_and_f1_are_those_of_a_plain_implementation(
    margin: Margin, neighbours: int
) -> None:
    gold = {(n, n) for n in range(45)}  # five of them are not there
    tuned_on, applied_to = noisy_corpora(1), noisy_corpora(2)
    plain, found = [], []
    for corpora in (tuned_on, applied_to):
        plain.append(plainly_mined(*corpora, margin, neighbours))
        found.append(candidates(*corpora, Ranks(), margin, neighbours))
        rows = [(i, j) for _, i, j in plain[-1]]
        assert found[-1].pairs.tolist() == list(map(list, rows))
        assert found[-1].scores == pytest.approx([value for value, _, _ in plain[-1]], abs=1e-6)
    correct = np.array([tuple(pair) in gold for pair in found[0].pairs.tolist()])
    threshold = best_threshold(found[0].scores, correct, len(gold))
    values = [value for value, _, _ in plain[0]]
    cuts = [(a + b) / 2 for a, b in pairwise(values)]
    best = max(cuts, key=lambda cut: plain_f1(plain[0], gold, cut))
    assert threshold == pytest.approx(best, abs=1e-6)
    kept = found[1].scores >= threshold
    pairs = {tuple(pair) for pair in found[1].pairs[kept].tolist()}
    mined = Mined(threshold, len(pairs), len(pairs & gold), len(gold))
    assert mined.f1 == pytest.approx(plain_f1(plain[1], gold, best))
    assert 0.5 < mined.f1 < 1 and mined.precision != mined.recall


def test_equal_scores_are_on_one_side_of_a_threshold() -> None:
    """Cut after the second of four equal scores, F1 would be 1."""
    scores, correct = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0, 0], bool)
    assert best_threshold(scores, correct, 2) == pytest.approx(0.7)
    assert best_threshold(scores[:1], correct[:1], 2) == 0.9
    assert best_threshold(scores[:0], correct[:0], 2) == 0.0


@pytest.fixture
def words(toy: Path, tmp_path: Path) -> list[str]:
    evaluation_sets.bucc(tmp_path / "bucc2018")
    model = write_model(tmp_path / "model", toy / "model", 1)
    return [str(tmp_path / "bucc2018"), "--model", str(model), "--out", str(tmp_path / "out")]


def mined_by_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    bitext.main(words)
    assert capsys.readouterr().out.startswith("de-en: F1 ")
    found: dict[str, Any] = json.loads(Path(words[4], "bitext.json").read_text("utf-8"))
    return found


def test_the_command_tunes_on_one_split_and_applies_to_another(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = mined_by_command(words, capsys)
    figures = found["pairs"]["de"]
    assert figures["gold"] == 2 and figures["found"] >= figures["correct"]
    assert figures["f1"] == pytest.approx(2 * figures["correct"] / (figures["found"] + 2))
    assert found["settings"]["tuned on"] == "sample" and found["settings"]["margin"] == "ratio"
    same = mined_by_command([*words, "--tune", "training", "--margin", "cosine"], capsys)
    assert same["pairs"]["de"]["f1"] == same["pairs"]["de"]["tuned_f1"]


def test_a_repeated_sentence_is_no_candidate(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("sample", "training"):
        for side, count in (("de", 4), ("en", 3)):
            file = tmp_path / f"bucc2018/de-en/de-en.{split}.{side}"
            file.write_text("".join(f"{side}-{n:09d}\tsame\n" for n in range(1, count + 1)))
    figures = mined_by_command(words, capsys)["pairs"]["de"]
    assert (figures["found"], figures["f1"], figures["gold"]) == (0, 0.0, 2)


def test_splits_and_numbers_that_are_not_there_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        bitext.main([*words, "--tune", "dev"])
    with pytest.raises(UserError, match="--neighbours: 0 is too few; give 1 or more"):
        bitext.Options(path=words[0], model="m", out=Path("o"), neighbours=0)
