"""Overlap of evaluated texts with training texts, against a count without an index."""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hybrid_dist import cli
from hybrid_dist.data.ngrams import normalized_text
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.contamination import (
    DENSE,
    MAX_CHECKED_AT_START,
    MIN_NGRAMS,
    NGRAM_SIZE,
    Evaluated,
    Overlap,
    check_overlap_at_start,
    evaluated,
)
from hybrid_dist.evaluation.task_specs import load_task
from tests.support.published_files import json_lines

MILL = "The old mill by the river was built of grey stone and ground rye for four villages."
ROAD = "No road led there before the bridge, so that flour went down the river by boat."
CHINESE = "河边的老磨坊是用灰色石头建造的，为四个村庄磨黑麦。"


def pair(uid: str, query: str, passage: str, lang: str = "en") -> dict[str, str]:
    return {"uid": uid, "lang": lang, "query": query, "passage": passage}


def block(*rows: dict[str, str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([*rows])


def one(text: str, lang: str = "en", name: str = "e") -> Evaluated:
    return Evaluated("task", "passage", lang, name, text)


def search(texts: Sequence[Evaluated], *rows: dict[str, str]) -> Overlap:
    overlap = Overlap(texts)
    overlap.add(block(*rows))
    return overlap


@pytest.mark.parametrize(
    ("seen", "share", "exact"),
    [
        (MILL, 1.0, True),
        (f"  {MILL.upper()}\n", 1.0, True),
        (MILL.replace(" ", "\u00a0 "), 1.0, True),
        (f"{ROAD} {MILL} {ROAD}", 1.0, False),
        (MILL.replace("grey", "gray"), 0.9, False),
    ],
)
def test_equal_and_contained_texts_are_hits(seen: str, share: float, exact: bool) -> None:
    overlap = search([one(MILL)], pair("t", "what?", seen), pair("u", "why?", ROAD))
    hit = overlap.best[0]
    assert (hit.uid, hit.column, hit.exact) == ("t", "passage", exact)
    assert hit.share == pytest.approx(share, abs=0.05)
    assert overlap.uids == {"t"}


def test_absent_texts_are_no_hits() -> None:
    half = MILL[: len(MILL) // 2]
    assert not search([one(MILL)], pair("t", half, ROAD), pair("u", "mill?", "rye")).best


def test_composed_letters_are_the_same_letters() -> None:
    text = "Le café fermé était près de la rivière où l'on lavait le seigle."
    import unicodedata

    assert search([one(text, "fr")], pair("t", unicodedata.normalize("NFD", text), "x", "fr")).best


def test_only_texts_of_the_language_are_compared() -> None:
    assert not search([one(MILL, "de")], pair("t", MILL, "x")).best
    assert search([one(MILL, "en-x-af")], pair("t", MILL, "x", "en-GB")).best


def test_short_texts_are_compared_as_a_whole() -> None:
    assert not search([one("the mill")], pair("t", "where?", MILL)).best
    assert search([one("the mill")], pair("t", "The  Mill", "x")).best


def test_dense_scripts_use_shorter_ngrams() -> None:
    assert DENSE["zh"][1] < MIN_NGRAMS
    overlap = search([one(CHINESE, "zh")], pair("t", "问", f"从前，{CHINESE}后来", "zh"))
    assert overlap.best[0].share == 1.0
    assert not overlap.best[0].exact


def grams(text: str) -> set[str]:
    text = normalized_text(text)
    return {text[n : n + NGRAM_SIZE] for n in range(len(text) - NGRAM_SIZE + 1)}


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_above_the_threshold_is_missed(seed: int, threshold: float) -> None:
    """Sentences that share words and parts, counted by sets of strings."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdeé", k=rng.randint(2, 7))) for _ in range(60)]

    def sentence(low: int, high: int) -> list[str]:
        return rng.choices(words, k=rng.randint(low, high))

    sought = [sentence(6, 20) for _ in range(80)]
    training = []
    for _ in range(300):
        text = [*sentence(0, 15), *rng.choice(sought), *sentence(0, 15)]
        for _ in range(rng.randint(0, 3)):
            text[rng.randrange(len(text))] = rng.choice(words)
        training.append(" ".join(text))
    evaluated = [one(" ".join(text), name=str(n)) for n, text in enumerate(sought)]
    texts = [text for text in evaluated if len(grams(text.text)) >= MIN_NGRAMS]
    overlap = Overlap(texts, threshold)
    overlap.add(block(*(pair(str(n), "q", text) for n, text in enumerate(training))))
    has = [grams(text) for text in training]
    for number, evaluated_text in enumerate(texts):
        wanted = grams(evaluated_text.text)
        share = max(len(wanted & some) / len(wanted) for some in has)
        assert (number in overlap.best) == (share >= overlap.threshold)
        if number in overlap.best:
            assert overlap.best[number].share == pytest.approx(share)
    assert 5 < len(overlap.best) <= len(texts)


def test_a_common_half_is_enough_for_a_low_threshold() -> None:
    """All n-grams that the training text has are common ones; the rare ones are elsewhere."""
    rng = random.Random(5)
    endings = ["".join(rng.choices("bcdfghkl", k=60)) for _ in range(9)]
    texts = [one(f"{MILL} {ending}", name=ending) for ending in endings]
    overlap = Overlap(texts, threshold=0.5)
    overlap.add(block(pair("t", "q", MILL)))
    assert len(overlap.best) == 9


def test_results_do_not_depend_on_the_block_size() -> None:
    rows = [pair(str(n), f"q {n}", MILL if n % 3 else f"{ROAD} {n}") for n in range(30)]
    whole, parts = Overlap([one(MILL), one(ROAD)]), Overlap([one(MILL), one(ROAD)])
    whole.add(block(*rows))
    for start in range(0, 30, 7):
        parts.add(block(*rows[start : start + 7]))
    assert whole.uids == parts.uids == {str(n) for n in range(30)}
    assert whole.best == parts.best


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Training pairs, one of which contains a German passage of the task, and the task."""
    train = json_lines(
        tmp_path / "train.jsonl",
        pair("a", "Was stand am Fluss?", "Eine alte Mühle aus grauem Stein stand am Fluss.", "de"),
        pair("a", "What stood by the river?", "An old mill of grey stone stood by the river."),
        pair("b", "How did flour travel?", ROAD),
    )
    task = json_lines(
        tmp_path / "test.jsonl",
        pair("x", "Wo?", "Eine alte Mühle aus grauem Stein stand am Fluss.", "de"),
        pair("x", "Where?", "It stood somewhere else, as far as anybody in the village knew."),
    )
    return train, task


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hybrid-dist", "overlap", *map(str, words)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


Capture = pytest.CaptureFixture[str]


def test_the_command_reports_overlap_and_exits_with_1(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    train, task = files
    assert run(monkeypatch, train, "--task", f"pairs:{task}") == 1
    out = capsys.readouterr().out
    assert "equal text in the passage of a: Eine alte Mühle" in out
    assert "overlap: of 4 texts that pairs evaluates on, 1 are there as they are, 0 in other" in out
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["by_language"]["de"]["passages"] == {"evaluated": 1, "exact": 1, "contained": 0}
    assert not summary["clean"]
    assert summary["examples"][0]["training"]["uid"] == "a"


def test_dropping_writes_a_store_with_its_hard_negatives(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    train, task = files
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    for row in rows:
        row["negatives"] = [f"not {row['uid']} in {row['lang']}", "nothing"]
    train.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "clean"
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--drop", out) == 0
    assert "1 of 3 pairs are left" in capsys.readouterr().out
    store = Store.open(str(out))
    assert (out / "manifest.json").is_file()
    assert store.uids(np.arange(1)) == ["b"]
    assert store.passage_texts(store.index.negatives) == ["not b in en", "nothing"]
    left = [row for row in rows if row["uid"] == "a"]
    train.write_text("\n".join(map(json.dumps, left)))
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--drop", tmp_path / "none") == 2
    assert "no pair would be left" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_dropping_removes_translations_too(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The English pair of uid a is a translation of an evaluated text."""
    train, task = files
    out = tmp_path / "made" / "clean.jsonl.gz"
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--drop", out) == 0
    assert "1 of 3 pairs are left" in capsys.readouterr().out
    assert Store.open(str(out)).uids(np.arange(1)) == ["b"]
    assert run(monkeypatch, out, "--task", f"pairs:{task}") == 0
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--drop", out) == 2
    assert "exists already; name a new file" in capsys.readouterr().err


def test_wrong_thresholds_are_refused(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    train, task = files
    assert run(monkeypatch, train, "--task", f"pairs:{task}", "--threshold", 0.2) == 2
    assert "--threshold 0.2 is out of range: give 0.5 to 1" in capsys.readouterr().err


def test_a_run_reports_the_overlap_of_its_tasks(files: tuple[Path, Path]) -> None:
    train, task = files
    stores, tasks = [Store.open(str(train))], [load_task(f"pairs:{task}")]
    assert check_overlap_at_start(stores, tasks, [str(train)]) == (
        "overlap: 1 of the 4 texts that pairs evaluates on are among the training texts, compared "
        "as a whole"
    )
    assert "not checked, since eval.tasks is empty" in check_overlap_at_start(
        stores, [], [str(train)]
    )


def test_a_large_run_reports_that_it_was_not_checked(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_CHECKED_AT_START >= 100_000
    monkeypatch.setattr("hybrid_dist.evaluation.contamination.MAX_CHECKED_AT_START", 2)
    train, task = files
    message = check_overlap_at_start(
        [Store.open(str(train))], [load_task(f"pairs:{task}")], [str(train)]
    )
    assert "not checked" in message
    assert f"hybrid-dist overlap {train} --task pairs:{task}" in message


def test_evaluated_texts_are_queries_and_relevant_passages(tmp_path: Path) -> None:
    json_lines(
        tmp_path / "pairs.jsonl", {"unit": "u", "lang": "en", "query": "q?", "passage_id": "1"}
    )
    passages = [{"_id": name, "lang": "en", "text": f"text {name}"} for name in "12"]
    json_lines(tmp_path / "passages.jsonl", *passages)
    texts = evaluated(load_task(f"units:{tmp_path}"))
    assert [(text.kind, text.text) for text in texts] == [("query", "q?"), ("passage", "text 1")]


@pytest.mark.parametrize("json_wanted", [True, False])
def test_control_characters_in_ids_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], json_wanted: bool
) -> None:
    rows = [pair("\x1b[31m\x9b1m[/b]", "what?\x07", f"{MILL}\x1b]0;title\x07")]
    json_lines(tmp_path / "train.jsonl", *rows)
    json_lines(tmp_path / "test.jsonl", *rows)
    words = [str(tmp_path / "train.jsonl"), "--task", f"pairs:{tmp_path / 'test.jsonl'}"]
    with pytest.raises(SystemExit):
        cli.run("overlap", [*words, *(["--json"] if json_wanted else [])])
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x9b", "\x07"}
    if json_wanted:
        assert json.loads(shown)["examples"][0]["training"]["uid"] == rows[0]["uid"]
    else:
        assert r"\x1b[31m\x9b1m[/b]" in shown
