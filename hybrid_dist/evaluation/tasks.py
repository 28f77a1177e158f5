"""Evaluation tasks: queries, candidate passages, and which passages are relevant to which query.

Shapes: Q queries, P passages, R relevant (query, passage) pairs, in query order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.reading import Collection, Subset, Text
from hybrid_dist.data.text_sequence import Part, Reversed, Texts
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.qrels import Languages, collection_from_qrels

TIES = {
    "number": "by passage number: (language, id) ascending",
    "trec_eval": "as trec_eval: (language, id) descending",
}
"""Orders of passages with equal scores."""


@dataclass(frozen=True)
class RowOrder:
    """How the caller of `Task.from_qrels` ordered its queries or passages."""

    rows: np.ndarray
    """[Q] or [P]: the caller's row of each query or passage of the task."""
    count: int
    """The caller's number of rows, including queries that were left out."""


@dataclass(frozen=True)
class Task:
    """A retrieval task; `Task.from_qrels` builds one from mappings.

    Queries and passages are identified by (language, id); queries with one id are parallel.
    Passages are sorted by (language, id), or in reverse for trec_eval's order of ties. The position
    of a passage is its *number*, which breaks ties between equal scores, so that a ranking does not
    depend on who computed it.
    """

    name: str
    path: str
    languages: tuple[str, ...]
    """All languages of queries and passages, sorted. Language codes are positions in it."""
    query_ids: Sequence[str]
    query_texts: Sequence[str]
    query_language: np.ndarray
    """[Q]: language codes."""
    passage_ids: Sequence[str]
    passage_texts: Sequence[str]
    passage_language: np.ndarray
    """[P]: language codes."""
    relevant_starts: np.ndarray
    """[Q + 1]: the passages relevant to query q are
    `relevant[relevant_starts[q] : relevant_starts[q + 1]]`."""
    relevant: np.ndarray
    """[R]: numbers of relevant passages, ascending within a query."""
    grades: np.ndarray
    """[R]: relevance grades, 1 or more."""
    one_pool: bool = True
    """Whether the passages of all languages may be searched together."""
    ties: str = "number"
    """The order of passages with equal scores: one of TIES."""
    notes: tuple[str, ...] = ()
    """What was left out when the task was read."""
    missing: tuple[str, ...] = ()
    """Queries and passages that qrels name and no file has, where `incomplete=allow` permits it."""
    query_rows: RowOrder | None = None
    """The order of the caller's queries; None: the order of `query_texts`."""
    passage_rows: RowOrder | None = None
    """The order of the caller's passages; None: the order of `passage_texts`."""
    kind: str = ""
    """The name in its spec where a label stands in for it."""
    subsets: tuple[Subset, ...] = ()
    """What it is made of, if it is published in subsets."""
    excluded: np.ndarray | None = None
    """[Q]: the number of the passage that is not searched for each query, or -1."""

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_qrels(
        cls,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        qrels: Mapping[str, Mapping[str, int]],
        *,
        languages: Languages,
        name: str = "task",
        ties: str = "number",
    ) -> "Task":
        """Build a task from texts and relevance judgements.

        Args:
            queries: Query id -> text. Queries without a relevant passage are left out and noted.
            corpus: Passage id -> text.
            qrels: Query id -> {passage id: grade}. Grades of 1 or more are relevant.
            languages: The language of each id: a mapping from id to language, or one language for
                all. A pair (of queries, of passages) gives either for each side.
            name: Names the task in reports.
            ties: The order of passages with equal scores: one of TIES.

        Raises:
            ValueError: for unknown or missing ids and languages, and for empty or malformed input.

        The rows of the arrays that `evaluate` takes follow the order of `queries` and `corpus`.
        """
        if ties not in TIES:
            raise ValueError(f"ties: {ties!r} is not one of {', '.join(TIES)}")
        collection, kept = collection_from_qrels(queries, corpus, qrels, languages)
        task, query_order, passage_order = _sorted_task(name, "(in memory)", collection)
        left_out = len(queries) - len(kept)
        task = replace(
            task,
            notes=(f"{left_out:,} queries without a relevant passage",) if left_out else (),
            query_rows=RowOrder(kept[query_order], len(queries)),
            passage_rows=RowOrder(passage_order, len(corpus)),
        )
        return backwards(task) if ties == "trec_eval" else task

    @property
    def spec(self) -> str:
        """`NAME:PATH`, or `LABEL=NAME:PATH`"""
        label = f"{self.name}=" if self.kind else ""
        return f"{label}{self.kind or self.name}:{self.path}"

    @property
    def pair_query(self) -> np.ndarray:
        """[R]: the query of each relevant pair."""
        return np.repeat(np.arange(len(self.query_ids)), np.diff(self.relevant_starts))

    @property
    def pair_language(self) -> np.ndarray:
        """[R]: the language code of the passage of each relevant pair."""
        language: np.ndarray = self.passage_language[self.relevant]
        return language

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Figure -> why the task does not support it."""
        own = self.pair_language == self.query_language[self.pair_query]
        reasons = {}
        if not own.any():
            reasons["monolingual"] = "no query has a relevant passage in its own language"
        if own.all():
            reasons["cross_lingual"] = "no query has a relevant passage in another language"
            if len(self.languages) == 1:
                reasons["cross_lingual"] = "the task has only one language"
        if not self.one_pool:
            reason = "every language pair has a pool of its own"
            return reasons | {"multilingual": reason, "rank_distance": reason}
        if np.diff(self.relevant_starts).max() < 2:
            reasons["rank_distance"] = "no query has two relevant passages"
        return reasons


def backwards(task: Task) -> Task:
    """The task with its passages numbered in reverse.

    The smaller number wins a tie, so ties then go to the id that sorts last, as in trec_eval.
    """
    last = len(task.passage_ids) - 1
    relevant = last - task.relevant
    order = np.lexsort((relevant, task.pair_query))
    rows, excluded = task.passage_rows, task.excluded
    if excluded is not None:
        excluded = np.where(excluded < 0, -1, last - excluded)
    return replace(
        task,
        passage_ids=Reversed(task.passage_ids),
        passage_texts=Reversed(task.passage_texts),
        passage_language=task.passage_language[::-1].copy(),
        relevant=relevant[order],
        grades=task.grades[order],
        ties="trec_eval",
        excluded=excluded,
        passage_rows=None if rows is None else RowOrder(rows.rows[::-1].copy(), rows.count),
    )


def from_collection(name: str, path: str, collection: Collection) -> Task:
    """The task of a collection, with queries and passages sorted by (language, id)."""
    task, _, _ = _sorted_task(name, path, collection)
    return task


def _sorted_task(
    name: str, path: str, collection: Collection
) -> tuple[Task, np.ndarray, np.ndarray]:
    """The task, and the positions of its queries and passages in the collection."""
    queries, passages = _texts(collection.queries), _texts(collection.passages)
    query_order, passage_order = _order(queries), _order(passages)
    queries, passages = queries.take(query_order), passages.take(passage_order)
    query_langs, passage_langs = queries.column("lang"), passages.column("lang")
    languages = tuple(
        sorted({*pc.unique(query_langs).to_pylist(), *pc.unique(passage_langs).to_pylist()})
    )
    query = np.repeat(_inverse(query_order), np.diff(collection.relevant_starts))
    number = _inverse(passage_order)
    passage = number[collection.relevant]
    excluded = collection.excluded
    if excluded is not None:
        excluded = np.where(excluded < 0, -1, number[excluded])[query_order]
    order = np.lexsort((passage, query))
    counts = np.bincount(query, minlength=len(queries))
    task = Task(
        name=name,
        path=path,
        languages=languages,
        query_ids=queries.column("id").to_pylist(),
        query_texts=Part(queries, "text"),
        query_language=_codes(query_langs, languages),
        passage_ids=Part(passages, "id"),
        passage_texts=Part(passages, "text"),
        passage_language=_codes(passage_langs, languages),
        relevant_starts=np.concatenate([[0], np.cumsum(counts)]),
        relevant=passage[order],
        grades=collection.grades[order],
        one_pool=collection.one_pool,
        subsets=collection.subsets,
        excluded=excluded,
    )
    return task, query_order, passage_order


def _texts(texts: Sequence[Text]) -> Texts:
    return texts if isinstance(texts, Texts) else Texts.of(texts)


def _order(texts: Texts) -> np.ndarray:
    """The positions that sort the texts by (language, id)."""
    table = pa.table({name: texts.column(name) for name in ("lang", "id")})
    keys = [("lang", "ascending"), ("id", "ascending")]
    order: np.ndarray = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    return order


def _inverse(order: np.ndarray) -> np.ndarray:
    """The inverse of a permutation."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _codes(names: pa.ChunkedArray, languages: Sequence[str]) -> np.ndarray:
    """Language names as positions in `languages`."""
    known = pa.array(languages, pa.string())
    codes: np.ndarray = pc.index_in(names, known).to_numpy().astype(np.int64)
    return codes


def _check(task: Task) -> None:
    """Refuse a task that cannot be scored as a whole, rather than dropping parts of it."""
    where = f"task {task.spec}"
    if not len(task.query_ids) or not len(task.passage_ids):
        raise UserError(f"{where}: has no queries or no passages")
    unknown = np.flatnonzero((task.relevant < 0) | (task.relevant >= len(task.passage_ids)))
    if len(unknown):
        raise UserError(
            f"{where}: {len(unknown)} relevant passages are not among its passages "
            f"({_queries_of(task, unknown)})"
        )
    ungraded = np.flatnonzero(task.grades < 1)
    if len(ungraded):
        raise UserError(
            f"{where}: {len(ungraded)} relevant passages have a grade below 1 "
            f"({_queries_of(task, ungraded)}); a passage judged 0 is not relevant"
        )
    unanswered = np.flatnonzero(np.diff(task.relevant_starts) == 0)
    if len(unanswered):
        first = ", ".join(task.query_ids[int(q)] for q in unanswered[:3])
        raise UserError(
            f"{where}: {len(unanswered)} queries have no relevant passage in it "
            f"(first: {first}); remove them or add their passages"
        )


def _queries_of(task: Task, pairs: np.ndarray) -> str:
    """`first: of query a, of query b`: the queries of the first three of some relevant pairs."""
    queries = task.pair_query[pairs[:3]].tolist()
    return "first: " + ", ".join(f"of query {task.query_ids[q]}" for q in queries)
