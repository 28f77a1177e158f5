"""Belebele's shape, evaluated whole with random vectors: time and memory.

900 questions on 488 passages, each in 122 variants of languages: 109,800 queries, 59,536 passages,
and 13.4 million relevant pairs. Files of that shape are written, read by the source `belebele`, and
evaluated with every setting, interval and bias figure; the report has its pages and plots.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import forget_peak, peak_gib

from hybrid_dist.data.languages import two_letters
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.evaluation_report import evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks

LANGUAGES = sorted(two_letters())[:122]
"""As many as Belebele has variants of languages."""
QUESTIONS, PASSAGES = 900, 488


class RandomVectors:
    """Random vectors of norm 1 for a task."""

    name = "random vectors"

    def __init__(self, task: Task, size: int) -> None:
        rng = np.random.default_rng(1)
        self._queries, self._passages = (
            rng.standard_normal((len(ids), size), dtype=np.float32)
            for ids in (task.query_ids, task.passage_ids)
        )
        for vectors in (self._queries, self._passages):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def queries(self, rows: slice) -> np.ndarray:
        return self._queries[rows]

    def passages(self, rows: slice) -> np.ndarray:
        return self._passages[rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--languages", type=int, default=len(LANGUAGES), help="the first so many")
    parser.add_argument("--size", type=int, default=384, help="dimensions of the vectors")
    parser.add_argument("--out", type=Path, help="keep the report in this folder")
    options = parser.parse_args()
    forget_peak()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_files(folder / "data", LANGUAGES[: options.languages])
        begin = Clocks.now()
        task = load_task(f"belebele:{folder / 'data'}")
        read = Clocks.since(begin)
        print(
            f"{len(task.query_ids):,} queries, {len(task.passage_ids):,} passages, "
            f"{len(task.relevant):,} relevant pairs in {len(task.languages)} languages; "
            f"{options.size} dimensions, {torch.get_num_threads()} threads",
            flush=True,
        )
        vectors = RandomVectors(task, options.size)
        held = peak_gib()
        begin = Clocks.now()

        def log(line: str) -> None:
            print(f"{Clocks.since(begin)}  {line}", flush=True)

        out = options.out or folder / "report"
        report = evaluate_vectors(task, vectors, Ranks(), out, log)
        whole = Clocks.since(begin)
        sizes = {file.name: file.stat().st_size / 2**20 for file in sorted(out.iterdir())}
    print("                                 elapsed   processor time")
    print(f"  reading the files      {read}")
    print(f"  all of the evaluation  {whole}")
    print(f"  peak memory            {peak_gib():.2f} GiB; {held:.2f} with task and vectors")
    print(f"  files, in MiB          { {name: round(size, 1) for name, size in sizes.items()} }")
    print(f"  mAP                    {report['map']}")


@dataclass(frozen=True)
class Clocks:
    """Seconds that have passed, and those of the processor, which other programs share."""

    elapsed: float
    processor: float

    @classmethod
    def now(cls) -> "Clocks":
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, begin: "Clocks") -> "Clocks":
        end = cls.now()
        return cls(end.elapsed - begin.elapsed, end.processor - begin.processor)

    def __str__(self) -> str:
        return f"{self.elapsed:10,.1f} s {self.processor:10,.1f} s"


def write_files(folder: Path, dialects: list[str]) -> None:
    """Files as published, with texts of about the published length."""
    folder.mkdir()
    for dialect in dialects:
        with (folder / f"{dialect}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(QUESTIONS):
                record = {
                    "link": f"https://en.wikibooks.org/wiki/Article_{number % PASSAGES}",
                    "question_number": 1 + number // PASSAGES,
                    "flores_passage": f"{dialect} {number % PASSAGES} " * 40,
                    "question": f"{dialect} question {number}?",
                    **{f"mc_answer{choice}": f"{choice}" for choice in range(1, 5)},
                    "correct_answer_num": "1",
                    "dialect": dialect,
                    "ds": "2023-05-03",
                }
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
