"""Evaluation tasks: questions, candidate passages, and which passages answer which question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hybrid_dist.data.pairs import expand, read_pairs
from hybrid_dist.errors import UserError, nearest


@dataclass(frozen=True)
class Task:
    """Questions and passages are told by (language, id); questions with one id are parallel.

    Passages are sorted by (language, id). A passage's position there is its stable number: it
    breaks ties between equal scores, so that a ranking never depends on who computed it.
    """

    name: str
    path: str
    languages: tuple[str, ...]
    """All languages of questions and passages, sorted."""
    question_ids: Sequence[str]
    question_texts: Sequence[str]
    question_language: np.ndarray
    """Of each question: its language, as a position in `languages`."""
    passage_ids: Sequence[str]
    passage_texts: Sequence[str]
    passage_language: np.ndarray
    relevant_starts: np.ndarray
    """Question q is answered by the passages `relevant[relevant_starts[q] : ...[q + 1]]`."""
    relevant: np.ndarray
    """Numbers of relevant passages, ascending for every question."""

    def __post_init__(self) -> None:
        _check_shape(self)

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.path}"

    @property
    def pair_question(self) -> np.ndarray:
        """Of each (question, relevant passage) pair, in the order of `relevant`: the question."""
        return np.repeat(np.arange(len(self.question_ids)), np.diff(self.relevant_starts))

    @property
    def pair_language(self) -> np.ndarray:
        """Of each pair: the language of its passage."""
        language: np.ndarray = self.passage_language[self.relevant]
        return language


def load_task(spec: str) -> Task:
    """The task that `NAME:PATH` names."""
    name, path = _split(spec)
    return SOURCES[name].load(name, path)


def check_task(spec: str) -> None:
    """Refuse a wrong name or a missing file without reading the task."""
    name, path = _split(spec)
    SOURCES[name].files(path)


def task_name(spec: str) -> str:
    """The name in `NAME:PATH`: also the name of the report's folder."""
    return _split(spec)[0]


@dataclass(frozen=True)
class Source:
    """Where tasks of one name come from."""

    load: Callable[[str, str], Task]
    files: Callable[[str], object]
    """Finds the files of a path, or refuses."""


def from_pairs(name: str, path: str, table: pa.Table) -> Task:
    """The task in a table of pairs.

    Every (uid, language) asks a question. The distinct passage texts of a language are its
    candidates, named by the first uid that has the text. All passages of the question's uid, in
    any language, are right answers.
    """
    uids, langs = table["uid"].to_pylist(), table["lang"].to_pylist()
    languages = tuple(sorted(set(langs)))
    code = {language: position for position, language in enumerate(languages)}
    number: dict[tuple[str, str], int] = {}
    ids: list[str] = []
    answers: dict[str, set[int]] = {}
    for uid, lang, text in zip(uids, langs, table["passage"].to_pylist(), strict=True):
        if (lang, text) not in number:
            number[lang, text] = len(ids)
            ids.append(uid)
        answers.setdefault(uid, set()).add(number[lang, text])
    relevant = [sorted(answers[uid]) for uid in uids]
    return Task(
        name=name,
        path=path,
        languages=languages,
        question_ids=uids,
        question_texts=table["query"].to_pylist(),
        question_language=np.array([code[lang] for lang in langs], dtype=np.int64),
        passage_ids=ids,
        passage_texts=[text for _, text in number],
        passage_language=np.array([code[lang] for lang, _ in number], dtype=np.int64),
        relevant_starts=np.cumsum([0, *map(len, relevant)]),
        relevant=np.array([one for some in relevant for one in some], dtype=np.int64),
    )


def _toy_file(path: str) -> Path:
    """The test split of a folder made by `hybrid-dist toy`, or the file itself."""
    place = Path(path)
    if place.is_file():
        return place
    if not (place / "test.jsonl").is_file():
        raise UserError(
            f"task toy:{path}: no file {place / 'test.jsonl'}; "
            f"make it with `hybrid-dist toy --out {path}`, or name another folder"
        )
    return place / "test.jsonl"


def _load_toy(name: str, path: str) -> Task:
    return from_pairs(name, path, read_pairs([str(_toy_file(path))]))


def _load_pairs(name: str, path: str) -> Task:
    return from_pairs(name, path, read_pairs([path]))


SOURCES = {
    "toy": Source(_load_toy, _toy_file),
    "pairs": Source(_load_pairs, lambda path: expand([path])),
}
"""Every task by its name."""


def _split(spec: str) -> tuple[str, str]:
    name, colon, path = spec.partition(":")
    if not colon or not path:
        raise UserError(f"task {spec!r}: expected NAME:PATH, as in toy:toy (NAME: {_known()})")
    if name not in SOURCES:
        raise UserError(
            f"task {spec!r}: unknown task {name!r}{nearest(name, SOURCES)} (known: {_known()})"
        )
    return name, path


def _known() -> str:
    return ", ".join(sorted(SOURCES))


def _check_shape(task: Task) -> None:
    """Refuse what cannot be scored: nothing is left out in silence."""
    place = f"task {task.spec}"
    if not len(task.question_ids) or not len(task.passage_ids):
        raise UserError(f"{place}: no question or no passage in it")
    if np.any(task.relevant < 0) or np.any(task.relevant >= len(task.passage_ids)):
        wrong = np.sum((task.relevant < 0) | (task.relevant >= len(task.passage_ids)))
        raise UserError(f"{place}: {wrong} right answers are passages that are not there")
    unanswered = np.flatnonzero(np.diff(task.relevant_starts) == 0)
    if len(unanswered):
        first = ", ".join(task.question_ids[int(q)] for q in unanswered[:3])
        raise UserError(
            f"{place}: {len(unanswered)} questions have no right answer among the passages "
            f"(first: {first}); remove them or add their passages"
        )
    empty = sorted(set(task.question_language.tolist()) - set(task.passage_language.tolist()))
    if empty:
        names = ", ".join(task.languages[code] for code in empty[:3])
        raise UserError(f"{place}: {len(empty)} languages have questions but no passage ({names})")
