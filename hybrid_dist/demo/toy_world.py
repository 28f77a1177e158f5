"""A small invented world: queries and passages about the same facts in eight invented languages.

A uid is a fact: who did what to whom, where and when. Its query asks for one part, omits another,
and uses synonyms. Facts come in families whose members differ in one or two parts, or in who did it
to whom, and a passage also states parts of another fact of its family. So a passage matches its
query by the combination and the order of its words, not by a single rare word.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil

from hybrid_dist.errors import UserError


@dataclass(frozen=True)
class Language:
    """The sounds and the word order of a language."""

    code: str
    onsets: str
    vowels: str
    codas: str
    order: str
    """Subject, Verb, Object, Place and Time, by their initials."""
    adjective_first: bool
    preposition: bool
    query_word: str
    """Position of the query word: first, last, or that of the part it asks for ("place")."""


LANGUAGES = (
    Language("qaa", "p t k m n l w h", "a e i o u", "", "SVOPT", True, True, "first"),
    Language("qab", "b d g dr gr v z sk", "e ö å o", "r n st", "TSPOV", True, False, "place"),
    Language("qac", "ch j ll ñ r f tr", "a í o u", "s z", "VSOPT", False, True, "first"),
    Language("qad", "tl x qu tz c y", "a e i oa", "tl c n", "VOSTP", False, True, "last"),
    Language("qae", "sz cz prz w dz kr ż", "y ą i o", "k w ć", "OVSPT", True, True, "first"),
    Language("qaf", "ng th kh ph b l", "ơ ư a ê ô", "m ng p", "TPSVO", False, False, "last"),
    Language("qag", "β γ δ θ κ λ π σ", "α ε ι ο ω", "ν ς", "SOVTP", False, True, "place"),
    Language("qah", "б д ж з м р ш щ", "а и о ы я", "л к й", "PSOVT", True, False, "last"),
)

ROOTS = replace(LANGUAGES[0], onsets="b d f k l m n p r s t v")
"""The sounds of cognates."""
KINDS = {"being": 40, "deed": 24, "quality": 16, "place": 24, "time": 16}
"""Kinds of concepts, and how many of each the world has."""
PARTS = {
    "who": "being",
    "did": "deed",
    "whom": "being",
    "quality": "quality",
    "where": "place",
    "when": "time",
}
"""The parts of a fact, and the kind of concept of each."""
CONSTITUENTS = {"S": "who", "V": "did", "O": "whom", "P": "where", "T": "when"}
ADPOSITIONS = {"whom": "to", "where": "at"}
FUNCTION_WORDS = ("at", "to", "then", "?who", "?did", "?whom", "?quality", "?where", "?when")
FAMILY = 4  # facts per family
SWAPPED = 0.4  # probability that a fact is the first of its family with who and whom swapped
ASIDE = 3  # parts of another fact of the family in a passage's second sentence, as a distractor
SYNONYMS = 0.6  # fraction of concepts with a second word, in each language
Words = dict[str, list[str]]
Parts = dict[str, int]


@dataclass(frozen=True)
class Fact:
    """What happened, and how its query and passage differ from a full statement of it."""

    parts: Parts
    aside: Parts
    """Parts of another fact, which the passage states too."""
    target: str
    """The part that the query asks for."""
    omitted: str
    """The part that the query does not mention."""


def lexicons(languages: Iterable[Language], cognates: float, seed: int) -> dict[str, Words]:
    """The words of every concept in every language: one, or two synonyms."""
    rng = random.Random(f"{seed}:cognates")
    concepts = [f"{kind}{n}" for kind, count in KINDS.items() for n in range(count)]
    chosen = rng.sample(concepts, round(cognates * len(concepts)))
    coined = _coin(ROOTS, rng, avoid=())
    roots = {concept: next(coined) for concept in chosen}
    result = {}
    for language in languages:
        rng = random.Random(f"{seed}:words:{language.code}")
        own = _coin(language, rng, avoid=roots.values())
        lexicon: Words = {word: [next(own)] for word in FUNCTION_WORDS}
        for concept in concepts:
            if concept in roots:
                ending = rng.choice(language.vowels.split()) if rng.random() < 0.3 else ""
                lexicon[concept] = [roots[concept] + ending]
            else:
                lexicon[concept] = [next(own) for _ in range(1 + (rng.random() < SYNONYMS))]
        result[language.code] = lexicon
    return result


def _coin(language: Language, rng: random.Random, avoid: Iterable[str]) -> Iterator[str]:
    """An endless sequence of different words of two or three syllables of the language."""
    used = set(avoid)
    while True:
        word = ""
        for _ in range(rng.choice((2, 2, 3))):
            word += rng.choice(language.onsets.split()) + rng.choice(language.vowels.split())
        if language.codas and rng.random() < 0.5:
            word += rng.choice(language.codas.split())
        if word not in used:
            used.add(word)
            yield word


def facts(count: int, seed: int) -> list[Fact]:
    """Facts whose queries have one answer among all of them; so no query is in two splits."""
    rng = random.Random(f"{seed}:facts")
    families = [_family(rng) for _ in range(ceil(1.2 * count / FAMILY) + 20)]
    counts = Counter(said for family in families for parts in family for said, _ in _queries(parts))
    result = []
    for family in families:
        for parts in family:
            unambiguous = [unsaid for said, unsaid in _queries(parts) if counts[said] == 1]
            if unambiguous:
                target, omitted = rng.sample(rng.choice(unambiguous), 2)
                another = rng.choice([other for other in family if other != parts])
                result.append(Fact(parts, _aside(parts, another, rng), target, omitted))
    if len(result) < count:
        raise UserError(f"{count} facts in all are too many to tell apart: choose fewer uids")
    return result[:count]


def _family(rng: random.Random) -> list[Parts]:
    """A fact, and others that differ from it in one or two parts or with who and whom swapped."""
    head = {part: rng.randrange(KINDS[kind]) for part, kind in PARTS.items()}
    family = [head]
    while len(family) < FAMILY:
        if rng.random() < SWAPPED:
            member = head | {"who": head["whom"], "whom": head["who"]}
        else:
            changed = rng.sample(list(PARTS), rng.choice((1, 2)))
            member = head | {part: rng.randrange(KINDS[PARTS[part]]) for part in changed}
        if member not in family:
            family.append(member)
    return family


def _aside(parts: Parts, another: Parts, rng: random.Random) -> Parts:
    """Some parts of another fact, starting with those that differ."""
    order = sorted(PARTS, key=lambda part: (parts[part] == another[part], rng.random()))
    return {part: another[part] for part in order[:ASIDE]}


def _queries(parts: Parts) -> Iterator[tuple[tuple[tuple[str, int], ...], tuple[str, str]]]:
    """All queries about a fact: the parts that one states, and the two that it does not."""
    for unsaid in combinations(PARTS, 2):
        yield tuple(item for item in parts.items() if item[0] not in unsaid), unsaid


def say(fact: Fact, language: Language, words: Words, rng: random.Random) -> dict[str, str]:
    """The query and the passage of a fact in a language."""
    stated = {part: words[f"{PARTS[part]}{n}"][0] for part, n in fact.parts.items()}
    aside = {part: words[f"{PARTS[part]}{n}"][0] for part, n in fact.aside.items()}
    also = _sentence(aside, language, words)
    passage = f"{_sentence(stated, language, words)}. {words['then'][0]} {also}."

    said = {part: rng.choice(words[f"{PARTS[part]}{n}"]) for part, n in fact.parts.items()}
    del said[fact.target], said[fact.omitted]
    query_word = words[f"?{fact.target}"][0]
    if language.query_word == "place":
        query = _sentence(said | {fact.target: query_word}, language, words)
    else:
        rest = _sentence(said, language, words)
        query = f"{query_word} {rest}" if language.query_word == "first" else f"{rest} {query_word}"
    return {"query": query + "?", "passage": passage}


def _sentence(said: dict[str, str], language: Language, words: Words) -> str:
    """A sentence that states the given parts in the order of the language."""
    before = 0 if language.preposition else 2
    sentence: list[str] = []
    for letter in language.order:
        part = CONSTITUENTS[letter]
        phrase = [said[part]] if part in said else []
        if part == "whom" and "quality" in said:
            phrase.insert(0 if language.adjective_first else 1, said["quality"])
        if part in said and part in ADPOSITIONS:
            phrase.insert(before, words[ADPOSITIONS[part]][0])
        sentence += phrase
    return " ".join(sentence)
