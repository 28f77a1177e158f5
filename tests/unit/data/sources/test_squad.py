"""SQuAD's JSON and LAReQA's: what is read of every published layout, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task
from tests.support.published_files import (
    collection,
    paragraph,
    read,
    relevance,
    rows,
    squad_json,
    write,
)

ENGLISH = [
    paragraph("The mill stood by the river.", "It ground rye.", q1="What was ground?|rye"),
    paragraph("Ada wrote a poem.", q2="Who wrote?|Ada", q3="What was written?|a poem"),
]
GERMAN = [
    paragraph("Die Mühle stand am Fluss. Sie mahlte Roggen.", q1="Was wurde gemahlen?|Roggen"),
    paragraph("Ada schrieb.", "Es war ein Gedicht.", q2="Wer schrieb?|Ada", q3="Was?|ein Gedicht"),
]


@pytest.fixture
def xquad_r(tmp_path: Path) -> Path:
    write(tmp_path / "en.json", squad_json(ENGLISH))
    write(tmp_path / "de.json.gz", squad_json(GERMAN, indent=1))
    return tmp_path


def test_all_sentences_are_candidates_and_the_answer_s_is_right(xquad_r: Path) -> None:
    result = collection("lareqa", xquad_r)
    by_id = {(p.lang, p.id): p.text for p in result.passages}
    assert len(by_id) == 3 + 3
    answers = {
        key: sorted(by_id[passage] for passage in right) for key, right in relevance(result).items()
    }
    assert answers == {
        (lang, name): texts
        for lang in ("de", "en")
        for name, texts in {
            "q1": ["Die Mühle stand am Fluss. Sie mahlte Roggen.", "It ground rye."],
            "q2": ["Ada schrieb.", "Ada wrote a poem."],
            "q3": ["Ada wrote a poem.", "Es war ein Gedicht."],
        }.items()
    }


def test_the_variant_with_context_puts_the_paragraph_behind_the_sentence(xquad_r: Path) -> None:
    result = collection("lareqa", xquad_r, variant="sentence+context")
    texts = {p.text for p in result.passages if p.lang == "en"}
    assert "It ground rye. The mill stood by the river. It ground rye." in texts
    with pytest.raises(UserError, match=r"unknown variant 'sentense'; did you mean 'sentence'"):
        collection("lareqa", xquad_r, variant="sentense")


def test_a_sentence_and_its_query_are_a_training_pair(xquad_r: Path) -> None:
    pairs = {(r["uid"], r["lang"]): (r["query"], r["passage"]) for r in rows("lareqa", xquad_r)}
    assert pairs["q1", "en"] == ("What was ground?", "It ground rye.")
    assert pairs["q3", "de"] == ("Was?", "Es war ein Gedicht.")
    assert len(pairs) == 6


def test_a_language_pair_keeps_the_queries_with_a_target_there(tmp_path: Path) -> None:
    """MLQA-R's queries are parallel in some languages only."""
    write(tmp_path / "en.json", squad_json(ENGLISH))
    write(tmp_path / "de.json", squad_json(GERMAN[:1]))
    task = load_task(f"mlqa_r:{tmp_path}")
    keys = zip(task.query_language.tolist(), task.query_ids, strict=True)
    right = dict(zip(keys, np.diff(task.relevant_starts).tolist(), strict=True))
    assert right == {(0, "q1"): 2, (1, "q1"): 2, (1, "q2"): 1, (1, "q3"): 1}


def test_offsets_count_in_the_text_as_it_stands(tmp_path: Path) -> None:
    """Normalizing makes a text shorter; the answer's sentence is found before that."""
    decomposed = paragraph("Le cafe\u0301 e\u0301tait ferme\u0301.", "Il pleut.", q="Où?|Il")
    write(tmp_path / "fr.json", squad_json([decomposed]))
    (pair,) = rows("lareqa", tmp_path)
    assert pair["passage"] == "Il pleut."
    assert "Le café était fermé." in {p.text for p in collection("lareqa", tmp_path).passages}


def test_sentences_may_touch(tmp_path: Path) -> None:
    """As in Chinese: where one ends the next begins, and an answer there is in the next."""
    part = paragraph("磨坊在河边。它磨黑麦。", q="什么？|它")
    part["sentence_breaks"] = [[0, 6], [6, 11]]
    write(tmp_path / "zh.json", squad_json([part]))
    (right,) = relevance(collection("lareqa", tmp_path)).values()
    assert list(right) == [("zh", "1_1")]
    assert rows("lareqa", tmp_path)[0]["passage"] == "它磨黑麦。"


def test_paragraphs_are_passages_once_each(xquad_r: Path) -> None:
    result = collection("squad", xquad_r)
    assert sorted((p.lang, p.id) for p in result.passages) == [
        ("de", "q1"), ("de", "q2"), ("en", "q1"), ("en", "q2"),
    ]  # fmt: skip
    assert relevance(result)["de", "q3"] == {("de", "q2"): 1, ("en", "q2"): 1}
    assert len(rows("squad", xquad_r)) == 6


def test_mlqa_asks_in_one_language_about_paragraphs_in_another(tmp_path: Path) -> None:
    asked_in_german = [dict(p, qas=g["qas"]) for p, g in zip(ENGLISH, GERMAN, strict=True)]
    for p in asked_in_german:
        for query in p["qas"]:
            query["answers"] = [{"text": "", "answer_start": 0}]
    write(tmp_path / "test-context-en-question-en.json", squad_json(ENGLISH))
    write(tmp_path / "test-context-en-question-de.json", squad_json(asked_in_german))
    result = collection("squad", tmp_path)
    assert len(result.passages) == 2
    assert relevance(result)["de", "q3"] == relevance(result)["en", "q3"] == {("en", "q2"): 1}
    assert len(result.queries) == 6
    queries = {row["query"] for row in rows("squad", tmp_path)}
    assert queries == {"What was ground?", "Who wrote?", "What was written?"}
    write(tmp_path / "test-context-de-question-de.json", squad_json(GERMAN))
    both = collection("squad", tmp_path)
    assert len(both.queries) == 6, "a query in two files counts once"
    assert relevance(both)["de", "q3"] == {("de", "q2"): 1, ("en", "q2"): 1}


def test_file_names_give_the_languages(tmp_path: Path) -> None:
    write(tmp_path / "xquad.zh.json", squad_json(ENGLISH))
    write(tmp_path / "squad.translate.train.en-hi.json", squad_json(ENGLISH[:1]))
    assert {row["lang"] for row in rows("squad", tmp_path)} == {"zh", "hi"}
    for name in ("train-v1.1.json", "dev.json"):
        alone = write(tmp_path / "de" / name, squad_json(ENGLISH))
        with pytest.raises(UserError, match=rf"{name}: its name tells no language"):
            rows("squad", alone)
        assert {row["lang"] for row in rows("squad", alone, language="eng")} == {"en"}


def test_the_hub_s_parquet_reads_as_the_json_does(tmp_path: Path) -> None:
    write(tmp_path / "json" / "xquad.en.json", squad_json(ENGLISH))
    records = [
        {
            "id": query["id"],
            "context": part["context"],
            "question": query["question"],
            "answers": {
                "text": [one["text"] for one in query["answers"]],
                "answer_start": [one["answer_start"] for one in query["answers"]],
            },
        }
        for part in ENGLISH
        for query in part["qas"]
    ]
    file = tmp_path / "hub" / "xquad.en" / "validation-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records), file)
    assert rows("squad", tmp_path / "hub") == rows("squad", tmp_path / "json")
    assert relevance(collection("squad", tmp_path / "hub")) == relevance(
        collection("squad", tmp_path / "json")
    )


def test_queries_without_an_answer_are_skipped_and_noted(tmp_path: Path) -> None:
    part = paragraph("Ada wrote.", q1="Who?|Ada", q2="When?|wrote")
    part["qas"][1] |= {"answers": [], "is_impossible": True}
    write(tmp_path / "en.json", squad_json([part]))
    result, reading = read("squad", tmp_path)
    assert [row["uid"] for row in result] == ["q1"]
    assert reading.notes == [f"{tmp_path / 'en.json'}: queries without an answer are left out"]


def broken(change: object) -> str:
    """A file over several lines with one thing wrong in its second paragraph."""
    parts = json.loads(json.dumps(ENGLISH))
    change(parts[1])  # type: ignore[operator]
    return squad_json(parts, indent=1)


def line_of(content: str, what: str) -> int:
    return content[: content.index(what)].count("\n") + 1


BAD = {
    "no answers": (lambda p: p["qas"][1].pop("answers"), '"q3"', "expected a list as 'answers'"),
    "no start": (
        lambda p: p["qas"][1].update(answers=[{"text": "x"}]),
        '"q3"',
        "expected a whole number as 'answer_start'",
    ),
    "no text": (lambda p: p["qas"][1].update(question=" "), '"q3"', "non-empty text as 'question'"),
    "no breaks": (lambda p: p.pop("sentence_breaks"), '"q2"', "expected sentence_breaks"),
    "wrong breaks": (lambda p: p.update(sentence_breaks=[[0, 999]]), '"q2"', "sentence_breaks"),
    "fractions as breaks": (
        lambda p: p.update(sentence_breaks=[[0, 2.0]]),
        '"q2"',
        "offsets in the paragraph, whole numbers",
    ),
    "true as a break": (
        lambda p: p.update(sentence_breaks=[[False, 2]]),
        '"q2"',
        "offsets in the paragraph, whole numbers",
    ),
    "breaks of three": (lambda p: p.update(sentence_breaks=[[0, 2, 4]]), '"q2"', "sentence_breaks"),
    "between": (
        lambda p: p.update(sentence_breaks=[[0, 2]]),
        '"q3"',
        "expected an answer that starts in a sentence",
    ),
    "empty": (lambda p: p.update(context="", sentence_breaks=[]), '"q3"', "'context'"),
}


@pytest.mark.parametrize(("change", "at", "message"), BAD.values(), ids=BAD)
def test_errors_name_the_line(tmp_path: Path, change: object, at: str, message: str) -> None:
    content = broken(change)
    file = write(tmp_path / "en.json", content)
    with pytest.raises(UserError) as refusal:
        rows("lareqa", tmp_path)
    assert str(refusal.value).startswith(f"{file}:{line_of(content, at)}: ")
    assert message in str(refusal.value)
    good, reading = read("lareqa", tmp_path, skip_bad=1)
    assert "q1" in {row["uid"] for row in good}
    assert len(reading.bad) == 1


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "en.json", squad_json(ENGLISH, indent=1)[:-40])
    with pytest.raises(UserError, match=rf"{file}:\d+: not JSON"):
        rows("squad", tmp_path)
    write(tmp_path / "en.json", '{"rows": []}')
    with pytest.raises(UserError, match=rf"{file}:1: expected a list as 'data'"):
        rows("squad", tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[" * 100_000, "not JSON (nested too deeply)"),
        ("9" * 5000, "not JSON (Exceeds the limit (4300 digits)"),
    ],
)
def test_values_that_python_cannot_hold_are_named(tmp_path: Path, value: str, message: str) -> None:
    content = squad_json(ENGLISH).replace('"1.1"', value)
    file = write(tmp_path / "en.json", content)
    with pytest.raises(UserError) as refusal:
        rows("squad", tmp_path)
    assert str(refusal.value).startswith(f"{file}:1: {message}")


def test_two_files_of_one_language_are_two_data_sets(tmp_path: Path) -> None:
    write(tmp_path / "xquad-r" / "en.json", squad_json(ENGLISH))
    write(tmp_path / "mlqa-r" / "en.json", squad_json(ENGLISH))
    with pytest.raises(UserError, match="name a folder of one data set"):
        collection("lareqa", tmp_path)


def test_one_id_with_other_text_is_refused(tmp_path: Path) -> None:
    twice = [*ENGLISH, paragraph("Bo sang.", q1="Who sang?|Bo")]
    file = write(tmp_path / "en.json", squad_json(twice, indent=1))
    with pytest.raises(
        UserError, match=rf"{file}:\d+: passage 'q1' has other text in 'en' than at"
    ):
        collection("squad", tmp_path)
