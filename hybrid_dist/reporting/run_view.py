"""A run in words: its state, its last figures, and a line for every record."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hybrid_dist.reporting.run_status import RUNNING, RunStatus
from hybrid_dist.tracking.metrics_log import Record, evaluated_figures

SPEED = (
    ("system/pairs_per_s", "pairs/s", "{:,.0f}"),
    ("system/tokens_per_s", "tokens/s", "{:,.0f}"),
    ("system/step_ms", "ms a step", "{:,.0f}"),
    ("system/data_wait_pct", "waiting for data", "{:.1f}%"),
    ("system/mfu_pct", "MFU", "{:.1f}%"),
    ("system/memory_gib", "peak memory", "{:.1f} GiB"),
)


def headline(status: RunStatus) -> str:
    steps, name = status.config.train.steps, status.config.run.name
    text = f"{name}: {status.state}, step {status.step:,} of {steps:,}"
    step_ms = status.last("system/step_ms").get("system/step_ms")
    if status.state == RUNNING and step_ms is not None:
        left = step_ms / 1000 * (steps - status.step)
        if 0 <= left < timedelta.max.total_seconds():
            text += f", {timedelta(seconds=round(left))} left"
    return f"{text} ({status.why})" if status.why else text


def line(record: Record) -> str:
    """A record on one line."""
    names = ("train/loss", "train/kind", "train/accuracy", "system/pairs_per_s")
    shown = {name.partition("/")[2]: record[name] for name in names if name in record}
    shown |= evaluated_figures(record)
    parts = [f"{name} {shown_figure(value)}" for name, value in shown.items()]
    return f"step {record['step']}  {'  '.join(parts)}"


def shown_figure(value: Any) -> str:
    """A dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _speed(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def lines(status: RunStatus) -> Iterator[str]:
    """Everything, as plain lines."""
    yield headline(status)
    for name in filter(None, ("train/loss", status.metric)):
        steps, values = status.series(name)
        every = max(1, len(steps) // 10)
        kept = [*zip(steps[::-every], values[::-every], strict=True)][::-1]
        if kept:
            yield f"{name}: " + ", ".join(f"{step} {value:.4g}" for step, value in kept)
    for title, rows in filter(lambda table: table[1], _tables(status)):
        yield f"{title}: " + ", ".join(" ".join(row) for row in rows)
    yield from damage(status)


def damage(status: RunStatus) -> Iterator[str]:
    if status.problems:
        yield (
            f"metrics.jsonl: {len(status.problems):,} lines cannot be read and are left out "
            f"(the first: {status.problems[0]})"
        )


def mix(status: RunStatus) -> Iterator[tuple[str, ...]]:
    """The batches of each kind: their number, their share and their loss."""
    latest = status.last("system/pairs_per_s")
    batches = {k: v for k, v in latest.items() if k.startswith("train/batches/") and v is not None}
    total = sum(batches.values()) or 1
    for name, count in batches.items():
        kind = name.rpartition("/")[2]
        loss = status.last(f"train/loss/{kind}").get(f"train/loss/{kind}")
        text = "" if loss is None else f"loss {loss:.4g}"
        yield kind, f"{count:,}", f"{count / total:.0%}", text


def speed(status: RunStatus) -> Iterator[tuple[str, ...]]:
    """What the last record says of speed and memory."""
    latest = status.last("system/pairs_per_s")
    for name, label, form in SPEED:
        if name in latest:
            yield label, _speed(latest[name], form)
    if latest.get("train/skipped"):
        yield "updates left out", str(latest["train/skipped"])


def _tables(status: RunStatus) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """What there is of the mix, the last evaluation and the speed."""
    evaluated = status.last(status.metric) if status.metric else {}
    figures = [(name, shown_figure(v)) for name, v in evaluated_figures(evaluated).items()]
    yield "batches", [*mix(status)]
    yield f"evaluation at step {evaluated.get('step', 0):,}", [*figures]
    yield "speed", [*speed(status)]
