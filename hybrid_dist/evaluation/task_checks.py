"""What is probably wrong with a model for a task, though it can be evaluated."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from hybrid_dist.data.languages import primary_subtag
from hybrid_dist.errors import short_list
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.model import text_checks
from hybrid_dist.model.tokenization import TextTokens


def task_warnings(
    task: Task, tokens: TextTokens, trained: Collection[str] | None = None
) -> Iterator[str]:
    """Languages without training, unknown tokens, and texts that are cut.

    `trained`: the languages that the model was trained on, if they are known.
    """
    if trained is not None:
        known = {primary_subtag(name) for name in trained}
        others = [name for name in task.languages if primary_subtag(name) not in known]
        if others:
            yield f"the model was not trained on {short_list(others)}"
    queries, passages = (
        text_checks.sample_codes(task.languages, codes)
        for codes in (task.query_language, task.passage_language)
    )
    sides: text_checks.Sides = {
        "query": (queries, lambda rows: _read(task.query_texts, rows)),
        "passage": (passages, lambda rows: _read(task.passage_texts, rows)),
    }
    yield from text_checks.warnings(tokens, sides)


def _read(texts: Sequence[str], rows: np.ndarray) -> list[str]:
    return [texts[row] for row in rows.tolist()]
