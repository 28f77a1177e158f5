"""Train with sentence-transformers' own trainer on hybrid batches.

    hybrid-dist toy --out toy
    torchrun --nproc_per_node 2 examples/sentence_transformers_trainer.py \\
        --pairs toy/train.jsonl --model toy/model --out trained

Needs the packages sentence-transformers and datasets. Each step takes the global batch that
`hybrid-dist train` would take, split over the ranks in the same way.
"""

import argparse
import tempfile

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

import hybrid_dist as hd

PROMPTS = {"query": "Query: ", "passage": "Passage: "}


def new_model(path: str, seed: int = 0) -> SentenceTransformer:
    """A model with random weights of the sizes in a config.json, mean pooling and our prompts.

    For a pretrained model, write `SentenceTransformer("xlm-roberta-base", prompts=PROMPTS)`.
    """
    set_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(AutoConfig.from_pretrained(path)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(path).save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=128)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[transformer, pooling], prompts=PROMPTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", required=True, help="a store, or pair files")
    parser.add_argument("--model", required=True, help="folder with config.json and a tokenizer")
    parser.add_argument("--out", required=True, help="folder for the trained model")
    parser.add_argument("--size", type=int, default=32, help="pairs in the global batch")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cpu", action="store_true", help="train on the CPU")
    options = parser.parse_args()

    pairs = hd.Store.open(options.pairs).as_dataset()
    model = new_model(options.model)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=options.out,
            num_train_epochs=1,  # an epoch is --steps steps
            learning_rate=1e-3,
            seed=0,
            prompts=PROMPTS,
            logging_steps=5,
            save_strategy="no",
            report_to="none",
            use_cpu=options.cpu,
            batch_sampler=hd.HybridBatchSampler.factory(
                mix={"monolingual": 0.5, "cross_lingual": 0.5},
                size=options.size,
                steps=options.steps,
            ),
        ),
        train_dataset=pairs.to_hugging_face(),
        # the passages of all ranks are negatives, as in InfoNCE
        loss=MultipleNegativesRankingLoss(model, scale=20.0, gather_across_devices=True),
    )
    trainer.train()
    trainer.save_model(options.out)


if __name__ == "__main__":
    main()
