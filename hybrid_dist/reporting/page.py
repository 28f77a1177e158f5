"""The files of a report: report.json, report.md, report.html, scores.npz and the plots."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.evaluation.per_query import FILE
from hybrid_dist.reporting import bias_tables, html, language_blocks, tables
from hybrid_dist.reporting.markdown_page import markdown
from hybrid_dist.reporting.report import Report
from hybrid_dist.reporting.report_folder import RUN, replace_report, tag_png
from hybrid_dist.text import json_text
from hybrid_dist.tracking.report_json import REPORT


def write_report(
    folder: Path, report: Report, write_run: Callable[[Path, str], None] | None = None
) -> None:
    """Replace all files of a report at once; each carries the report's id.

    `write_run(file, report_id)` writes the TREC run, if the report has one.
    """
    content = report.content
    page, text = report_page(content, report.plots), markdown(content)
    with replace_report(folder) as draft:
        for file, image in report.plots.items():
            (draft / file).write_bytes(tag_png(image, report.id))
        report.values.save(draft / FILE)
        (draft / "report.html").write_text(page, "utf-8")
        (draft / "report.md").write_text(text, "utf-8")
        if write_run is not None:
            write_run(draft / RUN, report.id)
        (draft / REPORT).write_text(json_text(content, indent=2) + "\n", "utf-8")


def report_page(content: Mapping[str, Any], plots: Mapping[str, bytes]) -> str:
    """report.html: headline figures, languages, language pairs, bias, examples and settings."""
    counts, intervals = content["counts"], content["settings"]["intervals"]
    lead = (
        f"{content['model']} on {counts['queries']:,} queries and {counts['passages']:,} "
        f"passages in {tables.languages(content)} languages"
    )
    names = tables.SETTINGS.values()
    blocks = [
        html.cards(_headline(content)),
        html.table(
            [(name, "") for name in ("Metric", *names)],
            tables.metric_rows(content),
            "metrics in the three settings",
        ),
        f'<p class="note">Small figures are intervals: {html.escape(intervals)}.</p>',
        *_left_out(content),
        *_dims(content),
        *_groups(content),
        html.heading("By query language", tables.LEGEND),
        html.table(
            tables.LANGUAGE_COLUMNS, tables.language_rows(content), "figures by query language"
        ),
        *language_blocks.by_pair(content),
        *_bias(content),
        *language_blocks.shares(content),
        *_distances(content, plots),
        *_consistency(content),
        *language_blocks.overlaps(content),
        *language_blocks.one_language(content),
        html.heading(
            "Best examples", "By average precision, in the largest pool that the task has."
        ),
        *map(language_blocks.example_block, content["examples"]["best"]),
        html.heading("Worst examples"),
        *map(language_blocks.example_block, content["examples"]["worst"]),
        html.heading("Settings"),
        html.definitions(
            {**content["settings"], **_timing(content["timing"]), "report": content["id"]}
        ),
    ]
    return html.page(f"Evaluation on {content['task']}", lead, blocks)


def _headline(content: Mapping[str, Any]) -> list[html.Card]:
    bias, intervals = content["bias"], content["intervals"]
    notes = {
        "monolingual": "query and pool in one language",
        "cross_lingual": "query in one, pool in another",
        "multilingual": "one pool of all languages",
    }
    shown = [
        (f"mAP {tables.SETTINGS[name].lower()}", content["map"][name], f"map.{name}", 3, note)
        for name, note in notes.items()
    ]
    distance = bias["rank_distance"]
    note = f"lower is better; {tables.show(distance['normalised'])} of a random ranking's"
    shown += [("Rank distance", distance["mean"], "bias.rank_distance.mean", 1, note)]
    cards = []
    for label, value, key, digits, note in shown:
        figure, _, interval = tables.with_interval(value, intervals.get(key), digits).partition(
            "\n"
        )
        cards.append(html.Card(label, figure, interval, note))
    return cards


def _dims(content: Mapping[str, Any]) -> list[str]:
    rows = tables.dim_rows(content)
    note = "Vectors are cut to their first values and normalised again."
    if not rows:
        return []
    table = html.table(tables.DIM_COLUMNS, rows, "figures by dimension")
    return [html.heading("Fewer dimensions", note), table]


def _groups(content: Mapping[str, Any]) -> list[str]:
    """Groups of languages, and the gap between the best and the worst language."""
    blocks, rows = [], tables.group_rows(content)
    if rows:
        head = [(name, "") for name in tables.GROUP_COLUMNS]
        table = html.table(head, rows, "figures by group of languages")
        blocks += [html.heading("Groups of query languages"), table]
    if lines := tables.spread_lines(content):
        blocks += [html.heading("Best and worst language"), *map(html.paragraph, lines)]
    return blocks


def _bias(content: Mapping[str, Any]) -> list[str]:
    rows = bias_tables.bias_rows(content)
    note = "In the pool of all languages; docs/metrics.md has the formulas."
    if not rows:
        return []
    table = html.table(bias_tables.BIAS_COLUMNS, rows, "language bias")
    return [html.heading("Language bias", note), table]


def _consistency(content: Mapping[str, Any]) -> list[str]:
    rows = bias_tables.consistency_rows(content)
    if not rows:
        return []
    note = "The same query in two languages, in the pool of all languages."
    table = html.table(bias_tables.CONSISTENCY_COLUMNS, rows, "consistency of parallel queries")
    return [html.heading("Consistency of parallel queries", note), table]


def _distances(content: Mapping[str, Any], plots: Mapping[str, bytes]) -> list[str]:
    if "rank_distance.png" not in plots:
        return []
    means = {
        language: row["mean"]
        for language, row in content["bias"]["rank_distance"]["by_language"].items()
    }
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    return [
        html.heading("Rank distance"),
        html.picture(
            plots["rank_distance.png"],
            f"Box plot of rank distance by query language. Its mean is lowest for {low}, "
            f"{tables.show_distance(means[low])}, and highest for {high}, "
            f"{tables.show_distance(means[high])}.",
            "A query's relevant passages say the same in several languages; the distance is the "
            "rank of the last minus the rank of the first. Boxes span the middle half of the "
            "queries, whiskers 10% to 90%; the line is the median, the diamond the mean. Vertical "
            "lines: the smallest distance, where the relevant passages come first, and the "
            "expected one of a random ranking.",
        ),
    ]


def _left_out(content: Mapping[str, Any]) -> list[str]:
    """The figures that the task does not support, and the directions of bitext."""
    line = tables.left_out(content)
    blocks = [html.paragraph(line)] if line else []
    if rows := tables.direction_rows(content):
        head = [(name, "") for name in tables.DIRECTION_COLUMNS]
        title = "From and to a language"
        blocks += [html.heading(title), html.table(head, rows, title.lower())]
    return blocks


def _timing(timing: Mapping[str, Any]) -> dict[str, object]:
    return {name.replace("_s", " (seconds)"): value for name, value in timing.items()}
