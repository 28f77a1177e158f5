"""Tables of language bias and of the consistency of parallel queries."""

from collections.abc import Mapping
from typing import Any

from hybrid_dist.evaluation.bias import COMPLETE_AT
from hybrid_dist.evaluation.consistency import TOP
from hybrid_dist.reporting.tables import show, with_interval

BIAS_COLUMNS = (("Language bias", ""), ("Measured", ""), ("Without bias", ""))
UNREACHABLE = "more relevant passages than that"


def bias_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The bias figures, each beside its value for a search that favours no language."""
    bias = report["bias"]
    expected = bias["first_hit_own"]["expected"]
    rows = (
        ("Rank distance", "rank_distance", "mean", 1, "relevant passages - 1"),
        ("median", "rank_distance", "median", 1, ""),
        ("90% of the queries", "rank_distance", "p90", 1, ""),
        ("normalised", "rank_distance", "normalised", 3, "0; a random order has 1"),
        ("Worst rank of a relevant passage", "worst_rank", "mean", 1, "relevant passages"),
        *((f"Complete@{k}", f"complete_at_{k}", "mean", 3, "1") for k in COMPLETE_AT),
        ("First hit in own language", "first_hit_own", "mean", 3, show(expected)),
        ("First result relevant, in own language", "top_1_relevant_own", "mean", 3, ""),
        ("relevant, in another language", "top_1_relevant_other", "mean", 3, ""),
        ("irrelevant, in own language", "top_1_irrelevant_own", "mean", 3, ""),
        ("irrelevant, in another language", "top_1_irrelevant_other", "mean", 3, ""),
        ("Own language in the top 10, times its share", "self_preference", "mean", 2, "1"),
        ("Top 10 against the pool, bits", "language_kl", "mean", 3, "0"),
        ("PEER", "peer", "mean", 3, "about 0.5; 1 where languages alternate"),
    )
    reachable = any(bias[f"complete_at_{k}"]["mean"] is not None for k in COMPLETE_AT)
    shown = []
    for label, key, name, digits, ideal in rows:
        value = bias[key].get(name)
        if value is not None:
            interval = report["intervals"].get(f"bias.{key}.{name}")
            shown.append([label, with_interval(value, interval, digits), ideal])
        elif key.startswith("complete_at") and reachable:
            shown.append([label, show(None), UNREACHABLE])
    return shown


CONSISTENCY_COLUMNS = (
    ("Consistency of parallel queries", ""),
    ("Measured", ""),
    ("Same results", ""),
    ("Random order", ""),
)


def consistency_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """How far parallel queries agree; no rows for a task without them."""
    rows = (
        ("Rank correlation of the relevant passages", "mrc", "0"),
        ("Rank-biased overlap of the top 10", "rbo", "near 0"),
        ("Jaccard index of the top 10", f"jaccard_at_{TOP}", "near 0"),
    )
    shown = []
    for label, key, chance in rows:
        value = report["consistency"][key]["mean"]
        if value is not None:
            interval = report["intervals"].get(f"consistency.{key}.mean")
            shown.append([label, with_interval(value, interval), "1", chance])
    return shown
