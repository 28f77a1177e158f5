"""The panels of a W&B workspace: which figures of runs stand in which panel, and in what section.

A panel names figures by their keys in W&B; `NAME/*` is all that are below a name. Panels and
sections without any figure are left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hybrid_dist.config.schema import flatten
from hybrid_dist.reporting.logged_run import LoggedRun
from hybrid_dist.tracking.wandb_run import BY_PAIR

Layout = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Section -> title of a panel -> keys."""

RUNS: Layout = {
    "Loss": {
        "Loss by kind of batch": ("train/loss", "train/loss/*"),
        "Loss on held-out pairs": ("dev/loss",),
        "Loss by language of the query": ("train/loss_by_language/*",),
        "Loss by width of the vectors": ("train/loss_by_dims/*",),
        "Alignment and distillation": ("train/align_loss", "train/distill_loss"),
        "Last loss of each language pair": (BY_PAIR,),
    },
    "Accuracy and similarity": {
        "Accuracy in the batch": ("train/accuracy",),
        "Cosine of positives and negatives": ("train/similarity/*",),
        "Temperature": ("train/temperature",),
        "Masked false negatives": ("train/false_negatives", "train/false_negatives/*"),
    },
    "mAP in the three settings": {
        "{task}: monolingual": ("eval/{task}/map.monolingual",),
        "{task}: cross-lingual": ("eval/{task}/map.cross_lingual",),
        "{task}: multilingual": ("eval/{task}/map.multilingual",),
        "Best so far": ("eval/best",),
    },
    "Language bias": {"{task}: mean rank distance": ("eval/{task}/bias.rank_distance.mean",)},
    "Languages": {
        "{task}: multilingual mAP by language": ("eval/{task}/map_by_language/*",),
        "{task}: mAP by language pair": ("eval/{task}/map_by_pair",),
    },
    "Finished models": {
        "{task}: mAP": (
            "final/{task}/map.monolingual",
            "final/{task}/map.cross_lingual",
            "final/{task}/map.multilingual",
        ),
        "{task}: mean rank distance": ("final/{task}/bias.rank_distance.mean",),
        "{task}: multilingual mAP by language": ("final/{task}/map_by_language/*",),
        "{task}: mAP by language pair": ("final/{task}/map_by_pair",),
    },
    "Speed": {
        "Pairs per second": ("system/pairs_per_s",),
        "Tokens per second": ("system/tokens_per_s",),
        "Time of a step and its parts (ms)": (
            *("system/step_ms", "system/gather_ms", "system/loss_ms"),
        ),
        "Waiting for data (%)": ("system/data_wait_pct",),
        "Use of the cards' peak (%)": ("system/mfu_pct",),
    },
    "Memory": {"Peak of the fullest rank (GiB)": ("system/memory_gib",)},
    "Optimization": {
        "Gradient norm": ("train/grad_norm",),
        "Learning rate": ("train/lr",),
        "Skipped updates": ("train/skipped",),
        "Batches of each kind": ("train/batches/*",),
    },
}
CELLS: Layout = {
    "Finished models by cell": {
        "{task}: monolingual mAP": ("final/{task}/map.monolingual",),
        "{task}: cross-lingual mAP": ("final/{task}/map.cross_lingual",),
        "{task}: multilingual mAP": ("final/{task}/map.multilingual",),
        "{task}: mean rank distance": ("final/{task}/bias.rank_distance.mean",),
    },
    "Curves by cell": {
        "Loss": ("train/loss",),
        "Loss on held-out pairs": ("dev/loss",),
        **RUNS["mAP in the three settings"],
    },
}
"""Of a study: the mean and the deviation over the seeds of each cell."""


@dataclass(frozen=True)
class Panel:
    """One panel, and the figures that it shows."""

    title: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Panels below one heading."""

    name: str
    panels: tuple[Panel, ...]


def laid_out(layout: Layout, keys: Iterable[str]) -> list[Section]:
    """The sections of a layout that show any of the keys."""
    known = sorted(keys)
    tasks = sorted(
        {key.split("/")[1] for key in known if key.startswith("eval/") and _is_deep(key)}
        | {key.split("/")[1] for key in known if key.startswith("final/")}
    )
    sections = (Section(name, tuple(_panels(row, known, tasks))) for name, row in layout.items())
    return [section for section in sections if section.panels]


def varied(runs: Sequence[LoggedRun]) -> tuple[str, ...]:
    """The config keys whose values differ between runs; seeds, names and paths are left aside."""
    configs = [flatten(run.config) for run in runs]
    return tuple(
        key
        for key in configs[0]
        if key != "seed"
        and not key.startswith(("run.", "log.", "data."))
        and len({repr(config[key]) for config in configs}) > 1
    )


def _panels(
    row: Mapping[str, tuple[str, ...]], keys: Sequence[str], tasks: Sequence[str]
) -> Iterator[Panel]:
    """A panel of the row for each task, or one where it names no task."""
    for title, patterns in row.items():
        for task in tasks if "{task}" in title else [""]:
            wanted = [pattern.replace("{task}", task) for pattern in patterns]
            shown = tuple(key for pattern in wanted for key in keys if _matches(key, pattern))
            if shown:
                yield Panel(title.replace("{task}", task), shown)


def _matches(key: str, pattern: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("/*") else key == pattern


def _is_deep(key: str) -> bool:
    """Whether a figure is one of a task, unlike eval/best."""
    return key.count("/") > 1
