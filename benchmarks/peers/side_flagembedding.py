"""FlagEmbedding: the runner of its encoder-only base models, and the embedder of these."""

import numpy as np
from FlagEmbedding.finetune.embedder.encoder_only.base import (
    EncoderOnlyEmbedderDataArguments,
    EncoderOnlyEmbedderModelArguments,
    EncoderOnlyEmbedderRunner,
    EncoderOnlyEmbedderTrainingArguments,
)
from FlagEmbedding.inference.embedder.encoder_only.base import BaseEmbedder
from sides import Spec, Training, arguments, run, timed


def train(spec: Spec) -> Training:
    chunks = {"sub_batch_size": spec.chunk, "gradient_checkpointing": True} if spec.chunk else {}
    runner = EncoderOnlyEmbedderRunner(
        model_args=EncoderOnlyEmbedderModelArguments(model_name_or_path=spec.model),
        data_args=EncoderOnlyEmbedderDataArguments(
            train_data=[spec.file("flagembedding")],
            train_group_size=1,  # the positive
            query_max_len=spec.tokens,
            passage_max_len=spec.tokens,
        ),
        training_args=EncoderOnlyEmbedderTrainingArguments(
            temperature=spec.temperature,
            sentence_pooling_method="mean",
            train_sampling_strategy="sequential",
            **chunks,
            **arguments(spec),
        ),
    )
    training = timed(runner.trainer, spec)
    if spec.seconds:
        runner.trainer.save_model(spec.trained)
        runner.tokenizer.save_pretrained(spec.trained)
    return training


def encode(folder: str, texts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    model = BaseEmbedder(
        folder,
        use_fp16=False,
        devices="cpu",
        pooling_method="mean",
        query_max_length=spec.tokens,
        passage_max_length=spec.tokens,
    )
    return model.encode_queries(texts["queries"]), model.encode_corpus(texts["passages"])


spec = Spec.read()
run(spec, ["FlagEmbedding", "transformers", "torch"], train, encode)
