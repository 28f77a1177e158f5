"""Evaluation tasks: queries, candidate passages, and which passages answer which query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.reading import Collection, Reading, Text
from hybrid_dist.data.sources import SOURCES, pairs
from hybrid_dist.data.sources.paths import local
from hybrid_dist.data.texts import Part, Reversed, Texts
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class Task:
    """Queries and passages are told by (language, id); queries with one id are parallel.

    Passages are sorted by (language, id), or by that backwards for trec_eval's ties. A passage's
    position there is its stable number: it breaks ties between equal scores, so that a ranking
    never depends on who computed it.
    """

    name: str
    path: str
    languages: tuple[str, ...]
    """All languages of queries and passages, sorted."""
    query_ids: Sequence[str]
    query_texts: Sequence[str]
    query_language: np.ndarray
    """Of each query: its language, as a position in `languages`."""
    passage_ids: Sequence[str]
    passage_texts: Sequence[str]
    passage_language: np.ndarray
    relevant_starts: np.ndarray
    """Query q is answered by the passages `relevant[relevant_starts[q] : ...[q + 1]]`."""
    relevant: np.ndarray
    """Numbers of relevant passages, ascending for every query."""
    grades: np.ndarray
    """Of each of those: how well it answers."""
    one_pool: bool = True
    """Whether the passages of all languages may be searched together."""
    ties: str = "number"
    """How equal scores are ordered: one of TIES."""
    notes: tuple[str, ...] = ()
    """What was left out on reading."""
    missing: tuple[str, ...] = ()
    """What its judgements name and no file has, where `incomplete=allow` tolerates it."""

    def __post_init__(self) -> None:
        _check_shape(self)

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.path}"

    @property
    def pair_query(self) -> np.ndarray:
        """Of each (query, relevant passage) pair, in the order of `relevant`: the query."""
        return np.repeat(np.arange(len(self.query_ids)), np.diff(self.relevant_starts))

    @property
    def pair_language(self) -> np.ndarray:
        """Of each pair: the language of its passage."""
        language: np.ndarray = self.passage_language[self.relevant]
        return language

    @cached_property
    def left_out(self) -> dict[str, str]:
        """The figures that the task does not support, and why."""
        own = self.pair_language == self.query_language[self.pair_query]
        found = {}
        if not own.any():
            found["monolingual"] = "no query has a right answer in its own language"
        if own.all():
            found["cross_lingual"] = "no query has a right answer in another language"
            if len(self.languages) == 1:
                found["cross_lingual"] = "it has one language only"
        if not self.one_pool:
            apart = "every language pair has a pool of its own"
            return found | {"multilingual": apart, "rank_distance": apart}
        if np.diff(self.relevant_starts).max() < 2:
            found["rank_distance"] = "no query has two right answers"
        return found


TIES = {
    "number": "by passage number: (language, id) ascending",
    "trec_eval": "as trec_eval: (language, id) descending",
}


def load_task(spec: str, ties: str = "number") -> Task:
    """The task that `NAME:PATH` names."""
    task = _load(spec)
    return backwards(task) if ties == "trec_eval" else task


def backwards(task: Task) -> Task:
    """The task with its passages numbered from the last to the first.

    The smaller number wins a tie, so that ties go as in trec_eval: to the id that sorts last.
    """
    last = len(task.passage_ids) - 1
    relevant = last - task.relevant
    order = np.lexsort((relevant, task.pair_query))
    return replace(
        task,
        passage_ids=Reversed(task.passage_ids),
        passage_texts=Reversed(task.passage_texts),
        passage_language=task.passage_language[::-1].copy(),
        relevant=relevant[order],
        grades=task.grades[order],
        ties="trec_eval",
    )


def _load(spec: str) -> Task:
    name, path, options = _split(spec)
    collection = TASKS[name].collection
    if collection is None:
        raise UserError(f"task {spec!r}: {TASKS[name].name} can be trained on only")
    reading = Reading(_skip_bad(spec, options), options)
    task = from_collection(name, spec.partition(":")[2], collection([path], reading))
    notes = (*reading.notes, *reading.bad)
    return replace(task, notes=notes, missing=tuple(reading.missing))


def check_task(spec: str) -> None:
    """Refuse a wrong name or a missing file without reading the task."""
    name, path, _ = _split(spec)
    if not path.startswith("hf://"):
        TASKS[name].locate(path)


def fetch_task(spec: str) -> None:
    """Have all that a task reads on this machine: what is on the hub is fetched."""
    check_task(spec)
    _, path, options = _split(spec)
    for place in (path, *options.values()):
        if place.startswith("hf://"):
            local(place)


def task_name(spec: str) -> str:
    """The name in `NAME:PATH`: also the name of the report's folder."""
    return _split(spec)[0]


def from_collection(name: str, path: str, found: Collection) -> Task:
    """The task in a collection, with queries and passages sorted by (language, id)."""
    queries, passages = _texts(found.queries), _texts(found.passages)
    query_order, passage_order = _order(queries), _order(passages)
    queries, passages = queries.take(query_order), passages.take(passage_order)
    query_langs, passage_langs = queries.column("lang"), passages.column("lang")
    languages = tuple(
        sorted({*pc.unique(query_langs).to_pylist(), *pc.unique(passage_langs).to_pylist()})
    )
    query = np.repeat(_inverse(query_order), np.diff(found.relevant_starts))
    passage = _inverse(passage_order)[found.relevant]
    order = np.lexsort((passage, query))
    counts = np.bincount(query, minlength=len(queries))
    return Task(
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
        grades=found.grades[order],
        one_pool=found.one_pool,
    )


def _texts(given: Sequence[Text]) -> Texts:
    return given if isinstance(given, Texts) else Texts.of(given)


def _order(texts: Texts) -> np.ndarray:
    table = pa.table({name: texts.column(name) for name in ("lang", "id")})
    keys = [("lang", "ascending"), ("id", "ascending")]
    order: np.ndarray = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    return order


def _inverse(order: np.ndarray) -> np.ndarray:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _codes(names: pa.ChunkedArray, languages: Sequence[str]) -> np.ndarray:
    known = pa.array(languages, pa.string())
    codes: np.ndarray = pc.index_in(names, known).to_numpy().astype(np.int64)
    return codes


def _toy_file(path: str) -> str:
    """The test split of a folder made by `hybrid-dist toy`, or the file itself."""
    place = Path(path)
    if path_exists(path) and place.is_file():
        return path
    if not path_exists(str(place / "test.jsonl")):
        raise UserError(
            f"task toy:{path}: no file {place / 'test.jsonl'}; "
            f"make it with `hybrid-dist toy --out {path}`, or name another folder"
        )
    return str(place / "test.jsonl")


def _toy_collection(paths: Sequence[str], reading: Reading) -> Collection:
    return pairs.collection([_toy_file(path) for path in paths], reading)


TASKS = {
    "toy": replace(pairs.SOURCE, name="toy", collection=_toy_collection, locate=_toy_file),
    "xquad_r": SOURCES["lareqa"],
    "mlqa_r": SOURCES["lareqa"],
    **{name: source for name, source in SOURCES.items() if source.collection is not None},
}
"""All tasks, and the sources that read them."""


SKIP_BAD = "skip_bad"
"""The option that all of them have."""
MAX_DIGITS = 18
"""Of a number of lines."""


def _split(spec: str) -> tuple[str, str, dict[str, str]]:
    """Name, path and options of `NAME:PATH?option=value&option=value`."""
    known = sorted(TASKS)
    name, colon, path = spec.partition(":")
    if not colon or not path:
        raise UserError(
            f"task {spec!r}: expected NAME:PATH, as in toy:toy (NAME: {', '.join(known)})"
        )
    if name not in known:
        raise UserError(
            f"task {spec!r}: unknown task {name!r}{nearest(name, known)} "
            f"(known: {', '.join(known)})"
        )
    path, written = _cut_options(path, TASKS[name].has_globs)
    options = {}
    for part in written.split("&") if written else ():
        option, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"task {spec!r}: {part!r} is no option; expected NAME:PATH?name=value")
        if option in options:
            raise UserError(f"task {spec!r}: option {option!r} is given twice; give it once")
        options[option] = value
    _skip_bad(spec, options)
    TASKS[name].check({key: value for key, value in options.items() if key != SKIP_BAD})
    return name, path, options


def _cut_options(path: str, may_be_glob: bool) -> tuple[str, str]:
    """A path and the options behind it; a glob's `?` begins options only if a `=` follows."""
    if not may_be_glob:
        path, _, options = path.partition("?")
        return path, options
    start, _, options = path.rpartition("?")
    return (start, options) if start and "=" in options else (path, "")


def _skip_bad(spec: str, options: Mapping[str, str]) -> int:
    """How many bad lines to pass over."""
    given = options.get(SKIP_BAD, "0")
    if not given.isdecimal() or len(given) > MAX_DIGITS:
        raise UserError(f"task {spec!r}: {SKIP_BAD}={given}: give a whole number of lines")
    return int(given)


def _check_shape(task: Task) -> None:
    """Refuse what cannot be scored: nothing is left out in silence."""
    place = f"task {task.spec}"
    if not len(task.query_ids) or not len(task.passage_ids):
        raise UserError(f"{place}: no query or no passage in it")
    if np.any(task.relevant < 0) or np.any(task.relevant >= len(task.passage_ids)):
        wrong = np.flatnonzero((task.relevant < 0) | (task.relevant >= len(task.passage_ids)))
        asked = task.pair_query[wrong[:3]].tolist()
        first = ", ".join(f"of query {task.query_ids[q]}" for q in asked)
        raise UserError(
            f"{place}: {len(wrong)} right answers are passages that are not there (first: {first})"
        )
    if np.any(task.grades < 1):
        wrong = np.flatnonzero(task.grades < 1)
        asked = task.pair_query[wrong[:3]].tolist()
        first = ", ".join(f"of query {task.query_ids[q]}" for q in asked)
        raise UserError(
            f"{place}: {len(wrong)} right answers have a grade below 1 (first: {first}); "
            "a passage judged 0 is no right answer"
        )
    unanswered = np.flatnonzero(np.diff(task.relevant_starts) == 0)
    if len(unanswered):
        first = ", ".join(task.query_ids[int(q)] for q in unanswered[:3])
        raise UserError(
            f"{place}: {len(unanswered)} queries have no right answer among the passages "
            f"(first: {first}); remove them or add their passages"
        )
