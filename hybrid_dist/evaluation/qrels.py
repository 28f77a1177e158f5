"""Collections from mappings in memory: queries, corpus and qrels by id, as in BEIR."""

from collections.abc import Mapping, Sequence

import numpy as np

from hybrid_dist.data.languages import canonical
from hybrid_dist.data.reading import Collection, Text
from hybrid_dist.errors import short

Side = str | Mapping[str, str]
"""The language of all queries or passages, or of each by id."""
Languages = Side | tuple[Side, Side]
"""Of both sides, or a pair (of queries, of passages)."""


def collection_from_qrels(
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    languages: Languages,
) -> tuple[Collection, np.ndarray]:
    """The collection of all queries with a relevant passage, and their positions in `queries`.

    Raises ValueError for input that is empty, malformed or incomplete.
    """
    _check_texts("queries", queries)
    _check_texts("corpus", corpus)
    _check_qrels(queries, corpus, qrels)
    of_queries, of_passages = languages if isinstance(languages, tuple) else (languages, languages)
    query_langs = _languages_of(queries, of_queries, "query")
    passage_langs = _languages_of(corpus, of_passages, "passage")
    number = {id_: position for position, id_ in enumerate(corpus)}
    kept, starts, relevant, grades = [], [0], [], []
    for position, id_ in enumerate(queries):
        judged = {number[passage]: int(grade) for passage, grade in qrels.get(id_, {}).items()}
        right = sorted(passage for passage, grade in judged.items() if grade > 0)
        if right:
            kept.append(position)
            relevant += right
            grades += [judged[passage] for passage in right]
            starts.append(len(relevant))
    if not kept:
        raise ValueError("qrels: no passage has a grade of 1 or more, so that none is relevant")
    texts = list(map(Text, queries, query_langs, queries.values()))
    collection = Collection(
        queries=[texts[position] for position in kept],
        passages=list(map(Text, corpus, passage_langs, corpus.values())),
        relevant_starts=np.array(starts, np.int64),
        relevant=np.array(relevant, np.int64),
        grades=np.array(grades, np.int64),
    )
    return collection, np.array(kept, np.int64)


def _check_texts(name: str, texts: Mapping[str, str]) -> None:
    if not isinstance(texts, Mapping):
        raise ValueError(f"{name}: expected a mapping {{id: text}}, not {_kind(texts)}")
    if not texts:
        raise ValueError(f"{name}: is empty")
    for id_, text in texts.items():
        if not isinstance(id_, str):
            raise ValueError(f"{name}: the id {short(id_)} is {_kind(id_)}, not a str")
        if not isinstance(text, str):
            raise ValueError(
                f"{name}: the text of {id_!r} is {_kind(text)}, not a str; "
                "join titles and texts first"
            )


def _check_qrels(
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
) -> None:
    if not isinstance(qrels, Mapping):
        raise ValueError(
            f"qrels: expected a mapping {{query id: {{passage id: grade}}}}, not {_kind(qrels)}"
        )
    if not qrels:
        raise ValueError("qrels: is empty; give {query id: {passage id: grade}}")
    for query, judged in qrels.items():
        if not isinstance(judged, Mapping):
            raise ValueError(
                f"qrels: those of query {query!r} are {_kind(judged)}, not a mapping "
                "{passage id: grade}"
            )
        for passage, grade in judged.items():
            if not isinstance(grade, int | np.integer):
                raise ValueError(
                    f"qrels: the grade of {passage!r} for query {query!r} is {short(grade)}, not "
                    "an integer"
                )
    if unknown := [query for query in qrels if query not in queries]:
        raise ValueError(f"qrels: {_listed(unknown)} of its queries are not in `queries`")
    judged_passages = dict.fromkeys(passage for judged in qrels.values() for passage in judged)
    if unknown := [passage for passage in judged_passages if passage not in corpus]:
        raise ValueError(f"qrels: {_listed(unknown)} of its passages are not in `corpus`")


def _languages_of(ids: Mapping[str, str], languages: Side, kind: str) -> list[str]:
    """The canonical language of each id."""
    if isinstance(languages, str):
        return [_canonical(languages)] * len(ids)
    if not isinstance(languages, Mapping):
        raise ValueError(
            f"languages: expected a language, a mapping {{id: language}} or a pair of these, not "
            f"{_kind(languages)}"
        )
    if missing := [id_ for id_ in ids if id_ not in languages]:
        raise ValueError(f"languages: {_listed(missing)} of the {kind} ids have none")
    names = {code: _canonical(code) for code in {languages[id_] for id_ in ids}}
    return [names[languages[id_]] for id_ in ids]


def _canonical(code: str) -> str:
    try:
        return canonical(code)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"languages: {short(code)}: {error}") from None


def _listed(ids: Sequence[str]) -> str:
    """`5 (first: 'a', 'b', 'c')`"""
    return f"{len(ids):,} (first: {', '.join(map(short, ids[:3]))})"


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
