"""Tasks from mappings: their content, and which input is rejected."""

import re
from typing import Any

import numpy as np
import pytest

from hybrid_dist.evaluation.tasks import Task

QUERIES = {"q2": "wer?", "q1": "who?", "q3": "qui ?"}
CORPUS = {"d9": "Ada", "d1": "ein Webstuhl", "d5": "a loom"}
QRELS = {"q1": {"d9": 2, "d1": 1, "d5": 0}, "q2": {"d1": 1}}
LANGUAGES = {"q1": "en", "q2": "de", "q3": "fr", "d9": "en", "d1": "de", "d5": "en"}


def build(**changes: Any) -> Task:
    arguments: dict[str, Any] = {"queries": QUERIES, "corpus": CORPUS, "qrels": QRELS}
    arguments |= {"languages": LANGUAGES} | changes
    return Task.from_qrels(**arguments)


def test_a_task_is_sorted_by_language_and_id() -> None:
    task = build()
    assert task.languages == ("de", "en")
    assert list(task.query_texts) == ["wer?", "who?"]
    assert list(task.passage_ids) == ["d1", "d5", "d9"]
    assert task.relevant_starts.tolist() == [0, 1, 3]
    assert task.relevant.tolist() == [0, 0, 2]
    assert task.grades.tolist() == [1, 1, 2]


def test_rows_follow_the_mappings() -> None:
    task = build()
    assert task.query_rows is not None and task.passage_rows is not None
    assert task.query_rows.rows.tolist() == [0, 1] and task.query_rows.count == 3
    assert task.passage_rows.rows.tolist() == [1, 2, 0]
    backwards = build(ties="trec_eval")
    assert backwards.passage_rows is not None
    assert list(backwards.passage_ids) == ["d9", "d5", "d1"]
    assert backwards.passage_rows.rows.tolist() == [0, 2, 1]


def test_queries_without_a_relevant_passage_are_skipped_and_noted() -> None:
    assert build().notes == ("1 queries without a relevant passage",)
    assert build(queries={"q1": "who?", "q2": "wer?"}).notes == ()


def test_languages_per_side() -> None:
    task = build(languages=("fr", {"d9": "en", "d1": "DE", "d5": "en"}))
    assert task.languages == ("de", "en", "fr")
    assert set(task.query_language.tolist()) == {2}
    assert build(languages="en").languages == ("en",)


def test_numpy_grades_are_integers() -> None:
    assert build(qrels={"q1": {"d9": np.int32(3)}}).grades.tolist() == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": {}}, "queries: is empty"),
        ({"corpus": ["a"]}, "corpus: expected a mapping {id: text}, not a list"),
        ({"corpus": {"d1": {"title": "x"}}}, "corpus: the text of 'd1' is a dict, not a str"),
        ({"queries": {1: "x"}}, "queries: the id 1 is a int, not a str"),
        ({"qrels": {}}, "qrels: is empty; give {query id: {passage id: grade}}"),
        ({"qrels": [("q1", "d1")]}, "qrels: expected a mapping"),
        ({"qrels": {"q1": {"d1"}}}, "qrels: those of query 'q1' are a set, not a mapping"),
        ({"qrels": {"q1": {"d1": 0}}}, "qrels: no passage has a grade of 1 or more"),
        ({"qrels": {"q1": {"d1": 0.5}}}, "the grade of 'd1' for query 'q1' is 0.5, not an integer"),
        (
            {"qrels": {"q7": {"d1": 1}}},
            "qrels: 1 (first: 'q7') of its queries are not in `queries`",
        ),
        (
            {"qrels": {"q1": {"d7": 1, "d8": 0}}},
            "qrels: 2 (first: 'd7', 'd8') of its passages are not in `corpus`",
        ),
        ({"languages": {}}, "languages: 3 (first: 'q2', 'q1', 'q3') of the query ids have none"),
        ({"languages": ("en", {"d1": "en"})}, "languages: 2 (first: 'd9', 'd5') of the passage"),
        ({"languages": "nonsense!"}, "languages: 'nonsense!': "),
        ({"languages": ("en", None)}, "languages: expected a language, a mapping {id: language}"),
        ({"ties": "chance"}, "ties: 'chance' is not one of number, trec_eval"),
    ],
)
def test_wrong_input_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**changes)
