"""Public evaluation sets in their published shapes: what is read, and what is refused."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES, afriqa
from hybrid_dist.data.sources.bucc import read_corpora
from hybrid_dist.errors import UserError
from tests.support import evaluation_sets as sets
from tests.support.published_files import (
    collection,
    paragraph,
    relevance,
    rows,
    squad_json,
    write,
)

A, B = "https://en.wikinews.org/wiki/0", "https://en.wikinews.org/wiki/1"
Right = dict[tuple[str, str], dict[tuple[str, str], int]]


def neuclir(folder: Path) -> None:
    sets.neuclir(folder / "bench")


def ones(*passages: tuple[str, str]) -> dict[tuple[str, str], int]:
    return dict.fromkeys(passages, 1)


@pytest.mark.parametrize(
    ("name", "make", "options", "queries", "passages", "some"),
    [
        (
            "belebele",
            sets.belebele,
            {},
            {"en": 3, "de": 3, "zh": 3, "bn-Latn": 1},
            {"en": 2, "de": 2, "zh": 2, "bn-Latn": 1},
            {
                ("de", f"{A}#2"): ones(("en", A), ("de", A), ("zh", A), ("bn-Latn", A)),
                ("bn-Latn", f"{A}#1"): ones(("en", A), ("de", A), ("zh", A), ("bn-Latn", A)),
                ("zh", f"{B}#1"): ones(("en", B), ("de", B), ("zh", B)),
            },
        ),
        (
            "belebele",
            sets.belebele,
            {"languages": "eng_Latn,ben_Latn"},
            {"en": 3, "bn-Latn": 1},
            {"en": 2, "bn-Latn": 1},
            {("en", f"{A}#2"): ones(("en", A), ("bn-Latn", A))},
        ),
        (
            "flores",
            sets.flores,
            {},
            {"en": 3, "de": 3, "zh": 3},
            {"en": 3, "de": 3, "zh": 3},
            {("de", "00002"): ones(("en", "00002"), ("zh", "00002"))},
        ),
        (
            "flores",
            sets.flores,
            {"split": "dev", "pivot": "eng_Latn"},
            {"en": 1, "de": 1, "zh": 1},
            {"en": 1, "de": 1, "zh": 1},
            {
                ("de", "00001"): ones(("en", "00001")),
                ("en", "00001"): ones(("de", "00001"), ("zh", "00001")),
            },
        ),
        (
            "flores",
            sets.flores_plus,
            {"languages": "deu,cmn_Hans"},
            {"de": 3, "zh": 3},
            {"de": 3, "zh": 3},
            {("zh", "00003"): ones(("de", "00003"))},
        ),
        (
            "ntrex",
            sets.ntrex,
            {},
            {"en": 3, "de": 3, "zh": 3},
            {"en": 3, "de": 3, "zh": 3},
            {("zh", "00001"): ones(("en", "00001"), ("de", "00001"))},
        ),
        (
            "bucc",
            sets.bucc,
            {},
            {"de": 2, "en-x-de": 2},
            {"de": 4, "en-x-de": 3},
            {
                ("de", "de:de-000000003"): ones(("en-x-de", "en-000000003")),
                ("en-x-de", "de:en-000000001"): ones(("de", "de-000000001")),
            },
        ),
        (
            "squad",
            sets.mlqa,
            {},
            {"en": 1, "de": 1},
            {"en": 1, "de": 1},
            {("de", "q1"): ones(("en", "q1"), ("de", "q1"))},
        ),
        ("squad", sets.mlqa, {"languages": "de"}, {"de": 1}, {"de": 1}, {}),
        (
            "squad",
            lambda folder: sets.xor_tydi(folder / "gp_squad_dev_data.json"),
            {"language": "en"},
            {"ja": 1, "ko": 1},
            {"en": 1},
            {("ko", "ko"): ones(("en", "ja"))},
        ),
        (
            "afriqa",
            sets.afriqa_gold,
            {},
            {"bem": 2, "fon": 1},
            {"en": 2, "fr": 1},
            {
                ("bem", "bem:test:1"): ones(("en", "bem:test:0")),
                ("fon", "fon:test:0"): ones(("fr", "fon:test:0")),
            },
        ),
        (
            "afriqa",
            sets.afriqa_gold,
            {"split": "train"},
            {"bem": 1},
            {"en": 2, "fr": 1},
            {("bem", "bem:train:0"): ones(("en", "bem:train:0"))},
        ),
        (
            "neuclir",
            neuclir,
            {},
            {"en": 2, "fa": 2, "ru": 2, "zh": 2},
            {"fa": 3, "ru": 3, "zh": 3},
            {
                ("en", "101"): {("fa", "fas-a"): 3, ("ru", "rus-a"): 1},
                ("zh", "102"): ones(("zh", "zho-b")),
            },
        ),
        (
            "neuclir",
            neuclir,
            {"pool": "rus", "languages": "eng,rus"},
            {"en": 2, "ru": 2},
            {"ru": 3},
            {("ru", "101"): {("ru", "rus-a"): 2}, ("en", "102"): ones(("ru", "rus-b"))},
        ),
        (
            "multi_eup",
            lambda folder: sets.multi_eup(folder / "multi-eup.csv"),
            {},
            {"en": 2, "de": 1},
            {"en": 2, "de": 1},
            {
                ("de", "G1"): ones(("en", "d1"), ("de", "d2")),
                ("en", "G1"): ones(("en", "d1"), ("de", "d2")),
                ("en", "E2"): ones(("en", "d3")),
            },
        ),
    ],
)
def test_a_set_is_read_as_it_is_published(
    name: str,
    make: Callable[[Path], object],
    options: dict[str, str],
    queries: dict[str, int],
    passages: dict[str, int],
    some: Right,
    tmp_path: Path,
) -> None:
    make(tmp_path)
    result = collection(name, tmp_path, **options)
    assert Counter(text.lang for text in result.queries) == queries
    assert Counter(text.lang for text in result.passages) == passages
    found = relevance(result)
    assert {key: found[key] for key in some} == some


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("name", "make", "options", "file", "old", "new", "message"),
    [
        ("belebele", sets.belebele, {}, "data/deu_Latn.jsonl", '"dialect": "deu_Latn"',
         '"dialect": "german"', r"deu_Latn.jsonl:1: 'german' is no known language code"),
        ("belebele", sets.belebele, {}, "data/deu_Latn.jsonl", '"question": "Roggen?"',
         '"question": ""', r"deu_Latn.jsonl:2: expected a non-empty text as 'question', found ''"),
        ("belebele", sets.belebele, {}, "data/deu_Latn.jsonl", '"link"', '"url"',
         r"deu_Latn.jsonl:1: expected a non-empty text as 'link', found only url, question_num"),
        ("belebele", sets.belebele, {}, "data/deu_Latn.jsonl", "Mühle deu_Latn.", "Roggen.",
         r"passage '.*/0' has other text in 'de' than at .*deu_Latn.jsonl:1"),
        ("belebele", sets.belebele, {"languages": "fra_Latn"}, "", "", "",
         r"option languages=fra_Latn: .* has no fr; its languages are bn-Latn, de, en, zh"),
        ("flores", sets.flores, {}, "devtest/deu_Latn.devtest", "Roggen.\n", "",
         r"deu_Latn.devtest:2: is its last line, that of eng_Latn.devtest is 3; parallel files"),
        ("flores", sets.flores, {}, "devtest/deu_Latn.devtest", "Roggen.", " ",
         r"deu_Latn.devtest:2: expected a sentence, found an empty line"),
        ("flores", sets.flores, {"split": "test"}, "", "", "", r"option split=dev\|devtest"),
        ("flores", sets.flores, {"pivot": "fra_Latn"}, "", "", "",
         r"option pivot=fra_Latn: is none of the languages that are read: de, en, zh"),
        ("flores", sets.flores, {"languages": "deu_Latn"}, "", "", "", r"translations need two"),
        ("ntrex", sets.flores, {}, "", "", "", r"no file of this layout; .*newstest2019-src"),
        ("bucc", sets.bucc, {}, "de-en/de-en.training.de", "de-000000002\t", "de-000000002 ",
         r"training.de:2: expected a sentence in column 2, found 'de-000000002 B training.'"),
        ("bucc", sets.bucc, {}, "de-en/de-en.training.de", "de-000000002\t", "de-000000001\t",
         r"training.de:2: de-000000001 has another sentence than at .*training.de:1; keep one"),
        ("bucc", sets.bucc, {}, "de-en/de-en.training.gold", "en-000000001", "en-000000009",
         r"gold: 1 of 2 sentences in en are not in .*training.en \(first: en-000000009\)"),
        ("bucc", sets.bucc, {"split": "test"}, "", "", "", r"option split=sample\|training"),
        ("squad", lambda folder: sets.xor_tydi(folder / "gp.json"), {"language": "en"}, "gp.json",
         '"lang": "ja"', '"lang": "jap"', r"gp.json:1: query ja, lang: 'jap' is no"),
        ("squad", sets.mlqa, {"languages": "fr"}, "", "", "", r"has no fr; its languages are de"),
        ("afriqa", sets.afriqa_gold, {}, "bem/gold_span_passages.afriqa.bem.en.test.json",
         '"id": "1", "question_lang": "cinshi?"', '"id": "1", "question_lang": 7',
         r"test.json:2: expected a non-empty text as 'question_lang', found 7"),
        ("neuclir", neuclir, {"pool": "ruz"}, "", "", "",
         r"option pool=ruz: no such judgements; did you mean 'rus'.*fas, mlir, rus, zho"),
        ("neuclir", neuclir, {}, "bench/data/qrels.mlir.gains.txt", "0 rus-a 1", "0 rus-a one",
         r"gains.txt:2: expected query-id, corpus-id and score .*TREC.*found '101 rus-a one'"),
        ("neuclir", neuclir, {}, "bench/data/qrels.mlir.gains.txt", "rus-a", "rus-z",
         r"gains.txt:2: 1 of 3 judged passages in fa or ru or zh are not in the corpus .*rus-z"),
        ("neuclir", neuclir, {}, "bench/data/news.fas.tsv", "101\t", "101 ",
         r"news.fas.tsv:1: expected a query in column 2"),
        ("multi_eup", lambda folder: sets.multi_eup(folder / "a.csv"), {}, "a.csv", "DE,Bo", ",Bo",
         r"a.csv:4: expected a non-empty text as 'LANGUAGE', found ''"),
        ("multi_eup", lambda folder: sets.multi_eup(folder / "a.csv"), {}, "a.csv", "Rye,E2", ",",
         r"a.csv:5: expected the debate's title and id, as in title_EN and qid_EN; found none"),
        ("multi_eup", lambda folder: sets.multi_eup(folder / "a.csv"), {}, "a.csv", "did", "id",
         r"a.csv: expected columns did, TEXT, LANGUAGE, found id, TEXT, DATE, LANGUAGE"),
    ],
)  # fmt: skip
def test_a_broken_set_is_refused(
    name: str,
    make: Callable[[Path], object],
    options: dict[str, str],
    file: str,
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
) -> None:
    make(tmp_path)
    if file:
        changed(tmp_path / file, old, new)
    with pytest.raises(UserError, match=message):
        collection(name, tmp_path, **options)


@pytest.mark.parametrize(
    "rows",
    [
        ["M,E1,Mühlen,G1", "M,E1,,", "Rye,E2,,"],
        ["M,E1,,", ",,Mühlen,G1", "Rye,E2,,", "M,E1,Mühlen,G1"],
        ["M,E1,Mühlen,E2", "M,E1,,", "Rye,E2,,"],
        ["M,E1,Mühlen,null", "Rye,E2,Roggen,null"],
    ],
    ids=["a title is missing", "the last row joins two", "an id of two languages", "null"],
)
def test_speeches_of_a_debate_stay_together(tmp_path: Path, rows: list[str]) -> None:
    head = "did,TEXT,LANGUAGE,title_EN,qid_EN,title_DE,qid_DE"
    speeches = [f"d{number},Text {number}.,EN,{row}" for number, row in enumerate(rows)]
    file = write(tmp_path / "a.csv", "\n".join([head, *speeches]))
    rye = {("en", f"d{n}"): 1 for n, row in enumerate(rows) if row.startswith("Rye")}
    mills = {("en", f"d{n}"): 1 for n, row in enumerate(rows) if not row.startswith("Rye")}
    found = relevance(collection("multi_eup", file))
    of_language = {lang: [found[key] for key in found if key[0] == lang] for lang in ("de", "en")}
    assert of_language["de"] in ([mills], [])
    assert sorted(of_language["en"], key=str) == sorted([rye, mills], key=str)


def test_a_passage_that_is_missing_is_reported_once(tmp_path: Path) -> None:
    """The topics of all languages share the judgements."""
    neuclir(tmp_path)
    changed(tmp_path / "bench/data/qrels.mlir.gains.txt", "rus-a", "rus-z")
    with pytest.raises(UserError) as refusal:
        collection("neuclir", tmp_path)
    assert str(refusal.value).count("judged passages") == 1


def test_a_missing_corpus_is_asked_for(tmp_path: Path) -> None:
    sets.neuclir(tmp_path / "bench")
    with pytest.raises(UserError, match=r"fas-00000-of-00001.jsonl.gz, .*by the option corpus"):
        collection("neuclir", tmp_path / "bench")
    elsewhere = collection("neuclir", tmp_path / "bench", corpus=str(tmp_path / "neuclir1"))
    assert len(elsewhere.passages) == 9


def test_a_bucc_side_that_is_missing_is_named(tmp_path: Path) -> None:
    sets.bucc(tmp_path)
    (tmp_path / "de-en/de-en.training.en").unlink()
    with pytest.raises(UserError, match=r"de-en.training.de.*: en is missing beside it"):
        read_corpora([str(tmp_path)], Reading(), "training")
    with pytest.raises(UserError, match=r"no file of the split test; expected de-en.training.de"):
        read_corpora([str(tmp_path)], Reading(), "test")


def test_rows_that_afriqa_lacks_are_noted(tmp_path: Path) -> None:
    sets.afriqa_gold(tmp_path)
    reading, read = Reading(), SOURCES["afriqa"].collection
    assert read is not None
    read([str(tmp_path)], reading)
    assert reading.notes == [afriqa.NOTE]
    assert not reading.bad


def test_queries_in_other_languages_are_no_training_pairs(tmp_path: Path) -> None:
    sets.mlqa(tmp_path)
    found = [(row["lang"], row["query"]) for row in rows("squad", tmp_path)]
    assert found == [("de", "de who?"), ("en", "en who?")]
    sets.xor_tydi(tmp_path / "xor" / "gp.json")
    assert rows("squad", tmp_path / "xor", language="en") == []


def test_languages_of_mlqa_keep_paragraphs_apart(tmp_path: Path) -> None:
    """Paragraphs have no names of their own, and not all languages have the same ones."""
    contexts = {"ar": ["Ada"], "de": ["Ada", "Bach"], "en": ["Bach", "Curie"]}
    for context, people in contexts.items():
        for question, others in contexts.items():
            shared = [name for name in people if name in others]
            asked = [
                paragraph(f"{context}: {name} wrote.", **{f"q-{name}": f"{question} who?|{name}"})
                for name in shared
            ]
            name = f"test-context-{context}-question-{question}.json"
            write(tmp_path / name, squad_json(asked))
    for languages, count in ((["de"], 2), (["en"], 2), (["en", "de"], 4), (["ar", "de", "en"], 5)):
        found = collection("squad", tmp_path, languages=",".join(languages))
        assert len(found.passages) == count
        judged = relevance(found)
        assert all(answers for answers in judged.values())
    assert {(text.lang, text.id) for text in found.passages} == {
        (context, f"q-{name}") for context, people in contexts.items() for name in people
    }


def test_sides_of_bucc_may_use_the_same_ids(tmp_path: Path) -> None:
    for name, content in (
        ("de", "1\tA.\n2\tB.\n"),
        ("en", "1\ta!\n2\tb!\n"),
        ("gold", "1\t2\n2\t1\n"),
    ):
        write(tmp_path / f"de-en.dev.{name}", content)
    found = collection("bucc", tmp_path)
    pairs = np.repeat(np.arange(len(found.queries)), np.diff(found.relevant_starts))
    texts = [
        (found.queries[query].text, found.passages[passage].text)
        for query, passage in zip(pairs.tolist(), found.relevant.tolist(), strict=True)
    ]
    assert sorted(texts) == [("A.", "b!"), ("B.", "a!"), ("a!", "B."), ("b!", "A.")]


def test_a_set_for_evaluation_only_is_not_prepared(tmp_path: Path) -> None:
    sets.belebele(tmp_path)
    with pytest.raises(UserError, match="belebele: has no training pairs; evaluate on it"):
        prepare(SOURCES["belebele"], [str(tmp_path)], tmp_path / "store", Reading())
