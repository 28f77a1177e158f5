"""FSDP2's training state, saved in the middle: sharded and whole models go on from it alike."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.ranks import exit_process
from hybrid_dist.training.checkpoint.state import TrainingState
from tests.launched.scripts.fully_sharded import start_fsdp2


class Block(nn.Module):
    """Of sizes that do not divide evenly, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(7, 5), nn.Linear(5, 7)

    def forward(self, rows: Tensor) -> Tensor:
        return self.two(functional.dropout(self.one(rows).relu(), training=self.training))


class Stack(nn.Module):
    _no_split_modules = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.unused = nn.Sequential(Block(), Block()), nn.Parameter(torch.ones(3))

    def forward(self, rows: Tensor) -> Tensor:
        return self.blocks(rows)


def made(seed: int, accelerator: Any = None) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    model = Stack()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return accelerator.prepare(model, optimizer) if accelerator else (model, optimizer)


def trained(model: Any, optimizer: Any, steps: range) -> dict[str, Tensor]:
    """Whole weights after these steps; all ranks have the same rows."""
    for step in steps:
        rows = torch.randn(4, 7, generator=torch.Generator().manual_seed(step))
        model(rows).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    weights = dict(model.named_parameters())
    return {n: w.full_tensor() if isinstance(w, DTensor) else w for n, w in weights.items()}


def main(folder: Path) -> None:
    accelerator, ranks = start_fsdp2()
    sharded = made(1, accelerator)
    trained(*sharded, range(3))
    state = TrainingState(accelerator, ranks, *sharded, "fsdp")
    later: list[Callable[[], Any]] = []
    state.save(folder, later.append, copied=True)
    wanted = trained(*sharded, range(3, 6))
    for action in later if ranks.is_first else ():  # as a thread may, while training goes on
        action()
    ranks.barrier()
    for name, prepared_by in (("sharded", accelerator), ("whole", None)):
        other = made(2, prepared_by)
        TrainingState(accelerator, ranks, *other, "fsdp").load(folder)
        actual = trained(*other, range(3, 6))
        worst = max(float((actual[n] - wanted[n]).abs().max()) for n in wanted)
        say(f"RESULT {name} {worst:.1e} on rank {ranks.rank}")
    refused_together(folder, accelerator, ranks)
    exit_process()


def refused_together(folder: Path, accelerator: Any, ranks: Any) -> None:
    """One rank sees another file than the others, as on a disk that is not shared."""
    mine = folder.with_name(f"{folder.name}-of-{ranks.rank}")
    shutil.copytree(folder, mine)
    if ranks.rank == 1:
        moments = load_file(mine / "exp_avg.safetensors")
        moments["blocks.0.one.bias"] = torch.ones(1)
        save_file(moments, mine / "exp_avg.safetensors")
    other = made(3, accelerator)
    before = trained(*other, range(0))
    before = {name: value.clone() for name, value in before.items()}
    try:
        TrainingState(accelerator, ranks, *other, "fsdp").load(mine)
    except UserError as error:
        after = trained(*other, range(0))
        same = all(torch.equal(before[name], after[name]) for name in before)
        say(f"REFUSED on rank {ranks.rank}, unchanged {same}: {error}")


def say(line: str) -> None:
    """In one write: torchrun's processes are unbuffered, and print would write the end apart."""
    print(line + "\n", end="", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
