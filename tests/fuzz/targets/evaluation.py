"""What `evaluate` and `compare` read that was made elsewhere or before: vectors, runs, reports, the
cache of vectors."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from hybrid_dist.evaluation import vector_cache
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.ranking import exact_ranks
from hybrid_dist.evaluation.search import top_k
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.evaluation.tiles import Shard, check_vectors
from hybrid_dist.evaluation.trec import read_run
from hybrid_dist.evaluation.vectors import PrecomputedVectors
from hybrid_dist.reporting import comparison_pages
from hybrid_dist.reporting.comparison import compare
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_run, evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.fuzz.edits import Tree, read_tree
from tests.fuzz.target import Target, Variants
from tests.support.evaluation_problems import parallel_task, unit_vectors

WHOLE = 53
"""One case of so many goes all the way to a report, whose plots take a second."""


def small_task() -> Task:
    task = parallel_task(2, 4)
    return replace(task, languages=("de", "en"), name="toy", path="toy")


def write_vectors(folder: Path, seed: int = 0) -> None:
    task, rng = small_task(), np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for array, ids, names in (
        ("queries.npy", "query_ids.txt", query_names(task)),
        ("corpus.npy", "corpus_ids.txt", passage_names(task)),
    ):
        np.save(folder / array, unit_vectors(rng, len(names), 4))
        (folder / ids).write_text("\n".join(names) + "\n", "utf-8")


def whole(folder: Path) -> bool:
    """Whether this case goes all the way: decided by its files, so that it does so again."""
    sizes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sizes % WHOLE == 0


class Embeddings(Target):
    name = "embeddings"
    heavy = True
    variants: ClassVar[Variants] = {"vectors": write_vectors}
    outputs = ("out/report",)

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        task, ranks = small_task(), Ranks()
        vectors = PrecomputedVectors(folder, task)
        if whole(folder):
            report_options = ReportOptions(vectors.settings, save_run=2)
            evaluate_vectors(task, vectors, ranks, out / "report", report_options=report_options)
        queries, passages = vectors.queries(slice(None)), vectors.passages(slice(None))
        check_vectors(queries, query_names(task).__getitem__, "query", ranks)
        check_vectors(passages, passage_names(task).__getitem__, "passage", ranks)
        shards = [Shard.of(0, passages, ranks.device)]
        ranking = exact_ranks(task, queries, shards, ranks)
        top = top_k(queries, shards, 3, ranks)
        return ranking.in_language.tolist(), ranking.pooled.tolist(), top.numbers.tolist()


class Runs(Target):
    name = "runs"
    heavy = True
    outputs = ("out/report",)

    def inputs(self) -> Variants:
        return {"run": _write_run}

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        task, ranks = small_task(), Ranks()
        run = read_run(folder / "run.trec", task)
        if whole(folder):
            evaluate_run(task, run, ranks, out / "report")
        ranking, top = run.ranking(task), run.top(task, 3)
        return ranking.in_language.tolist(), ranking.pooled.tolist(), top.numbers.tolist()


def _write_run(folder: Path) -> None:
    task = small_task()
    queries, passages = query_names(task), passage_names(task)
    scores = np.random.default_rng(1).standard_normal((len(queries), len(passages)))
    lines = [
        f"{query} Q0 {passage} {place} {scores[row, number]:.5f} fuzz\n"
        for row, query in enumerate(queries)
        for place, (number, passage) in enumerate(enumerate(passages[:3]), 1)
    ]
    (folder / "run.trec").write_text("".join(lines), "utf-8")


class Reports(Target):
    """Two reports, compared."""

    name = "reports"
    heavy = True
    outputs = ("out/pages",)
    among_files = ("report.json", "scores.npz")

    def __init__(self) -> None:
        self.originals: Tree = {}

    def inputs(self) -> Variants:
        return {"two": _write_reports}

    def among(self, variant: str, tree: Tree) -> Sequence[str]:
        self.originals = tree
        return [name for name in tree if name.endswith(self.among_files)]

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        found = compare([folder / "a", folder / "b"])
        if whole(folder):
            comparison_pages.write(found, out / "pages")
        shown = io.StringIO()
        console = Console(file=shown, width=120)
        for table in found.tables():
            console.print(table)
        refused = {run: why for run, why in found.paired.refused.items() if why}
        for why in refused.values():
            console.print(f"not paired: {why}", markup=False)
        return shown.getvalue(), bool(refused)

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        printed, refused = value
        if any(ord(letter) < 32 and letter != "\n" for letter in printed):
            return f"letters that steer a terminal in the tables\n{printed!r}"
        if refused or not self.originals:
            return None
        now = read_tree(folder)
        names = [name for name in self.originals if name.endswith(self.among_files)]
        whose = {name: self._whose(now.get(name), name) for name in names}
        for run in ("a", "b"):
            mine = {whose[name] for name in names if name.startswith(run)}
            if mine == {"a", "b"}:
                return f"files of two reports were taken for one\n{whose}"
        return None

    def _whose(self, content: bytes | None, name: str) -> str:
        """The report that a file belongs to; empty where it is damaged."""
        others = [f"{run}{name[1:]}" for run in ("a", "b")]
        return next((one[0] for one in others if self.originals.get(one) == content), "")


def _write_reports(folder: Path) -> None:
    task = small_task()
    for number, run in enumerate(("a", "b")):
        write_vectors(folder / "vectors", number)
        vectors = PrecomputedVectors(folder / "vectors", task)
        out = folder / run / task.name
        evaluate_vectors(
            task, vectors, Ranks(), out, report_options=ReportOptions(vectors.settings)
        )
        for file in [*out.glob("*.png"), *(folder / "vectors").iterdir()]:
            file.unlink()
    (folder / "vectors").rmdir()
    json.loads((folder / "a" / task.name / "report.json").read_text())


class Numbered:
    """An embedder whose vectors are functions of the texts."""

    name = fingerprint = "numbered"

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(texts)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return -self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = [[len(text), *text.encode()[-2:]] for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, 3)
        lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / lengths)


def _write_cache(folder: Path) -> None:
    made = folder / "cache"
    vector_cache.CachedVectors(small_task(), Numbered(), made, Ranks(), lambda message: None)
    for file in [*made.rglob("*.npy")][1:]:  # one of both is whole, as after an interruption
        for mark in (*file.with_suffix(".blocks").glob("1"),):
            mark.unlink()


class Cache(Target):
    """`--cache`: what was changed is noticed and made anew."""

    name = "cache"
    heavy = True

    def inputs(self) -> Variants:
        vector_cache.BLOCK = 3
        return {"cache": _write_cache}

    def may_leave(self, name: str, refused: bool) -> bool:
        """What was embedded is kept, whatever comes after it; drafts are not."""
        return name.startswith("case/cache/") and not Path(name).name.startswith(".")

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        made = vector_cache.CachedVectors(
            small_task(), Numbered(), folder / "cache", Ranks(), lambda message: None
        )
        return made.queries(slice(None)).tolist(), made.passages(slice(None)).tolist()

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        return None if value == good else f"a change went unnoticed\n{value}\nwas {good}"
