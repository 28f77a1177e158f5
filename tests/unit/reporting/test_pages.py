"""Pages of reports: in a browser where one is installed, and as text."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.evaluation.metrics import METRICS
from hybrid_dist.reporting import html, language_blocks
from hybrid_dist.reporting.array_evaluation import evaluate
from hybrid_dist.reporting.axis_ticks import log_ticks, tick_labels
from hybrid_dist.reporting.comparison import compare
from hybrid_dist.reporting.comparison_pages import write
from hybrid_dist.reporting.matrix import BETTER, OPEN, WORSE, Layer, matrix
from tests.support import browser
from tests.support.evaluation_problems import parallel_task, unit_vectors
from tests.support.launch import wait_for

LANGUAGES = ("ar", "de", "hi", "zh")
TEXTS = {
    "ar": "GPT لغة <b>.",
    "de": "Straße & Co.",
    "hi": "नमस्ते दुनिया",
    "zh": "你好，世界。",
}


def small_page(folder: Path, seed: int = 1) -> Path:
    """The report of random vectors in four languages."""
    task = parallel_task(languages=4, per_language=5)
    texts = [f"{TEXTS[LANGUAGES[code]]} {n}" for n, code in enumerate(task.query_language.tolist())]
    task = replace(task, languages=LANGUAGES, query_texts=texts, passage_texts=texts)
    rng = np.random.default_rng(seed)
    evaluate(task, unit_vectors(rng, 20), unit_vectors(rng, 20)).write(folder)
    return folder / "report.html"


def compared_page(folder: Path) -> Path:
    """The comparison of the small report with one of other vectors."""
    small_page(folder / "b" / "task", seed=2)
    (folder / "a").mkdir()
    (folder / "a" / "task").symlink_to(folder / "small")
    write(compare([folder / "a", folder / "b"]), folder / "compared")
    return folder / "compared" / "report.html"


def large_page(folder: Path) -> Path:
    """Matrices of all metrics in 122 languages."""
    names = ["ar", *(f"l{number:03d}" for number in range(121))]
    values = np.random.default_rng(1).random((122, 122)).tolist()
    rows = {
        name: dict(zip(names, row, strict=True)) for name, row in zip(names, values, strict=True)
    }
    text = {"id": "one", "language": "ar", "text": "what?"}
    ranks = [{"language": name, "rank": 122 - at} for at, name in enumerate(names)]
    example = {"query": text, "answer": text, "found": [], "average_precision": 0.1, "ranks": ranks}
    failed = [{"language": name, "count": 1, "queries": [example]} for name in names]
    counts = {"by_language": {name: {"queries": 2} for name in names}}
    content: dict[str, Any] = {"counts": counts, "examples": {"failed": failed}}
    content |= {f"{metric}_by_pair": rows for metric in METRICS}
    blocks = [*language_blocks.by_pair(content), *language_blocks.one_language(content)]
    folder.mkdir()
    file = folder / "report.html"
    file.write_text(html.page("122 languages", "", blocks), "utf-8")
    return file


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {
        "small": small_page(folder / "small"),
        "large": large_page(folder / "large"),
        "compared": compared_page(folder),
    }


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Browser]:
    if browser.installed() is None:
        pytest.skip("no Chromium is installed")
    with browser.Browser() as started:
        yield started


COLUMN = """[...document.querySelectorAll('table[data-name="{}"] tbody tr')]
    .map((row) => row.cells[{}].textContent)"""


@pytest.mark.parametrize("name", ["small", "large", "compared"])
def test_pages_have_no_errors_and_fit_a_phone(
    tab: browser.Browser, pages: dict[str, Path], name: str
) -> None:
    tab.errors.clear()
    tab.resize(390, 800)
    tab.open(pages[name], "#language=ar")
    assert tab.errors == []
    assert tab.run("document.documentElement.scrollWidth") == 390
    assert tab.run("document.querySelectorAll('.matrix td[style*=background]').length") >= 16
    left = "document.querySelector('.matrix tbody th').getBoundingClientRect().left"
    before = tab.run(left)
    tab.run("document.querySelector('.matrix .scroll').scrollLeft = 500")
    assert tab.run(left) == before, "the first column stays"
    assert pages[name].stat().st_size < 5e6


def test_long_names_leave_room_for_figures(tab: browser.Browser, tmp_path: Path) -> None:
    cell = "▲ -492.3\n-540.3 to -446.1; p < 0.001"
    head = [("Run", ""), *((f"figure {number}", "") for number in range(4))]
    file = tmp_path / "long.html"
    file.write_text(html.page("a", "", [html.table(head, [["x" * 70, *[cell] * 4]], "a")]), "utf-8")
    tab.resize(390, 800)
    tab.open(file)
    right = "document.querySelector('td').getBoundingClientRect().right"
    assert tab.run(right) < 390, "the first figure is in sight"
    tab.resize(1100, 800)
    frame = "document.querySelector('.scroll')"
    assert tab.run(f"{frame}.scrollWidth <= {frame}.clientWidth"), "intervals are broken before p"
    assert tab.run("document.querySelector('td small').textContent") == cell.split("\n")[1]


def test_columns_sort_and_download(
    tab: browser.Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    tab.resize(1000, 800)
    tab.open(pages["small"])
    table = 'table[data-name="figures-by-query-language"]'
    tab.run(f"document.querySelectorAll('{table} thead button')[5].focus()")
    shown = COLUMN.format("figures-by-query-language", 5)
    before = tab.run(shown)
    orders = []
    for _ in range(3):
        tab.press("Enter")
        orders.append(tab.run(shown))
    largest = sorted(before, key=float, reverse=True)
    assert orders == [largest, largest[::-1], before] and orders[0] != orders[1]
    assert tab.run(f"document.querySelectorAll('{table} [aria-sort]').length") == 0
    tab.download_to(tmp_path)
    tab.run(
        f"document.querySelector('{table}').parentElement.previousElementSibling"
        ".querySelector('.csv').click()"
    )
    file = tmp_path / "figures-by-query-language.csv"
    wait_for(lambda: file.exists() and file.read_text())
    lines = file.read_text("utf-8").splitlines()
    assert lines[0].startswith("Language,Queries,Passages,mAP own pool")
    assert [line.split(",")[5] for line in lines[1:]] == before
    for text, safe in {"=1;+2": "'=1;'+2", "-0.1 to 0.2; no test": "-0.1 to 0.2; no test"}.items():
        tab.run(f"document.querySelector('{table} tbody th').textContent = '{text}'")
        assert tab.run(f"csvOf(document.querySelector('{table}'))").split("\n")[1].startswith(safe)


def test_of_many_languages_the_failed_queries_of_the_chosen_one_are_shown(
    tab: browser.Browser, pages: dict[str, Path]
) -> None:
    listed = "[...document.querySelectorAll('details')].filter((block) => !block.hidden).length"
    tab.open(pages["large"])
    assert tab.run(listed) == 0
    tab.open(pages["large"], "#language=l007")
    assert tab.run(listed) == 1
    top = "document.getElementById('language').getBoundingClientRect().top"
    assert tab.run(top) == pytest.approx(0, abs=1), "the language of the address is in sight"
    assert "l120 1, l119 2," in tab.run("document.querySelector('details[open]').textContent")
    assert "and 110 more" in tab.run("document.querySelector('details[open]').textContent")
    tab.open(pages["small"])
    assert tab.run(listed) == 4


def test_a_language_shows_its_row_column_and_failed_queries(
    tab: browser.Browser, pages: dict[str, Path]
) -> None:
    report = json.loads((pages["small"].parent / "report.json").read_text("utf-8"))
    tab.resize(1000, 800)
    tab.open(pages["small"])
    tab.run("document.querySelectorAll('.matrix tbody th button')[2].click()")
    assert tab.run("location.hash") == "#language=hi"
    pairs = report["map_by_pair"]
    assert tab.run(COLUMN.format("language-hi", 1)) == [f"{pairs['hi'][n]:.3f}" for n in LANGUAGES]
    assert tab.run(COLUMN.format("language-hi", 2)) == [f"{pairs[n]['hi']:.3f}" for n in LANGUAGES]
    shown = "[...document.querySelectorAll('details')].filter((d) => !d.hidden && d.open)"
    assert tab.run(f"{shown}.map((block) => block.dataset.language)") == ["hi"]
    failed = {f["language"]: f for f in report["examples"]["failed"]}["hi"]
    found = tab.run(f"[...{shown}[0].querySelectorAll('li bdi')].map((text) => text.textContent)")
    assert found == [p["text"] for query in failed["queries"] for p in query["found"]]
    assert all(not query["found"][0]["right"] for query in failed["queries"])
    tab.run("document.querySelector('.matrix select').value = 'Recall@10'")
    tab.run("document.querySelector('.matrix select').dispatchEvent(new Event('change'))")
    recall = report["recall_at_10_by_pair"]
    assert tab.run(COLUMN.format("language-hi", 1)) == [f"{recall['hi'][n]:.3f}" for n in LANGUAGES]


def test_cells_are_read_by_mouse_and_by_keyboard(
    tab: browser.Browser, pages: dict[str, Path]
) -> None:
    pairs = json.loads((pages["small"].parent / "report.json").read_text("utf-8"))["map_by_pair"]
    tab.resize(1000, 800)
    tab.open(pages["small"])
    tab.run("document.querySelector('.matrix td').focus()")
    for key in ("ArrowRight", "ArrowDown"):
        tab.press(key)
    tip = "document.querySelector('.tip').hidden ? '' : document.querySelector('.tip').textContent"
    assert tab.run(tip) == f"queries in de, pool in de: mAP {pairs['de']['de']:.3f}"
    tab.run("document.activeElement.blur()")
    assert tab.run(tip) == ""
    place = tab.run(
        "(({x, y}) => [x + 3, y + 3])(document.querySelector('.matrix td').getBoundingClientRect())"
    )
    tab.move(*place)
    assert tab.run(tip) == f"queries in ar, pool in ar: mAP {pairs['ar']['ar']:.3f}"


def test_colours_are_of_the_span_or_of_0_to_1_and_the_page_follows_the_system(
    tab: browser.Browser, pages: dict[str, Path]
) -> None:
    tab.open(pages["small"])
    colours = "[...document.querySelectorAll('.matrix td')].map((td) => td.style.background)"
    before = tab.run(colours)
    tab.run("document.querySelector('.matrix input').click()")
    assert tab.run("document.querySelector('.matrix .scale').textContent") == "0.0001.000"
    assert tab.run(colours) != before
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.colours("dark")
    dark = tab.run(ground)
    tab.colours("light")
    assert (dark, tab.run(ground)) == ("rgb(20, 25, 31)", "rgb(255, 255, 255)")


def test_a_comparison_shows_each_matrix_and_the_queries_of_one_language(
    tab: browser.Browser, pages: dict[str, Path]
) -> None:
    tab.open(pages["compared"], "#language=ar")
    layers = "[...document.querySelectorAll('.matrix select option')].map((o) => o.textContent)"
    assert tab.run(layers) == ["b - a", "mAP of a", "mAP of b"]
    cell = "document.querySelector('.matrix td').textContent"
    assert re.fullmatch(r"[▲▼○] [+-]0\.\d{3}", tab.run(cell))
    change = "s => { s.value = %r; s.dispatchEvent(new Event('change')); }"
    tab.run(f"({change % 'mAP of b'})(document.querySelector('.matrix select'))")
    pairs = json.loads((pages["compared"].parent.parent / "b/task/report.json").read_text("utf-8"))
    assert tab.run(cell) == f"{pairs['map_by_pair']['ar']['ar']:.3f}"
    rows = "[...document.querySelectorAll('table[data-filter] tbody tr')].filter((r) => !r.hidden)"
    names = f"[...new Set({rows}.map((row) => row.cells[0].textContent))]"
    assert tab.run(names) == list(LANGUAGES)
    filtered = "document.querySelector('table[data-filter]').parentElement.previousElementSibling"
    tab.run(f"({change % 'hi'})({filtered}.querySelector('select'))")
    assert tab.run(names) == ["hi"]


def test_texts_have_their_language_and_direction(pages: dict[str, Path]) -> None:
    page = pages["small"].read_text("utf-8")
    texts = re.findall(r"<bdi ([^>]*)>([^<]*)</bdi>", page)
    assert {attributes for attributes, text in texts if "لغة" in text} == {'lang="ar" dir="rtl"'}
    assert {attributes for attributes, text in texts if "世界" in text} == {'lang="zh" dir="ltr"'}
    assert "GPT لغة <b>" not in page, "escaped"
    assert not re.search(r'<span class="(tag|note)[^>]*>[^<]*</span></bdi>', page)
    assert html.foreign("a label", "x") == '<bdi dir="auto">x</bdi>'
    assert html.foreign("ur-Latn", "x") == '<bdi lang="ur-Latn" dir="ltr">x</bdi>'


def test_tables_name_their_rows_and_columns(pages: dict[str, Path]) -> None:
    page = pages["small"].read_text("utf-8")
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert len(tables) >= 7
    for table in tables:
        assert "<caption" in table and '<th scope="row">' in table
        assert "<th>" not in table
    (alt,) = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    distance = json.loads((pages["small"].parent / "report.json").read_text())["bias"]
    means = {k: v["mean"] for k, v in distance["rank_distance"]["by_language"].items()}
    lowest = min(means, key=means.__getitem__)
    assert f"lowest for {lowest}, {means[lowest]:.1f}" in alt


def test_pages_load_nothing_and_run_their_own_script_alone(pages: dict[str, Path]) -> None:
    page = pages["small"].read_text("utf-8")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "default-src 'none'" in page and "script-src 'sha256-" in page
    data = html.data({"a": "</script><script>alert(1)</script>&"})
    assert data.count("<") == 2 and json.loads(data[data.index("{") : data.rindex("}") + 1])


def test_a_matrix_marks_differences_by_sign_and_symbol() -> None:
    values = np.array([[0.25, -0.125], [0.001, np.nan]])
    marks = np.array([[BETTER, WORSE], [OPEN, OPEN]])
    layer = Layer("b - a", values, (-0.25, 0.25), signed=True, marks=marks)
    assert layer.texts() == ["▲ +0.250", "▼ -0.125", "○ +0.001", "-"]
    block = matrix([layer], ["<x>", "y"], ["u", "v"], "differences", ("in", "of"))
    assert "&lt;x&gt;</th><td>▲ +0.250<td>▼ -0.125<tr>" in block
    assert '"values":[250,-125,1,null]' in block and '"marks":"bwoo"' in block


def test_log_axes_have_three_ticks_or_more_with_different_labels() -> None:
    assert tick_labels(log_ticks(5.8, 8.3)) == ["6.0", "6.5", "7.0", "7.5", "8.0"]
    assert tick_labels(log_ticks(9000, 12600)) == ["9,000", "10,000", "11,000", "12,000"]
    assert tick_labels(log_ticks(1, 1e5)) == ["1", "10", "100", "1,000", "10,000", "100,000"]
    rng = np.random.default_rng(1)
    for low, width in zip(10 ** rng.uniform(0, 6, 300), 10 ** rng.uniform(-3, 5, 300), strict=True):
        labels = tick_labels(log_ticks(low, low * (1 + width)))
        assert 3 <= len(labels) == len(set(labels)) <= 9
