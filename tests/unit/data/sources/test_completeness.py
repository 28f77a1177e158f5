"""Data sets from which something is missing: refused with counts, and what may be tolerated."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.commands.prepare import main as prepare
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.reporting.evaluation_report import evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import unit_vectors
from tests.support.published_files import collection, json_lines, read, relevance, rows, tsv, write

HEADER = ("query-id", "corpus-id", "score")


def beir(folder: Path, split: str = "test") -> Path:
    """Queries q1 to q5, each with a right passage d1 to d5; d6 is judged wrong for q1."""
    for name, letter, count in (("corpus", "d", 6), ("queries", "q", 7)):
        lines = ({"_id": f"{letter}{n}", "text": f"text {n}"} for n in range(1, count + 1))
        json_lines(folder / f"{name}.jsonl", *lines)
    judged = [(f"q{n}", f"d{n}", 1) for n in range(1, 6)]
    tsv(folder / "qrels" / f"{split}.tsv", HEADER, *judged, ("q1", "d6", 0), ("q9", "d6", 0))
    return folder


def keep(file: Path, lines: int) -> Path:
    """Cut a file at a line end."""
    return write(file, b"".join(file.read_bytes().splitlines(keepends=True)[:lines]))


def miracl(folder: Path, *langs: str) -> Path:
    for lang in langs:
        names = [f"{number}" for number in range(4)]
        name = f"miracl-v1.0-{lang}-dev.tsv"
        tsv(folder / "topics" / f"topics.{name}", *((n, f"Asked {n}?") for n in names))
        tsv(folder / "qrels" / f"qrels.{name}", *((n, "Q0", f"{n}#0", 1) for n in names))
        documents = ({"docid": f"{n}#0", "title": "", "text": f"Told {n}."} for n in names)
        json_lines(folder / f"miracl-corpus-v1.0-{lang}" / "docs-0.jsonl", *documents)
    return folder


def mmarco(folder: Path) -> Path:
    for name in ("german", "french"):
        texts = [(n, f"{name} {n}") for n in range(4)]
        tsv(folder / "collections" / f"{name}_collection.tsv", *texts)
        for split in ("train", "dev.small"):
            tsv(folder / "queries" / f"{name}_queries.{split}.tsv", *texts)
    tsv(folder / "qrels.dev.small.tsv", *((n, 0, n, 1) for n in range(4)))
    tsv(folder / "triples.train.ids.small.tsv", *((n, n, 0) for n in range(1, 4)))
    return folder


def test_a_whole_data_set_is_read_though_not_every_query_is_judged(tmp_path: Path) -> None:
    """q6 and q7 are of another split, and q9 has no right answer, so nothing lacks."""
    assert len(relevance(collection("beir", beir(tmp_path)))) == 5


def test_judged_queries_that_are_missing_are_counted_and_named(tmp_path: Path) -> None:
    keep(beir(tmp_path) / "queries.jsonl", 1)
    with pytest.raises(UserError) as refusal:
        collection("beir", tmp_path)
    first, cure = str(refusal.value).splitlines()
    assert first == (
        f"{tmp_path / 'qrels' / 'test.tsv'}:3: 4 of 5 judged queries in en are not in the queries "
        "(first: q2, q3, q4)"
    )
    assert "incomplete=allow" in cure


def test_judged_passages_that_are_missing_are_counted_right_or_wrong(tmp_path: Path) -> None:
    keep(beir(tmp_path) / "corpus.jsonl", 4)
    with pytest.raises(
        UserError, match=r"test.tsv:7: 2 of 6 judged passages in en .*\(first: d6, d5\)"
    ):
        collection("beir", tmp_path)
    keep(beir(tmp_path) / "corpus.jsonl", 5)
    with pytest.raises(UserError, match=r"1 of 6 judged passages in en .*\(first: d6\)"):
        collection("beir", tmp_path)


def test_lines_that_are_passed_over_do_not_allow_it(tmp_path: Path) -> None:
    file = beir(tmp_path) / "queries.jsonl"
    write(file, file.read_bytes().replace(b'"text 2"', b"2"))
    with pytest.raises(UserError, match=r"1 of 5 judged queries .*\(first: q2\)"):
        load_task(f"beir:{tmp_path}?skip_bad=1")
    assert len(load_task(f"beir:{tmp_path}?skip_bad=1&incomplete=allow").query_ids) == 4


class Vectors:
    name = "given"

    def __init__(self, queries: int, passages: int) -> None:
        rng = np.random.default_rng(0)
        self.query_vectors, self.passage_vectors = (
            unit_vectors(rng, queries),
            unit_vectors(rng, passages),
        )

    def queries(self, some: slice) -> object:
        return self.query_vectors[some]

    def passages(self, some: slice) -> object:
        return self.passage_vectors[some]


def test_allowed_gaps_are_listed_in_the_report(tmp_path: Path) -> None:
    keep(beir(tmp_path / "b") / "queries.jsonl", 2)
    keep(tmp_path / "b" / "corpus.jsonl", 4)
    task = load_task(f"beir:{tmp_path / 'b'}?incomplete=allow")
    assert (list(task.query_ids), len(task.passage_ids)) == (["q1", "q2"], 4)
    messages: list[str] = []
    report = evaluate_vectors(task, Vectors(2, 4), Ranks(), tmp_path / "out", messages.append)  # type: ignore[arg-type]
    for words in (report["settings"]["incomplete"], "\n".join(messages)):
        assert "3 of 5 judged queries in en are not in the queries (first: q3, q4, q5)" in words
        assert "2 of 6 judged passages in en are not in the corpus (first: d6, d5)" in words
    whole = load_task(f"beir:{beir(tmp_path / 'whole')}?incomplete=allow")
    assert whole.missing == whole.notes == ()


def test_a_query_whose_answers_are_all_missing_is_skipped(tmp_path: Path) -> None:
    keep(beir(tmp_path) / "corpus.jsonl", 3)
    result = relevance(collection("beir", tmp_path, incomplete="allow"))
    assert set(result) == {("en", "q1"), ("en", "q2"), ("en", "q3")}


def test_miracl_is_counted_language_by_language(tmp_path: Path) -> None:
    miracl(tmp_path, "bn", "sw", "te")
    keep(tmp_path / "topics" / "topics.miracl-v1.0-sw-dev.tsv", 1)
    keep(tmp_path / "miracl-corpus-v1.0-te" / "docs-0.jsonl", 3)
    with pytest.raises(UserError) as refusal:
        collection("miracl", tmp_path)
    sw, te, _ = str(refusal.value).splitlines()
    assert "3 of 4 judged queries in sw are not in the queries (first: 1, 2, 3)" in sw
    assert "1 of 4 judged passages in te are not in the corpus (first: 3#0)" in te
    assert len(relevance(collection("miracl", tmp_path, incomplete="allow"))) == 4 + 1 + 3


def test_miracl_s_qrels_may_judge_some_of_the_topics(tmp_path: Path) -> None:
    keep(miracl(tmp_path, "sw") / "qrels" / "qrels.miracl-v1.0-sw-dev.tsv", 2)
    assert len(relevance(collection("miracl", tmp_path))) == 2


def test_mmarco_is_counted_language_by_language(tmp_path: Path) -> None:
    mmarco(tmp_path)
    keep(tmp_path / "queries" / "german_queries.dev.small.tsv", 1)
    with pytest.raises(UserError, match=r"3 of 4 judged queries in de .*\(first: 1, 2, 3\)"):
        collection("mmarco", tmp_path)
    assert len(relevance(collection("mmarco", tmp_path, languages="fr"))) == 4
    assert len(relevance(collection("mmarco", tmp_path, incomplete="allow"))) == 4 + 1


def test_training_pairs_are_refused_and_allowed_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "b", "train")
    assert len(rows("beir", folder)) == 5
    keep(folder / "queries.jsonl", 3)
    keep(folder / "corpus.jsonl", 5)
    with pytest.raises(UserError) as refusal:
        rows("beir", folder)
    assert "2 of 5 judged queries in en" in str(refusal.value)
    assert "1 of 6 judged passages in en are not in the corpus (first: d6)" in str(refusal.value)
    words = ["beir", str(folder), "--out", str(tmp_path / "store")]
    with pytest.raises(SystemExit):
        prepare(words)
    assert not (tmp_path / "store").exists()
    prepare([*words, "--option", "incomplete=allow"])
    assert "2 of 5 judged queries in en are not in the queries" in capsys.readouterr().out


def test_mmarco_s_triples_may_be_allowed_to_lack_passages(tmp_path: Path) -> None:
    keep(mmarco(tmp_path) / "collections" / "german_collection.tsv", 2)
    with pytest.raises(UserError, match=r"small.tsv:2: 2 is no id in .*german_collection.tsv"):
        rows("mmarco", tmp_path)
    pairs, reading = read("mmarco", tmp_path, incomplete="allow")
    assert len(pairs) == 3 + 1
    assert reading.notes[0].startswith("2 lines name ids that are missing in de (")


UNITS = [
    {"unit": f"u{n}", "lang": lang, "query": "q", "passage_id": f"{lang}{n}"}
    for lang in ("en", "de")
    for n in range(4)
]
TABLE = [{"_id": one["passage_id"], "lang": one["lang"], "text": "t"} for one in UNITS]


def test_passages_that_units_name_and_the_table_lacks(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "pairs.jsonl.gz", *UNITS)
    table = json_lines(tmp_path / "passages.jsonl.gz", *TABLE[:6])
    expected = f"{file}: 2 of 4 passages that units name in de are not in {table} (first: de2, de3)"
    for act in (collection, rows):
        with pytest.raises(UserError) as refusal:
            act("units", tmp_path)
        assert str(refusal.value).splitlines()[0] == expected
    assert len(rows("units", tmp_path, languages="en")) == 4
    task = load_task(f"units:{tmp_path}?incomplete=allow")
    assert (len(task.query_ids), task.missing) == (6, (expected,))


@pytest.mark.parametrize("source", ["beir", "units", "lareqa", "tatoeba"])
def test_the_option_has_one_value_in_every_layout(source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"option incomplete=yes: give incomplete=allow, or leave"):
        load_task(f"{source}:{tmp_path}?incomplete=yes")


def test_queries_in_several_parquet_files_are_one_table(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    (folder / "queries.jsonl").unlink()
    (folder / "queries").mkdir()
    for shard, numbers in enumerate([(1, 2), (3, 4, 5)]):
        table = [{"_id": f"q{n}", "text": f"text {n}"} for n in numbers]
        pq.write_table(pa.Table.from_pylist(table), folder / "queries" / f"{shard}.parquet")
    assert len(relevance(collection("beir", folder))) == 5


def some(tmp_path: Path, source: str) -> Path:
    """A data set in two languages."""
    if source == "beir":
        for lang in ("de", "sw"):
            beir(tmp_path / lang)
            beir(tmp_path / lang, "train")
    elif source == "miracl":
        miracl(tmp_path, "de", "sw")
    elif source == "mmarco":
        mmarco(tmp_path)
        for file in list(tmp_path.rglob("french*")):
            file.rename(file.with_name(file.name.replace("french", "vietnamese")))
    elif source == "units":
        json_lines(tmp_path / "u.jsonl", *({**u, "passage": "p"} for u in UNITS_ALONE))
    else:
        for code in ("deu", "swh"):
            for side in (code, "eng"):
                write(tmp_path / f"tatoeba.{code}-eng.{side}", "a\nb\n")
    return tmp_path


UNITS_ALONE = [{"unit": "u", "lang": lang, "query": "q"} for lang in ("de", "sw")]


@pytest.mark.parametrize("source", ["beir", "miracl", "mmarco", "tatoeba", "units"])
@pytest.mark.parametrize("languages", ["fr", "de,fr"])
def test_a_language_that_is_not_there_is_refused(
    tmp_path: Path, source: str, languages: str
) -> None:
    some(tmp_path, source)
    other = "vi" if source == "mmarco" else "sw"
    assert len(collection(source, tmp_path, languages="de").queries) > 0
    for act in (collection, rows):
        options = {"split": "dev"} if act is rows and source == "miracl" else {}
        with pytest.raises(UserError) as refusal:
            act(source, tmp_path, languages=languages, **options)
        assert str(refusal.value) == (
            f"option languages={languages}: {tmp_path} has no fr; its languages are de, {other}"
        )


@pytest.mark.parametrize(
    ("source", "gone", "note"),
    [
        ("beir", "sw/qrels/test.tsv", "sw: there are queries, but no qrels of test"),
        ("miracl", "qrels/qrels.miracl-v1.0-sw-dev.tsv", "sw: there are queries, but no qrels of "),
        ("mmarco", "collections/vietnamese_collection.tsv", "vi: there are queries, but no coll"),
    ],
)
def test_a_language_that_nothing_judges_is_noted(
    tmp_path: Path, source: str, gone: str, note: str
) -> None:
    """Not refused: splits differ from language to language, and topics of test sets are secret."""
    (some(tmp_path, source) / gone).unlink()
    (result,) = load_task(f"{source}:{tmp_path}").notes
    assert result.startswith(note)
    assert load_task(f"{source}:{tmp_path}?languages=de").notes == ()


@pytest.mark.parametrize("content", ["", "\n"])
def test_units_files_without_units_are_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path / "u.jsonl", content)
    with pytest.raises(UserError, match=r"u.jsonl: is empty|has no queries or no passages"):
        load_task(f"units:{tmp_path}")
    write(tmp_path / "u.jsonl.gz", "").rename(tmp_path / "passages.jsonl.gz")
    (tmp_path / "u.jsonl").unlink()
    with pytest.raises(UserError, match=r"no units beside passages.jsonl.gz; expected JSON lines"):
        load_task(f"units:{tmp_path}")


def test_the_help_lists_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare(["--help"])
    assert "all: incomplete=allow" in capsys.readouterr().out
