"""Hard negatives of batches: as many as configured, from the passage's list, in turn."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.batching import Plan
from hybrid_dist.batching.negatives import draw_negatives
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import Store, open_sources
from hybrid_dist.errors import UserError

LISTED = {"a": 0, "b": 1, "c": 2, "d": 5}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uids with none to five hard negatives, in two languages."""
    lines = [
        f'{{"uid": "{uid}", "lang": "{lang}", "query": "{lang} {uid}?", '
        f'"passage": "{lang} {uid}.", "negatives": [{texts}]}}'
        for uid, listed in LISTED.items()
        for lang in ("de", "en")
        for texts in [", ".join(f'"{lang} {uid} not {i}."' for i in range(listed))]
    ]
    path = tmp_path_factory.mktemp("negatives") / "pairs.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("most", [1, 2, 9])
def test_each_row_gets_some_of_its_own_list_without_repetition(file: Path, most: int) -> None:
    store = Store.open(str(file))
    rows = np.random.default_rng(most).permutation(store.index.num_rows)
    negatives = draw_negatives(store.index, rows, most, key=7)
    texts = store.passage_texts(negatives.passages)
    for place, row in enumerate(rows):
        passage = store.passages(np.array([row]))[0].removesuffix(".")
        mine = [texts[i] for i in negatives.of(np.array([place]))]
        assert len(mine) == len(set(mine)) == min(most, LISTED[passage[-1]])
        assert all(text.startswith(f"{passage} not ") for text in mine)
    together = negatives.of(np.arange(len(rows)))
    assert together.tolist() == list(range(len(texts)))


def test_other_passes_take_others_and_all_have_their_turn(file: Path) -> None:
    store = Store.open(str(file))
    row = np.array([3])  # d in de, with five
    draws = [draw_negatives(store.index, row, 2, key).passages.tolist() for key in range(500)]
    counts = Counter(number for drawn in draws for number in drawn)
    assert len(counts) == 5
    assert min(counts.values()) > 0.75 * 200


def test_a_plan_gives_negatives_in_the_passages_language(file: Path) -> None:
    stores, sources = open_sources([str(file)])
    batching = Batching(size=4, hard_negatives=2, mix=Mix(cross_lingual=1))
    for step in range(6):
        batch = Plan(sources, batching, seed=1).batch(step)
        assert batch.negatives is not None
        passages = stores[0].passages(batch.passage_row)
        for place, passage in enumerate(passages):
            drawn = batch.negatives.passages[batch.negatives.of(np.array([place]))]
            for text in stores[0].passage_texts(drawn):
                assert text.startswith(passage.removesuffix("."))


def test_without_the_key_there_are_none(file: Path) -> None:
    _, sources = open_sources([str(file)])
    plan = Plan(sources, Batching(size=4, mix=Mix(multilingual=1)), seed=1)
    assert plan.batch(0).negatives is None


def test_negatives_that_no_pair_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"uid": "1", "lang": "en", "query": "q", "passage": "p"}\n')
    _, sources = open_sources([str(path)])
    batching = Batching(size=2, hard_negatives=1, mix=Mix(monolingual=1))
    with pytest.raises(UserError, match=r"batching.hard_negatives: is 1, but no pair"):
        Plan(sources, batching, seed=1)
