"""An estimate as tables for a terminal, and as an object for scripts."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from hybrid_dist.estimating.estimate import Estimate
from hybrid_dist.estimating.hardware import GIB
from hybrid_dist.estimating.memory import PARTS
from hybrid_dist.estimating.step_time import embedding_seconds, ranking_seconds
from hybrid_dist.text import cell

PASSAGES, QUERIES = 1_000_000, 1_000
"""Of the evaluation whose cost is shown."""


def estimate_tables(estimate: Estimate) -> Iterator[Table | str]:
    """Model and cluster, memory by strategy, the parts of a step, and the run."""
    size, cluster, work = estimate.size, estimate.cluster, estimate.work
    machines = f"{cluster.nodes} machines of {cluster.gpus}" if cluster.nodes > 1 else cluster.gpus
    yield (
        f"{size.name}: {size.parameters / 1e6:,.0f} M parameters, {size.trained / 1e6:,.0f} M "
        f"trained, {size.layers} layers of {size.width:,}"
    )
    yield f"{machines} x {cluster.card.name}"
    yield f"{work.pairs:,} pairs of {work.tokens:,.0f} tokens a step (from {work.source})"
    yield _memory_table(estimate)
    yield _parts_table(estimate)
    yield _step_table(estimate)
    yield _run_table(estimate)


def _memory_table(estimate: Estimate) -> Table:
    """What every launcher needs."""
    limit = estimate.cluster.card.memory
    table = Table("launcher", title=f"Memory of a rank; its card has {limit:.1f} GiB")
    for name in ("GiB", "main memory", "chunk", "largest chunk", "largest batch"):
        table.add_column(name, justify="right")
    for fit in estimate.fits:
        used, host = fit.memory.total / GIB, fit.memory.host / GIB
        table.add_row(
            fit.strategy,
            cell(f"{used:.1f}", "red" if used > limit else ""),
            f"{host:.1f}" if host else "",
            f"{fit.chunk:,}" if fit.chunk else "all",
            _fitting(fit.largest),
            _fitting(fit.largest_batch),
        )
    return table


def _parts_table(estimate: Estimate) -> Table:
    """The parts of the memory under one launcher."""
    chosen = estimate.chosen
    table = Table("", "", "GiB", title=f"Parts under {chosen.strategy}")
    for name, size in chosen.memory.parts.items():
        table.add_row(name, PARTS[name], f"{size / GIB:.1f}")
    return table


def _fitting(pairs: int) -> str:
    return f"{pairs:,}" if pairs else "none"


def _step_table(estimate: Estimate) -> Table:
    table = Table("", "ms", "share", title=f"A step under {estimate.chosen.strategy}")
    total = estimate.step.total
    for name, seconds in estimate.step.parts.items():
        table.add_row(name, f"{1e3 * seconds:,.1f}", f"{seconds / total:.0%}")
    table.add_row("all", f"{1e3 * total:,.1f}", "", end_section=True)
    table.add_row("exchange gradients, all of it", f"{1e3 * estimate.step.exchange:,.1f}", "")
    return table


def _run_table(estimate: Estimate) -> Table:
    figures = estimate_object(estimate)
    table = Table("", "", title=f"The run of {estimate.steps:,} steps", show_header=False)
    table.add_row("pairs/s", f"{figures['pairs_per_second']:,.0f}")
    table.add_row("tokens/s", f"{figures['tokens_per_second']:,.0f}")
    table.add_row("time", duration(figures["seconds"]))
    table.add_row("GPU hours", f"{figures['gpu_hours']:,.1f}")
    table.add_row("a checkpoint", f"{figures['checkpoint_bytes'] / GIB:,.1f} GiB")
    passages, queries = figures["evaluation"]["passages"], figures["evaluation"]["queries"]
    embedding, ranking = (figures["evaluation"][key] for key in ("embedding", "ranking"))
    table.add_row(f"an evaluation: to embed {passages:,} passages", duration(embedding))
    table.add_row(f"to rank them for {queries:,} queries", duration(ranking))
    return table


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def estimate_object(estimate: Estimate) -> dict[str, Any]:
    """All figures, in bytes and seconds."""
    size, cluster, work = estimate.size, estimate.cluster, estimate.work
    length = work.tokens / work.texts
    step = estimate.step.total
    return {
        "model": size.name,
        "parameters": size.parameters,
        "trained": size.trained,
        "card": cluster.card.name,
        "ranks": cluster.world,
        "pairs": work.pairs,
        "tokens_of_pair": work.tokens,
        "tokens_from": work.source,
        "strategy": estimate.chosen.strategy,
        "memory": {
            fit.strategy: {
                "parts": fit.memory.parts,
                "total": fit.memory.total,
                "host": fit.memory.host,
                "chunk": fit.chunk,
                "largest_chunk": fit.largest,
                "largest_batch": fit.largest_batch,
            }
            for fit in estimate.fits
        },
        "step": estimate.step.parts,
        "exchange": estimate.step.exchange,
        "seconds_of_step": step,
        "pairs_per_second": work.pairs / step,
        "tokens_per_second": work.pairs * work.tokens / step,
        "seconds": estimate.seconds,
        "gpu_hours": estimate.seconds * cluster.world / 3600,
        "checkpoint_bytes": estimate.checkpoint_bytes,
        "evaluation": {
            "passages": PASSAGES,
            "queries": QUERIES,
            "embedding": embedding_seconds(size, cluster, PASSAGES, length),
            "ranking": ranking_seconds(cluster.card, cluster.world, QUERIES, PASSAGES, size.width),
        },
    }
