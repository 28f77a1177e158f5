"""Mining against sentence-transformers' mine_hard_negatives, with the same pairs and options.

  search  --count pairs with random vectors: search, filters, choice, and the result
  texts   the pairs of one language in a pair file (--pairs), with a model (--model): embedding too

Each turn of each side is a process of its own. Seconds are without imports and without loading the
model; memory is the peak beyond what was there before. Ratios above 1 mean that ours needs less.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Missing, forget_peak, needs, peak_gib, run_parts

from hybrid_dist.data.store.reader import Store
from hybrid_dist.mining.job import MiningJob
from hybrid_dist.mining.rules import Rules
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.runtime.ranks import Ranks

SIZE = 384
FIRST, LAST, NUMBER, RELATIVE = 10, 200, 4, 0.98
PREFIXES = ("query: ", "passage: ")
Texts = tuple[list[str], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = {"search": search, "texts": texts}
    parser.add_argument("what", nargs="*", help=f"{', '.join(parts)}; all, unless some are named")
    parser.add_argument("--turns", type=int, default=3, help="turns each")
    parser.add_argument("--count", type=int, default=20_000, help="pairs of `search`")
    parser.add_argument("--pairs", help="a pair file, for `texts`")
    parser.add_argument("--language", default="en", help="the language of its pairs")
    parser.add_argument("--model", help="a folder of a model that sentence-transformers loads")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # by this file
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measured(options.what[0], options.inside, options)))
        return
    run: dict[str, Callable[[], None]]
    run = {name: partial(part, options) for name, part in parts.items()}
    run_parts(run, options.what or parts)


def search(options: argparse.Namespace) -> None:
    in_turns("search", options, ["--count", str(options.count)])


def texts(options: argparse.Namespace) -> None:
    if not (options.pairs and options.model):
        raise Missing("--pairs or --model is not given")
    given = ["--pairs", options.pairs, "--language", options.language, "--model", options.model]
    in_turns("texts", options, given)


def in_turns(what: str, options: argparse.Namespace, words: list[str]) -> None:
    """Run both sides alternately, and print medians and ratios."""
    needs("sentence_transformers", "datasets")
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(options.turns):
        for side, values in found.items():
            command = [sys.executable, __file__, what, "--inside", side, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            values.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{what}: medians of {options.turns}")
    medians = {
        side: {name: statistics.median(one[name] for one in values) for name in values[0]}
        for side, values in found.items()
    }
    for side, medians_of_side in medians.items():
        print(
            f"  {side:>6}: "
            + ", ".join(f"{value:,.2f} {name}" for name, value in medians_of_side.items())
        )
    for name, ours in medians["ours"].items():
        print(f"  {name}: {medians['theirs'][name] / ours:.2f} (theirs / ours)")


def measured(what: str, side: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds, CPU seconds and GiB of one side."""
    with tempfile.TemporaryDirectory() as name:
        pairs = numbered(options.count) if what == "search" else read(options)
        mine = (ours if side == "ours" else theirs)(what, pairs, Path(name), options)
        forget_peak()
        before, began, cpu = peak_gib(), time.perf_counter(), time.process_time()
        mine()
        return {
            "seconds": time.perf_counter() - began,
            "CPU seconds": time.process_time() - cpu,
            "GiB": peak_gib() - before,
        }


def ours(
    what: str, pairs: Texts, folder: Path, options: argparse.Namespace
) -> Callable[[], object]:
    lines = [
        json.dumps({"uid": f"{number:09}", "lang": "en", "query": query, "passage": passage})
        for number, (query, passage) in enumerate(zip(*pairs, strict=True))
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    Store.build(str(folder / "pairs.jsonl"), folder / "store")
    embedder: Any = Given(options.count)
    if what == "texts":
        embedder = TextEmbedder.load(options.model, "cpu", False, *PREFIXES)
    rules = Rules(FIRST, LAST, NUMBER, relative=RELATIVE)
    job = MiningJob.load(folder / "store", folder / "mined", ("own",), rules)
    return lambda: job.execute(embedder, None, "auto", None, Ranks(), lambda _: None)


def theirs(
    what: str, pairs: Texts, folder: Path, options: argparse.Namespace
) -> Callable[[], object]:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    given = Dataset.from_dict({"query": pairs[0], "passage": pairs[1]})
    model: Any = Given(options.count)
    if what == "texts":
        model = SentenceTransformer(options.model, device="cpu")
    return lambda: mine_hard_negatives(
        given,
        model,
        range_min=FIRST - 1,
        range_max=LAST,
        relative_margin=1 - RELATIVE,
        num_negatives=NUMBER,
        sampling_strategy="random",
        query_prompt=PREFIXES[0],
        corpus_prompt=PREFIXES[1],
        output_format="labeled-list",
        output_scores=True,
        verbose=False,
    )


def numbered(count: int) -> Texts:
    """Texts that name the vectors of `Given`."""
    return [f"q {n}" for n in range(count)], [f"p {n}" for n in range(count)]


def read(options: argparse.Namespace) -> Texts:
    with Path(options.pairs).open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    lines = [line for line in lines if line["lang"] == options.language]
    return [line["query"] for line in lines], [line["passage"] for line in lines]


class Given:
    """Random vectors, for both sides: a query's own passage is closer to it than others."""

    name = fingerprint = "random"
    device = torch.device("cpu")

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(1)
        self._queries = unit(rng.standard_normal((count, SIZE), dtype=np.float32))
        noise = unit(rng.standard_normal((count, SIZE), dtype=np.float32))
        self._passages = unit(self._queries + noise)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return self._queries[[int(text[2:]) for text in texts]]

    def encode_passages(self, texts: list[str]) -> np.ndarray:
        return self._passages[[int(text[2:]) for text in texts]]

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return self.encode_queries(texts)

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return self.encode_passages(texts)

    def similarity(self, queries: Any, passages: Any) -> torch.Tensor:
        return torch.as_tensor(queries) @ torch.as_tensor(passages).T

    def similarity_pairwise(self, queries: Any, passages: Any) -> torch.Tensor:
        return (torch.as_tensor(queries) * torch.as_tensor(passages)).sum(dim=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    normed: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed


if __name__ == "__main__":
    main()
