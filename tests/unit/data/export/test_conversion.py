"""Pairs written for other trainers are read back by the sources of those layouts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from hybrid_dist.commands import convert
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.sources.collecting import Pair, ScoredPair, blocks
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.published_files import rows

QUERIES = {"en": "who {}?", "de": "wer {}?", "sw": 'nani "{}"\t?'}
PASSAGES = {"en": "Ada {}.\nShe did.", "de": "Die Ada {} – \u2028 so.", "sw": "Ada {} 🙂"}


def pairs() -> Iterator[Pair]:
    """Uids in some of three languages; negatives are passages of others, or of none."""
    for number in range(40):
        for lang in ("en", "de", "sw"):
            if number % 3 == 0 and lang == "sw":
                continue
            negatives = [PASSAGES[lang].format(n) for n in (number + 1, number + 3, 900 + number)]
            passage = PASSAGES[lang].format(number - number % 20 // 19)  # two of them are shared
            query = QUERIES[lang].format(number)
            count = 3 if number == 7 else 2
            yield Pair(f"u{number}", lang, query, passage, negatives[:count], 1)


def scored() -> Iterator[ScoredPair]:
    for number, pair in enumerate(pairs()):
        scores = [number / 3 - place for place in range(len(pair.negatives))]
        yield ScoredPair(*pair, 0.1 + number, scores)


def build(folder: Path, with_scores: bool) -> Store:
    reading = Reading()
    reading.place(Path("x"), 0)
    given = scored() if with_scores else pairs()
    return Store.build(blocks(given), folder, reading=reading)


@pytest.fixture(params=[False, True], ids=["plain", "scored"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return build(tmp_path / "store", request.param)


def content(row: dict[str, Any], *columns: str) -> tuple[Any, ...]:
    return tuple(tuple(row[c]) if isinstance(row[c], list) else row[c] for c in columns)


def expected(language: str, *columns: str, negatives: int | None = None) -> list[tuple[Any, ...]]:
    """The pairs of a language in the order of a store."""
    ordered = sorted((pair for pair in scored() if pair.lang == language), key=lambda p: p.uid)
    cut = [
        pair._replace(
            negatives=pair.negatives[:negatives], negative_scores=pair.negative_scores[:negatives]
        )
        for pair in ordered
    ]
    floats = [
        pair._replace(
            positive_score=float(np.float32(pair.positive_score)),
            negative_scores=np.array(pair.negative_scores, np.float32).tolist(),
        )
        for pair in cut
    ]
    return [content(pair._asdict(), *columns) for pair in floats]


SCORES = ("positive_score", "negative_scores")
TEXTS = ("lang", "query", "passage", "negatives")


def test_flagembedding_reads_back(store: Store, tmp_path: Path) -> None:
    convert.main([str(store.folder), "--to", "flagembedding", "--out", str(tmp_path / "out")])
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "de.jsonl",
        "en.jsonl",
        "sw.jsonl",
    ]
    columns = (*TEXTS, *(SCORES if store.scores else ()))
    for lang in ("de", "en", "sw"):
        read = rows("flagembedding", tmp_path / "out" / f"{lang}.jsonl", lang=lang)
        assert [content(row, *columns) for row in read] == expected(lang, *columns)


def test_tevatron_reads_back_with_its_uids(store: Store, tmp_path: Path) -> None:
    convert.main([str(store.folder), "--to", "tevatron", "--out", str(tmp_path / "out")])
    for lang in ("de", "en", "sw"):
        read = rows("tevatron", tmp_path / "out" / f"{lang}.jsonl", lang=lang)
        assert [content(row, *TEXTS) for row in read] == expected(lang, *TEXTS)
        wanted = [f"{uid}#0" for (uid,) in expected(lang, "uid")]
        assert [row["uid"] for row in read] == wanted


def test_parquet_is_the_same_store(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "made" / "pairs.parquet"
    convert.main([str(store.folder), "--to", "parquet", "--out", str(out)])
    options = {"query": "query", "passage": "passage", "lang_column": "lang", "uid_column": "uid"}
    options |= {"negatives": "negatives"} | {name: name for name in SCORES if store.scores}
    name = "table" if store.scores else "pairs"
    reading = Reading(options=options if store.scores else {})
    again = prepare(SOURCES[name], [str(out)], tmp_path / "again", reading)
    assert again.fingerprint == store.fingerprint
    if store.scores:
        without = prepare(SOURCES["pairs"], [str(out)], tmp_path / "without", Reading())
        assert without.index.num_rows == store.index.num_rows


@pytest.mark.parametrize("negatives", [None, 2, 3, 1, 0])
def test_sentence_transformers_loads_tuples(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], negatives: int | None
) -> None:
    out = tmp_path / "out"
    words = [] if negatives is None else ["--negatives", str(negatives)]
    convert.main([str(store.folder), "--to", "sentence-transformers", "--out", str(out), *words])
    count = 2 if negatives is None else negatives
    names = ["negative"] if count == 1 else [f"negative_{n + 1}" for n in range(count)]
    for lang in ("de", "en", "sw"):
        table = datasets.Dataset.from_parquet(
            str(out / f"{lang}.parquet"), cache_dir=str(tmp_path / "cache")
        )
        assert isinstance(table, datasets.Dataset)
        scores = ["scores"] if store.scores else []
        assert table.column_names == ["anchor", "positive", *names, *scores]
        wanted = [
            row
            for row in expected(lang, "query", "passage", "negatives", *SCORES, negatives=count)
            if len(row[2]) == count
        ]
        assert [(row["anchor"], row["positive"]) for row in table] == [row[:2] for row in wanted]
        assert [tuple(row[n] for n in names) for row in table] == [row[2] for row in wanted]
        if store.scores:
            assert [row["scores"] for row in table] == [[row[3], *row[4]] for row in wanted]
        if count == 2:
            read = rows("triplets", out / f"{lang}.parquet", lang=lang)
            assert [content(row, *TEXTS) for row in read] == expected(lang, *TEXTS, negatives=2)
    printed = capsys.readouterr().out
    listed = sum(len(pair.negatives) for pair in pairs())
    total = sum(1 for _ in pairs())
    written = 3 if negatives == 3 else total
    assert f"{out}: {written} pairs in 3 languages, for sentence-transformers\n" in printed
    if negatives == 3:
        assert f"left out: {total - 3:,} pairs with fewer than 3 negatives" in printed
        assert "negatives beyond" not in printed
    else:
        assert f"left out: {listed - count * total:,} negatives beyond {count}" in printed


def test_only_languages_with_pairs_get_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = Reading()
    reading.place(Path("x"), 0)
    listed: tuple[tuple[str, str, list[str]], ...] = (
        ("a", "de", ["n"]),
        ("a", "en", ["n", "o", "p"]),
        ("b", "en", []),
    )
    given = [Pair(uid, lang, f"q {uid}", f"p {uid}", some, 1) for uid, lang, some in listed]
    store = Store.build(blocks(given), tmp_path / "store", reading=reading)
    base = [str(store.folder), "--to", "sentence-transformers", "--out", str(tmp_path / "out")]
    convert.main([*base, "--negatives", "2"])
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["en.parquet"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/out: 1 pairs in 1 languages, for sentence-transformers"
    assert lines[3:] == [
        "left out: 2 pairs with fewer than 2 negatives",
        "left out: 1 negatives beyond 2 for each pair (--negatives)",
    ]


def test_beir_reads_back_with_translations_linked(store: Store, tmp_path: Path) -> None:
    convert.main([str(store.folder), "--to", "beir", "--out", str(tmp_path / "out")])
    read = rows("beir", tmp_path / "out", split="train")
    assert {row["uid"].partition(":")[0] for row in read} == {f"u{n}" for n in range(40)}
    langs: dict[str, set[str]] = {}
    for row in read:
        langs.setdefault(row["uid"], set()).add(row["lang"])
    assert sum(len(some) for some in langs.values()) == len(read) == store.index.num_rows
    assert set(map(len, langs.values())) == {2, 3}
    for lang in ("de", "en", "sw"):
        of_lang = [content(row, *TEXTS) for row in read if row["lang"] == lang]
        assert of_lang == expected(lang, *TEXTS)


def test_one_pool_of_beir_has_the_translations(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert.main([str(store.folder), "--to", "beir", "--out", str(out), "--pool"])
    texts = {
        kind: {
            r["_id"]: r["text"] for r in map(json.loads, (out / kind).read_text().split("\n")[:-1])
        }
        for kind in ("queries.jsonl", "corpus.jsonl")
    }
    lines = (out / "qrels" / "train.tsv").read_text().splitlines()
    assert lines[0] == "query-id\tcorpus-id\tscore"
    right = {tuple(line.split("\t")[:2]) for line in lines[1:] if line.endswith("\t1")}
    found = {(texts["queries.jsonl"][query], texts["corpus.jsonl"][name]) for query, name in right}
    given = list(pairs())
    assert found == {(a.query, b.passage) for a in given for b in given if a.uid == b.uid}
    wrong = [line for line in lines[1:] if line.endswith("\t0")]
    assert len(wrong) == sum(len(pair.negatives) for pair in given)


def test_a_pool_of_some_languages_has_their_passages_only(tmp_path: Path) -> None:
    store, out = build(tmp_path / "store", False), tmp_path / "out"
    words = ["--to", "beir", "--out", str(out), "--pool", "--languages", "sw", "de"]
    convert.main([str(store.folder), *words])
    lines = (out / "qrels" / "train.tsv").read_text().splitlines()[1:]
    right = [line.split("\t")[:2] for line in lines if line.endswith("\t1")]
    given = [pair for pair in pairs() if pair.lang in ("de", "sw")]
    assert len(right) == sum(a.uid == b.uid for a in given for b in given)
    assert {name[:3] for _, name in right} == {"de:", "sw:"}


def test_languages_are_selected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = build(tmp_path / "store", False)
    base = [str(store.folder), "--to", "flagembedding", "--out"]
    convert.main([*base, str(tmp_path / "out"), "--languages", "swa", "deu"])
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["de.jsonl", "sw.jsonl"]
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path}/out: 66 pairs in 2 languages, for flagembedding\n")
    assert "no place for uids" in printed
    pair_file = str(tmp_path / "pairs.parquet")
    convert.main([str(store.folder), "--to", "parquet", "--out", pair_file])
    for given in (str(store.folder), pair_file):
        with pytest.raises(UserError, match=f"--languages: {given} has no pairs in 'fr'"):
            convert.main([given, *base[1:], str(tmp_path / "other"), "--languages", "fr"])
    with pytest.raises(UserError, match="is no known language code"):
        convert.main([*base, str(tmp_path / "other"), "--languages", "no language"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flagembedding", "--negatives", "2"], "--negatives: flagembedding has"),
        (["tevatron", "--pool"], "--pool: tevatron has no pool"),
        (["sentence-transformers", "--negatives", "-1"], "--negatives: -1 is too few"),
        (["sentence-transformers", "--negatives", "9"], "--negatives: 9 leaves out all pairs, "),
        (["parquet"], "is called NAME.parquet"),
    ],
)
def test_what_a_layout_lacks_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    store = build(tmp_path / "store", False)
    with pytest.raises(UserError, match=message):
        convert.main([str(store.folder), "--out", str(tmp_path / "out"), "--to", *words])
    assert sorted(tmp_path.iterdir()) == [store.folder]


def test_an_existing_folder_stays(tmp_path: Path) -> None:
    store = build(tmp_path / "store", False)
    with pytest.raises(UserError, match="exists already"):
        convert.main([str(store.folder), "--out", str(store.folder), "--to", "beir"])
    assert Store(store.folder, check="now").index.num_rows


def test_a_uid_that_qrels_cannot_have_is_refused(tmp_path: Path) -> None:
    reading = Reading()
    reading.place(Path("x"), 0)
    given = [Pair("a\tb", "en", "q", "p", [], 1)]
    store = Store.build(blocks(given), tmp_path / "store", reading=reading)
    with pytest.raises(UserError, match=r"uid 'a\\tb': has a tab"):
        convert.main([str(store.folder), "--out", str(tmp_path / "out"), "--to", "beir"])
    assert sorted(tmp_path.iterdir()) == [store.folder]


def test_blocks_of_any_size_give_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build(tmp_path / "store", True)
    for to in ("flagembedding", "beir"):
        convert.main([str(store.folder), "--to", to, "--out", str(tmp_path / f"{to}-1")])
        for module in ("exported_pairs", "beir_folders"):
            monkeypatch.setattr(f"hybrid_dist.data.export.{module}.BLOCK", 3)
        convert.main([str(store.folder), "--to", to, "--out", str(tmp_path / f"{to}-2")])
        monkeypatch.undo()
        for file in (tmp_path / f"{to}-1").rglob("*.*"):
            other = tmp_path / f"{to}-2" / file.relative_to(tmp_path / f"{to}-1")
            assert file.read_bytes() == other.read_bytes()
