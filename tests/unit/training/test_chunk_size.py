"""What `train.chunk_size: auto` tries, and what it takes for the memory of a CPU."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_dist.batching import Plan
from hybrid_dist.config.schema import Batching, Config, Data, Model, Run
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.errors import LaunchError, UserError
from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.model.loading import build, read_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training import chunk_size
from hybrid_dist.training.chunk_size import Trial, chunk_sizes, largest_chunk_size
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.run_folder import RunFolder


def test_sizes_fall_by_a_third_at_most_and_end_with_one() -> None:
    assert list(chunk_sizes(256)) == [256, 128, 86, 64, 43, 32, 22, 16, 11, 8, 6, 4, 3, 2, 1]
    for rows in (1, 2, 3, 5, 17, 1000):
        sizes = list(chunk_sizes(rows))
        assert sizes[0] == rows and sizes[-1] == 1
        assert sizes == sorted(set(sizes), reverse=True)


@pytest.fixture(scope="module")
def trial(toy: Path) -> Trial:
    config = Model(name_or_path=str(toy / "model"), init="scratch", max_passage_tokens=128)
    stores, sources = open_sources([str(toy / "train.jsonl")])
    plan = Plan(sources, Batching(size=24, mix=Mix(monolingual=1)), seed=3)
    tokens = TextTokens.load(config.name_or_path, EncoderSpec.of(config))
    model = BiEncoder(build(config, read_config(config)), 0.05, learn_temperature=False).train()

    def feed(size: int) -> Feed:
        return Feed(plan, stores, tokens, Ranks(), size, mask=True)

    return Trial(model, feed, plan, Ranks(), steps=50, reserve=10**6)


def test_the_heaviest_step_is_tried(trial: Trial) -> None:
    lengths = [int(trial.plan.batch(step).lengths.sum()) for step in range(50)]
    assert lengths[trial.heaviest_step()] == max(lengths)


@pytest.mark.parametrize("padded", [False, True])
def test_on_a_cpu_the_saved_tensors_have_to_fit_in_half_of_the_free_memory(
    padded: bool, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = trial.model.encoder
    encoder.set_padding("a test" if padded else None)
    step = trial.heaviest_step()
    needed = {
        size: trial._saved(trial.feed(size).inputs(step).chunks[-1]) for size in (24, 12, 8, 1)
    }
    for size, fits in needed.items():
        estimate = trial._estimate(trial.feed(size).inputs(step))
        assert estimate == pytest.approx(fits, rel=0.15)
    said: list[str] = []
    for size in (24, 12, 8):
        memory = 2 * (10**6 + 1.2 * needed[size])
        monkeypatch.setattr(chunk_size, "free_memory", lambda memory=memory: int(memory))
        assert largest_chunk_size(trial, said.append) == size
    assert said[1].startswith(
        "train.chunk_size: auto is 12 pairs, so 2 chunks a step; measured in "
    )
    monkeypatch.setattr(chunk_size, "free_memory", lambda: 2 * 10**6)
    with pytest.raises(UserError, match="auto: not even one pair fits in the memory of rank 0"):
        largest_chunk_size(trial, said.append)


def test_a_trial_leaves_no_gradients(trial: Trial) -> None:
    trial.model.encoder.set_padding(None)
    assert trial.fits(0, 24)
    assert all(part.grad is None for part in trial.model.parameters())


def test_sharded_weights_are_refused() -> None:
    for strategy in ("single", "ddp"):
        chunk_size.check_strategy(strategy)
    for strategy in ("fsdp", "zero1", "zero2", "zero3"):
        with pytest.raises(LaunchError, match="auto cannot be measured where weights are sharded"):
            chunk_size.check_strategy(strategy)


def test_states_that_adamw_does_not_have_yet_are_set_aside(trial: Trial) -> None:
    optimizer = torch.optim.AdamW(trial.model.parameters())
    vectors = 8 * trial.model.encoder.width * (24 + 72)
    parameters = sum(part.numel() for part in trial.model.parameters())
    of: Any = chunk_size.reserved_bytes
    assert of(trial.model, optimizer, 24 + 72) == vectors + 8 * parameters
    optimizer.state[next(trial.model.parameters())] = {"step": torch.zeros(1)}
    assert of(trial.model, optimizer, 24 + 72) == vectors


def test_a_measured_size_is_reused_for_as_many_processes_of_the_device(tmp_path: Path) -> None:
    folder = RunFolder(Config(run=Run(dir=str(tmp_path)), data=Data(train=("a",))))
    folder.path.mkdir()
    on = {"processes": 2, "device": "a card"}
    assert folder.recorded_chunk_size(on) is None
    folder.record_chunk_size(48, on)
    assert folder.recorded_chunk_size(on) == 48
    assert folder.recorded_chunk_size(on | {"processes": 3}) is None
    assert folder.recorded_chunk_size(on | {"device": "another"}) is None
    damaged: list[Any] = [[], *({"pairs": pairs, **on} for pairs in (0, True, "48", None))]
    for damage in damaged:
        folder.chunk_size.write_text(json.dumps(damage))
        with pytest.raises(UserError, match=r"chunk_size.json: is not a measured chunk size"):
            folder.recorded_chunk_size(on)
