"""The average of models that were trained from the same one, which often generalizes better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hybrid_dist.data.store.token_cache import tokenizer_hash
from hybrid_dist.errors import UserError
from hybrid_dist.model.pretrained import load_pretrained
from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.files import check_new_folder


def merge(
    models: Sequence[str], weights: Sequence[float], out: Path, trust_remote_code: bool = False
) -> EncoderSpec:
    """Write the weighted average of models as a model folder; returns its spec.

    The average is computed in fp64, one model at a time. Tokenizer, prefixes and maximum lengths
    are the first model's.
    """
    check_new_folder(out)
    shares = [weight / sum(weights) for weight in weights]
    first = _Loaded.of(models[0], trust_remote_code)
    sums = {name: part.double() * shares[0] for name, part in first.state.items()}
    for name, share in zip(models[1:], shares[1:], strict=True):
        other = _Loaded.of(name, trust_remote_code)
        _check_alike(first, other)
        for key, part in other.state.items():
            sums[key].add_(part.double(), alpha=share)
    state = {key: total.to(first.state[key].dtype) for key, total in sums.items()}
    save(out, first.backbone, state, first.tokens.tokenizer, first.tokens.settings)
    return first.tokens.settings


@dataclass(frozen=True)
class _Loaded:
    """A model with its weights on the CPU in fp32."""

    name: str
    backbone: Any
    tokens: TextTokens

    @classmethod
    def of(cls, name: str, trust_remote_code: bool) -> "_Loaded":
        encoder, tokens = load_pretrained(name, trust_remote_code)
        return cls(name, encoder.backbone, tokens)

    @property
    def state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.backbone.state_dict()
        return state


def _check_alike(first: _Loaded, other: _Loaded) -> None:
    """Refuse models whose weights do not stand for the same things."""
    problem = ""
    ours, theirs = first.state, other.state
    if first.tokens.settings.pooling != other.tokens.settings.pooling:
        problem = (
            f"it has {other.tokens.settings.pooling} pooling, and the first model "
            f"{first.tokens.settings.pooling}"
        )
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
