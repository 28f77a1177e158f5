"""MTEB's figures of subsets, against ir_measures (trec_eval)."""

from dataclasses import replace
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from hybrid_dist.data.reading import Subset
from hybrid_dist.evaluation.ranking import Ranking, exact_ranks
from hybrid_dist.evaluation.subset_scores import DEPTHS, subset_scores, subsets_of
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard
from hybrid_dist.runtime.ranks import Ranks
from tests.support.benchmark_files import own_benchmark
from tests.support.mteb_data import vectors, write_subsets

MEASURES = {
    "ndcg": ir_measures.nDCG,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "hit_rate": ir_measures.Success,
}


def ranked(task: Task) -> tuple[np.ndarray, Ranking]:
    queries, passages = vectors(list(task.query_texts)), vectors(list(task.passage_texts))
    ranks = Ranks()
    ranking = exact_ranks(task, queries, [Shard.of(0, passages, ranks.device)], ranks)
    return queries @ passages.T, ranking


def test_scores_of_subsets_are_trec_eval_s(tmp_path: Path) -> None:
    write_subsets(tmp_path)
    spec = f"mteb:{tmp_path}?subset=de,eng_Latn-deu_Latn"
    task = load_task(spec, ties="trec_eval")
    scores, ranking = ranked(task)
    assert len(task.subsets) == 2
    for subset in task.subsets:
        ours = subset_scores(task, ranking, subset)
        own = [q for q, name in enumerate(task.query_ids) if name.startswith(f"{subset.name}:")]
        pool = task.passage_language == task.languages.index(subset.passage_lang)
        numbers = np.flatnonzero(pool).tolist()
        run = [
            ir_measures.ScoredDoc(str(q), task.passage_ids[p], float(scores[q, p]))
            for q in own
            for p in numbers
        ]
        qrels = [
            ir_measures.Qrel(str(query), task.passage_ids[passage], int(grade))
            for query, passage, grade in zip(
                task.pair_query.tolist(), task.relevant.tolist(), task.grades.tolist(), strict=True
            )
            if query in own
        ]
        share = len(own) / (len(own) + subset.unanswered)
        assert 0.8 < share < 1
        for k in DEPTHS:
            for name, measure in MEASURES.items():
                theirs = ir_measures.calc_aggregate([measure @ k], qrels, run)[measure @ k]
                assert ours[f"{name}_at_{k}"] == pytest.approx(theirs * share, abs=1e-9)
        ap = ir_measures.calc_aggregate([ir_measures.AP], qrels, run)[ir_measures.AP]
        assert ours["map_at_1000"] == pytest.approx(ap * share, abs=1e-9)
        assert ours["map_at_10"] < ours["map_at_100"] < ours["map_at_1000"]
        assert ours["main_score"] == ours["ndcg_at_10"] and ours["accuracy"] == ours["recall_at_1"]


def test_map_is_cut_as_trec_eval_cuts_it() -> None:
    """Over the number of relevant passages, of which there are more than the depth."""
    starts = np.array([0, 3])
    task = Task.from_qrels(
        {"q": "?"}, {p: p for p in "abcd"}, {"q": dict.fromkeys("abc", 1)}, languages="en"
    )
    ranking = Ranking(in_language=np.array([1, 3, 4]), pooled=np.array([1, 3, 4]))
    assert (task.relevant_starts == starts).all()
    (subset,) = subsets_of(task)
    scores = subset_scores(task, ranking, subset)
    assert (subset.name, subset.query_lang) == ("default", "en")
    assert scores["map_at_1"] == pytest.approx(1 / 3)
    assert scores["map_at_3"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores["mrr_at_1"] == 1 and scores["precision_at_3"] == pytest.approx(2 / 3)
    half = replace(subset, unanswered=1)
    assert subset_scores(task, ranking, half)["map_at_1"] == pytest.approx(1 / 6)


def test_language_pairs_are_the_subsets_of_other_tasks(tmp_path: Path) -> None:
    task = load_task(str(own_benchmark(tmp_path)))
    assert subsets_of(task) == (
        Subset("de", "test", "de", "de"),
        Subset("en-de", "test", "de", "en"),
        Subset("de-en", "test", "en", "de"),
        Subset("en", "test", "en", "en"),
    )
