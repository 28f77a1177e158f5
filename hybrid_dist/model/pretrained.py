"""A model folder, the model of a run folder, or a model of the hub: weights, tokenizer, spec."""

from dataclasses import replace
from pathlib import Path

from hybrid_dist.config.schema import Model
from hybrid_dist.errors import UserError
from hybrid_dist.model.encoder import Encoder
from hybrid_dist.model.loading import build, positions, read_config
from hybrid_dist.model.repository import is_folder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens


def load_pretrained(
    name: str,
    trust_remote_code: bool = False,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
) -> tuple[Encoder, TextTokens]:
    """The encoder with its weights in fp32 on the CPU, and its tokenizer with its spec.

    Prefixes replace those of the spec.
    """
    where, folder = name, Path(name)
    if is_folder(name) and (folder / "config.yaml").is_file():
        if not (folder / "model").is_dir():
            raise UserError(f"{name}: this run has no model/ yet; name one of its checkpoints/")
        where = str(folder / "model")
    model = Model(name_or_path=where, trust_remote_code=trust_remote_code)
    config = read_config(model)
    spec = EncoderSpec.load(where).within(positions(config))
    if query_prefix is not None:
        spec = replace(spec, query_prefix=query_prefix)
    if passage_prefix is not None:
        spec = replace(spec, passage_prefix=passage_prefix)
    tokens = TextTokens.load(where, spec, trust_remote_code)
    tokens.check(config)
    return build(replace(model, pooling=spec.pooling), config), tokens
