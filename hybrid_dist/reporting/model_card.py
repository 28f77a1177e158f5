"""The model card of a run: what it was trained on, how, and what its evaluations measured."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.config.schema import Config
from hybrid_dist.config.sources import Mix, MixEnd, path_of
from hybrid_dist.model import card
from hybrid_dist.reporting import bias_tables, tables
from hybrid_dist.reporting.markdown_page import table
from hybrid_dist.reporting.report import figures
from hybrid_dist.runtime.files import read_json, write_atomically
from hybrid_dist.text import markdown
from hybrid_dist.tracking.report_json import (
    MADE_FROM,
    REPORT,
    is_evaluation_report,
    read_report,
)
from hybrid_dist.training.run_folder import TRAINING_PAIRS, trained_languages

METRICS = {"map": "mAP", "ndcg_at_10": "nDCG@10"}
BIAS = {
    "bias.rank_distance.mean": "Rank distance",
    "bias.self_preference.mean": "Own language in the top 10, times its share",
}
"""Figures of the metadata, beside those of METRICS in the three settings."""
CHANGED = ("debiasing", "quantisation")
"""Settings of a report whose figures are not those of the model's own vectors."""


def write_card(run: Path, model: Path, reports: Path) -> bool:
    """Write the card of a run's model into its folder, unless someone has edited the one there.

    `reports`: the folder that has a report for each task. Returns whether it was written.
    """
    file = model / card.FILE
    if file.is_file() and not card.is_unchanged(file.read_text("utf-8", "replace")):
        return False
    write_atomically(file, run_card(run, model, reports))
    return True


def run_card(run: Path, model: Path, reports: Path, source: str = card.HERE) -> str:
    """The card of a run's model. `source`: what its examples load."""
    config = from_yaml(run / "config.yaml")
    found = list(_reports(reports, model))
    base, scratch = config.model.name_or_path, config.model.init == "scratch"
    on_hub = not Path(base).exists() and base.count("/") <= 1 and base[:1].isalnum()
    background = card.Background(
        name=source.rpartition("/")[2] if source != card.HERE else config.run.name,
        base_model="" if scratch else base if on_hub else Path(base).name,
        base_is_on_hub=on_hub,
        languages=trained_languages(run) or (),
        training=_training(run, config),
        evaluation=[line for report in found for line in _evaluation(report)],
        results=[_result(report) for report in found],
    )
    return card.card(model, background, source)


def _reports(folder: Path, model: Path) -> Iterator[dict[str, Any]]:
    """The reports of the model's own vectors, by task; not those of weights that it had before."""
    own = {str(place.resolve()) for place in (model, model.parent)}
    written = max((file.stat().st_mtime for file in model.glob("*.safetensors")), default=0.0)
    for file in sorted(folder.glob(f"*/{REPORT}")):
        if not is_evaluation_report(file) or file.stat().st_mtime < written:
            continue
        report = read_report(file)
        made_from = report.get(MADE_FROM) or {}  # empty: training's own
        if made_from and made_from.get("model") not in own:
            continue
        if not any(report["settings"].get(name) for name in CHANGED):
            yield report


def _training(run: Path, config: Config) -> list[str]:
    """A table of what the model was trained on and how."""
    file = run / "environment.json"
    described = read_json(file, "the description of a run") if file.is_file() else {}
    pairs = described.get(TRAINING_PAIRS) if isinstance(described, dict) else None
    batching, loss = config.batching, config.loss
    end = batching.mix_end.weights
    mix = _mix(batching.mix) + (f"; at the last step {_mix(end)}" if end else "")
    rows = {
        "Start": "random weights of its sizes" if config.model.init == "scratch" else "pretrained",
        "Pairs": f"{pairs:,}" if isinstance(pairs, int) else "not recorded",
        "Sources": ", ".join(Path(path_of(entry)).name for entry in config.data.train),
        "Mix of batches": mix,
        "Batch size": f"{batching.size:,} pairs",
        "Hard negatives": f"{batching.hard_negatives} a pair" if batching.hard_negatives else "",
        "Steps": f"{config.train.steps:,}",
        "Learning rate": f"{config.optim.lr:g}, {config.optim.schedule}",
        "Temperature": "learned" if loss.learn_temperature else f"{loss.temperature:g}",
        "LoRA": f"rank {config.model.lora_rank}, merged" if config.model.lora_rank else "",
        "Teacher": Path(config.distill.teacher).name,
        "Seed": str(config.seed),
    }
    return table(["Training", ""], [[name, value] for name, value in rows.items() if value])


def _mix(mix: Mix | MixEnd) -> str:
    """The kinds of batches, each with its share."""
    weights = {each.name: getattr(mix, each.name) or 0.0 for each in dataclasses.fields(mix)}
    total = sum(weights.values()) or 1.0
    return ", ".join(
        f"{weight / total:.0%} {name.replace('_', '-')}"
        for name, weight in weights.items()
        if weight
    )


def _evaluation(report: Mapping[str, Any]) -> Iterator[str]:
    """A section of Markdown: every metric with its interval, then language bias."""
    counts = report["counts"]
    yield f"### {markdown(report['task'])}"
    yield ""
    yield (
        f"{counts['queries']:,} queries and {counts['passages']:,} passages in "
        f"{tables.languages(report)} languages. In parentheses: "
        f"{markdown(report['settings']['intervals'])}."
    )
    yield ""
    yield from table(["", *tables.SETTINGS.values()], tables.metric_rows(report))
    yield ""
    if left_out := tables.left_out(report):
        yield markdown(left_out)
        yield ""
    if rows := bias_tables.bias_rows(report):
        yield from table([name for name, _ in bias_tables.BIAS_COLUMNS], rows)
        yield ""


def _result(report: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `model-index`."""
    names = {
        f"{metric}.{setting}": f"{label} {tables.SETTINGS[setting].lower()}"
        for metric, label in METRICS.items()
        for setting in tables.SETTINGS
    } | BIAS
    values = figures({key: report.get(key) or {} for key in (*METRICS, "bias")})
    return {
        "task": {"type": "information-retrieval", "name": "Multilingual retrieval"},
        "dataset": {"type": report["task"], "name": report["task"]},
        "metrics": [
            _metric(key, name, value, report["intervals"].get(key))
            for key, name in names.items()
            if (value := values.get(key)) is not None
        ],
    }


def _metric(key: str, name: str, value: float, interval: Sequence[float] | None) -> dict[str, Any]:
    kind = key.removeprefix("bias.").partition(".")[0]
    measured: dict[str, Any] = {"type": kind, "name": name, "value": round(value, 4)}
    if interval:
        measured["args"] = {"interval_95": [round(edge, 4) for edge in interval]}
    return measured
