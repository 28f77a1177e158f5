"""Tevatron: its (GradCache) trainer of dense retrievers, and its encoding driver."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
from sides import Spec, Training, arguments, run, timed
from tevatron.retriever.arguments import (
    DataArguments,
    ModelArguments,
    TevatronTrainingArguments,
)
from tevatron.retriever.collator import TrainCollator
from tevatron.retriever.dataset import TrainDataset
from tevatron.retriever.driver import encode as driver
from tevatron.retriever.gc_trainer import GradCacheTrainer
from tevatron.retriever.modeling import DenseModel
from tevatron.retriever.trainer import TevatronTrainer
from transformers import AutoTokenizer


def train(spec: Spec) -> Training:
    """As its driver does, which has no place for a clock."""
    data = DataArguments(
        dataset_path=spec.file("tevatron"),
        train_group_size=1,
        query_max_len=spec.tokens,
        passage_max_len=spec.tokens,
    )
    model_arguments = ModelArguments(
        model_name_or_path=spec.model,
        pooling="mean",
        normalize=True,
        temperature=spec.temperature,
    )
    training_arguments = TevatronTrainingArguments(
        grad_cache=bool(spec.chunk),
        gc_q_chunk_size=spec.chunk,
        gc_p_chunk_size=spec.chunk,
        train_sampling_strategy="sequential",
        **arguments(spec),
    )
    model = DenseModel.build(model_arguments, training_arguments, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    pairs = TrainDataset(data)
    trainer = (GradCacheTrainer if spec.chunk else TevatronTrainer)(
        model=model,
        args=training_arguments,
        train_dataset=pairs,
        data_collator=TrainCollator(data, tokenizer),
    )
    pairs.set_trainer(trainer)
    training = timed(trainer, spec)
    if spec.seconds:
        trainer.save_model(spec.trained)
        tokenizer.save_pretrained(spec.trained)
    return training


def encode(folder: str, texts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    queries, passages = (_encoded(folder, name, texts[name]) for name in ("queries", "passages"))
    return queries, passages


def _encoded(folder: str, name: str, texts: list[str]) -> np.ndarray:
    """The vectors that its driver writes."""
    of_queries = name == "queries"
    ids, field = ("query_id", "query_text") if of_queries else ("docid", "text")
    file, out = Path(spec.out, f"{name}.jsonl"), Path(spec.out, f"{name}.pkl")
    lines = (json.dumps({ids: str(n), field: text}) for n, text in enumerate(texts))
    file.write_text("\n".join(lines), "utf-8")
    options = {
        "output_dir": spec.out,
        "model_name_or_path": folder,
        "pooling": "mean",
        "normalize": "True",
        "attn_implementation": "sdpa",
        "dataset_path": str(file),
        "encode_is_query": str(of_queries),
        "encode_output_path": str(out),
        "query_max_len": str(spec.tokens),
        "passage_max_len": str(spec.tokens),
        "use_cpu": "True",
    }
    sys.argv = ["encode", *(f"--{key}={value}" for key, value in options.items())]
    driver.main()
    vectors: np.ndarray = pickle.loads(out.read_bytes())[0]
    return vectors


spec = Spec.read()
run(spec, ["tevatron", "transformers", "torch"], train, encode)
