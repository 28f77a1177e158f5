"""Texts from data in all outputs: each has the structure that it has with harmless texts."""

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from rich.console import Console

from hybrid_dist.commands import compare, prepare, watch
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.model import card
from hybrid_dist.model.spec import FILE as SPEC
from hybrid_dist.reporting.doctor_table import findings_table
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_task
from hybrid_dist.reporting.run_screen import screen
from hybrid_dist.reporting.run_status import RunStatus
from hybrid_dist.runtime.finding import Finding
from hybrid_dist.runtime.progress_bar import part, shown
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.studies.run_states import RunRecord, state_of, write_record
from hybrid_dist.studies.study_report import write_study_report
from hybrid_dist.studies.study_results import read_results
from hybrid_dist.text import printable
from hybrid_dist.tracking.terminal import Terminal
from hybrid_dist.training.run_folder import RunFolder
from tests.support.evaluation_problems import given_embedder, parallel_task
from tests.support.published_files import json_lines
from tests.support.saved_models import saved
from tests.support.studies import finish, make_grid
from tests.support.watched_run import record, run_config

HTML = "<script>alert(1)</script></td></table>&amp;\"'<img src=x onerror=alert(1)>"
LATEX = r"\input{x}\\ & % $y$ # _ { } ~ ^"
MARKDOWN = "[a](javascript:b) | `c` *d* <b>e</b> ![f](g)\n# h\n\n    i"
RICH = r"[red]x[/red] [link=https://example.org]y[/link] [/] \[/b]"
TERMINAL = "\x1b[31mred\x1b]0;title\x07\r\x9b2J\x7f\x00\u202egpj\u202c\u2066a\u2069\u2028"
ALL = " ".join((HTML, LATEX, MARKDOWN, RICH, TERMINAL))
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
ODD = "plain `words"
"""A harmless text, with the one letter that the model card shows in another way."""

Texts = Callable[[str], str]
"""A short name -> the text in its place."""


def hostile(name: str) -> str:
    return f"{name}{ALL}"


def harmless(name: str) -> str:
    return f"{name}{ODD}"


def file_name(text: str) -> str:
    """As much of it as the name of a file may have."""
    text = text.replace("/", "|").replace("\x00", "")
    return text if len(text) < 80 else text[:56] + text[-24:]


def evaluated(folder: Path, of: Texts, seed: int) -> Path:
    """A report whose every text is given."""
    task = parallel_task(languages=2, per_language=6)
    task = replace(
        task,
        name="toy",
        path=of("path"),
        notes=(of("note"),),
        languages=(of("l0"), of("l1")),
        query_ids=[of(name) for name in task.query_ids],
        passage_ids=[of(name) for name in task.passage_ids],
        query_texts=[of(f"query {number}") for number in range(len(task.query_ids))],
        passage_texts=[of(f"passage {number}") for number in range(len(task.passage_ids))],
    )
    embedder = given_embedder(task, seed)
    embedder.name = of("model")
    options = ReportOptions({of("key"): of("value")}, LanguageGroups({of("group"): (of("l0"),)}))
    evaluate_task(task, embedder, Ranks(), folder / "eval/toy", None, options)
    return folder


def made(folder: Path, of: Texts, toy: Path) -> Path:
    """All reports: of two evaluations, of their comparison, of a study, of a model."""
    names = [file_name(of(start)) for start in ("=cmd|' /C calc'!A0", "+1;=1")]
    runs = [evaluated(folder / name, of, seed) for seed, name in enumerate(names)]
    compare.main([*map(str, runs), "--out", str(folder / "compared")])

    cell = "=1+1" if of is hostile else "low"
    study = make_grid(
        folder / "study",
        toy,
        question=of("Which?"),
        seeds=[1],
        axes={"lr": {cell: {"optim.lr": 1e-3}}},
        baseline=cell,
        cells={"broken": {"batching.size": 4000}},
        plots=[{"kind": "bars", "title": of("title")}],
    )
    for run in study.all_runs():
        if run.cell.name == "broken":
            write_record(study, run, RunRecord(reason=of("=reason")))
        else:
            finish(study, run, 1.0)
    states = [state_of(study, run) for run in study.all_runs()]
    write_study_report(study, read_results(study), states)

    saved(toy / "model", folder / "model")
    spec = json.loads((folder / "model" / SPEC).read_text("utf-8"))
    (folder / "model" / SPEC).write_text(
        json.dumps(spec | {"query_prefix": of("prefix").replace("\x00", "")})
    )
    known = card.Background(of("name"), of("base"), languages=(of("de"), "fr"))
    (folder / "model/README.md").write_text(card.card(folder / "model", known, of("source")))
    return folder


@pytest.fixture(scope="module")
def twins(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same reports with harmless and with hostile texts."""
    folder = tmp_path_factory.mktemp("texts")
    return made(folder / "harmless", harmless, toy), made(folder / "hostile", hostile, toy)


def reports(folder: Path, suffix: str) -> dict[str, str]:
    """The files of that kind by what they report on."""
    files = sorted(folder.glob(f"*/eval/toy/report.{suffix}"))[:1]
    files += [folder / f"compared/report.{suffix}", folder / f"study/out/report.{suffix}"]
    files += [folder / "model/README.md"] if suffix == "md" else []
    return {file.parent.name: file.read_bytes().decode() for file in files if file.is_file()}


class Structure(HTMLParser):
    """The elements of a page by their attributes, and the text beside them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.text, self.data = Counter[str](), "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[f"{tag} {sorted(name for name, _ in attrs)}"] += 1

    def handle_data(self, data: str) -> None:
        is_script = self.cdata_elem == "script"
        self.data += [data] if is_script and data.startswith(("{", "[")) else []
        self.text += "" if is_script else data


def test_pages(twins: tuple[Path, Path]) -> None:
    plain, odd = (reports(folder, "html") for folder in twins)
    assert set(plain) == set(odd) == {"toy", "compared", "out"}
    for name in plain:
        assert not ACTS.search(odd[name]), name
        before, after = Structure(plain[name]), Structure(odd[name])
        assert after.elements == before.elements, name
        assert printable(ALL, lines=True)[:200] in after.text, name
        assert len(before.data) == len(after.data)
        assert all(map(json.loads, after.data))


def tokens(text: str) -> Counter[str]:
    """The kinds of a Markdown page's parts, but for those of plain text."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    parts = [part for block in parsed for part in (block, *(block.children or ()))]
    return Counter(part.type for part in parts if not part.type.startswith("text"))


def test_markdown(twins: tuple[Path, Path]) -> None:
    plain, odd = (reports(folder, "md") for folder in twins)
    assert set(plain) == set(odd) == {"toy", "compared", "out", "model"}
    for name in plain:
        assert not ACTS.search(odd[name]), name
        assert tokens(odd[name]) == tokens(plain[name]), name


def test_the_card_of_a_model(twins: tuple[Path, Path]) -> None:
    text = (twins[1] / "model/README.md").read_text("utf-8")
    _, metadata, page = text.split("---\n", 2)
    assert yaml.safe_load(metadata)["language"] == ["fr"]
    programs = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    sources = [
        node.value
        for program in programs
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Constant)
    ]
    assert sources.count(hostile("source")) >= 3 and any(
        str(value).startswith(hostile("prefix").replace("\x00", "")) for value in sources
    )


def test_tables_of_spreadsheets(twins: tuple[Path, Path]) -> None:
    plain, odd = (reports(folder, "csv") for folder in twins)
    assert set(plain) == set(odd) == {"compared", "out"}
    for name in plain:
        before, after = (list(csv.reader(io.StringIO(text))) for text in (plain[name], odd[name]))
        assert [len(row) for row in after] == [len(row) for row in before]
        for cell in (cell for row in after for cell in row):
            is_figure = re.fullmatch(r"-?[\d.]+(e-\d+)?", cell)
            assert is_figure or not re.search(r"(^|;)[=+\-@\t\r]", cell), cell


def commands(text: str) -> Counter[str]:
    """What acts in LaTeX."""
    return Counter(re.findall(r"\\[A-Za-z]+|\\.|[&%$#_{}~^]", text, re.DOTALL))


def test_tables_of_latex(twins: tuple[Path, Path]) -> None:
    plain, odd = (reports(folder, "tex") for folder in twins)
    assert set(plain) == set(odd) == {"compared", "out"}
    known = {rf"\text{name}" for name in ("backslash", "asciitilde", "asciicircum")}
    known |= {rf"\text{name}" for name in ("less", "greater", "bar")}
    for name in plain:
        assert not ACTS.search(odd[name]), name
        assert odd[name].count("\n") == plain[name].count("\n")
        before, after = (
            commands(re.sub(r"(?m)^% .*", "", text)) for text in (plain[name], odd[name])
        )
        assert after["{"] == after["}"]
        shown = known | {rf"\{letter}" for letter in "&%$#_{}"} | {"{", "}"}
        assert {word: n for word, n in after.items() if word not in shown} == {
            word: n for word, n in before.items() if word not in shown
        }, name


def rendered(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=20_000)
    console.print(*parts)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_lines_of_training_and_of_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    text = hostile("text")
    with Terminal(text, 10, True) as terminal:
        terminal.say(text)
        terminal.show(record(10, **{f"eval/{text}/map.multilingual": 0.5, "train/kind": text}))
    with shown(), part(text, 3) as advance:
        advance(3)
    lines = capsys.readouterr().err
    lines += rendered(findings_table([Finding(text, "wrong", text, text)]))
    assert not ACTS.search(lines)
    assert lines.count(printable(text)) >= 6


def test_the_screen_of_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, task = file_name(hostile("")), hostile("task")
    folder = RunFolder(
        replace(config := run_config(str(tmp_path)), run=replace(config.run, name="a"))
    )
    folder.write_description({})
    figures = {f"eval/{task}/map.multilingual": 0.25}
    folder.metrics.write_text(json.dumps(record(20, **figures)) + f"\n{ALL!r}\n")
    folder.path.rename(tmp_path / name)
    watch.main([str(tmp_path / name)])
    lines = capsys.readouterr().out
    status = RunStatus.read(tmp_path / name)
    lines += rendered(screen(status, Console(width=20_000, height=60)))
    assert not ACTS.search(lines)
    assert printable(name) in lines


def test_prepare_names_columns_and_ids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20000")
    column = (
        re.sub(r"[=\[\]{}.]", "", hostile("column")) + "s"
    )  # these have a meaning in the option
    rows = [{column: hostile("query"), "passage": hostile(str(n)), "uid": ALL} for n in range(3)]
    file = json_lines(tmp_path / f"{file_name(ALL)}.jsonl", *rows)
    words = ["table", str(file), "--lang", "en", "--passage", "passage"]
    for query in (column, "other"):
        try:
            prepare.main([*words, "--query", query, "--out", str(tmp_path / query[:5])])
        except SystemExit:
            assert query == "other"
    prepare.main([*words, "--query", column, "--dry-run"])
    prepare.main(["--describe", str(tmp_path / "colum")])
    output = capsys.readouterr()
    assert not ACTS.search(output.out + output.err)
    assert printable(hostile("query"))[:40] in output.out
