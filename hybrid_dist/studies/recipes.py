"""Recipes: training pairs cut from sources, to study few, missing and unbalanced languages.

A recipe reads sources, sets some uids aside to evaluate on, and writes one pair file for each
source. All choices are by a hash of the seed and the uid: they are the same on every machine, the
pairs of a small cut are among those of a larger one, and parallel pairs are kept together.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hybrid_dist.batching.randomness import key
from hybrid_dist.config.values import Positive, Rate, Seed
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.reader import Store, check_sources
from hybrid_dist.errors import UserError, nearest, validation_problem
from hybrid_dist.runtime.files import atomic_folder
from hybrid_dist.text import json_text

DESCRIPTION = "recipe.json"
Share = Annotated[float, Field(gt=0, le=1)]


class Recipe(BaseModel):
    """How a cell's training pairs are cut from sources. The steps are taken in this order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...] = ()
    """SOURCE:PATH?option=value, or stores or pair files; empty: the config's data.train."""
    languages: tuple[str, ...] = ()
    """Read these languages only; empty: all."""
    held_out_uids: Rate = 0.0
    """Share of the uids that are set aside, in all languages: held_out-N.jsonl has those of the
    N-th source. Uids that share a passage are set aside together."""
    without: tuple[str, ...] = ()
    """Languages that are left out of the training pairs."""
    keep: dict[str, Share] = Field(default_factory=dict)
    """Language -> the share of its training pairs that is kept."""
    zipf: Annotated[float, Field(ge=0, le=10)] | None = None
    """The language with the r-th most pairs gets a number of pairs in proportion to r^-zipf."""
    total: Positive | None = None
    """zipf: the number of training pairs of all languages together."""
    head: Positive | None = None
    """zipf: the number of training pairs of the first language, in place of a total."""
    seed: Seed = 1

    @property
    def fingerprint(self) -> str:
        """A hash of the recipe, which names its folder."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def recipe_of(values: Mapping[str, Any], where: str) -> Recipe | None:
    """The recipe of a cell's `recipe.` values; None if it has none."""
    if not values:
        return None
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        lines = [f"recipe.{_problem(one)}" for one in error.errors()]
        raise UserError("\n  ".join([f"{where}:", *lines])) from None
    if (recipe.zipf is None) != (recipe.total is None and recipe.head is None) or (
        recipe.total is not None and recipe.head is not None
    ):
        raise UserError(f"{where}: recipe.zipf: give it with one of recipe.total and recipe.head")
    return recipe


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][0])
        return f"{name}: unknown key{nearest(name, Recipe.model_fields)}"
    return validation_problem(error)


class TrainingPair(NamedTuple):
    """A pair and the number of its source."""

    source: int
    uid: str
    lang: str
    query: str
    passage: str
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Cut:
    """The pairs of a recipe."""

    train: Sequence[TrainingPair]
    held_out: Sequence[TrainingPair]

    def counts(self) -> dict[str, int]:
        """The number of training pairs of each language, the largest first."""
        names, counts = np.unique([pair.lang for pair in self.train], return_counts=True)
        order = np.lexsort((names, -counts))
        return {str(names[at]): int(counts[at]) for at in order}


def check_recipe_sources(sources: Sequence[str]) -> None:
    """Refuse sources that are unknown or not there, without reading them."""
    for spec in sources:
        name, path, options = _split(spec)
        if name is None:
            check_sources([path])
        else:
            SOURCES[name].check(options)
            SOURCES[name].locate(path)


def train_files(folder: Path, sources: int) -> list[Path]:
    """The pair files to train on, one for each source of a recipe."""
    return [folder / f"train-{number}.jsonl" for number in range(1, sources + 1)]


def build_recipe(recipe: Recipe, sources: Sequence[str], folder: Path) -> list[Path]:
    """Write the pair files of a recipe, unless they are there; returns those to train on.

    The folder also has the held-out pairs and a description with the number of pairs by language.
    """
    described = folder / DESCRIPTION
    files = train_files(folder, len(sources))
    if described.is_file():
        return files
    pairs = [pair for at, spec in enumerate(sources) for pair in _read(at, spec, recipe.languages)]
    cut = cut_pairs(pairs, recipe)
    left = {pair.source for pair in cut.train}
    for at, spec in enumerate(sources):
        if at not in left:
            raise UserError(f"recipe: no training pair is left of {spec}")
    with atomic_folder(folder) as draft:
        _write(draft, "train", cut.train)
        _write(draft, "held_out", cut.held_out)
        content = {
            "recipe": recipe.model_dump(mode="json"),
            "sources": list(sources),
            "pairs": cut.counts(),
            "held_out": len(cut.held_out),
        }
        (draft / DESCRIPTION).write_text(json_text(content, indent=2) + "\n", encoding="utf-8")
    return files


def cut_pairs(pairs: Iterable[TrainingPair], recipe: Recipe) -> Cut:
    """Apply a recipe to pairs; the order of the pairs is kept."""
    train, held_out = [], []
    pairs = [p for p in pairs if not recipe.languages or p.lang in recipe.languages]
    seen = {pair.lang for pair in pairs}
    leaders = _leaders(pairs) if recipe.held_out_uids else {}
    for pair in pairs:
        leader = leaders.get((pair.source, pair.uid), pair.uid)
        if _chance(recipe.seed, "held out", leader) < recipe.held_out_uids:
            held_out.append(pair)
        elif pair.lang not in recipe.without and (
            _chance(recipe.seed, "kept", pair.uid) < recipe.keep.get(pair.lang, 1.0)
        ):
            train.append(pair)
    for name in (*recipe.languages, *recipe.without, *recipe.keep):
        if name not in seen:
            raise UserError(
                f"recipe: no pair is in {name!r}; the languages are {', '.join(sorted(seen))}"
            )
    if recipe.zipf is not None:
        train = _skewed(train, recipe)
    return Cut(train, held_out)


def _leaders(pairs: Sequence[TrainingPair]) -> dict[tuple[int, str], str]:
    """(Source, uid) -> one uid of all those that it shares a passage with, directly or not."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}
    first_with: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for pair in pairs:
        one = root((pair.source, pair.uid))
        other = root(first_with.setdefault((pair.source, pair.passage), one))
        low, high = sorted((one, other))
        parent[high] = low
    return {node: root(node)[1] for node in parent}


def _skewed(pairs: Sequence[TrainingPair], recipe: Recipe) -> list[TrainingPair]:
    """The pairs of each language with the smallest hashes, in numbers that follow Zipf's law."""
    sizes = Cut(pairs, ()).counts()
    weights = np.arange(1, len(sizes) + 1, dtype=float) ** -float(recipe.zipf or 0)
    scale = float(recipe.head) if recipe.head else float(recipe.total or 0) / weights.sum()
    wanted = dict(zip(sizes, np.round(scale * weights).astype(int).tolist(), strict=True))
    for lang, number in wanted.items():
        if number > sizes[lang]:
            raise UserError(
                f"recipe: zipf {recipe.zipf} needs {number:,} pairs in {lang}, which has "
                f"{sizes[lang]:,}; lower recipe.{'head' if recipe.head else 'total'}, or leave "
                "small languages out with recipe.languages"
            )
    kept: set[int] = set()
    for lang, number in wanted.items():
        rows = [row for row, pair in enumerate(pairs) if pair.lang == lang]
        rows.sort(key=lambda row: (_chance(recipe.seed, "kept", pairs[row].uid), row))
        kept.update(rows[:number])
    return [pair for row, pair in enumerate(pairs) if row in kept]


def _chance(seed: int, use: str, uid: str) -> float:
    """A number in [0, 1) that belongs to a uid."""
    return key("recipe", seed, use, uid) / 2**64


def _read(number: int, spec: str, languages: Sequence[str]) -> Iterator[TrainingPair]:
    """The pairs of a source, with their hard negatives."""
    name, path, options = _split(spec)
    if name is None and store_format.is_store(Path(path)):
        store = Store(Path(path))
        starts, negatives = store.index.negative_starts, store.index.negatives
        texts = store.passage_texts(negatives)
        for at, row in enumerate(store.table().to_pylist()):
            if not languages or row["lang"] in languages:
                listed = tuple(texts[starts[at] : starts[at + 1]])
                yield TrainingPair(number, **row, negatives=listed)
        return
    source = SOURCES[name or "pairs"]
    if source.pairs is None:
        raise UserError(f"recipe.sources: {spec}: {source.name} has no training pairs")
    source.check(options)
    for batch in source.pairs([path], Reading(options=options)):
        for row in batch.to_pylist():
            if not languages or row["lang"] in languages:
                yield TrainingPair(
                    number,
                    row["uid"],
                    row["lang"],
                    row["query"],
                    row["passage"],
                    tuple(row["negatives"] or ()),
                )


def _split(spec: str) -> tuple[str | None, str, dict[str, str]]:
    """The source's name (None: a store or pair files), the path and the options of a spec."""
    name, colon, rest = spec.partition(":")
    if not colon or "/" in name or "*" in name:
        return None, spec, {}
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(
            f"recipe.sources: {spec}: unknown source {name!r}{nearest(name, SOURCES)} "
            f"(known: {known})"
        )
    path, _, listed = rest.partition("?")
    words = [word.partition("=") for word in listed.split("&")] if listed else []
    return name, path, {option: value for option, _, value in words}


def _write(folder: Path, name: str, pairs: Sequence[TrainingPair]) -> None:
    """Write NAME-N.jsonl for each source N."""
    for at in sorted({pair.source for pair in pairs}):
        with (folder / f"{name}-{at + 1}.jsonl").open("w", encoding="utf-8") as out:
            for pair in pairs:
                if pair.source == at:
                    row: dict[str, Any] = pair._asdict()
                    del row["source"]
                    if not row["negatives"]:
                        del row["negatives"]
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
