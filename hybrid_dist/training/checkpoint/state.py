"""All that training resumes from, by the names of parameters, wherever a strategy keeps it.

Files hold whole fp32 tensors, whatever the strategy and the number of ranks that wrote them; so
any strategy on any number of ranks goes on from them. Nothing in them is code.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import read_json
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.progress import MAX_STEPS
from hybrid_dist.training.checkpoint.random_state import (
    random_state,
    set_random_state,
    state_problem,
)
from hybrid_dist.training.checkpoint.tensors import (
    MismatchError,
    check,
    check_counts,
    names_in,
    whole_shape,
)

WEIGHTS, STEP = "weights", "step"
MOMENTS = ("exp_avg", "exp_avg_sq")
PARTS = (WEIGHTS, *MOMENTS, STEP)
RANDOM, SCALER = "random.json", "scaler.json"
OLD_NAMES = {"temperature.log": "log_temperature"}
"""Of parameters, in checkpoints of layout 2."""
SCALES = ("scale", "cur_scale")
"""What PyTorch's and DeepSpeed's scalers call the factor itself."""

Write = Callable[[Callable[[], Any]], None]
"""Runs what writes a file, on the rank that writes."""


class StrategyState(Protocol):
    """Where one strategy keeps a parameter's parts. All ranks call these together."""

    def get(self, part: str, parameter: nn.Parameter) -> Tensor | None:
        """The whole part on every rank; none where AdamW has not met the parameter yet."""

    def put(self, part: str, parameter: nn.Parameter, value: Tensor) -> None:
        """Take a whole part over, the same on every rank."""

    def scaler(self) -> Any:
        """What scales the loss in fp16; none in other precisions."""


class TrainingState:
    """Weights, AdamW's states, the loss scale and every rank's random numbers."""

    def __init__(
        self, accelerator: Any, ranks: Ranks, model: nn.Module, optimizer: Any, strategy: str
    ) -> None:
        module = accelerator.unwrap_model(model)
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._ranks = ranks
        self._keeper: StrategyState
        if strategy.startswith("zero"):
            self._keeper = ZeroState(optimizer.optimizer, ranks)
        else:
            self._keeper = TorchState(optimizer, accelerator.scaler)

    def save(self, folder: Path, write: Write) -> None:
        """Gather part after part; a part is all that the writing rank holds at a time."""
        for part in PARTS:
            tensors: dict[str, Tensor] = {}
            for name, parameter in self._parameters.items():
                value = self._keeper.get(part, parameter)
                if value is not None and self._ranks.is_first:
                    tensors[name] = _copied(value)
            write(partial(save_file, tensors, tensors_file(folder, part)))
        states = self._ranks.gather(random_state(self._ranks.device))
        write(lambda: (folder / RANDOM).write_text(json.dumps(states)))
        scale = numbers(self._keeper.scaler())
        write(lambda: (folder / SCALER).write_text(json.dumps(scale)))

    def load(self, folder: Path) -> None:
        """Every rank reads the files, tensor by tensor, and keeps what its strategy gives it.

        All of it is checked before anything is changed; what one rank cannot take none takes.
        """
        parameters, random, scale = self._checked(folder)
        for part in PARTS:
            with safe_open(tensors_file(folder, part), framework="pt") as tensors:
                names = set(tensors.keys())
                for name, parameter in parameters.items():
                    if name in names:
                        value = tensors.get_tensor(name).to(self._ranks.device)
                        self._keeper.put(part, parameter, value)
        if random is not None:
            set_random_state(random, self._ranks.device)
        set_numbers(self._keeper.scaler(), scale)

    def _checked(
        self, folder: Path
    ) -> tuple[dict[str, nn.Parameter], dict[str, Any] | None, dict[str, float]]:
        """Parameters by their names in the files, this rank's random state, where the file has one,
        and the loss scale."""
        parameters: dict[str, nn.Parameter] = {}
        random: dict[str, Any] | None = None
        scale: dict[str, float] = {}
        file, problem = folder, None
        try:
            stored = names_in(file := tensors_file(folder, WEIGHTS))
            for name, parameter in self._parameters.items():
                old = OLD_NAMES.get(name)
                parameters[old if old in stored else name] = parameter
            shapes = {name: whole_shape(parameter) for name, parameter in parameters.items()}
            check(file, shapes)
            met = names_in(file := tensors_file(folder, STEP)) & shapes.keys()
            for part in MOMENTS:  # AdamW has none of parameters that never had a gradient
                check(file := tensors_file(folder, part), {name: shapes[name] for name in met})
            check(file := tensors_file(folder, STEP), dict.fromkeys(met, ()))
            check_counts(file, sorted(met), MAX_STEPS)
            random = _random(file := folder / RANDOM, self._ranks)
            scale = read_scale(file := folder / SCALER)
        except MismatchError as mismatch:
            problem = f"{file}: {mismatch}"
        except UserError as error:
            problem = str(error)
        self._ranks.raise_together(problem)
        return parameters, random, scale


class TorchState:
    """One process, DDP and FSDP2: AdamW itself has the states, of whole or of sharded tensors."""

    def __init__(self, optimizer: Any, scaler: Any = None) -> None:
        self._state, self._scaler = optimizer.state, scaler

    def get(self, part: str, parameter: nn.Parameter) -> Tensor | None:
        value = parameter if part == WEIGHTS else self._state.get(parameter, {}).get(part)
        return value.full_tensor() if isinstance(value, DTensor) else value

    @torch.no_grad()
    def put(self, part: str, parameter: nn.Parameter, value: Tensor) -> None:
        if part == STEP:
            self._state[parameter][STEP] = value
            return
        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            value = distribute_tensor(value, mesh, placements, src_data_rank=None)
        if part == WEIGHTS:
            parameter.copy_(value)
        else:
            self._state[parameter][part] = value

    def scaler(self) -> Any:
        return self._scaler


class ZeroState:
    """DeepSpeed's ZeRO: each rank has a slice of a flat fp32 copy, and AdamW's states of it."""

    def __init__(self, zero: Any, ranks: Ranks) -> None:
        self._zero, self._state, self._ranks = zero, zero.optimizer.state, ranks
        self._linked = False
        sharded = hasattr(zero, "fp32_partitioned_groups_flat")
        self._groups = zero.fp16_groups if sharded else zero.bit16_groups
        self._flats = (
            zero.fp32_partitioned_groups_flat if sharded else zero.single_partition_of_fp32_groups
        )
        self._flat = {
            parameter: flat
            for group, flat in zip(self._groups, self._flats, strict=True)
            for parameter in group
        }

    def get(self, part: str, parameter: nn.Parameter) -> Tensor | None:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if part == WEIGHTS:
            return safe_get_full_fp32_param(parameter)
        state = self._state.get(self._flat[parameter], {})
        if part == STEP or not state:
            return state.get(STEP)
        self._link_states()
        return safe_get_full_optimizer_state(parameter, part)

    @torch.no_grad()
    def put(self, part: str, parameter: nn.Parameter, value: Tensor) -> None:
        if part == WEIGHTS:
            self._put_slice(part, parameter, value)
            self._put_in_use(parameter, value)
            return
        self._make_states()
        self._link_states()
        if part == STEP:  # beside the states, which an offload keeps in main memory
            flat = self._flat[parameter]
            self._state[flat][STEP] = value.to(flat.device)
        else:
            self._put_slice(part, parameter, value)

    def _put_slice(self, part: str, parameter: Any, value: Tensor) -> None:
        """This rank's slice of the fp32 copy or of one of AdamW's states."""
        from deepspeed import utils

        if not hasattr(parameter, "ds_id"):
            if part == WEIGHTS:
                utils.safe_set_full_fp32_param(parameter, value)
            else:
                utils.safe_set_full_optimizer_state(parameter, value, part)
            return
        # ZeRO-3's own way to set a whole tensor fails where ranks do not divide its size
        own = parameter.ds_tensor.numel()
        padding = own * self._ranks.world - value.numel()
        slices = functional.pad(value.flatten(), (0, padding)).split(own)
        if part == WEIGHTS:
            utils.safe_set_local_fp32_param(parameter, slices[self._ranks.rank])
        else:
            utils.safe_set_local_optimizer_state(parameter, slices[self._ranks.rank], part)

    def _put_in_use(self, parameter: nn.Parameter, value: Tensor) -> None:
        """The weights that the model computes with: a bf16 or fp16 copy, or fp32 too."""
        from deepspeed.runtime.zero import GatheredParameters

        sharded = hasattr(parameter, "ds_id")
        with GatheredParameters([parameter], modifier_rank=0, enabled=sharded):
            parameter.copy_(value)

    def scaler(self) -> Any:
        return self._zero.loss_scaler if self._zero.loss_scaler.dynamic else None

    def _make_states(self) -> None:
        """AdamW makes its states in its first step; here they are wanted before."""
        for flat in self._flats:
            if not self._state.get(flat):
                self._state[flat] = {part: torch.zeros_like(flat) for part in MOMENTS}
                self._state[flat][STEP] = torch.zeros((), device=flat.device)

    def _link_states(self) -> None:
        """Let ZeRO-1 and 2 find each parameter's slice of AdamW's states.

        They do so themselves in the first step, but for the first group of parameters only.
        """
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        if not self._linked:
            for group, flat in zip(self._groups, self._flats, strict=True):
                if hasattr(group[0], "_hp_mapping"):
                    lazy_init_hp_params_optimizer_state(group, flat, self._state)
            self._linked = True


def _random(file: Path, ranks: Ranks) -> dict[str, Any] | None:
    """This rank's random state; a rank that is new draws as it would at the start."""
    states = read_json(file)
    if not isinstance(states, list):
        raise MismatchError("is damaged; it is no list of random states")
    if ranks.rank >= len(states):
        return None
    if problem := state_problem(states[ranks.rank], ranks.device):
        raise MismatchError(f"is damaged; the random state of rank {ranks.rank} {problem}")
    found: dict[str, Any] = states[ranks.rank]
    return found


def read_scale(file: Path) -> dict[str, float]:
    """What a scaler had learned, every number of it checked."""
    scale = read_json(file)
    if not isinstance(scale, dict):
        raise MismatchError("is damaged; it is no set of numbers")
    for name, value in scale.items():
        finite = isinstance(value, int | float) and math.isfinite(value)
        if not finite or (name in SCALES and value <= 0):
            raise MismatchError(f"is damaged; {name} is {value!r}")
    return scale


def _copied(value: Tensor) -> Tensor:
    """In main memory, and sharing none of it: groups of ZeRO have one step for many parameters."""
    value = value.detach().float().cpu().contiguous()
    return value.clone() if value.ndim == 0 else value


def tensors_file(folder: Path, part: str) -> Path:
    """Where a checkpoint keeps a part."""
    return folder / f"{part}.safetensors"


def numbers(scaler: Any) -> dict[str, float]:
    """What a loss scaler has learned: PyTorch's says it, DeepSpeed's has it as attributes."""
    if scaler is None:
        return {}
    if hasattr(scaler, "state_dict"):
        return scaler.state_dict()
    return {name: v for name, v in vars(scaler).items() if isinstance(v, int | float)}


def set_numbers(scaler: Any, scale: dict[str, float]) -> None:
    """Go on with a loss scale; one of another kind is left, and found anew in a few steps."""
    if scaler is None or numbers(scaler).keys() != scale.keys():
        return
    if hasattr(scaler, "load_state_dict"):
        scaler.load_state_dict(scale)
    else:
        vars(scaler).update(scale)
