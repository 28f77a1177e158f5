"""Rows of published tables, with sentences of our own, and the options that each needs."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.published_files import json_lines, write

EN = {"lang": "en"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "flagembedding": [
        {
            "query": "who?",
            "pos": ["Ada.", "Ada did."],
            "neg": ["Rye.", "A mill."],
            "pos_scores": [9.5, 7],
            "neg_scores": [1, -2.5],
            "prompt": "Search: ",
            "type": "normal",
        },
        {"query": "what?", "pos": ["A mill."], "neg": [], "pos_scores": [3], "neg_scores": []},
    ],
    "tevatron": [
        {
            "query_id": "7",
            "query": "who?",
            "positive_passages": [{"docid": "d1", "title": "Ada", "text": "She did."}],
            "negative_passages": [
                {"docid": "d2", "title": "Rye", "text": "It grows."},
                {"docid": "d3", "title": "", "text": "A mill."},
            ],
        }
    ],
    "triplets": [
        {"anchor": "who?", "positive": "Ada.", "negative": "Rye."},
        {"anchor": "what?", "positive": "A mill.", "negative": "Ada."},
    ],
    "parallel_sentences": [{"english": "A mill.", "non_english": "Eine Mühle."}],
    "webfaq_bitexts": [
        {
            "language1": "eng",
            "language2": "deu",
            "origin": "mills.example",
            "labse_similarity": 0.93,
            "question1": "who?",
            "question2": "wer?",
            "answer1": "Ada.",
            "answer2": "Die Ada.",
            "details": [{"urls": "mills.example/faq"}],
        }
    ],
    "swim_ir": [
        {
            "_id": "1",
            "lang": "German",
            "code": "de",
            "query": "wer?",
            "title": "Ada",
            "text": "Sie war es.",
        }
    ],
    "nemo_inline": [
        {"query": "who?", "pos_doc": "Ada.", "neg_doc": ["Rye.", "A mill."]},
        {"query": "what?", "pos_doc": ["A mill."], "neg_doc": "Ada."},
    ],
    "mfaq": [
        {
            "id": 5,
            "language": "de",
            "num_pairs": 2,
            "domain": "mills.example",
            "qa_pairs": [
                {"question": "wer?", "answer": "Ada.", "language": "de"},
                {"question": "was?", "answer": "Eine Mühle.", "language": "de"},
            ],
        }
    ],
}
OPTIONS: dict[str, dict[str, str]] = {
    "flagembedding": EN,
    "tevatron": EN,
    "triplets": EN,
    "parallel_sentences": {"lang": "en,de"},
    "nemo_inline": EN,
}
NEMO: dict[str, Any] = {
    "corpus": [{"path": "mills"}],
    "data": [
        {
            "question_id": "q1",
            "question": "who?",
            "corpus_id": "mills-1",
            "pos_doc": [{"id": "d1"}, "d2"],
            "neg_doc": [{"id": "d3"}],
        },
        {"question_id": 2, "question": "what?", "corpus_id": "mills-1", "pos_doc": ["d3"]},
    ],
}
DOCUMENTS = {"d1": "Ada.", "d2": "Ada did.", "d3": "A mill.", "d4": "Rye."}


def nemo(file: Path, content: Any = NEMO) -> Path:
    """NeMo Retriever's training file with its corpus."""
    corpus = file.parent / "mills"
    metadata = {"class": "TextQADataset", "corpus_id": "mills-1"}
    write(corpus / "merlin_metadata.json", json.dumps(metadata))
    rows = [{"id": name, "text": text} for name, text in DOCUMENTS.items()]
    pq.write_table(pa.Table.from_pylist(rows), corpus / "train.parquet")
    return write(file, json.dumps(content))


def webfaq(folder: Path) -> None:
    """WebFAQ's retrieval data in two languages with the same ids, without a list of files."""
    for code in ("deu", "eng"):
        json_lines(
            folder / code / "corpus.jsonl",
            *({"_id": f"d{n}", "title": "", "text": f"{code} passage {n}"} for n in range(4)),
        )
        queries = [{"_id": f"q{n}", "text": f"{code} query {n}?"} for n in range(3)]
        json_lines(folder / code / "queries.jsonl", *queries)
        for split, judged in (("train", [("q0", "d0"), ("q1", "d1")]), ("test", [("q2", "d3")])):
            json_lines(
                folder / code / "qrels" / f"{split}.jsonl",
                *({"query-id": q, "corpus-id": d, "score": 1.0} for q, d in judged),
            )
