"""LAReQA's option `languages`."""

import json
from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for lang, context in (("ar", "a b. c d."), ("de", "e f. g h."), ("en", "i j. k l.")):
        answers = [{"text": context[5], "answer_start": 5}]
        paragraph = {
            "context": context,
            "sentence_breaks": [[0, 4], [5, 9]],
            "qas": [{"id": "q1", "question": f"{lang}?", "answers": answers}],
        }
        content = {"data": [{"title": "t", "paragraphs": [paragraph]}]}
        (tmp_path / f"{lang}.json").write_text(json.dumps(content))
    return tmp_path


def test_only_these_languages_are_read(folder: Path) -> None:
    task = load_task(f"xquad_r:{folder}?languages=ar,en")
    assert task.languages == ("ar", "en")
    assert len(task.query_ids) == 2 and len(task.passage_ids) == 4
    assert load_task(f"xquad_r:{folder}").languages == ("ar", "de", "en")


def test_a_language_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="has no fr; its languages are ar, de, en"):
        load_task(f"xquad_r:{folder}?languages=ar,fr")
