"""A checkpoint's tensors and states: all are checked before anything is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.random_state import random_state
from hybrid_dist.training.checkpoint.state import TrainingState, read_scale
from hybrid_dist.training.checkpoint.strategy_state import TorchState
from hybrid_dist.training.checkpoint.zero import scaler_numbers
from hybrid_dist.training.moving_average import MovingAverage


def trained(seed: int) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model.unused = nn.Parameter(torch.ones(2))  # AdamW has no state of it
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        model[1](model[0](torch.randn(5, 3))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def state_of(model: nn.Module, optimizer: torch.optim.AdamW) -> TrainingState:
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, scaler=None)
    return TrainingState(accelerator, Ranks(), model, optimizer, "single")


def everything(model: nn.Module, optimizer: torch.optim.AdamW) -> list[Any]:
    moments = [part for p in model.parameters() for part in optimizer.state[p].values()]
    weights = [part.tolist() for part in (*model.parameters(), *moments)]
    return [*weights, random_state(torch.device("cpu"))]


Change = Callable[[Path], object]
"""Of a checkpoint's folder."""


def tensors(file: str, change: Callable[[dict[str, Tensor]], None]) -> Change:
    def craft(folder: Path) -> None:
        found = load_file(folder / file)
        change(found)
        save_file(found, folder / file)

    return craft


def set_to(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda found: found.update({name: value})


def written(file: str, content: Any) -> Change:
    return lambda folder: (folder / file).write_text(json.dumps(content))


def random_states(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def craft(folder: Path) -> None:
        states = json.loads((folder / "random.json").read_text())
        change(states[0])
        (folder / "random.json").write_text(json.dumps(states))

    return craft


W, M, V, S = (f"{part}.safetensors" for part in ("weights", "exp_avg", "exp_avg_sq", "step"))
A = "moving_average.safetensors"
CRAFTED: dict[str, tuple[Change, str]] = {
    "a row that would be broadcast": (
        tensors(W, set_to("0.weight", torch.ones(1, 3))),
        "weights.safetensors: is of another model; 0.weight is 1 x 3 in it and 4 x 3 here",
    ),
    "a number that would be broadcast": (
        tensors(M, set_to("0.weight", torch.ones(()))),
        "exp_avg.safetensors: is of another model; 0.weight is a single number in it and 4 x 3",
    ),
    "turned round": (
        tensors(V, set_to("0.weight", torch.ones(3, 4))),
        "exp_avg_sq.safetensors: is of another model; 0.weight is 3 x 4",
    ),
    "half precision": (
        tensors(W, set_to("1.bias", torch.ones(2, dtype=torch.float16))),
        "1.bias is F16, not F32",
    ),
    "integers": (
        tensors(M, set_to("1.bias", torch.ones(2, dtype=torch.int64))),
        "1.bias is I64, not F32",
    ),
    "a weight is missing": (
        tensors(W, lambda found: found.__delitem__("1.bias")),
        "weights.safetensors: is of another model; one of both lacks 1.bias",
    ),
    "a weight too many": (
        tensors(W, set_to("2.bias", torch.ones(2))),
        "weights.safetensors: is of another model; one of both lacks 2.bias",
    ),
    "a moment is missing": (
        tensors(V, lambda found: found.__delitem__("1.bias")),
        "exp_avg_sq.safetensors: is of another model; one of both lacks 1.bias",
    ),
    "a moment too many": (
        tensors(M, set_to("unused", torch.ones(2))),
        "exp_avg.safetensors: is of another model; one of both lacks unused",
    ),
    "a count of another model": (
        tensors(S, set_to("2.bias", torch.ones(()))),
        "step.safetensors: is of another model; one of both lacks 2.bias",
    ),
    "counts in a row": (
        tensors(S, set_to("1.bias", torch.ones(2))),
        "step.safetensors: is of another model; 1.bias is 2 in it and a single number here",
    ),
    "half a step": (
        tensors(S, set_to("1.bias", torch.tensor(1.5))),
        "1.bias is 1.5, which is no number of steps",
    ),
    "no number of steps": (
        tensors(S, set_to("1.bias", torch.tensor(torch.nan))),
        "1.bias is nan, which is no number of steps",
    ),
    "steps without end": (
        tensors(S, set_to("1.bias", torch.tensor(2.0**40))),
        "1.bias is 1.09951e+12, which is no number of steps",
    ),
    "no safetensors": (
        lambda folder: (folder / M).write_bytes(b"\x08\0\0\0\0\0\0\0{}"),
        "exp_avg.safetensors: is damaged",
    ),
    "no file": (lambda folder: (folder / S).unlink(), "step.safetensors: cannot be read"),
    "no list of states": (written("random.json", {"python": 1}), "no list of random states"),
    "states of nothing": (written("random.json", [None]), "random state of rank 0 cannot be taken"),
    "a state too short": (
        random_states(lambda state: state.update(torch="00ff")),
        "random.json: is damaged; the random state of rank 0 cannot be taken up",
    ),
    "words too large": (
        random_states(lambda state: state["numpy"].__setitem__(1, [2**70] * 624)),
        "random.json: is damaged; the random state of rank 0 cannot be taken up",
    ),
    "no scale": (written("scaler.json", [1]), "scaler.json: is damaged; it is no set of numbers"),
    "a scale of nothing": (
        written("scaler.json", {"scale": 0}),
        "scaler.json: is damaged; scale is 0",
    ),
    "an endless scale": (written("scaler.json", {"scale": 1e400}), "scale is inf"),
    "a word for a scale": (written("scaler.json", {"scale": "1"}), "scale is '1'"),
    "no JSON": (lambda folder: (folder / "scaler.json").write_text("{"), "is not a JSON"),
}


@pytest.mark.parametrize(("craft", "expected"), CRAFTED.values(), ids=CRAFTED)
def test_what_does_not_fit_is_refused_before_anything_is_changed(
    tmp_path: Path, craft: Callable[[Path], None], expected: str
) -> None:
    state_of(*trained(1)).save(tmp_path, lambda action: action())
    craft(tmp_path)
    other = trained(2)
    before = everything(*other)
    with pytest.raises(UserError) as refusal:
        state_of(*other).load(tmp_path)
    assert expected in str(refusal.value)
    assert everything(*other) == before


def test_what_fits_is_taken_up(tmp_path: Path) -> None:
    saved, other = trained(1), trained(2)
    state_of(*saved).save(tmp_path, lambda action: action())
    wanted = everything(*saved)
    torch.rand(1)
    state_of(*other).load(tmp_path)
    assert everything(*other) == wanted


def test_copies_are_those_of_the_moment_they_were_made(tmp_path: Path) -> None:
    """Written after later updates, twice, since the second copy reuses the memory of the first."""
    model, optimizer = trained(1)
    average = MovingAverage(0.5, TorchState(optimizer))
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, scaler=None)
    state = TrainingState(accelerator, Ranks(), model, optimizer, "single", average)
    elements = sum(part.numel() for part in model.parameters())
    assert state.copy_bytes == 4 * elements * 4
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        wanted, later = everything(model, optimizer), list[Callable[[], Any]]()
        state.save(tmp_path / name, later.append, copied=True)
        torch.rand(1)
        with torch.no_grad():
            for part in model.parameters():
                part.add_(1)
                for moment in optimizer.state[part].values():
                    moment.add_(1)
        average.restart()
        for action in later:
            action()
        other = trained(2)
        state_of(*other).load(tmp_path / name)
        assert everything(*other) == wanted


@pytest.mark.parametrize(
    ("craft", "expected"),
    [
        (
            tensors(A, set_to("0.weight", torch.ones(1, 3))),
            "moving_average.safetensors: is of another model; 0.weight is 1 x 3 in it and 4 x 3",
        ),
        (
            tensors(A, lambda found: found.__delitem__("1.bias")),
            "moving_average.safetensors: is of another model; one of both lacks 1.bias",
        ),
        (lambda folder: (folder / A).write_bytes(b"x"), "moving_average.safetensors: is damaged"),
    ],
)
def test_a_moving_average_that_does_not_fit_is_refused_before_anything_is_changed(
    tmp_path: Path, craft: Change, expected: str
) -> None:
    averaged_state_of(*trained(1)).save(tmp_path, lambda action: action())
    craft(tmp_path)
    other = trained(2)
    state, before = averaged_state_of(*other), everything(*other)
    with pytest.raises(UserError) as refusal:
        state.load(tmp_path)
    assert expected in str(refusal.value)
    assert everything(*other) == before
    state_of(*other).load(tmp_path)  # who keeps no average does not read it


def averaged_state_of(model: nn.Module, optimizer: torch.optim.AdamW) -> TrainingState:
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, scaler=None)
    average = MovingAverage(0.5, TorchState(optimizer))
    return TrainingState(accelerator, Ranks(), model, optimizer, "single", average)


def test_a_temperature_is_found_under_its_old_name(tmp_path: Path) -> None:
    def with_temperature(name: str, value: float) -> tuple[nn.Module, torch.optim.AdamW]:
        model: Any = nn.Module()
        holder, _, last = name.rpartition(".")
        if holder:
            setattr(model, holder, nn.Module())
        owner = getattr(model, holder) if holder else model
        setattr(owner, last, nn.Parameter(torch.tensor([value])))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        next(model.parameters()).square().sum().backward()
        optimizer.step()
        return model, optimizer

    old, new = with_temperature("log_temperature", 3.0), with_temperature("temperature.log", 5.0)
    state_of(*old).save(tmp_path, lambda action: action())
    assert everything(*new)[:4] != everything(*old)[:4]
    state_of(*new).load(tmp_path)
    assert everything(*new)[:4] == everything(*old)[:4]


def test_what_scalers_have_learned_is_read_again(tmp_path: Path) -> None:
    """fp16 itself needs a GPU. Of DeepSpeed's numbers some are switches, and zero."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    deep = DynamicLossScaler(2.0**15, 2.0, 1000, 1, 1, False)
    for state in (torch.amp.GradScaler("cpu").state_dict(), scaler_numbers(deep)):
        file = tmp_path / "scaler.json"
        file.write_text(json.dumps(state))
        assert read_scale(file) == state
