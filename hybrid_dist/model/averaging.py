"""The average of models that were trained from the same one, which often generalizes better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from hybrid_dist.data.store.token_cache import tokenizer_hash
from hybrid_dist.errors import UserError
from hybrid_dist.model.direction import is_causal
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.lora import merged
from hybrid_dist.model.saving import save
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.files import check_new_folder

LoadModel = Callable[[str], tuple[Encoder, TextTokens]]
"""Reads a model by its name, with weights in fp32 on the CPU."""
COMPUTED_BY = (
    *("num_attention_heads", "n_heads"),
    *("hidden_act", "hidden_activation", "activation"),
    *("layer_types", "local_attention", "sliding_window"),
    *("rope_parameters", "rope_theta"),
)
"""Keys of a model's config that change what its weights compute, but no name or shape of them."""


def average(models: Sequence[str], weights: Sequence[float], out: Path, load: LoadModel) -> None:
    """Write the weighted average of models as a model folder.

    It is computed in fp64; the first model and one other are in memory beside the sum. Tokenizer,
    prefixes and maximum lengths are the first model's. LoRA adapters are merged before.
    """
    check_new_folder(out)
    shares = [weight / sum(weights) for weight in weights]
    first = _Loaded(models[0], *load(models[0]))
    sums = {name: part.double() * shares[0] for name, part in first.state.items()}
    for name, share in zip(models[1:], shares[1:], strict=True):
        # no name for it here: it would keep the model while the next one is loaded
        _add(sums, share, first, _Loaded(name, *load(name)))
    state = {key: total.to(first.state[key].dtype) for key, total in sums.items()}
    save(out, first.encoder.backbone, state, first.tokens.tokenizer, first.tokens.settings)


@dataclass(frozen=True)
class _Loaded:
    """A model and its name."""

    name: str
    encoder: Encoder
    tokens: TextTokens

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The weights of a plain model: averaging the matrices of LoRA does not average their
        product."""
        return merged(self.encoder.backbone, self.encoder.backbone.state_dict())

    @property
    def architecture(self) -> dict[str, Any]:
        """What has to be the same beside the names and shapes of weights."""
        backbone: Any = self.encoder.backbone
        values = {key: getattr(backbone.config, key, None) for key in COMPUTED_BY}
        return {
            "class": type(backbone).__name__,
            "pooling": self.encoder.pooling,
            "is_causal": is_causal(backbone),
            **values,
        }


def _add(sums: dict[str, Tensor], share: float, first: _Loaded, other: _Loaded) -> None:
    """Add a model's share to the sums."""
    _check_alike(first, other)
    for key, part in other.state.items():
        sums[key].add_(part.double(), alpha=share)


def _check_alike(first: _Loaded, other: _Loaded) -> None:
    """Refuse models whose weights do not stand for the same things."""
    problem = ""
    ours, theirs = first.state, other.state
    built, expected = other.architecture, first.architecture
    if unlike := [key for key in expected if built[key] != expected[key]]:
        key = unlike[0]
        problem = f"its {key} is {built[key]}, and the first model's {expected[key]}"
    elif tokenizer_hash(first.tokens.tokenizer) != tokenizer_hash(other.tokens.tokenizer):
        problem = "its tokenizer is not that of the first model"
    elif alone := sorted(ours.keys() ^ theirs.keys()):
        owner = "the first model" if alone[0] in ours else "it"
        problem = f"only {owner} has weights named {alone[0]}"
    else:
        for key, part in theirs.items():
            if part.shape != ours[key].shape:
                problem = (
                    f"its {key} is {tuple(part.shape)}, and the first model's "
                    f"{tuple(ours[key].shape)}"
                )
    if problem:
        raise UserError(f"{other.name}: cannot be averaged with {first.name}: {problem}")
