"""Tasks from pair files, and how wrong ones are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.data.reading import Collection, Text
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import check_task, load_task
from hybrid_dist.evaluation.tasks import from_collection
from hybrid_dist.reporting.run_evaluation import load_tasks
from tests.support.evaluation_problems import make_task


def write(file: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    names = ("uid", "lang", "query", "passage")
    lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


ROWS = [
    ("b", "en", "who?", "Ada did"),
    ("a", "en", "what?", "a loom"),
    ("a", "de", "was?", "ein Webstuhl"),
    ("c", "en", "who then?", "Ada did"),
    ("c", "de", "wer dann?", "Ada war es"),
]


def test_pairs_become_a_task(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", ROWS)
    task = load_task(f"pairs:{file}")
    assert (task.name, task.languages) == ("pairs", ("de", "en"))
    keys = [
        (i, task.languages[code])
        for i, code in zip(task.query_ids, task.query_language, strict=True)
    ]
    assert keys == [("a", "de"), ("c", "de"), ("a", "en"), ("b", "en"), ("c", "en")]
    assert [*task.passage_texts] == ["ein Webstuhl", "Ada war es", "a loom", "Ada did"]
    assert [*task.passage_ids] == ["a", "c", "a", "b"]
    assert task.passage_language.tolist() == [0, 0, 1, 1]


def test_uids_with_one_passage_text_share_a_candidate(tmp_path: Path) -> None:
    """In English c has the passage of b; c also has a relevant passage in German, b does not."""
    task = load_task(f"pairs:{write(tmp_path / 'pairs.jsonl', ROWS)}")
    right = np.split(task.relevant, task.relevant_starts[1:-1])
    assert [some.tolist() for some in right] == [[0, 2], [1, 3], [0, 2], [3], [1, 3]]
    assert task.pair_query.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 4]
    assert task.pair_language.tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 1]


def test_one_text_in_two_languages_is_two_candidates(tmp_path: Path) -> None:
    rows = [("a", "de", "q", "Radio"), ("a", "en", "q", "Radio")]
    assert len(load_task(f"pairs:{write(tmp_path / 'p.jsonl', rows)}").passage_ids) == 2


def test_toy_takes_a_folder_or_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "toy" / "test.jsonl", ROWS)
    for path in (file, file.parent):
        check_task(f"toy:{path}")
        assert len(load_task(f"toy:{path}").query_ids) == 5


def test_a_label_is_what_a_task_is_called(tmp_path: Path) -> None:
    file = write(tmp_path / "a=b.jsonl", ROWS)
    task = load_task(f"mine.1=pairs:{file}?skip_bad=1")
    assert (task.name, task.spec) == ("mine.1", f"mine.1=pairs:{file}?skip_bad=1")
    assert load_task(f"pairs:{file}").spec == f"pairs:{file}", "the = is in the path"
    check_task(f"mine=pairs:{file}")
    for wrong in ("a b", "-", ".hidden", "", "x" * 101):
        with pytest.raises(UserError, match=r"is no label; give letters.*, as in mine=pairs:x$"):
            check_task(f"{wrong}=pairs:x")
    with pytest.raises(UserError, match=r"unknown task 'pair'; did you mean 'pairs'"):
        check_task("mine=pair:x")


def test_tasks_that_are_called_the_same_are_refused() -> None:
    for specs in (("pairs:x", "pairs:y"), ("a=toy:x", "pairs:x", "a=pairs:y")):
        with pytest.raises(UserError, match=r"^tasks: .*both called (pairs|a); .* mine=pairs:y$"):
            load_tasks(specs)


def test_pairs_takes_a_glob(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", ROWS[:3])
    write(tmp_path / "y.jsonl", ROWS[3:])
    assert len(load_task(f"pairs:{tmp_path}/*.jsonl").query_ids) == 5


def test_a_question_mark_is_part_of_a_glob_or_begins_options(tmp_path: Path) -> None:
    file = write(tmp_path / "part1.jsonl", ROWS)
    assert len(load_task(f"pairs:{tmp_path}/part?.jsonl").query_ids) == 5
    file.write_text(file.read_text("utf-8") + "{\n", "utf-8")
    with pytest.raises(UserError, match=rf"{file}:6: not JSON"):
        load_task(f"pairs:{file}")
    for path in (file, f"{tmp_path}/part?.jsonl"):
        task = load_task(f"pairs:{path}?skip_bad=1")
        assert len(task.query_ids) == 5
        assert task.notes[0].startswith(f"{file}:6: not JSON")


def test_a_collection_becomes_a_task_in_order_of_language_and_id() -> None:
    collection = Collection(
        queries=[Text("2", "fr", "b?"), Text("1", "de", "a?"), Text("1", "fr", "c?")],
        passages=[Text(p[2:], p[:2], p) for p in ("fr9", "de3", "fr1", "de7", "en5")],
        relevant_starts=np.array([0, 2, 4, 5]),
        relevant=np.array([0, 3, 1, 4, 2]),
        grades=np.array([1, 2, 3, 4, 5]),
    )
    task = from_collection("beir", "x", collection)
    assert task.languages == ("de", "en", "fr")
    assert list(task.passage_texts) == ["de3", "de7", "en5", "fr1", "fr9"]
    assert task.passage_ids[1:3] == ["7", "5"]
    assert list(task.query_texts) == ["a?", "c?", "b?"]
    assert task.query_language.tolist() == [0, 2, 2]
    assert task.passage_language.tolist() == [0, 0, 1, 2, 2]
    assert task.relevant_starts.tolist() == [0, 2, 3, 5]
    assert task.relevant.tolist() == [0, 2, 3, 1, 4]
    assert task.grades.tolist() == [3, 4, 5, 2, 1]


def test_skipped_lines_are_noted(tmp_path: Path) -> None:
    good = {"unit": "a", "lang": "en", "query": "q", "passage": "p"}
    (tmp_path / "u.jsonl").write_text(f"{json.dumps(good)}\n{{}}\n")
    with pytest.raises(UserError, match=r"u.jsonl:2: "):
        load_task(f"units:{tmp_path}")
    task = load_task(f"units:{tmp_path}?skip_bad=1&languages=eng")
    assert len(task.query_ids) == 1
    assert [note.partition(": ")[0] for note in task.notes] == [f"{tmp_path / 'u.jsonl'}:2"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("units:.?field=text", r"unknown option 'field'; did you mean 'fields'"),
        (
            "pairs:x.jsonl?langauges=de",
            r"unknown option 'langauges' \(known: incomplete, skip_bad\)",
        ),
        ("units:.?fields", r"'fields' is not an option; expected NAME:PATH\?name=value"),
        (
            "table:a.csv?lang=en&where=r = 'a&b'",
            r'"b\'" is not an option; .*; a value with & goes into a file: mapping=FILE',
        ),
        ("units:.?skip_bad=all", r"skip_bad=all: give a whole number"),
        (f"units:.?skip_bad={'9' * 5000}", r"skip_bad=9+: give a whole number"),
        ("units:.?languages=de&languages=fr", r"option 'languages' is given twice; give it once"),
        ("units:a\0b", r"a\0b: no such file or folder"),
        (f"units:{'a' * 300}", r"a{300}: no such file or folder"),
        ("xquad_r:no/where", r"no/where: no such file or folder"),
    ],
)
def test_wrong_options_are_refused(spec: str, message: str) -> None:
    for act in (load_task, check_task):
        with pytest.raises(UserError, match=message):
            act(spec)


@pytest.mark.parametrize("act", [load_task, check_task])
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("toi:x", r"unknown task 'toi'; did you mean 'toy'\? \(known: afriqa, "),
        ("toy", r"expected NAME:PATH"),
        ("toy:", r"expected NAME:PATH"),
        ("toy/test.jsonl", r"as in toy:toy; did you mean 'pairs:toy/test.jsonl'\? \(NAME: afriqa"),
        ("a/*.jsonl.gz?skip_bad=2", r"did you mean 'pairs:a/\*\.jsonl\.gz\?skip_bad=2'\?"),
        ("toy:no/where", r"no file no/where/test.jsonl; make it with `hybrid-dist toy"),
        ("pairs:no/where.jsonl", r"no/where.jsonl: no such file"),
        ("pairs:a\0b.jsonl", r"a\0b.jsonl: no such file"),
        (f"pairs:{'a' * 300}", r"a{300}: no such file"),
        (f"toy:{'a' * 300}", r"no file a{300}/test.jsonl; make it"),
    ],
)
def test_wrong_specs_are_refused(act: object, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        act(spec)  # type: ignore[operator]


def test_a_query_without_a_relevant_passage_is_refused() -> None:
    with pytest.raises(UserError, match=r"2 queries have no relevant passage.*first: q0, q2"):
        make_task([0, 0, 0], [0, 0], [[], [1], []])


def test_an_unknown_relevant_passage_is_refused() -> None:
    with pytest.raises(UserError, match="1 relevant passages are not among its passages"):
        make_task([0], [0], [[0, 7]])


def test_unsupported_figures_have_a_reason() -> None:
    assert make_task([0, 1], [0, 1], [[0, 1], [0, 1]]).left_out == {}
    assert list(make_task([0, 0], [0, 0], [[0], [1]]).left_out) == [
        "cross_lingual",
        "rank_distance",
    ]
    assert list(make_task([0, 1], [2, 2], [[0, 1], [1]]).left_out) == ["monolingual"]
    apart = make_task([0, 1], [2, 3], [[0], [1]], one_pool=False)
    assert list(apart.left_out) == ["monolingual", "multilingual", "rank_distance"]


def test_an_empty_task_is_refused() -> None:
    with pytest.raises(UserError, match="has no queries or no passages"):
        make_task([], [0], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relevant": [0, 7, 2]}, r"1 relevant passages are not among .*\(first: of query q1\)"),
        ({"grades": [1, 0, 1]}, r"1 relevant passages have a grade below 1 \(first: of query q1\)"),
    ],
)
def test_wrong_relevant_passages_are_named(change: dict[str, list[int]], message: str) -> None:
    task = make_task([0, 0, 0], [0, 0, 0], [[0], [1], [2]])
    with pytest.raises(UserError, match=message):
        arrays: dict[str, Any] = {name: np.array(values) for name, values in change.items()}
        replace(task, **arrays)


def test_trec_eval_ties_number_passages_in_reverse(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", ROWS)
    task, other = load_task(f"pairs:{file}"), load_task(f"pairs:{file}", "trec_eval")
    assert (task.ties, other.ties) == ("number", "trec_eval")
    for one in (task, other):
        right = np.split(one.relevant, one.relevant_starts[1:-1])
        texts = [[one.passage_texts[int(p)] for p in some] for some in right]
        assert sorted(texts[1]) == ["Ada did", "Ada war es"]
        assert all(some.tolist() == sorted(some.tolist()) for some in right)
        langs = [one.languages[code] for code in one.passage_language[right[1]]]
        assert sorted(zip(langs, texts[1], strict=True)) == [
            ("de", "Ada war es"),
            ("en", "Ada did"),
        ]
