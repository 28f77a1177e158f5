"""Rows of published tables, with sentences of our own, and the options that each needs."""

from typing import Any

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
