"""Evaluate a fixed problem with given vectors, on however many processes were started."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.distributed as dist

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.evaluation_report import evaluate_task
from hybrid_dist.runtime.ranks import Ranks, exit_process

LANGUAGES, UIDS, DIMENSION = 3, 900, 40


def fixed_task() -> Task:
    own = np.repeat(np.arange(LANGUAGES), UIDS)
    uid = np.tile(np.arange(UIDS), LANGUAGES)
    names = [str(number) for number in range(len(own))]
    return Task(
        name="toy",
        path="given",
        languages=("aa", "bb", "cc"),
        query_ids=[f"u{number:04d}" for number in uid],
        query_texts=names,
        query_language=own,
        passage_ids=[f"u{number:04d}" for number in uid],
        passage_texts=names,
        passage_language=own,
        relevant_starts=np.arange(0, LANGUAGES * len(own) + 1, LANGUAGES),
        relevant=(uid[:, None] + UIDS * np.arange(LANGUAGES)).ravel(),
        grades=np.ones(LANGUAGES * len(own), dtype=np.int64),
    )


class Given:
    """Vectors by number; a fact's are near each other, and many passages are equal."""

    name = "given vectors"

    def __init__(self, broken: bool) -> None:
        rng = np.random.default_rng(11)
        facts = np.tile(rng.standard_normal((UIDS, DIMENSION)), (LANGUAGES, 1))
        noise = rng.standard_normal((2, *facts.shape))
        vectors = facts + noise
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        self.queries, self.passages = vectors.astype(np.float32)
        rows = rng.integers(0, len(facts), (2, 800))
        self.passages[rows[0]] = self.passages[rows[1]]
        if broken:
            self.passages[-1] = np.nan

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self.queries[np.array(texts, dtype=np.int64)]

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self.passages[np.array(texts, dtype=np.int64)]


def main(out: Path, broken: bool) -> None:
    dist.init_process_group("gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    try:
        report = evaluate_task(fixed_task(), Given(broken), ranks, out)
        same = ranks.gather(report)
        if any(other != report for other in same):
            raise SystemExit("ranks returned different reports")
    except UserError as error:
        (out.parent / f"refused-{ranks.rank}.txt").write_text(str(error), "utf-8")
    exit_process()


if __name__ == "__main__":
    main(Path(sys.argv[1]), broken="broken" in sys.argv[2:])
