"""The model card: README.md of a model's folder, in the format of the Hugging Face hub."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.text import json_text, markdown

FILE = "README.md"
HERE = "path/to/this/folder"
"""What the code of a card loads where the model has no name on the hub."""
TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "hybrid_dist")
HUB_LANGUAGE = re.compile("[a-z]{2,3}")
NO_LICENSE = (
    "Not stated. Add `license:` to the metadata above: the licences of the base model and of the "
    "training data decide which are possible."
)
METADATA = re.compile(r"---\n(.*?)^---$", re.DOTALL | re.MULTILINE)
"""What a card with metadata begins with."""
SIGNED = re.compile(r"\n<!-- written by hybrid_dist ([0-9a-f]{16}) -->\n\Z")
CITATION = """\
```bibtex
@misc{elmahdy2024synergistic,
  title = {Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and
           Multilingual Information Retrieval},
  author = {Adel Elmahdy and Sheng-Chieh Lin and Amin Ahmad},
  year = {2024},
  eprint = {2408.10536},
  archivePrefix = {arXiv},
}
```"""


@dataclass(frozen=True)
class Background:
    """What is known of a model beside its files."""

    name: str = "A multilingual retriever"
    base_model: str = ""
    """What it was trained from: a name on the hub, or a folder."""
    base_is_on_hub: bool = False
    languages: Sequence[str] = ()
    training: Sequence[str] = ()
    """Lines of Markdown."""
    evaluation: Sequence[str] = ()
    """Lines of Markdown."""
    results: Sequence[Mapping[str, Any]] = ()
    """Of the metadata's `model-index`."""


def card(folder: Path, background: Background | None = None, source: str = HERE) -> str:
    """The card of a saved model. `source`: what its examples load."""
    known = background or Background()
    spec = EncoderSpec.load(str(folder))
    parts = [
        f"---\n{_metadata(known)}---",
        f"# {markdown(known.name)}",
        _summary(known, spec, _width(folder)),
        "## Use",
        *_usage(spec, source, _loads_without_pooler(folder)),
        "## Training",
        "\n".join(known.training) or "Not recorded.",
        "## Evaluation",
        "\n".join(known.evaluation).rstrip() or "No evaluation is recorded with this model.",
        "## Licence",
        NO_LICENSE,
        "## Citation",
        "Hybrid batches were introduced in:",
        CITATION,
    ]
    return _signed("\n\n".join(parts) + "\n")


def is_unchanged(text: str) -> bool:
    """Whether a card is as it was written: one that someone edited is theirs."""
    found = SIGNED.search(text)
    return found is not None and text == _signed(text[: found.start()])


def addressed(text: str, source: str) -> str:
    """A card with examples that load another source."""
    here, there = (json_text(name) for name in (HERE, source))
    return _edited(text, lambda content: content.replace(here, there))


def license_of(text: str) -> str | None:
    """The licence in a card's metadata; None if it states none or has no metadata."""
    found = METADATA.match(text)
    try:
        content = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return None
    value = content.get("license") if isinstance(content, dict) else None
    return None if value is None else str(value)


def licensed(text: str, name: str) -> str:
    """A card that states no licence yet, with this one in its metadata."""

    def stated(content: str) -> str:
        found = METADATA.match(content)
        others = re.sub(r"^license:.*\n", "", found[1], flags=re.MULTILINE) if found else ""
        rest = content[found.end() :] if found else f"\n{content}"
        content = f"---\nlicense: {name}\n{others}---{rest}"
        return content.replace(NO_LICENSE, f"{markdown(name)}, as in the metadata above.")

    return _edited(text, stated)


def _edited(text: str, change: Callable[[str], str]) -> str:
    """A changed card; one that was as it was written still counts as that."""
    if not is_unchanged(text):
        return change(text)
    return _signed(change(text[: SIGNED.search(text).start()]))  # type: ignore[union-attr]


def _signed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by hybrid_dist {digest} -->\n"


def _metadata(known: Background) -> str:
    tags = [lang.partition("-")[0] for lang in known.languages]
    content: dict[str, Any] = {
        "language": sorted({tag for tag in tags if HUB_LANGUAGE.fullmatch(tag)}),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [*TAGS],
        "base_model": known.base_model if known.base_is_on_hub else "",
        "model-index": [{"name": known.name, "results": [*known.results]}] if known.results else [],
    }
    given = {key: value for key, value in content.items() if value}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100)


def _summary(known: Background, spec: EncoderSpec, width: int) -> str:
    start = f", trained from {_code(known.base_model)}" if known.base_model else ""
    pooling = {
        "mean": "the mean of its tokens",
        "cls": "its first token",
        "last": "its last token",
        "labse": "its first token after LaBSE's dense layer",
    }
    lines = [
        f"A retriever{start} with hybrid_dist: one encoder maps queries and passages to vectors of "
        f"{width} dimensions and norm 1, which are compared by inner product.",
        "",
        "| | |",
        "|---|---|",
        f"| Query prefix | {_code(spec.query_prefix)} |",
        f"| Passage prefix | {_code(spec.passage_prefix)} |",
        f"| Maximum length | queries {spec.max_query_tokens:,}, passages "
        f"{spec.max_passage_tokens:,} tokens |",
        f"| Pooling | {spec.pooling}: the vector of a text is {pooling[spec.pooling]} |",
    ]
    if known.languages:
        names = ", ".join(map(markdown, known.languages))
        lines.append(f"| Languages | {len(known.languages)}: {names} |")
    return "\n".join(lines)


def _usage(spec: EncoderSpec, source: str, no_pooler: bool) -> list[str]:
    name = json_text(source)
    query, passage = (
        json_text(prefix + text)
        for prefix, text in (
            (spec.query_prefix, "who wrote Faust?"),
            (spec.passage_prefix, "Faust ist ein Drama von Goethe."),
        )
    )
    options = ", add_pooling_layer=False" if no_pooler else ""
    longest = max(spec.max_tokens)
    parts = [
        "With sentence-transformers, which applies the prefixes:",
        f"""\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer({name})
queries = model.encode(["who wrote Faust?"], prompt_name="query")
passages = model.encode(["Faust ist ein Drama von Goethe."], prompt_name="passage")
scores = queries @ passages.T
```""",
        "With transformers:",
        f"""\
```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name}, padding_side="right")
model = AutoModel.from_pretrained({name}{options}).eval()
texts = [{query}, {passage}]
batch = tokenizer(
    texts, padding=True, truncation=True, max_length={longest}, return_tensors="pt"
)
with torch.inference_mode():
    output = model(**batch)
{_pooling_code(spec.pooling)}
vectors = torch.nn.functional.normalize(vectors, dim=-1)
scores = vectors[:1] @ vectors[1:].T
```""",
        "With hybrid_dist, which also applies the maximum lengths, and searches with "
        "`hybrid-dist search`:",
        f"""\
```python
from hybrid_dist import TextEmbedder

embedder = TextEmbedder.load({name})
queries = embedder.encode_queries(["who wrote Faust?"])
passages = embedder.encode_passages(["Faust ist ein Drama von Goethe."])
scores = queries @ passages.T
```""",
    ]
    if spec.dims:
        parts += [
            "Vectors were also trained to be cut to their first "
            f"{' or '.join(map(str, spec.dims))} values. Cut vectors are not of norm 1 until they "
            "are normalised again:",
            f"""\
```python
model = SentenceTransformer({name}, truncate_dim={spec.dims[0]})
queries = model.encode(["who wrote Faust?"], prompt_name="query", normalize_embeddings=True)
```""",
        ]
    return parts


def _pooling_code(pooling: str) -> str:
    return {
        "mean": 'mask = batch["attention_mask"].unsqueeze(-1)\n'
        "vectors = (output.last_hidden_state * mask).sum(1) / mask.sum(1)",
        "cls": "vectors = output.last_hidden_state[:, 0]",
        "last": 'last = batch["attention_mask"].sum(1) - 1\n'
        "vectors = output.last_hidden_state[torch.arange(len(texts)), last]",
        "labse": "vectors = output.pooler_output",
    }[pooling]


def _code(text: str) -> str:
    """Text as code; one that is empty, or cannot stand between backticks, in words."""
    if not text:
        return "none"
    return f"`{text}`" if text.isprintable() and not set(text) & set("`|\n") else markdown(text)


def _width(folder: Path) -> int:
    content = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    return int(content["word_embedding_dimension"])


def _loads_without_pooler(folder: Path) -> bool:
    content = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
    return "model_args" in content
