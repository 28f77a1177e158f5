"""For how long a checkpoint holds up training: written at once, and by a thread.

The weights and AdamW's states of XLM-R large's shape, random, in fp32: 560 M parameters, 6.7 GB.
They and the copy take 13.5 GB of memory, the disk needs twice 6.7 GB. While the thread writes,
products of matrices on one core stand for training; they are also timed alone. --scale 0.1 is a
smaller model.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from hybrid_dist.runtime.files import bytes_of
from hybrid_dist.runtime.host_memory import free_memory
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.background import Action
from hybrid_dist.training.checkpoint.manager import Checkpoints
from hybrid_dist.training.checkpoint.manifest import latest_step
from hybrid_dist.training.checkpoint.run_progress import Progress
from hybrid_dist.training.checkpoint.state import TrainingState

BACKGROUND: tuple[Literal["always", "never"], ...] = ("always", "never")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of vocabulary and layers")
    parser.add_argument("--turns", type=int, default=3, help="checkpoints of each kind")
    parser.add_argument("--folder", help="where to write; default: where temporary files are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = training_state(options.scale)
    print(f"{bytes_of(state.copy_bytes)} of weights and states, {bytes_of(free_memory())} free")
    for turn in ("the first time", "again"):
        begin = time.perf_counter()
        state.save(Path(), list[Action]().append, copied=True)
        print(f"the copy alone, {turn}: {time.perf_counter() - begin:.2f} s", flush=True)
    alone = products_until(seconds_from_now(3.0))
    print(f"products alone: {alone:.1f} per second")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for background in BACKGROUND:
            kept_in = Path(folder) / background
            kept = Checkpoints(kept_in, state, Ranks(), 1, "stop", print, 0, background)
            for number in range(1, options.turns + 1):
                begin = time.perf_counter()
                kept.save(Progress(step=number))
                stall = time.perf_counter() - begin
                print(f"{background}: training is held up for {stall:.2f} s", flush=True)
                if background == "always":
                    speed = products_until(partial(is_on_disk, kept_in, number)) / alone
                    whole = time.perf_counter() - begin
                    print(f"  on disk after {whole:.1f} s, products at {speed:.2f}", flush=True)
                kept.finish()
            shutil.rmtree(kept_in)


def training_state(scale: float) -> TrainingState:
    """Of a model after its first update."""
    sizes = XLMRobertaConfig(
        vocab_size=max(1, round(250_002 * scale)),
        hidden_size=1024,
        intermediate_size=4096,
        num_attention_heads=16,
        num_hidden_layers=max(1, round(24 * scale)),
        max_position_embeddings=514,
    )
    model = XLMRobertaModel(sizes, add_pooling_layer=False)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for part in model.parameters():
        moments = {name: part.detach().clone() for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[part] = {"step": torch.ones(()), **moments}
    accelerator: Any = SimpleNamespace(unwrap_model=lambda model: model, scaler=None)
    return TrainingState(accelerator, Ranks(), model, optimizer, "single")


def is_on_disk(folder: Path, step: int) -> bool:
    return latest_step(folder) == step


def seconds_from_now(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def products_until(ended: Callable[[], bool]) -> float:
    """Products of matrices per second, on one core."""
    matrix, count, begin = torch.randn(512, 512), 0, time.perf_counter()
    while not ended():
        matrix @ matrix
        count += 1
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
