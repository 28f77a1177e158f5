"""Test sets of parallel sentences, one file per language: FLORES and NTREX.

Each sentence is a query for its translation in the pool of every other language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources.aligned_lines import aligned
from hybrid_dist.data.sources.collecting import Answer, Answers, Placed, Searched, collect
from hybrid_dist.data.sources.judged import only_split
from hybrid_dist.data.sources.paths import find
from hybrid_dist.data.sources.source import (
    Source,
    check_languages,
    language_of,
    wanted_languages,
)
from hybrid_dist.errors import UserError

PIVOT = "pivot"


@dataclass(frozen=True)
class _Layout:
    """How the files of a data set are named."""

    pattern: str
    """With the groups `code`, and `split` if there are several."""
    expected: str
    split: str = ""
    """The usual one."""

    def files(self, paths: Sequence[str], reading: Reading) -> dict[str, Path]:
        """The files by language, of one split."""
        found = find(paths, self.pattern, self.expected)
        if self.split:
            splits = [one.match["split"] for one in found]
            split = only_split(reading, splits, self.split, ", ".join(paths))
            found = [one for one in found if one.match["split"] == split]
        files: dict[str, Path] = {}
        for file, match in found:
            lang = language_of(reading, match["code"], file)
            if lang in files:
                raise UserError(f"{file}: {files[lang]} is in {lang} too; keep one")
            files[lang] = file
        check_languages(reading, files, ", ".join(paths))
        only = wanted_languages(reading)
        return {lang: file for lang, file in files.items() if only is None or lang in only}

    def collection(self, paths: Sequence[str], reading: Reading) -> Collection:
        """Every sentence, as a query and in the pool of its language."""
        files = self.files(paths, reading)
        searched = searched_pools(reading, files)
        texts: list[Placed] = []
        answers: Answers = {}
        for number, sentences in aligned(reading, files):
            uid = f"{number:05d}"
            texts += ((place, Text(uid, lang, text)) for lang, (place, text) in sentences.items())
            answers[uid] = {(lang, uid): Answer(1, place) for lang, (place, _) in sentences.items()}
        return collect(reading, texts, texts, answers, one_pool=False, searched=searched)


def searched_pools(reading: Reading, languages: Mapping[str, Path]) -> Searched:
    """Every language in that of every other; only with the pivot, if the option gives one."""
    given = reading.options.get(PIVOT)
    try:
        pivot = None if given is None else reading.language(given)
    except ValueError as error:
        raise UserError(f"option {PIVOT}={given}: {error}") from None
    if pivot is not None and pivot not in languages:
        known = ", ".join(sorted(languages))
        raise UserError(f"option {PIVOT}={given}: is none of the languages that are read: {known}")
    if len(languages) < 2:
        raise UserError(f"{', '.join(languages)}: translations need two languages or more")
    return lambda query, pool: query != pool and (pivot is None or pivot in (query, pool))


_SPLIT = "devtest|dev"
_FLORES = _Layout(
    rf"(?:.*/)?(?=[^/]*\b(?P<split>{_SPLIT})\b)(?:(?:{_SPLIT})\.)?"
    rf"(?P<code>[a-z]{{3}}_[A-Z][a-z]{{3}}(?:_[a-z0-9]+)?)(?:\.(?:{_SPLIT}))?",
    "devtest/eng_Latn.devtest, ... as in FLORES-200, or devtest/devtest.eng_Latn as in FLORES+",
    "devtest",
)
_NTREX = _Layout(
    r"(?:.*/)?newstest2019-(?:src|ref)\.(?P<code>[A-Za-z-]+)\.txt",
    "newstest2019-src.eng.txt and newstest2019-ref.deu.txt, ...",
)
_OPTIONS = {
    "languages": "read these only, as in languages=eng_Latn,deu_Latn",
    PIVOT: "only pairs of this language and another, as in pivot=eng_Latn",
}

FLORES = Source(
    "flores",
    "FLORES-200 and FLORES+: parallel sentences, in every direction; to evaluate on",
    "devtest/eng_Latn.devtest, ...: one sentence a line, parallel by line",
    collection=_FLORES.collection,
    options={"split": "dev or devtest, which is the usual one", **_OPTIONS},
)
NTREX = Source(
    "ntrex",
    "NTREX-128: parallel sentences, in every direction; to evaluate on",
    "newstest2019-src.eng.txt, newstest2019-ref.deu.txt, ...: one sentence a line, parallel",
    collection=_NTREX.collection,
    options=_OPTIONS,
)
