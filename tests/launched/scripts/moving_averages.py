"""The moving average of the weights under a launcher, against its definition in float64.

Updates are those of tests.launched.scripts.updates, whose float64 judge gives the weights of every
step. Then training is saved in the middle, resumed by a model of other weights, and compared bit
for bit. Prints one line of JSON for each set of options, from the first rank.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hybrid_dist.runtime.launch import strategy
from hybrid_dist.runtime.ranks import Ranks, exit_process
from hybrid_dist.training.checkpoint.state import TrainingState
from hybrid_dist.training.checkpoint.tensors import AVERAGE
from hybrid_dist.training.initial_model import choose_attention
from hybrid_dist.training.optimizer import adamw
from hybrid_dist.training.step import Updater
from tests.launched.scripts.updates import (
    STEPS,
    Case,
    Sgd,
    apart,
    pairs_with_shared_passages,
    started,
)

DECAY, DEV_STEPS = 0.5, 2
Weights = dict[str, Tensor]


def updater_of(case: Case, accelerator: Any, ranks: Ranks, seed: int = 0) -> tuple[Updater, Any]:
    """With AdamW, and a model of other weights for another seed; and its training state."""
    model = case.model()
    if seed:
        torch.manual_seed(seed)
        with torch.no_grad():
            for part in model.parameters():
                part.add_(0.1 * torch.randn_like(part))
    choose_attention(model.encoder, torch.float32, ranks)
    optim = replace(case.config.optim, lr=1e-3)
    config = replace(case.config, optim=optim, train=replace(case.config.train, ema=DECAY))
    updater = Updater(config, accelerator, ranks, model, adamw(model, optim))
    return updater, state_of(updater, accelerator, ranks)


def state_of(updater: Updater, accelerator: Any, ranks: Ranks) -> TrainingState:
    kept = strategy(accelerator)
    parts = (updater.model, updater.optimizer, kept, updater.average)
    return TrainingState(accelerator, ranks, *parts)


def compare(case: Case, accelerator: Any, ranks: Ranks, folder: Path) -> dict[str, Any] | None:
    """One epoch of updates, with the average in use after each."""
    model = case.model()
    choose_attention(model.encoder, torch.float32, ranks)
    initial = {name: part.clone() for name, part in model.state_dict().items()}
    config = replace(case.config, train=replace(case.config.train, ema=DECAY))
    trained = [part for part in model.parameters() if part.requires_grad]
    updater = Updater(config, accelerator, ranks, model, Sgd(trained, config.optim.lr))
    averages, losses = [], []
    for work in case.feed(ranks).steps(0, STEPS):
        updater.update(work)
        with updater.averaged():
            losses.append(updater.mean_loss(case.feed(ranks), DEV_STEPS))
            averages.append(whole(updater, accelerator))
    weights = whole(updater, accelerator)
    save(state_of(updater, accelerator, ranks), folder, ranks)
    if not ranks.is_first:
        return None
    _, _, wanted = case.judged(ranks.world)
    by_definition = moving_averages(initial, wanted)
    stored = load_file(folder / f"{AVERAGE}.safetensors")
    pairs = zip(averages, by_definition, strict=True)
    judged = [judged_loss(case, average) for average in by_definition]
    return {
        "options": case.name,
        "average_error": max(apart(one, other, initial) for one, other in pairs),
        "loss_error": max(abs(a / b - 1) for a, b in zip(losses, judged, strict=True)),
        "weights_error": apart(weights, wanted[-1], initial),
        "apart": apart(averages[-1], wanted[-1], initial),
        "stored": all(torch.equal(part, averages[-1][name]) for name, part in stored.items()),
    }


def whole(updater: Updater, accelerator: Any) -> Weights:
    state = accelerator.get_state_dict(updater.model) or {}
    return {name: part.detach().cpu().clone() for name, part in state.items()}


def moving_averages(initial: Weights, by_step: list[Weights]) -> list[Weights]:
    """By its definition, in float64."""
    average = {name: initial[name].double() for name in by_step[0]}
    averages = []
    for weights in by_step:
        average = {
            name: DECAY * part + (1 - DECAY) * weights[name].double()
            for name, part in average.items()
        }
        averages.append(average)
    return averages


def judged_loss(case: Case, weights: Weights) -> float:
    """The mean loss of the first batches by one process in float64."""
    model = case.model().double().eval()
    model.encoder.set_padding("the judge pads")
    model.load_state_dict(weights)
    losses = []
    with torch.no_grad():
        for step in range(DEV_STEPS):
            temperature = torch.tensor(case.config.loss.temperature)
            if model.temperature is not None:
                temperature = model.temperature.log.exp()
            losses.append(case.loss(case.together(model, step), temperature, step).item())
    return sum(losses) / len(losses)


def resumed(case: Case, accelerator: Any, ranks: Ranks, folder: Path) -> bool:
    """Whether the average after a resumed run is that of one that was not interrupted."""
    updater, state = updater_of(case, accelerator, ranks)
    for work in case.feed(ranks).steps(0, STEPS):
        updater.update(work)
        if work.batch.step == 0:
            save(state, folder / "middle", ranks)
    save(state, folder / "whole", ranks)
    accelerator.free_memory()
    other, state = updater_of(case, accelerator, ranks, seed=5)
    state.load(folder / "middle")
    for work in case.feed(ranks).steps(1, STEPS):
        other.update(work)
    save(state, folder / "resumed", ranks)
    files = sorted(file.name for file in (folder / "whole").glob("*.safetensors"))
    same = [
        (folder / "whole" / f).read_bytes() == (folder / "resumed" / f).read_bytes() for f in files
    ]
    return f"{AVERAGE}.safetensors" in files and all(same)


def save(state: TrainingState, folder: Path, ranks: Ranks) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state.save(folder, lambda action: action() if ranks.is_first else None)
    ranks.barrier()


def main() -> None:
    toy, names = Path(sys.argv[1]), sys.argv[2:]
    accelerator, ranks = started()
    pairs = ranks.broadcast_from_first(str(pairs_with_shared_passages(toy)))
    for name in names:
        case = Case(toy, name, pairs, ranks.world)
        folder = Path(ranks.broadcast_from_first(tempfile.mkdtemp()))
        result = compare(case, accelerator, ranks, folder)
        accelerator.free_memory()  # else DeepSpeed goes on with the first model
        same = resumed(case, accelerator, ranks, folder)
        accelerator.free_memory()
        if result is not None:
            print("RESULT " + json.dumps(result | {"resumed": same}), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
