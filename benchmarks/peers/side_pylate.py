"""PyLate: late interaction. A text keeps a vector of each token, and the loss is contrastive over
sums of largest similarities, with its default temperature of 1, since sums are larger than one
similarity. The projection to 128 dimensions starts from random weights."""

import numpy as np
import torch
from datasets import load_dataset
from pylate.losses import CachedContrastive, Contrastive
from pylate.models import ColBERT
from pylate.scores import colbert_scores
from pylate.utils import ColBERTCollator
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sides import InOrder, Spec, Training, arguments, run, timed

SCORED_AT_ONCE = 32


def load(folder: str) -> ColBERT:
    """Queries are filled up to 32 tokens, as by default; texts have their prefixes."""
    torch.manual_seed(1)
    return ColBERT(
        folder, device="cpu", query_prefix="", document_prefix="", document_length=spec.tokens
    )


def train(spec: Spec) -> Training:
    model = load(spec.model)
    if spec.chunk:
        loss = CachedContrastive(model, mini_batch_size=spec.chunk)
    else:
        loss = Contrastive(model)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(batch_sampler=InOrder, **arguments(spec)),
        train_dataset=load_dataset("json", data_files=spec.file("tuples"), split="train"),
        loss=loss,
        data_collator=ColBERTCollator(model.tokenize),
    )
    training = timed(trainer, spec)
    if spec.seconds:
        model.save_pretrained(spec.trained, create_model_card=False)
    return training


def encode(folder: str, texts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """For the evaluator, which takes one vector for a text: a query's are its scores of all
    passages, a passage's one of the unit vectors."""
    model = load(folder)
    queries, passages = (
        model.encode(texts[name], is_query=name == "queries", show_progress_bar=False)
        for name in ("queries", "passages")
    )
    if not spec.vectors:
        return np.empty(0), np.empty(0)
    scores = _scores(queries, passages)
    return scores / np.linalg.norm(scores, axis=1, keepdims=True), np.eye(len(passages))


def _scores(queries: list[np.ndarray], passages: list[np.ndarray]) -> np.ndarray:
    """[queries, passages]: for each token of a query its largest similarity, summed."""
    asked = torch.from_numpy(np.stack(queries))
    scores = np.empty((len(queries), len(passages)), np.float32)
    order = np.argsort([len(passage) for passage in passages])
    for rows in np.array_split(order, max(1, len(order) // SCORED_AT_ONCE)):
        held = [torch.from_numpy(passages[row]) for row in rows]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(t)) for t in held], True)
        padded = torch.nn.utils.rnn.pad_sequence(held, True)
        scores[:, rows] = colbert_scores(asked, padded, documents_mask=mask).numpy()
    return scores


spec = Spec.read()
run(spec, ["pylate", "sentence-transformers", "transformers", "torch"], train, encode)
