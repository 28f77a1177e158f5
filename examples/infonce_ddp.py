"""Train with InfoNCE in a bare DDP loop.

    hybrid-dist toy --out toy
    torchrun --nproc_per_node 2 examples/infonce_ddp.py --pairs toy/train.jsonl --model toy/model

Every query is scored against the passages and hard negatives of all ranks, and the gradient is the
one that a single process would compute on the whole batch. So is the printed loss, up to rounding.
"""

import argparse
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

import hybrid_dist as hd


class MeanPooled(nn.Module):
    """A Hugging Face encoder with mean pooling. Call it once per step: DDP expects one forward."""

    def __init__(self, path: str) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(path, hidden_dropout_prob=0.0)
        config.attention_probs_dropout_prob = 0.0  # so that the loss does not depend on ranks
        self.backbone = AutoModel.from_config(config, add_pooling_layer=False)

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        """L2-normalized vectors [texts, width]."""
        hidden = self.backbone(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return functional.normalize(mean, dim=-1)


def collate(items: list[dict[str, Any]]) -> tuple[list[str], int, Tensor]:
    """All texts of B pairs: the queries, then the passages; B; and the ids of the pairs [B, 2]."""
    texts = [f"Query: {item['query']}" for item in items]
    texts += [f"Passage: {item['passage']}" for item in items]
    return texts, len(items), torch.tensor([item["ids"][0] for item in items])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", required=True, help="a store, or pair files")
    parser.add_argument("--model", required=True, help="folder with config.json and a tokenizer")
    parser.add_argument("--size", type=int, default=32, help="pairs in the global batch")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count())
        torch.cuda.set_device(device)
    store = hd.Store.open(options.pairs)
    sampler = hd.HybridBatchSampler(
        store,
        mix={"monolingual": 0.5, "cross_lingual": 0.5},
        size=options.size,
        steps=options.steps,
    )
    loader = DataLoader(store.as_dataset(ids=True), batch_sampler=sampler, collate_fn=collate)

    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = DistributedDataParallel(MeanPooled(options.model).to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_function = hd.InfoNCE(temperature=0.05)
    for step, (texts, pairs, ids) in enumerate(loader):
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(device)
        queries, passages = model(dict(tokens)).split(pairs)
        loss = loss_function(queries, passages, ids=ids.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach()  # the mean over ranks is the loss of the global batch
        dist.all_reduce(mean, dist.ReduceOp.SUM)
        if dist.get_rank() == 0:
            print(f"step {step + 1}: loss {float(mean) / dist.get_world_size():.6f}", flush=True)
    dist.barrier()  # gloo's threads need the interpreter once more, to free the last tensors
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
