"""MTEB: its search and scoring of given vectors, and of a sentence-transformers model.

    side_mteb.py SPEC vectors|model

`vectors`: the pool of all languages and every pair of languages, by mteb_peer.py beside the
benchmark of the evaluator. `model`: `mteb.evaluate` on the pool, with the model of the spec.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import mteb_peer
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from sentence_transformers import SentenceTransformer
from sides import Spec


def task_of(parts: dict[str, Any]) -> AbsTaskRetrieval:
    """A task of the pool of all languages, whose data are in memory."""
    named = {"name": "Parallel", "eval_splits": ["test"], "eval_langs": ["eng-Latn"]}
    metadata = mteb_peer.TASK.model_copy(update=named)

    class Parallel(AbsTaskRetrieval):  # type: ignore[misc]
        def load_data(self, *_: Any, **__: Any) -> None:
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": _rows(parts["corpus"]),
                        "queries": _rows(parts["queries"]),
                        "relevant_docs": parts["qrels"],
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    Parallel.metadata = metadata
    return Parallel()


def _rows(texts: dict[str, str]) -> Dataset:
    return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})


def of_model(spec: Spec) -> dict[str, Any]:
    """Seconds since the process was started."""
    parts = json.loads(Path(spec.texts).read_text("utf-8"))
    model = SentenceTransformer(spec.model, device="cpu")
    model.max_seq_length = spec.tokens
    result = mteb.evaluate(model, task_of(parts), cache=None, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    return {"seconds": time.time() - spec.started, "map": scores["map_at_1000"]}


def of_vectors(spec: Spec) -> dict[str, Any]:
    folder = Path(spec.pairs)
    return {what: mteb_peer.seconds(folder, what) for what in ("pooled", "pairs")}


spec = Spec.read()
figures = of_model(spec) if sys.argv[2] == "model" else of_vectors(spec)
print(json.dumps(figures | {"versions": {"mteb": version("mteb")}}), flush=True)
