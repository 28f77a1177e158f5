"""EncoderSpec: the prefixes, maximum lengths and pooling that belong to an encoder's weights."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from hybrid_dist.config.schema import Model
from hybrid_dist.config.values import Text
from hybrid_dist.errors import UserError, validation_problem
from hybrid_dist.model.repository import find, json_object, kind_of, read_object
from hybrid_dist.runtime.files import read_json

FILE = "hybrid_dist.json"
Pooling = Literal["mean", "cls", "last", "labse"]
Length = Annotated[int, Field(strict=True, ge=1, le=10**9)]
ACTIVATION = "torch.nn.modules.activation.Tanh"
"""The activation after the dense layer of LaBSE pooling."""
POOLING_MODES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""Supported poolings by the names of sentence-transformers."""
MODULES = ("Transformer", "Pooling", "Dense", "Dropout", "Normalize")
"""Supported modules of sentence-transformers. Dropout has no effect in inference."""


@dataclass(frozen=True)
class EncoderSpec:
    """How texts become tokens, and the hidden states of the tokens one vector."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    pooling: Pooling
    query_prefix: Text
    passage_prefix: Text
    max_query_tokens: Length
    max_passage_tokens: Length
    dims: tuple[Length, ...] = ()
    """Dimensions that vectors were trained to be cut to; none: only whole vectors were trained."""

    @classmethod
    def of(cls, model: Model, dims: tuple[int, ...] = ()) -> "EncoderSpec":
        return cls(
            pooling=model.pooling,
            query_prefix=model.query_prefix,
            passage_prefix=model.passage_prefix,
            max_query_tokens=model.max_query_tokens,
            max_passage_tokens=model.max_passage_tokens,
            dims=dims,
        )

    @classmethod
    def load(cls, name: str) -> "EncoderSpec":
        """Of a folder or hub model: from our file, else from sentence-transformers' files, else
        mean pooling without prefixes."""
        if (ours := find(name, FILE)) is not None:
            return cls.checked(json_object(ours), ours)
        if (modules := find(name, "modules.json")) is not None:
            return _of_sentence_transformers(name, modules)
        return cls("mean", "", "", max_query_tokens=512, max_passage_tokens=512)

    @classmethod
    def checked(cls, content: dict[str, Any], file: Path) -> "EncoderSpec":
        """From the content of a file; rejects missing, unknown and impossible values."""
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            raise UserError(f"{file}: {validation_problem(error.errors()[0])}") from None

    def content(self) -> dict[str, Any]:
        """The values by name, for files and reports; `dims` only if there are any."""
        content = asdict(self)
        dims = content.pop("dims")
        return {**content, "dims": list(dims)} if dims else content

    @property
    def max_tokens(self) -> tuple[int, int]:
        """Maximum tokens of a query and of a passage."""
        return self.max_query_tokens, self.max_passage_tokens

    def within(self, positions: int) -> "EncoderSpec":
        """A copy whose maximum lengths do not exceed the model's positions."""
        return replace(
            self,
            max_query_tokens=min(self.max_query_tokens, positions),
            max_passage_tokens=min(self.max_passage_tokens, positions),
        )


def read_modules(file: Path) -> dict[str, str]:
    """The subfolder of each module of a sentence-transformers model, by type."""
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: expected a list of modules, not {kind_of(content)}")
    paths: dict[str, str] = {}
    for module in content:
        kind, path = (
            module.get(key) if isinstance(module, dict) else None for key in ("type", "path")
        )
        if not isinstance(kind, str) or not isinstance(path, str):
            raise UserError(f"{file}: expected a `type` and a `path` of every module")
        kind = kind.rsplit(".", 1)[-1]
        if kind not in MODULES or kind in paths:
            raise UserError(
                f"{file}: has a module {kind}{' twice' if kind in paths else ''}; known here are "
                f"one of each of {', '.join(MODULES)}"
            )
        paths[kind] = path
    if paths.get("Transformer"):
        raise UserError(f"{file}: its Transformer is in a folder of its own; expected this one")
    return paths


def _of_sentence_transformers(name: str, file: Path) -> EncoderSpec:
    paths = read_modules(file)
    pooling = _pooling(name, paths)
    prompts_file = "config_sentence_transformers.json"
    prompts = _value(name, prompts_file, "prompts", dict) or {}
    for kind, prompt in prompts.items():
        if not isinstance(prompt, str | None):
            raise UserError(f"{name}/{prompts_file}: prompts.{kind}: expected a string")
    length = _value(name, "sentence_bert_config.json", "max_seq_length", int)
    length = 512 if length is None else length
    return EncoderSpec.checked(
        {
            "pooling": pooling,
            "query_prefix": prompts.get("query") or "",
            "passage_prefix": prompts.get("passage") or prompts.get("document") or "",
            "max_query_tokens": length,
            "max_passage_tokens": length,
        },
        file.parent,
    )


def _pooling(name: str, paths: dict[str, str]) -> Pooling:
    content = read_object(name, f"{paths['Pooling']}/config.json") if "Pooling" in paths else None
    config = content or {}
    named = config.get("pooling_mode")  # newer files name the mode, older ones have a flag per mode
    modes: list[Any] = named if isinstance(named, list) else [named] if named else []
    for key, value in {} if modes else config.items():
        if key.startswith("pooling_mode_") and value is not False:
            if value is not True:
                raise UserError(f"{name}/{paths['Pooling']}: {key}: expected true or false")
            mode = key.removeprefix("pooling_mode_").removesuffix("s").removesuffix("_token")
            modes.append(mode)
    if modes not in ([mode] for mode in POOLING_MODES):
        given = f", not {' and '.join(map(str, modes))}" if modes else ""
        raise UserError(f"{name}: unsupported pooling: expected mean, cls or lasttoken{given}")
    pooling = POOLING_MODES[modes[0]]
    if "Dense" not in paths:
        return pooling
    if pooling != "cls":
        raise UserError(
            f"{name}: has a dense layer after {modes[0]} pooling, which is supported only after cls"
        )
    activation = _value(name, f"{paths['Dense']}/config.json", "activation_function", str)
    if activation not in (None, ACTIVATION):
        raise UserError(
            f"{name}: its dense layer ends in {activation}; only {ACTIVATION} is supported"
        )
    return "labse"


def _value(name: str, file: str, key: str, kind: type) -> Any:
    """A value of a JSON file after a type check; None if it has no such key or file."""
    value = (read_object(name, file) or {}).get(key)
    if value is not None and type(value) is not kind:
        raise UserError(f"{name}/{file}: {key}: expected {kind_of(kind())}, given {value!r:.80}")
    return value
