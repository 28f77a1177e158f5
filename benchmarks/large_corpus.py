"""Millions of passages with given vectors, on one process and on the nodes of a cluster.

`make` writes the corpus as a prepared collection and in BEIR's layout, and vectors of its texts.
`run` runs any command, `slurm` an evaluation on a SLURM cluster of two nodes of this machine's own
(root only, `make slurm-packages`). Both say how long it took, and the most memory that the ranks of
each node used at once: proportional set sizes, in which a page that two processes map counts once.
`open` says what memory the processes of a machine take to hold the task, and `same` whether two
evaluations have the same results.

    python benchmarks/large_corpus.py make data --passages 5000000
    python benchmarks/large_corpus.py run -- python -m hybrid_dist.evaluate --out one \
        --task collection:data/collection --embeddings data/vectors
    python benchmarks/large_corpus.py slurm data two --per-node 2
    python benchmarks/large_corpus.py same one two
    python benchmarks/large_corpus.py open beir:data/beir 4
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np

from hybrid_dist.evaluation.stored_task import write_task
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task

ROOT = Path(__file__).resolve().parents[1]
QUERY, PASSAGE = "q{:06d}", "p{:09d}"
TEXT = "passage {} of a large corpus, as long as a short sentence"
AT_ONCE = 100_000
RELEVANT = 2
"""Relevant passages of a query."""
SECONDS = 0.5
"""Between two looks at the memory."""


def make(folder: Path, passages: int, queries: int, width: int) -> None:
    """Each query's vector is near those of its relevant passages."""
    rng = np.random.default_rng(1)
    vectors = folder / "vectors"
    vectors.mkdir(parents=True)
    kind, shape = np.float16, (passages, width)
    corpus = np.lib.format.open_memmap(vectors / "corpus.npy", "w+", kind, shape)
    with (vectors / "corpus_ids.txt").open("w") as ids:
        for low in range(0, passages, AT_ONCE):
            numbers = range(low, min(low + AT_ONCE, passages))
            corpus[low : numbers.stop] = _unit(rng.standard_normal((len(numbers), width)))
            ids.write("".join(f"{PASSAGE.format(n)}\n" for n in numbers))
    relevant = np.sort(rng.choice(passages, (queries, RELEVANT), replace=False), axis=1)
    near = corpus[relevant].astype(np.float32).mean(axis=1)
    near = _unit(near + 0.1 * rng.standard_normal((queries, width)))
    np.save(vectors / "queries.npy", near.astype(kind))
    (vectors / "query_ids.txt").write_text("".join(f"{QUERY.format(n)}\n" for n in range(queries)))
    write_task(corpus_task(relevant, passages), folder / "collection", {"source": "generated"})
    _write_beir(folder / "beir", relevant, passages)


def corpus_task(relevant: np.ndarray, passages: int) -> Task:
    return Task(
        name="corpus",
        path="generated",
        languages=("en",),
        query_ids=Numbered(QUERY, len(relevant)),
        query_texts=Numbered("query {}", len(relevant)),
        query_language=np.zeros(len(relevant), np.int64),
        passage_ids=Numbered(PASSAGE, passages),
        passage_texts=Numbered(TEXT, passages),
        passage_language=np.zeros(passages, np.int64),
        relevant_starts=np.arange(0, relevant.size + 1, RELEVANT),
        relevant=relevant.ravel(),
        grades=np.ones(relevant.size, np.int64),
    )


class Numbered(Sequence[str]):
    """Texts that differ in a number."""

    def __init__(self, form: str, count: int) -> None:
        self._form, self._count = form, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: Any) -> Any:
        numbers = range(self._count)[index]
        if isinstance(index, slice):
            return list(map(self._form.format, numbers))
        return self._form.format(numbers)


def _write_beir(folder: Path, relevant: np.ndarray, passages: int) -> None:
    """The same corpus in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as out:
        for n in range(passages):
            name, text = PASSAGE.format(n), TEXT.format(n)
            out.write(f'{{"_id": "{name}", "title": "", "text": "{text}"}}\n')
    asked = (
        json.dumps({"_id": QUERY.format(n), "text": f"query {n}"}) for n in range(len(relevant))
    )
    (folder / "queries.jsonl").write_text("".join(f"{line}\n" for line in asked))
    pairs = ((q, p) for q, row in enumerate(relevant.tolist()) for p in row)
    judged = "".join(f"{QUERY.format(q)}\t{PASSAGE.format(p)}\t1\n" for q, p in pairs)
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def _unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


@contextmanager
def measured() -> Iterator[None]:
    """Say how long the block took, and the most memory of the evaluating processes by node."""
    peak, done = defaultdict[str, dict[str, float]](dict), threading.Event()

    def watch() -> None:
        while not done.wait(SECONDS):
            for node, used in _used().items():
                most = peak[node]
                for name, size in used.items():
                    most[name] = max(most.get(name, 0.0), size)

    watcher = threading.Thread(target=watch)
    begin = time.perf_counter()
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    print(f"{time.perf_counter() - begin:.0f} s")
    for node, most in sorted(peak.items()):
        print(f"{node}: " + ", ".join(f"{name} {size:.2f} GB" for name, size in most.items()))


def _used() -> dict[str, dict[str, float]]:
    """The memory of the evaluating processes of each node: all of it, and what no file backs."""
    used: dict[str, dict[str, float]] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            line = (process / "cmdline").read_bytes()
            if b"hybrid_dist.evaluate" not in line or b"launch" in line or b"srun" in line:
                continue
            words = (process / "environ").read_bytes().split(b"\0")
            rollup = (process / "smaps_rollup").read_text()
        except OSError:
            continue
        names = [word.partition(b"=")[2].decode() for word in words if b"SLURMD_NODENAME=" in word]
        of_node = used.setdefault(names[0] if names else "this machine", {})
        for field, name in (("Pss", "memory"), ("Pss_Anon", "of which anonymous")):
            size = next(row for row in rollup.splitlines() if row.startswith(f"{field}:"))
            of_node[name] = of_node.get(name, 0.0) + int(size.split()[1]) / 1e6
    return used


def slurm(data: Path, out: Path, per_node: int) -> None:
    sys.path.insert(0, str(ROOT))
    from hybrid_dist.runtime.templates import copy_templates
    from tests.slurm.cluster import Cluster, unavailable
    from tests.slurm.conftest import SITE
    from tests.slurm.jobs import Site

    if why_not := unavailable():
        raise SystemExit(f"no SLURM cluster: {why_not}")
    words = [
        "--embeddings",
        f"{data.resolve()}/vectors",
        "--task",
        f"collection:{data.resolve()}/collection",
    ]
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(Path(folder)) as cluster:
        user = Path(folder) / "user"
        list(copy_templates(user))
        (user / "slurm/site.env").write_text(SITE)
        site = Site(cluster, user)
        options = ["--nodes=2", f"--cpus-per-task={per_node}", "--mem=7000"]
        with measured():
            job = site.sbatch(
                *(*options, "slurm/evaluate.sbatch", *words, "--out", str(out.resolve())),
                PROCESSES_PER_NODE=str(per_node),
            )
            state = cluster.wait(job, seconds=3600)["JobState"]
        print(state, site.output(job))


def opened(task: str, processes: int) -> None:
    """The memory that so many processes of a launcher take to hold a task, all together."""
    context = multiprocessing.get_context("fork")
    barrier, sizes = context.Barrier(processes), context.Queue()

    def hold(rank: int) -> None:
        os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(processes))
        barrier.wait()
        before = _own_memory()
        barrier.wait()
        held = load_task(task)
        barrier.wait()
        sizes.put((_own_memory() - before, len(held.passage_ids)))
        barrier.wait()

    ranks = [context.Process(target=hold, args=(rank,)) for rank in range(processes)]
    for rank in ranks:
        rank.start()
    total = sum(size for size, _ in (sizes.get() for _ in ranks))
    for rank in ranks:
        rank.join()
    print(f"{processes} processes: {total:.0f} MB")


def _own_memory() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("Pss:"))


def same(one: Path, other: Path) -> None:
    reports = [json.loads(next(out.glob("*/report.json")).read_text()) for out in (one, other)]
    for report in reports:
        for key in ("timing", "id", "created"):
            report.pop(key, None)
    scores = [np.load(next(out.glob("*/scores.npz"))) for out in (one, other)]
    first, second = ({name: of[name].tobytes() for name in of} for of in scores)
    print(f"reports: {'the same' if reports[0] == reports[1] else 'differ'}")
    print(f"scores.npz: {'the same' if first == second else 'differ'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    made = parts.add_parser("make")
    made.add_argument("folder", type=Path)
    made.add_argument("--passages", type=int, default=5_000_000)
    made.add_argument("--queries", type=int, default=1000)
    made.add_argument("--width", type=int, default=64)
    parts.add_parser("run").add_argument("command", nargs=argparse.REMAINDER)
    on_nodes = parts.add_parser("slurm")
    on_nodes.add_argument("data", type=Path)
    on_nodes.add_argument("out", type=Path)
    on_nodes.add_argument("--per-node", type=int, default=2)
    held = parts.add_parser("open")
    held.add_argument("task")
    held.add_argument("processes", type=int)
    both = parts.add_parser("same")
    both.add_argument("one", type=Path)
    both.add_argument("other", type=Path)
    options = parser.parse_args()
    if options.part == "make":
        make(options.folder, options.passages, options.queries, options.width)
    elif options.part == "run":
        command = options.command[options.command[:1] == ["--"] :]
        with measured():
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    elif options.part == "slurm":
        slurm(options.data, options.out, options.per_node)
    elif options.part == "open":
        opened(options.task, options.processes)
    else:
        same(options.one, options.other)


if __name__ == "__main__":
    main()
