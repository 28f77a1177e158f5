"""How a model embeds texts: options that several commands share."""

from dataclasses import dataclass
from typing import Literal

from hybrid_dist.config.command_options import Flag

Precision = Literal["auto", "fp32", "bf16"]
"""The arithmetic of embedding."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions:
    """Options of --model."""

    query_prefix: str | None = None
    """Put this before every query, instead of the prefix that the model's files name: many models
    on the hub name theirs in a README only."""
    passage_prefix: str | None = None
    """Put this before every passage."""
    precision: Precision = "auto"
    """Arithmetic of --model; weights stay in fp32. auto: bf16 on GPUs that compute in it, else
    fp32. bf16 is about twice as fast on processors with bf16 instructions."""
    trust_remote_code: Flag = False
    """Run the Python code that comes with --model; without this option a model that needs it is
    refused. Such code can do anything that you can: read it first."""
