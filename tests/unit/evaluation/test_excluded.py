"""Passages that are not searched for the query of the same id."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.embedded_task import EmbeddedTask
from hybrid_dist.evaluation.evaluator import Scored, ScoringOptions, score_run, score_vectors
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.evaluation.ranking import Ranking
from hybrid_dist.evaluation.search import NO_PASSAGE
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.trec import read_run, write_run
from hybrid_dist.runtime.ranks import Ranks
from tests.support.mteb_data import ByText, vectors, write_subsets


def silent(message: str) -> None:
    """Logs nothing."""


def scored(task: Task, depth: int = 10, options: ScoringOptions | None = None) -> Scored:
    ranks = Ranks()
    return score_vectors(task, EmbeddedTask(task, ByText(), ranks), ranks, silent, depth, options)


@pytest.fixture(params=["number", "trec_eval"])
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    write_subsets(tmp_path)
    return load_task(f"mteb:{tmp_path}?subset=all&ignore_identical_ids=yes", ties=request.param)


def test_the_passage_of_a_query_s_id_is_not_found(task: Task) -> None:
    assert task.excluded is not None
    for query, gone in zip(task.query_ids, task.excluded.tolist(), strict=True):
        subset, _, name = query.partition(":")
        lang = "en" if subset.startswith("eng") else subset[:2]
        assert task.passage_ids[gone] == name
        assert task.languages[task.passage_language[gone]] == lang
    assert np.isin(task.excluded, task.relevant).any()
    check(task)


def test_ranks_in_other_languages_stay(task: Task) -> None:
    """And those of queries that nothing is excluded for."""
    random = np.random.default_rng(1)
    excluded = random.integers(-1, len(task.passage_ids), len(task.query_ids))
    excluded[::3] = -1
    ranking, whole = check(replace(task, excluded=excluded)), scored(replace(task, excluded=None))
    moved = ranking.pooled < whole.ranking.pooled
    assert (moved & (ranking.in_language == whole.ranking.in_language)).any()


def check(task: Task) -> Ranking:
    """Ranks and top passages are those of scores without the excluded passages."""
    result = scored(task)
    scores = vectors(list(task.query_texts)) @ vectors(list(task.passage_texts)).T
    assert task.excluded is not None
    for pair, (query, passage) in enumerate(
        zip(task.pair_query.tolist(), task.relevant.tolist(), strict=True)
    ):
        own, kept = scores[query], np.arange(scores.shape[1]) != task.excluded[query]
        ahead = own > own[passage]
        ahead |= (own == own[passage]) & (np.arange(len(own)) < passage)
        ahead &= kept
        pool = task.passage_language == task.passage_language[passage]
        expected = [1 + ahead.sum(), 1 + (ahead & pool).sum()] if kept[passage] else [np.inf] * 2
        assert [result.ranking.pooled[pair], result.ranking.in_language[pair]] == expected
        best = [n for n in np.lexsort((np.arange(len(own)), -own)).tolist() if kept[n]]
        found = result.top.numbers[query]
        assert found[found != NO_PASSAGE].tolist() == best[:10]
    return result.ranking


@pytest.mark.parametrize("options", [ScoringOptions(coarse="bf16"), ScoringOptions(search="faiss")])
def test_every_search_leaves_it_out(tmp_path: Path, options: ScoringOptions) -> None:
    write_subsets(tmp_path)
    task = load_task(f"mteb:{tmp_path}?subset=fra&ignore_identical_ids=yes")
    one, other = scored(task), scored(task, options=options)
    assert (one.ranking.pooled == other.ranking.pooled).all()
    assert (one.top.numbers == other.top.numbers).all()


def test_as_many_are_listed_of_few_that_are_scored_again(tmp_path: Path) -> None:
    write_subsets(tmp_path)
    task = load_task(f"mteb:{tmp_path}?subset=fra&ignore_identical_ids=yes")
    options = ScoringOptions(quantisation=Quantisation.parse("int8:10"))
    assert (scored(task, options=options).top.numbers != NO_PASSAGE).sum(axis=1).min() == 10


def test_a_run_that_lists_it_is_scored_without_it(tmp_path: Path) -> None:
    write_subsets(tmp_path)
    whole = load_task(f"mteb:{tmp_path}?subset=de", ties="trec_eval")
    task = load_task(f"mteb:{tmp_path}?subset=de&ignore_identical_ids=yes", ties="trec_eval")
    write_run(tmp_path / "run.trec", whole, scored(whole, depth=60).top, "whole")
    result = score_run(task, read_run(tmp_path / "run.trec", task), silent)
    expected = scored(task)
    assert (result.top.numbers == expected.top.numbers).all()
    known = np.isfinite(result.ranking.pooled)
    assert 0 < known.sum() < len(known)
    assert (result.ranking.pooled == expected.ranking.pooled)[known].all()
    assert (expected.ranking.pooled[~known] > 59).all()
    assert (result.top.numbers != NO_PASSAGE).all()


def test_it_needs_ids_of_one_subset(tmp_path: Path) -> None:
    write_subsets(tmp_path)
    with pytest.raises(UserError, match="options parallel and ignore_identical_ids: give one"):
        load_task(f"mteb:{tmp_path}?subset=all&parallel=yes&ignore_identical_ids=yes")
