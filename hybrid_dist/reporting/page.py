"""The files of a report: report.json, report.md, report.html, scores.npz and the plots."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.evaluation.per_query import FILE
from hybrid_dist.reporting import bias_tables, html, tables
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
        html.table([(name, "") for name in ("", *names)], tables.metric_rows(content)),
        f'<p class="note">Small figures are intervals: {html.escape(intervals)}.</p>',
        *_left_out(content),
        *_dims(content),
        *_groups(content),
        html.heading("By query language", tables.LEGEND),
        html.table(tables.LANGUAGE_COLUMNS, tables.language_rows(content)),
        html.heading("mAP by language pair"),
        html.picture(
            plots["map_by_pair.png"],
            "heatmap of mAP by query language and pool language",
            "Each row has queries in one language, each column searches passages in one. The "
            "diagonal is the monolingual setting, the rest is the cross-lingual one.",
        ),
        *_bias(content),
        *_consistency(content, plots),
        *_distances(plots),
        *_shares(plots),
        html.heading(
            "Best examples", "By average precision, in the largest pool that the task has."
        ),
        *(_example(example) for example in content["examples"]["best"]),
        html.heading("Worst examples"),
        *(_example(example) for example in content["examples"]["worst"]),
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
    return [html.heading("Fewer dimensions", note), html.table(tables.DIM_COLUMNS, rows)]


def _groups(content: Mapping[str, Any]) -> list[str]:
    """Groups of languages, and the gap between the best and the worst language."""
    blocks, rows = [], tables.group_rows(content)
    if rows:
        head = [(name, "") for name in tables.GROUP_COLUMNS]
        blocks += [html.heading("Groups of query languages"), html.table(head, rows)]
    if lines := tables.spread_lines(content):
        blocks += [html.heading("Best and worst language"), *map(html.paragraph, lines)]
    return blocks


def _bias(content: Mapping[str, Any]) -> list[str]:
    rows = bias_tables.bias_rows(content)
    note = "In the pool of all languages; docs/metrics.md has the formulas."
    if not rows:
        return []
    return [html.heading("Language bias", note), html.table(bias_tables.BIAS_COLUMNS, rows)]


def _consistency(content: Mapping[str, Any], plots: Mapping[str, bytes]) -> list[str]:
    rows = bias_tables.consistency_rows(content)
    if not rows:
        return []
    blocks = [
        html.heading(
            "Consistency of parallel queries",
            "The same query in two languages, in the pool of all languages.",
        ),
        html.table(bias_tables.CONSISTENCY_COLUMNS, rows),
    ]
    if "jaccard_by_pair.png" in plots:
        blocks.append(
            html.picture(
                plots["jaccard_by_pair.png"],
                "heatmap of the overlap of the top 10 by pair of query languages",
                "The passages that the top 10 of both queries have in common, over those in "
                "either. Languages between which it is low get different results.",
            )
        )
    return blocks


def _distances(plots: Mapping[str, bytes]) -> list[str]:
    if "rank_distance.png" not in plots:
        return []
    return [
        html.heading("Rank distance"),
        html.picture(
            plots["rank_distance.png"],
            "box plot of rank distance by query language",
            "A query's relevant passages say the same in several languages; the distance is the "
            "rank of the last minus the rank of the first. Boxes span the middle half of the "
            "queries, whiskers 10% to 90%; the line is the median, the diamond the mean.",
        ),
    ]


def _shares(plots: Mapping[str, bytes]) -> list[str]:
    if "language_share.png" not in plots:
        return []
    return [
        html.heading("Languages of the top 10"),
        html.picture(
            plots["language_share.png"],
            "heatmap of the share of each language among the top 10, by query language",
            "In the pool of all languages. A search without bias repeats the last row, the pool's "
            "own shares, in every row; a bright diagonal means that it favours the query's "
            "language.",
        ),
    ]


def _left_out(content: Mapping[str, Any]) -> list[str]:
    """The figures that the task does not support, and language pairs if it has only those."""
    line = tables.left_out(content)
    blocks = [html.paragraph(line)] if line else []
    for title, columns, rows in (
        ("From and to a language", tables.DIRECTION_COLUMNS, tables.direction_rows(content)),
        ("By language pair", tables.PAIR_COLUMNS, tables.pair_rows(content)),
    ):
        if rows:
            note = tables.pair_note(content) if columns == tables.PAIR_COLUMNS else ""
            head = [(name, "") for name in columns]
            blocks += [html.heading(title, note), html.table(head, rows)]
    return blocks


def _example(example: Mapping[str, Any]) -> str:
    query, answer = example["query"], example["answer"]
    ranks = ", ".join(
        f"{place['language']} {tables.show(place['rank'], 0)}" for place in example["ranks"]
    )
    return (
        f'<div class="example"><div class="query" dir="auto">{_tag(query["language"])}'
        f"{html.escape(query['text'])}</div>"
        f'<p class="note">{html.escape(query["id"])}: average precision '
        f"{example['average_precision']:.3f}; ranks of the relevant passages: "
        f"{html.escape(ranks)}</p>"
        f'<div dir="auto">{_tag("relevant passage, " + answer["language"], True)}'
        f"{html.escape(answer['text'])}</div>"
        f"<ol>{''.join(_result(passage) for passage in example['found'])}</ol></div>"
    )


def _result(passage: Mapping[str, Any]) -> str:
    tag = _tag(passage["language"], passage["right"])
    score = f'<span class="note">{tables.show(passage["score"])}</span>'
    return f'<li dir="auto">{tag}{html.escape(passage["text"])} {score}</li>'


def _tag(language: str, right: bool = False) -> str:
    return f'<span class="tag{" right" if right else ""}">{html.escape(language)}</span>'


def _timing(timing: Mapping[str, Any]) -> dict[str, object]:
    return {name.replace("_s", " (seconds)"): value for name, value in timing.items()}
