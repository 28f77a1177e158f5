"""Current encoders: a training step with and without what model.* keys add, as ratios.

  windows  ModernBERT's layers (one in three attends to all tokens), packed against padded
  decoder  Qwen3's layers and the last token, packed against padded
  both     the same with attention both ways, against causal attention
  lora     adapters of rank 16 on all linear layers, against training the whole model

Random weights: 3 layers of width 192 (lora: 6 of 512), a vocabulary of 32,000. Random tokens: 16
queries of 8 to 24 tokens and their passages of 32 to 256, most of them short. A step encodes,
computes the loss, goes backward and updates, in fp32. Sides take turns (A B A B ...); memory is
that of a process each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import Step, compare, forget_peak, needs, peak_gib, returning_memory, run_parts
from torch.nn import functional

from hybrid_dist.config.schema import Model, Optim
from hybrid_dist.model.encoder import BiEncoder, Chunk
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.training.optimizer import adamw

PAIRS = 16
SIZES = {
    "vocab_size": 32_000,
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "modernbert": {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 64},
    "xlm-roberta": {  # wider, so that AdamW's states weigh more than the activations
        "hidden_size": 512,
        "num_attention_heads": 8,
        "num_hidden_layers": 6,
        "intermediate_size": 2048,
    },
}
PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "windows": {"packed": {"kind": "modernbert"}, "padded": {"kind": "modernbert", "pad": True}},
    "decoder": {
        "packed": {"kind": "qwen3", "pooling": "last"},
        "padded": {"kind": "qwen3", "pooling": "last", "pad": True},
    },
    "both": {
        "both": {"kind": "qwen3", "pooling": "last", "attention": "bidirectional"},
        "causal": {"kind": "qwen3", "pooling": "last"},
    },
    "lora": {
        "lora": {"kind": "xlm-roberta", "lora_rank": 16},
        "whole": {"kind": "xlm-roberta"},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"{', '.join(PARTS)}; all, unless some are named")
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)  # run by this file itself
    options = parser.parse_args()
    if options.memory:
        part, _, side = options.memory.partition(":")
        print(json.dumps(memory_of(PARTS[part][side])))
        return
    for what in options.what:
        if what not in PARTS:
            parser.error(f"{what!r} is none of {', '.join(PARTS)}")
    parts: dict[str, Callable[[], None]] = {
        name: partial(measure, name, options.turns) for name in PARTS
    }
    run_parts(parts, options.what or PARTS)


def measure(part: str, turns: int) -> None:
    if part == "lora":
        needs("peft")
    print(f"{part}: {PAIRS} pairs a step")
    compare({side: steps(options) for side, options in PARTS[part].items()}, 1, turns)
    for side in PARTS[part]:
        command = [sys.executable, __file__, "--memory", f"{part}:{side}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=returning_memory()
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        gib = float(json.loads(done.stdout.splitlines()[-1]))
        print(f"  {side}: {gib:.2f} GiB at its peak beyond the model")


def memory_of(options: dict[str, Any]) -> float:
    run = steps(options)
    forget_peak()
    before = peak_gib()
    run(0, 2)
    return peak_gib() - before


def steps(options: dict[str, Any]) -> Step:
    """Steps of a model of some type, with changes of its config keys."""
    from transformers import AutoConfig

    changes = dict(options)
    kind, pad = changes.pop("kind"), changes.pop("pad", False)
    with tempfile.TemporaryDirectory() as folder:
        AutoConfig.for_model(kind, **(SIZES | KINDS[kind])).save_pretrained(folder)
        settings = Model(name_or_path=folder, init="scratch", **changes)
        torch.manual_seed(0)
        encoder = build(settings, read_config(settings))
    if pad:
        encoder.set_padding("the other side of a benchmark")
    if (encoder.padding_reason is not None) != pad:
        raise SystemExit(f"{kind}: {encoder.encoding_description}")
    model = BiEncoder(encoder, 0.05, learn_temperature=False).train()
    optimizer = adamw(model, Optim(lr=1e-4))

    def run(first: int, last: int) -> None:
        for step in range(first, last):
            queries, passages, temperature = model([chunk(step)])
            scores = queries @ passages.T / temperature
            functional.cross_entropy(scores, torch.arange(PAIRS)).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def chunk(step: int) -> Chunk:
    """The texts of a step: the same on both sides."""
    numbers = torch.Generator().manual_seed(step)

    def texts(shortest: int, longest: int) -> PackedTexts:
        shares = torch.rand(PAIRS, generator=numbers) ** 2
        sizes = (shortest + shares * (longest - shortest)).long().tolist()
        return PackedTexts.of(
            [torch.randint(3, 32_000, (size,), generator=numbers).tolist() for size in sizes]
        )

    return Chunk(texts(8, 24), texts(32, 256))


if __name__ == "__main__":
    main()
