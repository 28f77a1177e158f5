"""Three SGD updates through the product's own code, against one process in float64.

SGD, because Adam hides the scale of gradients. The reference shares nothing with the product but
the plan, the tokens and the encoder's arithmetic: it encodes the whole batch at once and calls
cross_entropy. Prints one line of JSON for each set of options, from the first rank.
"""

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hybrid_dist.batching import Plan
from hybrid_dist.cluster.ranks import leave
from hybrid_dist.cluster.start import start
from hybrid_dist.config import Batching, Config, Loss, Mix, Model, Optim, Train
from hybrid_dist.data.store import Source, Store
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.packing import Packed
from hybrid_dist.model.settings import Settings
from hybrid_dist.model.tokens import TextTokens
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.update import Updater

SIZE, STEPS = 25, 3  # 25 rows: ranks differ by one
OPTIONS = {
    "plain": {},
    "chunks": {"chunk_size": 4},
    "symmetric, learned temperature": {"symmetric": True, "learn_temperature": True},
    "all": {"chunk_size": 5, "symmetric": True, "learn_temperature": True},
}


def pairs_with_shared_passages(toy: Path) -> Path:
    """Toy pairs in which two uids share each passage, so that batches hold false negatives."""
    lines = [json.loads(line) for line in (toy / "train.jsonl").read_text().splitlines()]
    passages = {(row["lang"], row["uid"]): row["passage"] for row in lines}
    uids = sorted({row["uid"] for row in lines})[:60]
    partner = {uid: uids[i // 2 * 2] for i, uid in enumerate(uids)}
    kept = [
        row | {"passage": passages[row["lang"], partner[row["uid"]]]}
        for row in lines
        if row["uid"] in partner
    ]
    file = Path(tempfile.mkdtemp()) / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, kept)))
    return file


def config_of(toy: Path, options: dict[str, Any]) -> Config:
    model = Model(
        name_or_path=str(toy / "model"), init="scratch", dropout=0.0, attention_dropout=0.0
    )
    return Config(
        model=replace(model, max_passage_tokens=128),
        batching=Batching(size=SIZE, mix=Mix(monolingual=1, cross_lingual=1, multilingual=1)),
        loss=Loss(
            symmetric=options.get("symmetric", False),
            learn_temperature=options.get("learn_temperature", False),
        ),
        optim=Optim(lr=0.1, schedule="constant", max_grad_norm=0.0),
        train=Train(steps=STEPS, precision="fp32", chunk_size=options.get("chunk_size", 0)),
    )


def new_model(config: Config) -> BiEncoder:
    torch.manual_seed(0)
    encoder = build(config.model, read_config(config.model))
    return BiEncoder(encoder, config.loss.temperature, config.loss.learn_temperature)


def reference(
    config: Config, plan: Plan, store: Store, tokens: TextTokens
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and final weights of one process, whole batches, float64, plain cross-entropy."""
    model = new_model(config).double().train()
    model.encoder.pack("to compare")
    optimizer = torch.optim.SGD(model.parameters(), lr=config.optim.lr)
    losses = []
    for step in range(STEPS):
        batch = plan.batch(step)
        queries, passages = (
            pooled(model, kind(texts))
            for kind, texts in (
                (tokens.queries, store.queries(batch.query_row)),
                (tokens.passages, store.passages(batch.passage_row)),
            )
        )
        temperature = torch.tensor(config.loss.temperature, dtype=torch.float64)
        if model.log_temperature is not None:
            temperature = model.log_temperature.exp()
        scores = queries @ passages.T / temperature
        same = torch.from_numpy((batch.groups[:, None] == batch.groups[None]).any(-1))
        scores = scores.masked_fill(same & ~torch.eye(SIZE, dtype=torch.bool), -torch.inf)
        loss = functional.cross_entropy(scores, torch.arange(SIZE))
        if config.loss.symmetric:
            loss = (loss + functional.cross_entropy(scores.T, torch.arange(SIZE))) / 2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model.state_dict()


def pooled(model: BiEncoder, texts: Packed) -> torch.Tensor:
    """Means over padded rows, through transformers' own attention."""
    rows, real = texts.padded(model.encoder.backbone.config.pad_token_id)
    hidden = model.encoder.backbone(**rows).last_hidden_state
    mask = real[..., None].double()
    return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def compare(toy: Path, name: str, accelerator: Any, ranks: Any) -> None:
    config = config_of(toy, OPTIONS[name])
    store = Store.open([str(ranks.from_first(str(pairs_with_shared_passages(toy))))])
    plan = Plan([Source("pairs", store.index)], config.batching, seed=3)
    tokens = TextTokens.load(config.model.name_or_path, Settings.of(config.model))
    model = new_model(config)
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    updater = Updater(config, accelerator, ranks, model, torch.optim.SGD(model.parameters(), 0.1))
    feed = Feed(plan, [store], tokens, ranks, config.train.chunk_size, mask=True)
    losses, masked = [], 0
    for work in feed.steps(0, STEPS):
        value = updater.update(work).parts.value
        losses.append(float(ranks.sum(value.double().reshape(1).numpy())[0]))
        masked += work.batch.false_negatives()
    state = accelerator.get_state_dict(updater.model)
    if not ranks.is_first:
        return
    wanted_losses, wanted = reference(config, plan, store, tokens)
    moved = torch.cat([(state[key].double() - initial[key]).flatten() for key in wanted])
    should = torch.cat([(wanted[key] - initial[key].double()).flatten() for key in wanted])
    told = {
        "options": name,
        "update_error": float((moved - should).norm() / should.norm()),
        "loss_error": float(np.max(np.abs(np.array(losses) / np.array(wanted_losses) - 1))),
        "masked": masked,
    }
    if config.loss.learn_temperature:
        key = "log_temperature"
        change = (state[key].double() - initial[key]) / (wanted[key] - initial[key].double())
        told["temperature_error"] = abs(float(change) - 1)
    print("RESULT " + json.dumps(told), flush=True)


def main() -> None:
    toy, names = Path(sys.argv[1]), sys.argv[2:] or list(OPTIONS)
    accelerator, ranks = start("fp32", max_grad_norm=0.0)
    if ranks.world != int(os.environ["WORLD_SIZE"]):
        raise SystemExit(f"{ranks.world} ranks")
    for name in names:
        compare(toy, name, accelerator, ranks)
    leave()


if __name__ == "__main__":
    main()
