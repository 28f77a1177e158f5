"""The files of one evaluation: report.json, report.md, report.html and the plots."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hybrid_dist.evaluation.per_query import FILE
from hybrid_dist.reporting import html, tables
from hybrid_dist.reporting.report import Report
from hybrid_dist.reporting.report_files import RUN, replace_report, tag_png
from hybrid_dist.text import json_text
from hybrid_dist.tracking.report_file import REPORT


def write_report(
    folder: Path, report: Report, write_run: Callable[[Path, str], None] | None = None
) -> None:
    """Replace all files of a report together; each says the report's id.

    `write_run` writes the report's TREC run into a file, for a report of an id.
    """
    found, name = report.content, report.content["id"]
    page, text = report_page(found, report.plots), tables.markdown(found)
    with replace_report(folder) as draft:
        for file, image in report.plots.items():
            (draft / file).write_bytes(tag_png(image, name))
        report.values.save(draft / FILE)
        (draft / "report.html").write_text(page, "utf-8")
        (draft / "report.md").write_text(text, "utf-8")
        if write_run is not None:
            write_run(draft / RUN, name)
        (draft / REPORT).write_text(json_text(found, indent=2) + "\n", "utf-8")


def report_page(found: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """report.html: headline, languages, pairs, bias, examples, settings."""
    counts = found["counts"]
    lead = (
        f"{found['model']} on {counts['queries']:,} queries and {counts['passages']:,} "
        f"passages in {tables.languages(found)} languages"
    )
    names = tables.SETTINGS.values()
    blocks = [
        html.cards(_headline(found)),
        html.table([(name, "") for name in ("", *names)], tables.metric_rows(found)),
        f'<p class="note">{html.escape(_sure(found))}</p>',
        *_left_out(found),
        *_groups(found),
        html.heading("By query language", tables.LEGEND),
        html.table(tables.LANGUAGE_COLUMNS, tables.language_rows(found)),
        html.heading("mAP by language pair"),
        html.picture(
            drawn["map_by_pair.png"],
            "heatmap of mAP by query language and pool language",
            "Each row asks in one language, each column searches the passages of one. The diagonal "
            "is the monolingual setting, the rest is the cross-lingual one.",
        ),
        *_bias(found),
        *_distances(drawn),
        *_shares(drawn),
        html.heading("Best examples", "By average precision, in the largest pool that there is."),
        *(_example(example) for example in found["examples"]["best"]),
        html.heading("Worst examples"),
        *(_example(example) for example in found["examples"]["worst"]),
        html.heading("Settings"),
        html.definitions({**found["settings"], **_timing(found["timing"]), "report": found["id"]}),
    ]
    return html.page(f"Evaluation on {found['task']}", lead, blocks)


def _headline(found: Mapping[str, Any]) -> list[html.Card]:
    bias, sure = found["bias"], found["intervals"]
    notes = {
        "monolingual": "query and pool in one language",
        "cross_lingual": "query in one, pool in another",
        "multilingual": "one pool of all languages",
    }
    shown = [
        (f"mAP {tables.SETTINGS[name].lower()}", found["map"][name], f"map.{name}", 3, note)
        for name, note in notes.items()
    ]
    distance = bias["rank_distance"]
    note = f"lower is better; {tables.show(distance['normalised'])} of a random ranking's"
    shown += [("Rank distance", distance["mean"], "bias.rank_distance.mean", 1, note)]
    cards = []
    for label, value, key, digits, told in shown:
        figure, _, between = tables.with_interval(value, sure.get(key), digits).partition("\n")
        cards.append(html.Card(label, figure, between, told))
    return cards


def _sure(found: Mapping[str, Any]) -> str:
    return f"Small figures are intervals: {found['settings']['intervals']}."


def _groups(found: Mapping[str, Any]) -> list[str]:
    """Groups of languages, and how far the best language is from the worst."""
    blocks, rows = [], tables.group_rows(found)
    if rows:
        head = [(name, "") for name in tables.GROUP_COLUMNS]
        blocks += [html.heading("Groups of query languages"), html.table(head, rows)]
    if lines := tables.spread_lines(found):
        blocks += [html.heading("Best and worst language"), *map(html.paragraph, lines)]
    return blocks


def _bias(found: Mapping[str, Any]) -> list[str]:
    rows = tables.bias_rows(found)
    note = "In the pool of all languages; docs/metrics.md has the formulas."
    if not rows:
        return []
    return [html.heading("Language bias", note), html.table(tables.BIAS_COLUMNS, rows)]


def _distances(drawn: Mapping[str, bytes]) -> list[str]:
    if "rank_distance.png" not in drawn:
        return []
    return [
        html.heading("Rank distance"),
        html.picture(
            drawn["rank_distance.png"],
            "box plot of rank distance by query language",
            "The right answers to a query say the same in several languages; the distance is "
            "the last one's rank minus the first one's. Boxes span the middle half of the "
            "queries, whiskers 10% to 90%; the line is the median, the diamond the mean.",
        ),
    ]


def _shares(drawn: Mapping[str, bytes]) -> list[str]:
    if "language_share.png" not in drawn:
        return []
    return [
        html.heading("Languages of the top 10"),
        html.picture(
            drawn["language_share.png"],
            "heatmap of the share of each language among the top 10, by query language",
            "In the pool of all languages. A search that favours no language would repeat the last "
            "row, the pool's own shares; a bright diagonal favours the query's language.",
        ),
    ]


def _left_out(found: Mapping[str, Any]) -> list[str]:
    """What the task does not support, and the language pairs where they are all it has."""
    told = tables.left_out(found)
    blocks = [html.paragraph(told)] if told else []
    if rows := tables.pair_rows(found):
        head = [(name, "") for name in tables.PAIR_COLUMNS]
        blocks += [html.heading("By language pair"), html.table(head, rows)]
    return blocks


def _example(example: Mapping[str, Any]) -> str:
    query, answer = example["query"], example["answer"]
    ranks = ", ".join(
        f"{place['language']} {tables.show(place['rank'], 0)}" for place in example["ranks"]
    )
    return (
        f'<div class="example"><div class="asked" dir="auto">{_tag(query["language"])}'
        f"{html.escape(query['text'])}</div>"
        f'<p class="note">{html.escape(query["id"])}: average precision '
        f"{example['average_precision']:.3f}; ranks of the right answers: {html.escape(ranks)}</p>"
        f'<div dir="auto">{_tag("right answer, " + answer["language"], True)}'
        f"{html.escape(answer['text'])}</div>"
        f"<ol>{''.join(_found(passage) for passage in example['found'])}</ol></div>"
    )


def _found(passage: Mapping[str, Any]) -> str:
    tag = _tag(passage["language"], passage["right"])
    score = f'<span class="note">{tables.show(passage["score"])}</span>'
    return f'<li dir="auto">{tag}{html.escape(passage["text"])} {score}</li>'


def _tag(language: str, right: bool = False) -> str:
    return f'<span class="tag{" right" if right else ""}">{html.escape(language)}</span>'


def _timing(timing: Mapping[str, Any]) -> dict[str, object]:
    return {name.replace("_s", " (seconds)"): value for name, value in timing.items()}
