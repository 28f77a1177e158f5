"""sentence-transformers: its trainer with (Cached)MultipleNegativesRankingLoss, and `encode`."""

import numpy as np
from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sides import InOrder, Spec, Training, arguments, run, timed


def train(spec: Spec) -> Training:
    model = SentenceTransformer(spec.model, device="cpu")
    model.max_seq_length = spec.tokens
    scale = 1 / spec.temperature
    if spec.chunk:
        loss = CachedMultipleNegativesRankingLoss(model, scale, mini_batch_size=spec.chunk)
    else:
        loss = MultipleNegativesRankingLoss(model, scale)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(batch_sampler=InOrder, **arguments(spec)),
        train_dataset=load_dataset("json", data_files=spec.file("tuples"), split="train"),
        loss=loss,
    )
    training = timed(trainer, spec)
    if spec.seconds:
        model.save_pretrained(spec.trained, create_model_card=False)
    return training


def encode(folder: str, texts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = spec.tokens
    queries, passages = (
        model.encode(texts[name], show_progress_bar=False) for name in ("queries", "passages")
    )
    return queries, passages


spec = Spec.read()
run(spec, ["sentence-transformers", "transformers", "torch"], train, encode)
