"""BUCC: two corpora for each language pair, some of whose sentences are translations.

A corpus has an id and a sentence on each line, the gold standard a foreign and an English id.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.collecting import Answer, Answers, Placed, collect
from hybrid_dist.data.sources.completeness import Missing, check_complete
from hybrid_dist.data.sources.judged import only_split
from hybrid_dist.data.sources.lines import column, columns
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    wanted_languages,
)
from hybrid_dist.errors import UserError

NAME = (
    r"(?:.*/)?(?P<pair>[a-z]{2}-[a-z]{2})\.(?P<split>training|sample|test|dev)"
    r"\.(?P<side>[a-z]{2}|gold)"
)
EXPECTED = "de-en.training.de, de-en.training.en and de-en.training.gold, and the like of .sample."
USUAL = "training"


@dataclass(frozen=True)
class Corpora:
    """The corpora of a language pair in one split, and which sentences are translations."""

    lang: str
    """The foreign language; the other one is English, in most pairs."""
    sides: tuple[Mapping[str, Placed], Mapping[str, Placed]]
    """By id: the sentences of the foreign corpus, and of the other one."""
    gold: Mapping[tuple[str, str], int]
    """The pairs of ids of translations, and the place of each."""


def read_corpora(paths: Sequence[str], reading: Reading, split: str) -> list[Corpora]:
    """The corpora of all language pairs, or of those with the languages of an option."""
    files: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for file, match in find(paths, NAME, EXPECTED):
        if match["split"] == split:
            files[match["pair"]][match["side"]] = file
    if not files:
        raise UserError(f"{', '.join(paths)}: no file of the split {split}; expected {EXPECTED}")
    named = {language_of(reading, p[:2], next(iter(f.values()))): p for p, f in files.items()}
    check_languages(reading, named, ", ".join(paths))
    only = wanted_languages(reading)
    return [
        _corpora(reading, lang, pair, files[pair])
        for lang, pair in named.items()
        if only is None or lang in only
    ]


def _corpora(reading: Reading, lang: str, pair: str, files: Mapping[str, Path]) -> Corpora:
    names = (*pair.split("-"), "gold")
    if missing := [name for name in names if name not in files]:
        there = ", ".join(map(str, files.values()))
        raise UserError(f"{there}: {' and '.join(missing)} is missing beside it; it is {EXPECTED}")
    foreign, other = (_sentences(reading, lang, files[name]) for name in names[:2])
    gold: dict[tuple[str, str], int] = {}
    for place, ids in columns(reading, files["gold"], _two("an id", "an id")):
        gold.setdefault(ids, place)
    gaps = []
    for number, (name, side) in enumerate(zip(names[:2], (foreign, other), strict=True)):
        absent = [ids[number] for ids in gold if ids[number] not in side]
        if absent:
            where, holder = str(files["gold"]), str(files[name])
            gaps.append(Missing(where, "sentences", name, absent, len(gold), holder))
    check_complete(reading, gaps)
    known = {ids: at for ids, at in gold.items() if ids[0] in foreign and ids[1] in other}
    return Corpora(lang, (foreign, other), known)


def _sentences(reading: Reading, lang: str, file: Path) -> dict[str, Placed]:
    found: dict[str, Placed] = {}
    for place, (name, sentence) in columns(reading, file, _two("an id", "a sentence")):
        first, text = found.setdefault(name, (place, Text(name, lang, sentence)))
        if text.text != sentence:
            reading.refuse(
                reading.where(place),
                f"{name} has another sentence than at {reading.where(first)}; keep one of the two",
            )
    return found


def _two(first: str, second: str) -> Callable[[list[str]], tuple[str, str]]:
    return lambda cells: (column(cells, 0, first), column(cells, 1, second))


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """Sentences with a translation are queries for it among all sentences of the other side."""
    splits = [one.match["split"] for one in find(paths, NAME, EXPECTED)]
    split = only_split(reading, splits, USUAL, ", ".join(paths))
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    for corpora in read_corpora(paths, reading, split):
        pools = corpora.lang, f"en-x-{corpora.lang.lower()}"
        sides = [
            {name: (place, text._replace(lang=pool)) for name, (place, text) in side.items()}
            for pool, side in zip(pools, corpora.sides, strict=True)
        ]
        for side in sides:
            passages += side.values()
        for pair, place in corpora.gold.items():
            for one, pool in ((0, 1), (1, 0)):
                at, text = sides[one][pair[one]]
                name = f"{corpora.lang}:{text.id}"
                queries.append((at, text._replace(id=name)))
                key = pools[pool], pair[pool]
                answers.setdefault(name, {})[key] = Answer(1, place)

    def searched(own: str, pool: str) -> bool:
        return own != pool  # the two sides may use the same ids

    return collect(reading, queries, passages, answers, one_pool=False, searched=searched)


SOURCE = Source(
    "bucc",
    "BUCC: translations among the sentences of two corpora; to evaluate on",
    "de-en.training.de, .en: id, sentence; de-en.training.gold: id, id",
    collection=collection,
    options={
        "split": f"sample, dev, test, or {USUAL}, the usual one",
        "languages": "read these pairs with English only, as in languages=de,zh",
    },
)
