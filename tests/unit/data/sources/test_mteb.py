"""MTEB's retrieval data: tables joined by id."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task
from tests.support.layout_rows import webfaq
from tests.support.mteb_data import parquet, write_readme, write_single, write_subsets
from tests.support.published_files import (
    HEADER,
    collection,
    json_lines,
    read,
    relevance,
    rows,
    tsv,
    write,
)

Records = list[dict[str, Any]]


def de_and_fr(folder: Path, **changed: Records) -> Path:
    """Two languages with the same ids, as Parquet that README.md lists."""
    tables: dict[str, Records] = {}
    for code, query, passage in (("de", "wer?", "Ada war es."), ("fr", "qui?", "C'est Ada.")):
        tables |= {
            f"{code}-corpus": [
                {"id": "d0", "title": "Ada", "text": passage},
                {"id": "d1", "title": "", "text": f"{passage} Roggen."},
            ],
            f"{code}-queries": [{"_id": 7, "text": query}],
            f"{code}-qrels": [
                {"query-id": 7, "corpus-id": "d0", "score": 2.0},
                {"query-id": 7, "corpus-id": "d1", "score": 0.0},
            ],
        }
    tables |= {name.replace("_", "-"): table for name, table in changed.items()}
    for name, table in tables.items():
        parquet(folder / name / "test-00000-of-00001.parquet", table)
    write_readme(folder, [(name, {"test": f"{name}/test-*"}) for name in tables])
    return folder


def test_subsets_are_languages_with_ids_of_their_own(tmp_path: Path) -> None:
    result = collection("mteb", de_and_fr(tmp_path), subset="all")
    assert relevance(result) == {
        ("de", "de:7"): {("de", "d0"): 2},
        ("fr", "fr:7"): {("fr", "d0"): 2},
    }
    assert {p.text for p in result.passages if p.lang == "de"} == {
        "Ada Ada war es.", "Ada war es. Roggen.",
    }  # fmt: skip
    assert result.one_pool
    (alone,) = collection("mteb", tmp_path, subset="fr").queries
    assert alone == ("7", "fr", "qui?")


def test_parallel_ids_are_one_query_in_all_languages(tmp_path: Path) -> None:
    result = collection("mteb", de_and_fr(tmp_path), subset="de,fr", parallel="yes")
    both = {("de", "d0"): 2, ("fr", "d0"): 2}
    assert relevance(result) == {("de", "7"): both, ("fr", "7"): both}


@pytest.mark.parametrize(("passage", "score"), [("d1", 2), ("d0", 1)])
def test_ids_that_are_judged_differently_are_not_parallel(
    tmp_path: Path, passage: str, score: int
) -> None:
    de_and_fr(tmp_path, fr_qrels=[{"query-id": 7, "corpus-id": passage, "score": score}])
    with pytest.raises(UserError, match="query 7 has other documents or grades than in "):
        collection("mteb", tmp_path, subset="all", parallel="yes")


def test_subsets_of_one_language_have_pools_of_their_own(tmp_path: Path) -> None:
    result = collection("mteb", de_and_fr(tmp_path), subset="all", language="en")
    assert relevance(result) == {
        ("en-x-de", "de:7"): {("en-x-de", "d0"): 2},
        ("en-x-fr", "fr:7"): {("en-x-fr", "d0"): 2},
    }
    assert [(one.name, one.query_lang, one.passage_lang) for one in result.subsets] == [
        ("de", "en-x-de", "en-x-de"),
        ("fr", "en-x-fr", "en-x-fr"),
    ]


def test_subsets_with_the_same_passages_have_one_pool(tmp_path: Path) -> None:
    """Queries in other languages for one corpus, as in BelebeleRetrieval."""
    corpus = [{"id": "d0", "text": "Ada war es."}, {"id": "d1", "text": "Roggen."}]
    tables = {"deu_Latn-eng_Latn": "who?", "deu_Latn-fra_Latn": "qui?"}
    listed = []
    for name, query in tables.items():
        parts: dict[str, Records] = {
            "corpus": corpus if "eng" in name else corpus[::-1],
            "queries": [{"id": "q", "text": query}],
            "qrels": [{"query-id": "q", "corpus-id": "d0", "score": 1}],
        }
        for role, table in parts.items():
            parquet(tmp_path / f"{name}-{role}" / "test.parquet", table)
            listed.append((f"{name}-{role}", {"test": f"{name}-{role}/*"}))
    write_readme(tmp_path, listed)
    result = collection("mteb", tmp_path, subset="all", parallel="yes")
    assert relevance(result) == {
        ("en", "q"): {("de", "d0"): 1},
        ("fr", "q"): {("de", "d0"): 1},
    }
    assert len(result.passages) == 2


def test_a_data_set_without_subsets_has_default_qrels_and_instructions(tmp_path: Path) -> None:
    write_single(tmp_path)
    queries = {query.id: query for query in collection("mteb", tmp_path).queries}
    assert queries["1"] == ("1", "en", "en was 1? Be brief.")
    assert {q.text for q in collection("mteb", tmp_path, instructions="no").queries} == {
        f"en was {name}?" for name in queries
    }
    assert [q.id for q in collection("mteb", tmp_path, split="dev", language="de").queries] == ["0"]


def test_instructions_may_be_a_column_and_queries_conversations(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "Ada."}]
    json_lines(tmp_path / "corpus.jsonl", {"_id": "d", "text": "Ada."})
    json_lines(
        tmp_path / "queries.jsonl",
        {"_id": "a", "text": turns, "instruction": "Be brief."},
        {"_id": "b", "text": ["who?", "when?"], "instruction": None},
        {"_id": "c", "text": "who?", "instruction": "Be brief."},
    )
    judged = [{"query-id": name, "corpus-id": "d", "score": 1} for name in "abc"]
    json_lines(tmp_path / "qrels.jsonl", *judged)
    result = collection("mteb", tmp_path, language="en")
    assert [query.text for query in result.queries] == [
        "Be brief. user: who?; assistant: Ada.",
        "who?; when?",
        "who? Be brief.",
    ]


def test_passages_without_text_stay_and_unanswered_queries_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_subsets(tmp_path / "data")
    task = load_task(f"mteb:{tmp_path}/data?subset=eng_Latn-deu_Latn")
    assert (task.languages, task.query_texts[0]) == (("de", "en"), "eng was 0?")
    assert len(task.passage_ids) == 150
    (subset,) = task.subsets
    assert (subset.name, subset.unanswered, len(task.query_ids)) == ("eng_Latn-deu_Latn", 3, 35)
    assert task.notes == (
        "subset eng_Latn-deu_Latn: passages in en, queries in de; language=QUERIES,PASSAGES if not",
        "1 passages have no text; they stay in the pool",
        "3 judged queries of subset eng_Latn-deu_Latn without a relevant passage, which MTEB "
        "counts as 0",
    )


def test_beir_s_folder_is_read_without_a_list(tmp_path: Path) -> None:
    json_lines(tmp_path / "corpus.jsonl.gz", {"_id": "d0", "title": "T", "text": "Told."})
    json_lines(tmp_path / "queries.jsonl", {"_id": "q0", "text": "who?"})
    tsv(tmp_path / "qrels" / "test.tsv", HEADER, ("q0", "d0", 2))
    result = collection("mteb", tmp_path, language="en")
    assert relevance(result) == {("en", "q0"): {("en", "d0"): 2}}


def cure(folder: Path, more: str) -> Path:
    """CUREv1's layout: `queries-es` beside `corpus` and `qrels`."""
    json_lines(folder / "corpus.jsonl", {"_id": "d0", "text": "Told."})
    for code, query in (("es", "¿quién?"), ("fr", "qui?")):
        json_lines(folder / f"queries-{code}.jsonl", {"_id": "q0", "text": query})
    json_lines(folder / "qrels.jsonl", {"query-id": "q0", "corpus-id": "d0", "score": 1})
    listed = [(one, {"test": f"{one}.jsonl"}) for one in ("corpus", "qrels")]
    listed += [(f"queries-{one}", {"test": f"queries-{one}.jsonl"}) for one in ("es", "fr")]
    write_readme(folder, listed, more)
    return folder


def test_one_corpus_may_serve_queries_in_several_languages(tmp_path: Path) -> None:
    cure(tmp_path, "language: en\n")
    alone = collection("mteb", tmp_path, subset="es")
    assert relevance(alone) == {("es", "q0"): {("en", "d0"): 1}}
    both = collection("mteb", tmp_path, subset="all")
    assert relevance(both) == {
        ("es", "es:q0"): {("en", "d0"): 1},
        ("fr", "fr:q0"): {("en", "d0"): 1},
    }
    assert list(both.passages) == [("d0", "en", "Told.")]
    assert load_task(f"mteb:{tmp_path}?subset=all").notes == (
        "subset es: passages in en, queries in es (and 1 more like it); "
        "language=QUERIES,PASSAGES if not",
    )


@pytest.mark.parametrize("more", ["", "language:\n- en\n- es\n"])
def test_a_shared_corpus_has_no_subset_s_language(tmp_path: Path, more: str) -> None:
    cure(tmp_path, more)
    with pytest.raises(UserError, match="subset es: has the corpus of all subsets, and README"):
        collection("mteb", tmp_path, subset="all")
    result = collection("mteb", tmp_path, subset="es", language="es,en")
    assert relevance(result) == {("es", "q0"): {("en", "d0"): 1}}


def test_shared_queries_have_no_subset_s_language(tmp_path: Path) -> None:
    for code in ("de", "fr"):
        json_lines(tmp_path / f"{code}-corpus.jsonl", {"_id": "d0", "text": f"{code}."})
        qrels = {"query-id": "q0", "corpus-id": "d0", "score": 1}
        json_lines(tmp_path / f"{code}-qrels.jsonl", qrels)
    json_lines(tmp_path / "queries.jsonl", {"_id": "q0", "text": "who?"})
    (tmp_path / "README.md").write_text("---\nlanguage: en\n---\n")
    result = collection("mteb", tmp_path, subset="de,fr", parallel="yes")
    assert relevance(result) == {("en", "q0"): {("de", "d0"): 1, ("fr", "d0"): 1}}


@pytest.mark.parametrize(
    "empty", [{"text": " "}, {"title": " ", "text": ""}, {"title": None, "text": "\n"}]
)
def test_a_blank_passage_is_empty(tmp_path: Path, empty: dict[str, Any]) -> None:
    webfaq(tmp_path)
    with (tmp_path / "deu" / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": "blank", **empty}) + "\n")
    task = load_task(f"mteb:{tmp_path}?subset=deu")
    assert "blank" in task.passage_ids
    assert task.notes == ("1 passages have no text; they stay in the pool",)


@pytest.mark.parametrize("score", ["1.0", " 1 ", "1.", 1.0])
def test_a_grade_may_have_a_decimal_point(tmp_path: Path, score: object) -> None:
    webfaq(tmp_path)
    judged = {"query-id": "q0", "corpus-id": "d0", "score": score}
    json_lines(tmp_path / "deu" / "qrels" / "test.jsonl", judged)
    result = collection("mteb", tmp_path, subset="deu")
    assert relevance(result) == {("de", "q0"): {("de", "d0"): 1}}


def test_judged_passages_are_pairs(tmp_path: Path) -> None:
    webfaq(tmp_path)
    result, reading = read("mteb", tmp_path, subset="deu,eng")
    assert [tuple(row.values())[:4] for row in result] == [
        ("deu:q0:d0", "de", "deu query 0?", "deu passage 0"),
        ("deu:q1:d1", "de", "deu query 1?", "deu passage 1"),
        ("eng:q0:d0", "en", "eng query 0?", "eng passage 0"),
        ("eng:q1:d1", "en", "eng query 1?", "eng passage 1"),
    ]
    assert reading.where(result[0]["place"]) == f"{tmp_path}/deu/qrels/train.jsonl:1"
    test = rows("mteb", tmp_path, subset="deu", split="test")
    assert [row["uid"] for row in test] == ["q2:d3"]
    assert relevance(collection("mteb", tmp_path, subset="deu")) == {
        ("de", "q2"): {("de", "d3"): 1}
    }


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no text": ("deu/corpus.jsonl", {"_id": "d0", "text": None}, ":1: expected a text as 'text', "
             "found None"),
    "no query": ("deu/queries.jsonl", {"_id": "q0", "text": ""}, ":1: expected a non-empty text"),
    "no turns": ("deu/queries.jsonl", {"_id": "q0", "text": []}, ":1: expected a text, or a list"),
    "no id": ("deu/queries.jsonl", {"name": "q0", "text": "x"}, ":1: expected a non-empty text as "
              "'_id', found only name, text"),
    "no column": ("deu/qrels/train.jsonl", {"query-id": "q0", "score": 1}, "expected columns query-"
                  "id, corpus-id, score, found query-id, score"),
    "no score": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d0", "score": "high"},
        ":1: expected a whole number as 'score', found 'high'",
    ),
    **{
        f"score {score}": (
            "deu/qrels/train.jsonl",
            {"query-id": "q0", "corpus-id": "d0", "score": score},
            ":1: expected a whole number as 'score'",
        )
        for score in (0.5, "1.5", float("nan"), float("inf"), 10**30, True)
    },
    "other query": (
        "deu/qrels/train.jsonl",
        {"query-id": "q9", "corpus-id": "d0", "score": 1},
        ":1: 1 of 1 judged queries in de are not in the queries (first: q9)",
    ),
    "other passage": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d9", "score": 1},
        ":1: 1 of 1 judged passages in de are not in the corpus (first: d9)",
    ),
    "none": (
        "deu/qrels/train.jsonl",
        {"query-id": "q0", "corpus-id": "d0", "score": 0},
        "qrels of subset deu: judges no document as right",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "record", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_named(
    tmp_path: Path, name: str, record: dict[str, Any], message: str
) -> None:
    webfaq(tmp_path)
    json_lines(tmp_path / name, record)
    with pytest.raises(UserError) as refusal:
        rows("mteb", tmp_path, subset="deu")
    assert message in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def judge(passage: str, score: int) -> dict[str, object]:
    return {"query-id": "q0", "corpus-id": passage, "score": score}


TWICE: dict[str, tuple[str, Records, str]] = {
    "query": (
        "queries.jsonl",
        [{"_id": name, "text": text} for name, text in (("q0", "wer?"), ("q0", "was?"))],
        "query 'q0' has other text in 'de' than at ",
    ),
    "passage": (
        "corpus.jsonl",
        [{"_id": "d0", "text": text} for text in ("Ada.", "Eva.")],
        "passage 'd0' has other text in 'de' than at ",
    ),
    "grade": (
        "qrels/test.jsonl",
        [judge("d0", 1), judge("d0", 2)],
        "d0 is judged 2 for query q0, but 1 at ",
    ),
    "no": (
        "qrels/test.jsonl",
        [judge("d0", 0), judge("d0", 1)],
        "d0 is judged 1 for query q0, but 0 at ",
    ),
}


@pytest.mark.parametrize(("name", "records", "message"), TWICE.values(), ids=TWICE)
def test_what_is_said_twice_and_differs_is_refused(
    tmp_path: Path, name: str, records: Records, message: str
) -> None:
    webfaq(tmp_path)
    json_lines(tmp_path / "deu" / "qrels" / "test.jsonl", judge("d0", 1))
    file = json_lines(tmp_path / "deu" / name, *records)
    with pytest.raises(UserError) as refusal:
        collection("mteb", tmp_path, subset="deu")
    assert str(refusal.value).startswith(f"{file}:2: {message}{file}:1")


def without(role: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "deu" / f"{role}.jsonl").unlink()


def listed_but_absent(folder: Path) -> None:
    write_readme(folder, [(f"deu-{one}", {"test": f"{one}-*"}) for one in ("queries", "qrels")])


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, None, "has several subsets; give the option subset=NAME (it has deu, eng)"),
        ({"subset": "enn"}, None, "has no subset 'enn'; did you mean 'eng'? (it has deu, eng)"),
        ({"subset": "deu", "split": "dev"}, None, "has no split 'dev' (it has test, train)"),
        ({"subset": "deu", "language": "xxx"}, None, "option language=xxx: 'xxx' is no known"),
        ({"subset": "deu", "language": "a,b,c"}, None, "option language=a,b,c: 'a' is no known"),
        (
            {"subset": "deu", "language": "en,de,fr"},
            None,
            "option language=en,de,fr: give one language, or that ",
        ),
        ({"subset": "deu", "parallel": "maybe"}, None, "option parallel=maybe: give yes or no"),
        ({"subset": "deu"}, without("corpus"), "subset deu has no corpus; expected"),
        ({"subset": "deu"}, without("queries"), "subset deu has no queries; expected"),
        ({"subset": "deu"}, listed_but_absent, "README.md lists files for it, and none is there"),
    ],
)
def test_options_and_files_are_checked(
    tmp_path: Path, options: dict[str, str], change: Callable[[Path], object] | None, message: str
) -> None:
    webfaq(tmp_path)
    if change is not None:
        change(tmp_path)
    with pytest.raises(UserError) as refusal:
        collection("mteb", tmp_path, **options)
    assert message in str(refusal.value)
    assert str(tmp_path) in str(refusal.value) or message.startswith("option")


@pytest.mark.parametrize("name", ["android", "en-de", "pt-br", "xx_Latn", "de-fr-en"])
def test_a_name_that_tells_no_language_needs_one(tmp_path: Path, name: str) -> None:
    webfaq(tmp_path)
    (tmp_path / "deu").rename(tmp_path / name)
    with pytest.raises(UserError, match=f"subset {name}: its name tells no language; give"):
        collection("mteb", tmp_path, subset=name)


def test_readme_tells_the_language_of_subsets_that_are_no_languages(tmp_path: Path) -> None:
    """As in ToolRetrieval, whose subset gta is in English."""
    rows: dict[str, Records] = {
        "corpus": [{"_id": "d", "text": "Told."}],
        "queries": [{"_id": "q", "text": "who?"}],
        "qrels": [{"query-id": "q", "corpus-id": "d", "score": 1}],
    }
    listed = []
    for name in ("toolink", "gta"):
        for role, table in rows.items():
            json_lines(tmp_path / f"{name}-{role}.jsonl", *table)
            listed.append((f"{name}-{role}", {"test": f"{name}-{role}.jsonl"}))
    write_readme(tmp_path, listed, "language:\n- eng\n")
    assert load_task(f"mteb:{tmp_path}?subset=toolink").languages == ("en",)
    with pytest.raises(UserError, match=r"name tells the language gta, and README\.md has en"):
        load_task(f"mteb:{tmp_path}?subset=all")
    task = load_task(f"mteb:{tmp_path}?subset=all&language=en")
    assert (task.languages, len(task.query_ids)) == (("en",), 2)


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("pt-BR", {"pt-BR"}),
        ("zho_Hans", {"zh"}),
        ("english", {"en"}),
        ("ara-eng", {"ar", "en"}),
        ("zho_Hant-por_Latn", {"zh-Hant", "pt"}),
    ],
)
def test_a_name_may_tell_one_language_or_two(
    tmp_path: Path, name: str, languages: set[str]
) -> None:
    webfaq(tmp_path)
    (tmp_path / "deu").rename(tmp_path / name)
    assert set(load_task(f"mteb:{tmp_path}?subset={name}").languages) == languages


def test_the_split_to_train_on_is_never_another_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'train'"):
        rows("mteb", de_and_fr(tmp_path), subset="de")


def test_queries_in_another_language_are_for_evaluation(tmp_path: Path) -> None:
    write_subsets(tmp_path)
    with pytest.raises(UserError, match="a training pair is in one language"):
        rows("mteb", tmp_path, subset="eng_Latn-deu_Latn", split="test")


def test_a_data_set_of_the_hub_has_its_commit_as_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In huggingface_hub's cache, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "datasets--mills--mteb"
    de_and_fr(folder / "snapshots" / commit)
    write(folder / "refs" / "main", commit)
    task = load_task("mteb:hf://mills/mteb?subset=fr")
    assert [subset.revision for subset in task.subsets] == [commit]
    assert task.query_texts[0] == "qui?"
