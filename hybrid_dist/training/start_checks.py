"""What is probably wrong with a run though it can be trained: lines that its start prints."""

from collections.abc import Iterator, Mapping, Sequence

from hybrid_dist.data.languages import primary_subtag
from hybrid_dist.errors import short_list
from hybrid_dist.model import text_checks
from hybrid_dist.training.inputs import RunInputs


def warnings(inputs: RunInputs) -> Iterator[str]:
    """Languages without training or evaluation, unknown tokens, and texts that are cut."""
    evaluated = {task.name: task.languages for task in inputs.evaluation.tasks}
    if inputs.dev is not None:
        names = [name for store in inputs.dev[1] for name in store.index.languages]
        evaluated = {"data.dev": sorted(set(names)), **evaluated}
    yield from language_warnings(inputs.languages, evaluated)
    for source, store in zip(inputs.plan.sources, inputs.stores, strict=True):
        if not source.is_drawn:
            continue
        tokens = inputs.tokens.with_prefixes(source.query_prefix, source.passage_prefix)
        sample = text_checks.sample_slices(store.index.languages, store.index.language_starts)
        sides: text_checks.Sides = {
            "query": (sample, store.queries),
            "passage": (sample, store.passages),
        }
        for line in text_checks.warnings(tokens, sides):
            yield f"{source.name}: {line}"


def language_warnings(
    trained: Sequence[str], evaluated: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Languages that are evaluated and not trained, and the reverse.

    Regions and scripts are left aside: zh is trained where zh-Hans is. `evaluated`: by what is
    evaluated on.
    """
    known = {primary_subtag(name) for name in trained}
    for where, names in evaluated.items():
        if others := [name for name in names if primary_subtag(name) not in known]:
            yield f"{where}: no training pairs in {short_list(others)}"
    measured = {primary_subtag(name) for names in evaluated.values() for name in names}
    others = [name for name in trained if primary_subtag(name) not in measured]
    if evaluated and others:
        yield f"trained on and never evaluated: {short_list(others)}"
