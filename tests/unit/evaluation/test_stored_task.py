"""Evaluation data prepared once: the same task as from its files, damage, and what is refused."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import evaluate, prepare
from hybrid_dist.data.reading import Text
from hybrid_dist.data.store.reader import Store, check_sources
from hybrid_dist.data.text_sequence import Part, Texts
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.stored_task import open_task, write_task
from hybrid_dist.evaluation.task_specs import check_task, load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.replacing import of_task
from tests.fuzz.targets import layouts
from tests.support import mteb_data
from tests.support.benchmark_files import own_benchmark
from tests.support.published_files import afriqa
from tests.support.vector_files import write_biased, write_pairs

SOURCES: dict[str, Callable[[Path], object]] = {
    "pairs": lambda folder: write_pairs(folder, 20),
    "beir": afriqa,
    "tatoeba": layouts.tatoeba,
    "lareqa": layouts.lareqa,
    "units": layouts.units,
    "mteb": mteb_data.write_subsets,
    "benchmark": own_benchmark,
}
FILES = {"pairs": "pairs.jsonl", "benchmark": "own.yaml"}
"""Sources that read a file."""
OPTIONS = {"mteb": ("subset=all", "ignore_identical_ids=yes")}


def prepared(name: str, folder: Path) -> tuple[str, Path]:
    """The spec of a source's files, and the collection prepared from them."""
    data = folder / "data"
    data.mkdir()
    SOURCES[name](data)
    path = str(data / FILES.get(name, ""))
    out = folder / "made" / name
    options = OPTIONS.get(name, ())
    given = [word for option in options for word in ("--option", option)]
    prepare.main([name, path, "--collection", "--out", str(out), *given])
    return f"{name}:{path}" + (f"?{'&'.join(options)}" if options else ""), out


def content(task: Task) -> dict[str, Any]:
    """A task's values but for where it comes from, as lists."""
    values = {field.name: getattr(task, field.name) for field in fields(task)}
    for name in ("name", "path", "kind"):
        values.pop(name)
    return {
        name: value.tolist()
        if isinstance(value, np.ndarray)
        else (list(value) if name.endswith(("ids", "texts")) else value)
        for name, value in values.items()
    }


@pytest.mark.parametrize("ties", ["number", "trec_eval"])
@pytest.mark.parametrize("name", SOURCES)
def test_it_is_the_task_of_the_files(name: str, ties: str, tmp_path: Path) -> None:
    spec, out = prepared(name, tmp_path)
    one, other = load_task(spec, ties), load_task(f"collection:{out}", ties)
    assert (one.excluded is not None) == bool(one.subsets) == (name == "mteb")
    assert content(other) == content(one)
    key = "content of the task"
    assert of_task(other)[key] == of_task(one)[key]
    assert query_names(other) == query_names(one)
    assert passage_names(other) == passage_names(one)
    for name in ("query_language", "passage_language", "relevant", "relevant_starts", "grades"):
        assert getattr(one, name).dtype == getattr(other, name).dtype
    for texts in (other.passage_texts, other.query_ids):
        whole = list(texts)
        assert [texts[n] for n in range(len(texts))] == whole
        assert texts[-1] == whole[-1] and texts[1:-1] == whole[1:-1] and texts[::-2] == whole[::-2]
        assert texts[5:2] == []
        with pytest.raises(IndexError):
            texts[len(texts)]


def test_other_passage_texts_are_another_task(tmp_path: Path) -> None:
    spec, _ = prepared("pairs", tmp_path)
    task = load_task(spec)
    texts = list(task.passage_texts)
    other = replace(task, passage_texts=[*texts[:-1], "another text"])
    assert of_task(other) != of_task(task)
    assert of_task(replace(task, passage_texts=texts)) == of_task(task)


def test_reports_are_the_same_to_the_bit(tmp_path: Path) -> None:
    spec, out = prepared("pairs", tmp_path)
    words = ["--embeddings", str(write_biased(tmp_path / "vectors", spec)), "--save-run", "5"]
    evaluate.main([*words, "--task", f"one={spec}", "--out", str(tmp_path / "a")])
    evaluate.main([*words, "--task", f"one=collection:{out}", "--out", str(tmp_path / "b")])
    reports = [json.loads((tmp_path / n / "one" / "report.json").read_text()) for n in "ab"]
    made_from = [report.pop("made_from") for report in reports]
    for report in reports:
        del report["id"], report["timing"], report["settings"]["task"]
    assert reports[0] == reports[1]
    assert made_from[0]["content of the task"] == made_from[1]["content of the task"]
    runs = [(tmp_path / n / "one" / "run.trec").read_text().splitlines() for n in "ab"]
    assert [line.split()[:5] for line in runs[0]] == [line.split()[:5] for line in runs[1]]


def test_blocks_of_any_size_give_the_same_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out = prepared("lareqa", tmp_path)
    again = tmp_path / "again"
    monkeypatch.setattr("hybrid_dist.evaluation.stored_task.ROWS", 3)
    monkeypatch.setattr("hybrid_dist.data.text_sequence.BLOCK", 2)
    write_task(load_task(spec), again, {})
    for file in sorted(again.glob("*.arrow")):
        assert file.read_bytes() == (out / file.name).read_bytes()


def test_slices_of_texts_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_dist.data.text_sequence.BLOCK", 3)
    order = np.array([7, 0, 3, 8, 1, 6, 2, 5])
    part = Part(Texts.of(Text(f"{n}", "en", f"text {n}") for n in range(10)).take(order), "text")
    expected = [f"text {n}" for n in order]
    assert list(part) == part[:] == expected
    assert part[2:7] == expected[2:7] and part[::-2] == expected[::-2] and part[9:] == []


def test_opening_reads_no_texts(tmp_path: Path) -> None:
    count = 40_000
    texts = [f"passage {n} " + "x" * 100 for n in range(count)]
    queries, corpus = {"q": "?"}, {f"d{n:06d}": text for n, text in enumerate(texts)}
    task = Task.from_qrels(queries, corpus, {"q": {"d000007": 1}}, languages="en")
    write_task(task, tmp_path / "c", {})
    open_task(tmp_path / "c", "c", "c")  # verifies
    tracemalloc.start()
    opened = open_task(tmp_path / "c", "c", "c")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20, "the texts are 4 MB, as Python strings more"
    assert opened.passage_texts[count - 1] == texts[-1]
    assert opened.passage_texts[16_383:16_386] == texts[16_383:16_386]


def test_verify_names_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = prepared("pairs", tmp_path)
    capsys.readouterr()
    prepare.main(["--verify", str(out)])
    assert capsys.readouterr().out.endswith(
        "complete: 40 queries and 40 passages are as they were prepared\n"
    )
    file = out / "passages.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"passages.arrow: has changed since"):
        load_task(f"collection:{out}")
    with pytest.raises(SystemExit):
        prepare.main(["--verify", str(out)])
    assert "passages.arrow: has changed since" in capsys.readouterr().err


def broken_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "grades.npy").unlink(), "grades.npy: is missing"),
        (lambda folder: (folder / "queries.arrow").write_bytes(b""), "is cut short or changed"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is no prepared collection"),
        (lambda folder: broken_manifest(folder, one_pool=3), "is damaged: it is not what was"),
        (
            lambda folder: broken_manifest(folder, hybrid_dist_collection=7),
            "is a prepared collection of version 7, this program reads version 1",
        ),
    ],
)
def test_a_damaged_collection_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    _, out = prepared("pairs", tmp_path)
    damage(out)
    if message.startswith("is no"):
        message = "is not a prepared collection's manifest"
    with pytest.raises(UserError, match=message):
        check_task(f"collection:{out}")


def test_numbers_out_of_bounds_are_refused(tmp_path: Path) -> None:
    task = load_task(write_pairs(tmp_path, 4))
    task.passage_language[0] = 9
    with pytest.raises(IndexError):
        write_task(task, tmp_path / "c", {})
    assert not (tmp_path / "c").exists()


def test_other_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = prepared("pairs", tmp_path)
    store = tmp_path / "store"
    prepare.main(["pairs", str(tmp_path / "data" / "pairs.jsonl"), "--out", str(store)])
    with pytest.raises(UserError, match=r"is a store and no prepared collection"):
        check_task(f"collection:{store}")
    for use in (Store.open, lambda path: check_sources([path])):
        with pytest.raises(UserError, match=r"is a prepared collection and no store"):
            use(str(out))
    with pytest.raises(UserError, match=r"is no prepared collection; make one with"):
        check_task(f"collection:{tmp_path}")
    capsys.readouterr()
    for words, message in (
        (["tldr", "x", "--collection", "--out", "o"], "tldr: is for training only"),
        *(
            (["pairs", "x", "--collection", *flag, "--out", "o"], f"{flag[0]}: is for training")
            for flag in (
                ["--dry-run"],
                ["--links", "l"],
                ["--near-duplicates", "0.8"],
                ["--max-per-passage", "1"],
                ["--sample-per-language", "1"],
                ["--tokenize", "m"],
                ["--teacher", "m"],
            )
        ),
        (["pairs", "x", "--collection"], "--out is missing"),
        (["benchmark", "a.yaml", "b.yaml", "--collection", "--out", "o"], "each on its own"),
        (
            ["pairs", str(tmp_path / "data/pairs.jsonl"), "--collection", "--out", str(store)],
            "holds other things; name a new folder, or a prepared collection",
        ),
    ):
        with pytest.raises(SystemExit):
            prepare.main(words)
        assert message in capsys.readouterr().err
