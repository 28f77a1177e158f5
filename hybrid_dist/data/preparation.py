"""Preparing a published data set for training: its pairs become a store."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import hybrid_dist
from hybrid_dist.data.changes import NO_CHANGES, Changes
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.store import space
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError

Blocks = Iterator[pa.RecordBatch]


def prepare(
    source: Source,
    paths: Sequence[str],
    out: Path,
    reading: Reading,
    add_tokens: Callable[[Path], Mapping[str, Any]] | None = None,
    watch: Callable[[Blocks], Blocks] = iter,
    add_teacher: Callable[[Path], Mapping[str, Any]] | None = None,
    changes: Changes = NO_CHANGES,
) -> Store:
    """Build the store of a source's training pairs; an error leaves everything as it was.

    `add_tokens`: writes token ids into the store's folder and returns their description.
    `watch`: wraps the stream of pairs, for instance to show progress. `add_teacher`: as
    `add_tokens`, for a teacher's vectors. `changes`: what is done to the pairs first.
    """
    if source.pairs is None:
        raise UserError(
            f"{source.name}: has no training pairs; evaluate on it, as in "
            f"--eval.tasks {source.name}:{paths[0]}"
        )
    source.check(reading.options)

    def annotate(folder: Path) -> Mapping[str, Any]:
        tokens = {} if add_tokens is None else {"tokens": add_tokens(folder)}
        teacher = {} if add_teacher is None else {"teacher": add_teacher(folder)}
        mapping = {"mapping": reading.mapping} if reading.mapping else {}
        evaluation = count_evaluation_data(source, paths, reading)
        return {
            **tokens,
            **teacher,
            **mapping,
            **changes.described(),
            "hybrid_dist": hybrid_dist.__version__,
            "source": source.name,
            "paths": list(paths),
            "options": dict(reading.options),
            "evaluation": evaluation,
            "renamed": reading.named,
            "bad": reading.bad,
            "notes": reading.notes,
        }

    pairs = watch(source.pairs(paths, reading))
    return Store.build(
        changes.made_to(pairs, reading, space.estimate_bytes(paths)),
        out,
        reading=reading,
        name=", ".join(paths),
        needed=space.estimate_bytes(paths, add_tokens is not None),
        annotate=annotate,
    )


def count_evaluation_data(
    source: Source, paths: Sequence[str], reading: Reading
) -> dict[str, dict[str, int]]:
    """Each language's queries and candidate passages, if the same paths can be evaluated on."""
    if source.collection is None or source.evaluates_on_pairs:
        return {}
    second_reading = Reading(skip_bad=reading.skip_bad, options=reading.options)
    try:
        collection = source.collection(paths, second_reading)
    except UserError as error:
        reading.notes.append(f"nothing to evaluate on: {error}")
        return {}
    counts: dict[str, dict[str, int]] = {}
    for name, texts in (("candidates", collection.passages), ("queries", collection.queries)):
        for language, count in sorted(Counter(text.lang for text in texts).items()):
            counts.setdefault(language, {})[name] = count
    return counts
