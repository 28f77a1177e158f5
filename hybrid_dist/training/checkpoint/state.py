"""The state that training resumes from, by parameter name, for every strategy.

Files hold whole fp32 tensors, whatever strategy and number of ranks wrote them, so any strategy on
any number of ranks can resume from them. Nothing in them is unpickled.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import read_json
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.host_buffers import HostBuffers, wait_for_copies
from hybrid_dist.training.checkpoint.random_state import (
    random_state,
    set_random_state,
    state_problem,
)
from hybrid_dist.training.checkpoint.run_progress import MAX_STEPS
from hybrid_dist.training.checkpoint.strategy_state import strategy_state
from hybrid_dist.training.checkpoint.tensors import (
    AVERAGE,
    MOMENTS,
    STEP,
    WEIGHTS,
    MismatchError,
    check,
    check_counts,
    names_in,
)
from hybrid_dist.training.checkpoint.zero import whole_shape
from hybrid_dist.training.moving_average import MovingAverage

PARTS = (WEIGHTS, *MOMENTS, STEP)
RANDOM, SCALER = "random.json", "scaler.json"
OLD_NAMES = {"temperature.log": "log_temperature"}
"""Parameter names in checkpoints of layout 2."""
SCALES = ("scale", "cur_scale")
"""The key of the loss scale in PyTorch's and DeepSpeed's scalers."""

Write = Callable[[Callable[[], Any]], None]
"""Runs an action that writes a file, on the first rank only."""


class TrainingState:
    """Weights, AdamW's states, the loss scale and every rank's random state."""

    def __init__(
        self,
        accelerator: Any,
        ranks: Ranks,
        model: nn.Module,
        optimizer: Any,
        strategy: str,
        average: MovingAverage | None = None,
    ) -> None:
        module = accelerator.unwrap_model(model)
        self._parameters = dict(module.named_parameters())
        self._ranks, self._average = ranks, average
        self._strategy = strategy_state(accelerator, ranks, optimizer, strategy)
        self._buffers = HostBuffers()

    @property
    def copy_bytes(self) -> int:
        """Main memory of the first rank that copies of all parts take."""
        numbers = sum(math.prod(whole_shape(p)) for p in self._parameters.values())
        return 4 * numbers * (1 + len(MOMENTS) + (self._average is not None))

    def save(self, folder: Path, write: Write, copied: bool = False) -> None:
        """Gather and write one part at a time, which bounds the memory of the first rank.

        `copied`: what `write` gets may run later, while training changes the state: it writes
        copies of all parts, until the next call.
        """
        for part in PARTS:
            self._save_part(part, tensors_file(folder, part), write, copied)
        if self._average is not None:
            with self._average.swapped():
                self._save_part(WEIGHTS, tensors_file(folder, AVERAGE), write, copied)
        states = self._ranks.gather(random_state(self._ranks.device))
        write(lambda: (folder / RANDOM).write_text(json.dumps(states)))
        scale = self._strategy.scale()
        write(lambda: (folder / SCALER).write_text(json.dumps(scale)))

    def _save_part(self, part: str, file: Path, write: Write, copied: bool) -> None:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            value = self._strategy.get(part, parameter)
            if value is None or not self._ranks.is_first:
                continue
            if copied:
                tensors[name] = self._buffers.copy(file.stem, name, value)
            else:
                tensors[name] = _on_cpu(value)
        if copied:
            write(wait_for_copies(self._ranks.device))
        write(partial(save_file, tensors, file))

    def load(self, folder: Path) -> None:
        """Every rank reads the files tensor by tensor and keeps its share.

        Everything is checked before anything is changed; if one rank rejects it, all do. The
        moving average of a checkpoint without one starts with its weights.
        """
        averaged = tensors_file(folder, AVERAGE)
        has_average = self._ranks.decide_on_first(averaged.is_file) and self._average is not None
        parameters, random, scale = self._checked(folder, has_average)
        if self._average is not None:
            file = averaged if has_average else tensors_file(folder, WEIGHTS)
            self._load_part(WEIGHTS, file, parameters)
            self._average.restart()
        for part in PARTS:
            self._load_part(part, tensors_file(folder, part), parameters)
        if random is not None:
            set_random_state(random, self._ranks.device)
        self._strategy.set_scale(scale)

    def _load_part(self, part: str, file: Path, parameters: Mapping[str, nn.Parameter]) -> None:
        with safe_open(file, framework="pt") as tensors:
            names = set(tensors.keys())
            for name, parameter in parameters.items():
                if name in names:
                    value = tensors.get_tensor(name).to(self._ranks.device)
                    self._strategy.put(part, parameter, value)

    def _checked(
        self, folder: Path, has_average: bool
    ) -> tuple[dict[str, nn.Parameter], dict[str, Any] | None, dict[str, float]]:
        """Parameters by their names in the files, this rank's random state if there is one, and the
        loss scale."""
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
            if has_average:
                check(file := tensors_file(folder, AVERAGE), shapes)
            has_state = names_in(file := tensors_file(folder, STEP)) & shapes.keys()
            for part in MOMENTS:  # AdamW has none for parameters without a gradient
                check(
                    file := tensors_file(folder, part), {name: shapes[name] for name in has_state}
                )
            check(file := tensors_file(folder, STEP), dict.fromkeys(has_state, ()))
            check_counts(file, sorted(has_state), MAX_STEPS)
            random = _random(file := folder / RANDOM, self._ranks)
            scale = read_scale(file := folder / SCALER)
        except MismatchError as mismatch:
            problem = f"{file}: {mismatch}"
        except UserError as error:
            problem = str(error)
        self._ranks.raise_together(problem)
        return parameters, random, scale


def _random(file: Path, ranks: Ranks) -> dict[str, Any] | None:
    """This rank's random state; None for a rank that the saved run did not have."""
    states = read_json(file)
    if not isinstance(states, list):
        raise MismatchError("is damaged; it is no list of random states")
    if ranks.rank >= len(states):
        return None
    if problem := state_problem(states[ranks.rank], ranks.device):
        raise MismatchError(f"is damaged; the random state of rank {ranks.rank} {problem}")
    state: dict[str, Any] = states[ranks.rank]
    return state


def read_scale(file: Path) -> dict[str, float]:
    """The saved state of a loss scaler, every number of it checked."""
    scale = read_json(file)
    if not isinstance(scale, dict):
        raise MismatchError("is damaged; it is no set of numbers")
    for name, value in scale.items():
        finite = isinstance(value, int | float) and math.isfinite(value)
        if not finite or (name in SCALES and value <= 0):
            raise MismatchError(f"is damaged; {name} is {value!r}")
    return scale


def _on_cpu(value: Tensor) -> Tensor:
    """In fp32 on the CPU; scalars are cloned, since ZeRO shares one step among parameters."""
    value = value.detach().float().cpu().contiguous()
    return value.clone() if value.ndim == 0 else value


def tensors_file(folder: Path, part: str) -> Path:
    """The file of a part in a checkpoint."""
    return folder / f"{part}.safetensors"
