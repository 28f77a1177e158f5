"""Tatoeba as XTREME has it: `tatoeba.xxx-eng.xxx` and `tatoeba.xxx-eng.eng`, line by line parallel.

Each sentence is a query for the English sentences of its own two files, so every language has its
own pool of English sentences: `en-x-af` is the English of the Afrikaans files. With
`directions=both` the English sentences are queries too.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.aligned_lines import aligned
from hybrid_dist.data.sources.collecting import Answer, Answers, Pair, Placed, blocks, collect
from hybrid_dist.data.sources.paths import local, search, without_compression
from hybrid_dist.data.sources.source import Source, check_languages, wanted_languages
from hybrid_dist.errors import UserError

NAME = r"(?:.*/)?tatoeba\.(?P<pair>[a-z]{2,3}-eng)\.(?P<side>[a-z]{2,3})"
DIRECTIONS = ("to_english", "both")
EXPECTED = "tatoeba.xxx-eng.xxx beside tatoeba.xxx-eng.eng, as in tatoeba.afr-eng.afr"


def pairs(paths: Sequence[str], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Every sentence as query and passage, in both languages.

    This suits cross-lingual batches, in which the passage is a translation of the query; in
    monolingual batches both would be the same text.
    """

    def generate() -> Iterator[Pair]:
        for lang, number, places, (foreign, english) in _bitext(paths, reading):
            uid = f"{lang}-en:{number}"
            yield Pair(uid, lang, foreign, foreign, [], places[0])
            yield Pair(uid, "en", english, english, [], places[1])

    return blocks(generate())


def collection(paths: Sequence[str], reading: Reading) -> Collection:
    """Non-English sentences are the queries, or those of both sides; pools are never merged."""
    directions = reading.options.get("directions", DIRECTIONS[0])
    if directions not in DIRECTIONS:
        known = " or ".join(DIRECTIONS)
        raise UserError(f"option directions={directions}: give {known}")
    queries: list[Placed] = []
    passages: list[Placed] = []
    answers: Answers = {}
    for lang, number, places, sentences in _bitext(paths, reading):
        uid, sides = f"{lang}-en:{number:05d}", (lang, f"en-x-{lang.lower()}")
        texts = [
            (place, Text(uid, side, sentence))
            for place, side, sentence in zip(places, sides, sentences, strict=True)
        ]
        both = directions == DIRECTIONS[1]
        queries += texts if both else texts[:1]
        passages += texts if both else texts[1:]
        answers[uid] = {(text.lang, uid): Answer(1, place) for place, text in texts}
    return collect(
        reading, queries, passages, answers, one_pool=False, searched=lambda one, pool: one != pool
    )


def _bitext(
    paths: Sequence[str], reading: Reading
) -> Iterator[tuple[str, int, tuple[int, int], tuple[str, str]]]:
    """Language, line number, and the places and sentences of both sides."""
    for lang, files in _files(paths, reading):
        sides = (lang, "en")
        for number, sentences in aligned(reading, dict(zip(sides, files, strict=True))):
            if len(sentences) == len(sides):
                foreign, english = (sentences[side] for side in sides)
                yield lang, number, (foreign[0], english[0]), (foreign[1], english[1])


def _files(paths: Sequence[str], reading: Reading) -> list[tuple[str, tuple[Path, Path]]]:
    """Languages with the files of both sides; one side's path implies the other's."""
    places = [local(path) for path in paths]
    sides: dict[str, dict[str, Path]] = {}
    for place in places:
        named = re.fullmatch(NAME, without_compression(place.name)) if place.is_file() else None
        for file, match in search([str(place.parent if named else place)], NAME):
            if named is None or match["pair"] == named["pair"]:
                sides.setdefault(match["pair"], {})[match["side"]] = file
    if not sides:
        raise UserError(f"{', '.join(paths)}: no file of this layout; expected {EXPECTED}")
    only = wanted_languages(reading)
    by_language: dict[str, tuple[Path, Path]] = {}
    unknown: list[str] = []
    for pair, files in sides.items():
        code = pair.partition("-")[0]
        if set(files) != {code, "eng"}:
            there = ", ".join(map(str, files.values()))
            raise UserError(f"{there}: its other side is missing; expected {EXPECTED}")
        try:
            lang = reading.language(code)
        except ValueError:
            unknown.append(
                f"{files[code]}: left out: {code!r} is no code of ISO 639-3; to read it, name "
                "it by one of private use, as in tatoeba.qaa-eng.qaa"
            )
            continue
        if lang in by_language:
            raise UserError(f"{files[code]}: {by_language[lang][0]} is in {lang} too; keep one")
        by_language[lang] = (files[code], files["eng"])
    if not by_language:
        raise UserError("\n".join(unknown))
    check_languages(reading, by_language, ", ".join(paths))
    reading.notes += unknown if only is None else []
    return [(lang, files) for lang, files in by_language.items() if only is None or lang in only]


SOURCE = Source(
    "tatoeba",
    "Tatoeba's parallel sentences as XTREME has them",
    "tatoeba.xxx-eng.xxx and tatoeba.xxx-eng.eng, parallel by line",
    pairs,
    collection,
    {
        "languages": "read these only, as in languages=af,de",
        "directions": "what is searched for: English only (to_english), or both sides (both)",
    },
)
