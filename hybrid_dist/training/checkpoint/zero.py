"""Training state under DeepSpeed's ZeRO. No other file touches DeepSpeed's internals."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.tensors import MOMENTS, STEP, WEIGHTS, Shape


class ZeroState:
    """ZeRO 1 to 3: each rank holds slices of the fp32 weights and of AdamW's states."""

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

        if parameter not in self._flat:  # frozen: ZeRO keeps no fp32 copy and no states of it
            return self._in_use(parameter) if part == WEIGHTS else None
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
            if parameter in self._flat:
                self._put_slice(part, parameter, value)
            self._put_in_use(parameter, value)
            return
        self._create_states()
        self._link_states()
        if part == STEP:  # on the device of the states, which offloading keeps in CPU memory
            flat = self._flat[parameter]
            self._state[flat][STEP] = value.to(flat.device)
        else:
            self._put_slice(part, parameter, value)

    def _put_slice(self, part: str, parameter: Any, value: Tensor) -> None:
        """Set this rank's slice of the fp32 copy, or of one of AdamW's states."""
        from deepspeed import utils

        if not _is_sharded(parameter):
            if part == WEIGHTS:
                utils.safe_set_full_fp32_param(parameter, value)
            else:
                utils.safe_set_full_optimizer_state(parameter, value, part)
            return
        # DeepSpeed's own setter for whole tensors fails if the world size does not divide them
        own = parameter.ds_tensor.numel()
        padding = own * self._ranks.world - value.numel()
        slices = functional.pad(value.flatten(), (0, padding)).split(own)
        if part == WEIGHTS:
            utils.safe_set_local_fp32_param(parameter, slices[self._ranks.rank])
        else:
            utils.safe_set_local_optimizer_state(parameter, slices[self._ranks.rank], part)

    def _in_use(self, parameter: nn.Parameter) -> Tensor:
        """The whole weights that the model computes with."""
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([parameter], enabled=_is_sharded(parameter)):
            return parameter.detach().clone()

    def _put_in_use(self, parameter: nn.Parameter, value: Tensor) -> None:
        """Set the weights that the model computes with: a copy in bf16, fp16 or fp32."""
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([parameter], modifier_rank=0, enabled=_is_sharded(parameter)):
            parameter.copy_(value)

    def own_weights(self) -> list[Tensor]:
        return list(self._flats)

    @torch.no_grad()
    def renew_weights_in_use(self) -> None:
        from deepspeed.utils import safe_get_full_fp32_param

        for parameter in self._flat:
            self._put_in_use(parameter, safe_get_full_fp32_param(parameter))

    def scale(self) -> dict[str, float]:
        scaler = self._zero.loss_scaler
        return scaler_numbers(scaler) if scaler.dynamic else {}

    def set_scale(self, scale: dict[str, float]) -> None:
        scaler = self._zero.loss_scaler
        if scaler.dynamic:
            set_scaler_numbers(scaler, scale)

    def _create_states(self) -> None:
        """Create AdamW's states, which AdamW itself does in its first step."""
        for flat in self._flats:
            if not self._state.get(flat):
                self._state[flat] = {part: torch.zeros_like(flat) for part in MOMENTS}
                self._state[flat][STEP] = torch.zeros((), device=flat.device)

    def _link_states(self) -> None:
        """Link each parameter to its slice of AdamW's states under ZeRO 1 and 2.

        DeepSpeed does this in the first step, but for the first parameter group only.
        """
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        if not self._linked:
            for group, flat in zip(self._groups, self._flats, strict=True):
                if hasattr(group[0], "_hp_mapping"):
                    lazy_init_hp_params_optimizer_state(group, flat, self._state)
            self._linked = True


def whole_shape(parameter: nn.Parameter) -> Shape:
    """The shape of a whole parameter, also if ZeRO-3 or FSDP2 has sharded it."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def scaler_numbers(scaler: Any) -> dict[str, float]:
    """The state of DeepSpeed's loss scaler, which has no state_dict."""
    return {name: v for name, v in vars(scaler).items() if isinstance(v, int | float)}


def set_scaler_numbers(scaler: Any, scale: dict[str, float]) -> None:
    """Restore that state; the state of another kind of scaler is ignored."""
    if scaler_numbers(scaler).keys() == scale.keys():
        vars(scaler).update(scale)


def _is_sharded(parameter: Any) -> bool:
    """Whether ZeRO-3 holds the parameter in slices."""
    return hasattr(parameter, "ds_id")
