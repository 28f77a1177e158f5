"""A benchmark in one YAML file, from tables of any columns."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from hybrid_dist.config.task_names import label_of
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import check_task, fetch_task, load_task
from hybrid_dist.evaluation.tasks import Task
from tests.support.benchmark_files import OWN, own_benchmark
from tests.support.published_files import json_lines, tsv, write


def answers(task: Task) -> dict[tuple[str, str], dict[tuple[str, str], int]]:
    """By language and id of queries: their relevant passages, and the grade of each."""
    found: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
    for pair, (number, grade) in enumerate(
        zip(task.relevant.tolist(), task.grades.tolist(), strict=True)
    ):
        query = int(task.pair_query[pair])
        key = task.languages[task.query_language[query]], task.query_ids[query]
        passage = task.languages[task.passage_language[number]], task.passage_ids[number]
        found.setdefault(key, {})[passage] = grade
    return found


def test_parallel_ids_are_judged_once_for_all_languages(tmp_path: Path) -> None:
    task = load_task(str(own_benchmark(tmp_path)))
    both = {("de", "d1"): 2, ("en", "d1"): 2}
    assert answers(task) == {
        ("de", "q1"): both,
        ("en", "q1"): both,
        ("en", "q2"): {("de", "d2"): 1},
    }
    assert list(task.query_texts) == ["wer schrieb es?", "who wrote it?", "what grows?"]
    assert sorted(task.passage_texts) == ["Ada\nAda did.", "Ada\nSie war es.", "Roggen wächst."]
    assert (task.name, task.spec) == ("own", f"own=benchmark:{tmp_path}/own.yaml")
    assert load_task(task.spec).spec == task.spec
    assert label_of(f"mine={tmp_path}/own.yaml") == "mine"


def test_every_format_and_key(tmp_path: Path) -> None:
    """A glob, lists of tables and of files, cells without a header, lists in a row, conditions."""
    json_lines(tmp_path / "q" / "de.jsonl", {"n": 1, "ask": {"text": "wer?"}, "use": True})
    json_lines(tmp_path / "q" / "more.jsonl", {"n": 2, "ask": {"text": "was?"}, "use": True},
               {"n": 3, "ask": {"text": "nie?"}, "use": False})  # fmt: skip
    write(tmp_path / "en.csv", "1;who?\n")
    feather.write_feather(
        pa.table({"n": [1, 2], "body": ["Ada.", "Roggen."]}), tmp_path / "docs.arrow"
    )
    json_lines(
        tmp_path / "right.jsonl.gz",
        {"q": 1, "of": "deu", "right": [{"id": 1, "grade": 3}, {"id": 2, "grade": 0}]},
        {"q": 2, "of": "deu", "right": [{"id": 2, "grade": 1}]},
        {"q": 1, "of": "eng", "right": [{"id": 1, "grade": 1}]},
        {"q": 9, "of": "eng", "right": []},
    )
    write(
        tmp_path / "own.yml",
        """
queries:
  - {path: q/*.jsonl, id: n, text: ask.text, lang: de, where: use = true}
  - {path: [en.csv], columns: [n, ask], delimiter: ";", id: n, text: ask, lang: en}
corpus: {path: docs.arrow, id: n, text: "{body}", lang: de}
qrels: {path: right.jsonl.gz, query: q, passage: right.id, grade: right.grade, lang_column: of,
        passage_lang: de}
""",
    )
    assert answers(load_task(f"{tmp_path}/own.yml")) == {
        ("de", "de:1"): {("de", "1"): 3},
        ("de", "de:2"): {("de", "2"): 1},
        ("en", "en:1"): {("de", "1"): 1},
    }


BROKEN_FILE: dict[str, tuple[str, str, str]] = {
    "a typo": ("corpus:", "corpora:", "own.yaml: unknown key 'corpora'; did you mean 'corpus'?"),
    "a key": ("grade:", "grades:", "qrels: unknown key 'grades'; did you mean 'grade'? (known: "),
    "a side": ("qrels:", "_qrels:", "own.yaml: unknown key '_qrels'; did you mean 'qrels'?"),
    "no path": ("path: queries.csv", "id: x", "own.yaml: is not valid YAML: key 'id' is given"),
    "a number": ("text: ask", "text: 3", "own.yaml: queries.text: expected a text, found 3"),
    "no id": ("id: nr\n", "lang: de\n", "own.yaml: queries: give lang or lang_column, not both"),
    "a language": ("lang_column: of", "lang: xx", "own.yaml: queries.lang: 'xx' is no known"),
    "a template": ("{title}", "{title", "own.yaml: corpus.1.text={title\n{text}: '{' na"),
    "a condition": ("grade >= 0", "grade =", "own.yaml: qrels.where=grade =: cannot read"),
    "a delimiter": (
        "    lang: en",
        "    lang: en\n    delimiter: '::'",
        "own.yaml: corpus.2.delimiter=::: expected one character, or tab",
    ),
    "two columns": ("id: nr", "id: [nr, of]", "own.yaml: queries.id=nr,of: expected one value"),
    "a split": (
        "path: de.jsonl",
        "path: de.jsonl\n    split: test",
        "corpus.1: FOLDER/de.jsonl: config and split need a folder or hf://",
    ),
    "one language": (
        "grade: grade",
        "passage_lang: de",
        "own.yaml: qrels: passage_lang needs lang or lang_column, that of queries",
    ),
    "a collection": ("queries:", "tasks:", "own.yaml: lists tasks (key tasks); a task that is"),
    "a list": ("corpus:\n", "corpus: []\n_:\n", "own.yaml: unknown key '_'"),
    "a column": ("text: ask", "text: aks", "queries.csv: has no column 'aks', which queries.text "
                 "names; did you mean 'ask'? (its columns: nr, of, ask)"),
    "a folder": ("queries.csv", "..", "own.yaml: queries.path: .. is a folder above this file"),
    "a file": ("queries.csv", "query.csv", "query.csv: no such file or folder"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BROKEN_FILE.values(), ids=BROKEN_FILE)
def test_a_broken_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = own_benchmark(tmp_path)
    assert old in OWN
    write(file, OWN.replace(old, new, 1))
    with pytest.raises(UserError) as refusal:
        load_task(str(file))
    assert message.replace("FOLDER", str(tmp_path)) in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("content", ["", "3", "- queries", "queries: {}", "{queries: , corpus: }"])
def test_what_is_no_benchmark_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"own\.yaml: "):
        load_task(str(write(tmp_path / "own.yaml", content)))


@pytest.mark.parametrize("content", ["name: mine", "name: mine\ntask: [toy:toy]", "{}"])
def test_a_collection_without_tasks_is_told_its_key(tmp_path: Path, content: str) -> None:
    message = r"own\.yaml: has neither tasks, the key of a task collection, nor queries, corpus, qr"
    with pytest.raises(UserError, match=message):
        load_task(str(write(tmp_path / "own.yaml", content)))


BROKEN_ROWS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "empty": ("queries.csv", lambda t: t.replace("what grows?", ""), "queries.csv:4: column ask: "
              "expected a non-empty text, found ''"),
    "language": ("queries.csv", lambda t: t.replace(",en,", ",xx,", 1), "queries.csv:3: column of:"
                 " 'xx' is no known language code"),
    "no language": ("queries.csv", lambda t: t.replace(",en,", ",,", 1), "queries.csv:3: column of:"
                    " expected a language code, found ''"),
    "grade": ("qrels.tsv", lambda t: t.replace("2", "2.5", 1), "qrels.tsv:2: expected a whole"
              " number as 'grade', found '2.5'"),
    "two grades": ("qrels.tsv", lambda t: f"{t}q1\td1\t1\n", "qrels.tsv:5: d1 is judged 1 for query"
                   " q1, but 2 at "),
    "other query": ("qrels.tsv", lambda t: f"{t}q9\td1\t1\n", "qrels.tsv:5: 1 of 3 judged queries"
                    " in any language are not in the queries (first: q9)"),
    "other passage": ("qrels.tsv", lambda t: f"{t}q1\td9\t1\n", "qrels.tsv:5: 1 of 3 judged"
                      " passages in any language are not in the corpus (first: d9)"),
    "no grade": ("qrels.tsv", lambda t: t.replace("\t2", "\t0").replace("\t1", "\t0"), "qrels.tsv:"
                 " judges no document as right"),
    "id twice": ("de.jsonl", lambda t: t + t.splitlines()[0].replace("Sie", "Er") + "\n", "de.jsonl"
                 ":3: passage 'd1' has other text in 'de' than at "),
    "no id": ("de.jsonl", lambda t: t.replace('"d1"', "null", 1), "de.jsonl:1: column doc: expected"
              " a non-empty text, found None"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), BROKEN_ROWS.values(), ids=BROKEN_ROWS)
def test_a_broken_row_is_named(
    tmp_path: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    own = own_benchmark(tmp_path)
    file = tmp_path / name
    before = file.read_text("utf-8")
    assert change(before) != before
    file.write_text(change(before), "utf-8")
    with pytest.raises(UserError) as refusal:
        load_task(str(own))
    assert f"{tmp_path}/{message}" in str(refusal.value)


def test_bad_rows_are_skipped_and_gaps_allowed_on_request(tmp_path: Path) -> None:
    own = own_benchmark(tmp_path)
    with (tmp_path / "qrels.tsv").open("a") as qrels:
        qrels.write("q1\td9\t1\nq2\td2\thigh\n")
    task = load_task(f"mine={own}?skip_bad=1&incomplete=allow")
    assert (task.name, len(task.relevant)) == ("mine", 5)
    assert any("qrels.tsv:6" in note for note in task.notes)
    assert "1 of 3 judged passages" in task.missing[0]


def test_a_row_with_a_bad_element_is_skipped_as_a_whole(tmp_path: Path) -> None:
    own = own_benchmark(tmp_path)
    write(own, OWN.replace("qrels.tsv", "qrels.jsonl").replace("passage: passage", "passage: of.id")
          .replace("  grade: grade\n  where: grade >= 0\n", "  grade: of.grade\n"))  # fmt: skip
    json_lines(
        tmp_path / "qrels.jsonl",
        {"query": "q1", "of": [{"id": "d1", "grade": 1}, {"id": "d2", "grade": "high"}]},
        {"query": "q2", "of": [{"id": "d2", "grade": 1}]},
    )
    task = load_task(f"{own}?skip_bad=1")
    assert answers(task) == {("en", "q2"): {("de", "d2"): 1}}


@pytest.mark.parametrize(
    ("old", "new", "cure"),
    [
        ("id: nr", "id: ask", "check the columns of ids in FILE; if they are right, a file was cu"),
        (
            "  grade: grade",
            "  grade: grade\n  lang: fr",
            "check the columns of ids, and the languages (those of qrels are before "
            "each id) in FILE; if they are right",
        ),
    ],
)
def test_ids_that_are_nowhere_may_be_a_wrong_mapping(
    tmp_path: Path, old: str, new: str, cure: str
) -> None:
    own = own_benchmark(tmp_path)
    write(own, OWN.replace(old, new))
    with pytest.raises(UserError) as refusal:
        load_task(str(own))
    assert cure.replace("FILE", str(own)) in str(refusal.value)


@pytest.mark.parametrize("row", [("q1", "d2", 2), ("q1", "d1", 1)])
def test_tables_of_qrels_that_differ_need_a_language(tmp_path: Path, row: tuple[str, ...]) -> None:
    own = own_benchmark(tmp_path)
    tsv(tmp_path / "more.tsv", ("query", "passage", "grade"), row)
    first, mark, _ = OWN.partition("qrels:\n")
    columns = "query: query, passage: passage, grade: grade"
    tables = [f"{{path: {name}.tsv, {columns}}}" for name in ("qrels", "more")]
    write(own, f"{first}{mark}  - {tables[0]}\n  - {tables[1]}\n")
    with pytest.raises(UserError) as refusal:
        load_task(str(own))
    assert (
        f"qrels.2 ({tmp_path}/more.tsv): query q1 has other documents or grades than in qrels.1 ("
        f"{tmp_path}/qrels.tsv); give each table of qrels its lang, or name the files"
        in str(refusal.value)
    )
    tsv(tmp_path / "more.tsv", ("query", "passage", "grade"), ("q1", "d1", 2))
    assert len(load_task(str(own)).relevant) == 5


def test_a_glob_is_found_in_a_folder_with_brackets(tmp_path: Path) -> None:
    own = own_benchmark(tmp_path / "run [1]")
    write(own, OWN.replace("queries.csv", "quer*.csv"))
    check_task(str(own))
    assert len(load_task(str(own)).query_texts) == 3


def test_tables_on_the_hub_are_fetched(tmp_path: Path) -> None:
    own = own_benchmark(tmp_path)
    write(own, OWN.replace("qrels.tsv", "hf://no name/of data"))
    check_task(str(own))
    with pytest.raises(UserError, match="hf://no name/of data: "):
        fetch_task(str(own))


def test_a_missing_file_is_refused_before_a_run(tmp_path: Path) -> None:
    own = own_benchmark(tmp_path)
    check_task(str(own))
    (tmp_path / "qrels.tsv").unlink()
    for use in (check_task, load_task):
        with pytest.raises(UserError, match=r"own\.yaml: qrels: .*qrels\.tsv: no such file"):
            use(str(own))
    with pytest.raises(UserError, match=r"other\.yaml: no such file; name a YAML file with quer"):
        check_task(f"{tmp_path}/other.yaml")


def test_a_folder_is_read_by_its_configurations(tmp_path: Path) -> None:
    for split in ("train", "test"):
        json_lines(tmp_path / "data" / f"{split}.jsonl", {"i": split, "t": f"{split}?"})
    table = {"path": "data", "split": "test", "id": "i", "text": "t", "lang": "en"}
    qrels = {"path": "data", "split": "test", "query": "i", "passage": "i"}
    content = {"queries": table, "corpus": [table], "qrels": qrels}
    own = write(tmp_path / "own.yaml", json.dumps(content))
    assert answers(load_task(str(own))) == {("en", "test"): {("en", "test"): 1}}
