"""The source `table`: a store with the mapping that made it, and a task."""

from pathlib import Path

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.task_specs import check_task, load_task
from tests.support.published_files import collection, json_lines, relevance, rows, write

ROWS = [
    {"id": 1, "q": "who?", "a": "Ada.", "l": "en", "s": 0.9},
    {"id": 1, "q": "wer?", "a": "Die Ada.", "l": "de", "s": 0.9},
    {"id": 2, "q": "what?", "a": "A mill.", "l": "en", "s": 0.1},
]
OPTIONS = {"query": "q", "passage": "a", "lang_column": "l", "uid_column": "id"}


def test_the_store_has_the_mapping(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", *ROWS)
    mapping = write(tmp_path / "m.yaml", "query: q\npassage: a\nlang_column: l\nwhere: s > 0.5\n")
    options = {"mapping": str(mapping), "uid_column": "id"}
    store = prepare(SOURCES["table"], [str(file)], tmp_path / "store", Reading(options=options))
    assert store.manifest["mapping"] == {**OPTIONS, "where": "s > 0.5"}
    assert store.manifest["options"] == options
    assert store.manifest["notes"] == ["where s > 0.5: left out 1 of 3 rows"]
    manifest = Store(tmp_path / "store").manifest
    again = rows("table", file, **manifest["mapping"])
    assert [(row["uid"], row["lang"], row["query"], row["passage"]) for row in again] == [
        ("1", "en", "who?", "Ada."),
        ("1", "de", "wer?", "Die Ada."),
    ]


def test_a_table_can_be_evaluated_on(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "a.jsonl", *ROWS)
    both = {("en", "1"): 1, ("de", "1"): 1}
    assert relevance(collection("table", file, **OPTIONS)) == {
        ("en", "1"): both,
        ("de", "1"): both,
        ("en", "2"): {("en", "2"): 1},
    }
    spec = f"table:{file}?query=q&passage={{a}}&lang_column=l&uid_column=id&where=s >= 0.1"
    check_task(spec)
    assert load_task(spec).languages == ("de", "en")
