"""JSON lines of other trainers, a record for each pair."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hybrid_dist.data.export.exported_pairs import Block

Record = dict[str, Any]


def flagembedding(block: Block) -> Iterator[Record]:
    """FlagEmbedding's: lists of positive and negative texts, and of their scores."""
    for place, (query, passage) in enumerate(zip(block.queries, block.passages, strict=True)):
        record: Record = {"query": query, "pos": [passage], "neg": block.negatives[place]}
        if block.positive_scores is not None and block.negative_scores is not None:
            record["pos_scores"] = [block.positive_scores[place]]
            record["neg_scores"] = block.negative_scores[place]
        yield record


def tevatron(block: Block) -> Iterator[Record]:
    """Tevatron's, without titles: an empty one would put a blank before the text."""
    for place, (uid, query, passage) in enumerate(
        zip(block.uids, block.queries, block.passages, strict=True)
    ):
        negatives = zip(block.negative_numbers[place], block.negatives[place], strict=True)
        yield {
            "query_id": uid,
            "query": query,
            "positive_passages": [_passage(block.passage_numbers[place], passage)],
            "negative_passages": [_passage(number, text) for number, text in negatives],
        }


def _passage(number: int, text: str) -> Record:
    return {"docid": str(number), "text": text}


def write(file: Path, records: Iterable[Record]) -> None:
    """Write a file of JSON lines."""
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
