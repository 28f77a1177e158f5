"""What all sides get: one model, the same batches in each layout, the same texts and task."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task

NO_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
SEED = 1
LAYOUTS = ("tuples", "flagembedding", "tevatron")


@dataclass(frozen=True)
class Workload:
    """The inputs of a comparison, in a folder."""

    folder: Path
    model: str
    pairs: tuple[str, ...]
    query_prefix: str
    passage_prefix: str
    batching: Batching

    @classmethod
    def of(
        cls, folder: Path, model: str, pairs: list[str], prefixes: tuple[str, str], tokens: int
    ) -> "Workload":
        """Copies the model, without dropout: losses of the first step are then comparable."""
        own = folder / "model"
        shutil.copytree(model, own, dirs_exist_ok=True)
        _change(own / "config.json", dict.fromkeys(NO_DROPOUT, 0.0))
        if (own / "sentence_bert_config.json").exists():
            _change(own / "sentence_bert_config.json", {"max_seq_length": tokens})
        paths = tuple(str(Path(path).resolve()) for path in pairs)
        batching = Batching(mix=Mix(monolingual=0.5, cross_lingual=0.5), language_alpha=0.5)
        return cls(folder, str(own), paths, *prefixes, batching)

    def for_us(self) -> dict[str, Any]:
        """What our side needs to draw the same batches from the store."""
        chosen = {
            "mix": {"monolingual": 0.5, "cross_lingual": 0.5},
            "language_alpha": self.batching.language_alpha,
            "false_negatives": "keep",
        }
        return {
            "seed": SEED,
            "pairs": self.pairs,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
            "batching": chosen,
        }

    def batches(self, size: int, steps: int) -> Path:
        """A folder with the pairs of these batches, in each layout."""
        folder = self.folder / f"{steps}x{size}"
        if not folder.exists():
            made = self.folder / "being-written"
            made.mkdir()
            rows = list(self._rows(size, steps))
            for layout in LAYOUTS:
                lines = (json.dumps(_record(layout, n, *row)) for n, row in enumerate(rows))
                (made / f"{layout}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
            made.rename(folder)
        return folder

    def _rows(self, size: int, steps: int) -> Iterator[tuple[str, str]]:
        stores, sources = open_sources(self.pairs)
        plan = Plan(sources, Batching(**(asdict(self.batching) | {"size": size})), seed=SEED)
        for step in range(steps):
            batch = plan.batch(step)
            queries, passages = (
                stores[0].queries(batch.query_row),
                stores[0].passages(batch.passage_row),
            )
            for query, passage in zip(queries, passages, strict=True):
                yield self.query_prefix + query, self.passage_prefix + passage

    def texts(self, name: str, queries: list[str], passages: list[str]) -> str:
        """A file of texts to encode, with their prefixes."""
        file = self.folder / f"{name}.json"
        content = {
            "queries": [self.query_prefix + text for text in queries],
            "passages": [self.passage_prefix + text for text in passages],
        }
        file.write_text(json.dumps(content), "utf-8")
        return str(file)


def _change(file: Path, values: dict[str, Any]) -> None:
    content = json.loads(file.read_text("utf-8")) | values
    file.unlink()  # it may be a link
    file.write_text(json.dumps(content, indent=2), "utf-8")


def _record(layout: str, number: int, query: str, passage: str) -> dict[str, Any]:
    if layout == "flagembedding":
        return {"query": query, "pos": [passage], "neg": []}
    if layout == "tevatron":
        positive = [{"docid": str(number), "text": passage}]
        found = {"query_id": str(number), "query": query}
        return found | {"positive_passages": positive, "negative_passages": []}
    return {"query": query, "passage": passage}


def parallel_task(spec: str, ids: int) -> tuple[Task, dict[str, Any]]:
    """A task of so many query ids in each of their languages, of their passages, and of as many
    others, where there are as many; and what `Task.from_qrels` makes it of, in the task's order."""
    whole = load_task(spec)
    names = sorted(set(whole.query_ids))
    kept = set(names[:: max(1, len(names) // ids)][:ids])
    queries = [n for n, name in enumerate(whole.query_ids) if name in kept]
    starts = whole.relevant_starts
    relevant = [whole.relevant[starts[n] : starts[n + 1]].tolist() for n in queries]
    right = {number for numbers in relevant for number in numbers}
    others = np.random.default_rng(SEED).permutation(len(whole.passage_ids)).tolist()
    others = [number for number in others if number not in right][: len(right)]
    passages = sorted([*right, *others])
    parts: dict[str, Any] = {
        "queries": {f"q{n:08}": whole.query_texts[n] for n in queries},
        "corpus": {f"p{n:08}": whole.passage_texts[n] for n in passages},
        "qrels": {
            f"q{n:08}": {f"p{number:08}": 1 for number in numbers}
            for n, numbers in zip(queries, relevant, strict=True)
        },
        "languages": {
            **{f"q{n:08}": whole.languages[whole.query_language[n]] for n in queries},
            **{f"p{n:08}": whole.languages[whole.passage_language[n]] for n in passages},
        },
    }
    return Task.from_qrels(**parts), parts
