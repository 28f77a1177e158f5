"""A retrieval task in MTEB's layout, and vectors for its texts; needs no hybrid_dist.

Scores are multiples of 1/16, so that many tie, exactly. Some passages have the same text, some
queries and passages the same id, some queries no relevant passage, and ids are numbers in one
subset.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
LANGUAGES = {
    "de": ["deu-Latn"],
    "fra": ["fra-Latn"],
    "eng_Latn-deu_Latn": ["eng-Latn", "deu-Latn"],
}
"""Subsets, with languages as MTEB's metadata has them."""
DIMENSION, NONZERO = 64, 16


def vector(text: str) -> np.ndarray:
    """[64]: of norm 1, a function of the text."""
    random = np.random.default_rng(zlib.crc32(text.encode()))
    result = np.zeros(DIMENSION, np.float32)
    places = random.choice(DIMENSION, NONZERO, replace=False)
    result[places] = random.choice([-0.25, 0.25], NONZERO)
    return result


def vectors(texts: Sequence[str]) -> np.ndarray:
    return np.stack([vector(text) for text in texts])


class ByText:
    """An embedder for hybrid_dist."""

    name = fingerprint = "by text"

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return vectors(texts)

    encode_passages = encode_queries


def parquet(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def as_json_lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write(file: Path, rows: Iterable[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_json_lines(rows), "utf-8")


def texts(seed: int, lang: str, passages: int = 150, queries: int = 40) -> dict[str, list[Row]]:
    """The tables of a subset."""
    random = np.random.default_rng(seed)
    name: Callable[[int], Any] = int if lang == "fra" else "{}".format
    corpus = [
        {
            "_id": name(n),
            "title": f"{lang} Titel {n}" if n % 3 else "",
            "text": f" {lang} Mühle {n // 2 * 2 if n % 5 else n} ",
        }
        for n in range(passages)
    ]
    corpus[7] |= {"title": "", "text": ""}
    asked = [{"_id": name(n), "text": f"{lang} was {n}?"} for n in range(queries)]
    judged = []
    for query in range(queries - 2):
        right = random.choice(passages, 14 if query % 4 == 0 else 3, replace=False).tolist()
        for place, passage in enumerate(right):
            grade = 0 if query % 13 == 5 else (-1 if place == 1 else int(random.integers(4)))
            judged.append({"query-id": name(query), "corpus-id": name(passage), "score": grade})
    return {"corpus": corpus, "queries": asked, "qrels": judged}


def write_subsets(folder: Path) -> None:
    """MTEB v2's Parquet: `de-corpus`, `de-queries`, `de-qrels`, ... listed in README.md."""
    listed = []
    for seed, subset in enumerate(LANGUAGES):
        for role, rows in texts(seed, subset.partition("_")[0]).items():
            parquet(folder / f"{subset}-{role}" / "test-00000-of-00001.parquet", rows)
            path = f"{subset}-{role}/test-*"
            listed.append((f"{subset}-{role}", {"test": path}))
    write_readme(folder, listed)


def write_single(folder: Path) -> None:
    """The older JSON lines, with instructions: `default`, `corpus`, `queries`, `instruction`."""
    tables = texts(9, "en")
    told = [{"query-id": row["_id"], "instruction": "Be brief."} for row in tables["queries"]]
    _write(folder / "corpus.jsonl", tables["corpus"])
    _write(folder / "queries.jsonl", tables["queries"])
    _write(folder / "instruction.jsonl", told)
    scored = [row | {"score": float(row["score"])} for row in tables["qrels"]]
    _write(folder / "qrels" / "test.jsonl", scored)
    _write(folder / "qrels" / "dev.jsonl", scored[:1])
    write_readme(
        folder,
        [
            ("default", {"test": "qrels/test.jsonl", "dev": "qrels/dev.jsonl"}),
            *((one, {one: f"{one}.jsonl"}) for one in ("corpus", "queries", "instruction")),
        ],
        "language:\n- eng\n",
    )


def write_readme(
    folder: Path, configs: Sequence[tuple[str, Mapping[str, str]]], more: str = ""
) -> None:
    lines = []
    for config, splits in configs:
        lines.append(f"- config_name: {config}\n  data_files:\n")
        lines += [f"  - split: {split}\n    path: {path}\n" for split, path in splits.items()]
    (folder / "README.md").write_text(f"---\n{more}configs:\n{''.join(lines)}---\n", "utf-8")
