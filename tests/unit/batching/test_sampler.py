"""HybridBatchSampler and `store.as_dataset()` give the pairs of the plan, step by step."""

import pickle
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

import hybrid_dist as hd
from hybrid_dist.batching import Plan, shard_batch
from hybrid_dist.batching.sampler import HybridBatchSampler
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.index import TrainingSource
from hybrid_dist.data.store.reader import CHARACTERS_PER_TOKEN, Store
from hybrid_dist.errors import UserError
from hybrid_dist.losses import InfoNCE
from tests.support.pair_rows import store_of

MIX = {"monolingual": 0.5, "cross_lingual": 0.3, "multilingual": 0.2}
SIZE, SEED, STEPS = 10, 3, 12


def a_store(negatives_per_row: int = 0) -> Store:
    rows = [
        (lang, f"u{uid:03d}", f"q {lang} {uid}" + " x" * (uid % 7), f"p {lang} {uid}")
        for lang in ("de", "en", "fr")
        for uid in range(40)
    ]
    negatives = [
        [f"n {lang} {uid} {number}" for number in range(negatives_per_row)]
        for lang, uid, *_ in rows
    ]
    return store_of(rows, negatives)


def plan_of(store: Store, hard_negatives: int = 0) -> Plan:
    """The plan of a training run on the store, with the default lengths."""
    unit = 1 if store.tokens else CHARACTERS_PER_TOKEN
    source = TrainingSource("any name", store.index, (unit * 64, unit * 256))
    batching = Batching(size=SIZE, mix=Mix(**MIX), hard_negatives=hard_negatives)
    return Plan([source], batching, SEED)


@pytest.mark.parametrize("world", [1, 3])
def test_each_rank_gets_the_pairs_that_training_would_take(world: int) -> None:
    store, pairs = a_store(), a_store().as_dataset()
    plan = plan_of(store)
    kinds = set()
    for rank in range(world):
        sampler = HybridBatchSampler(
            store, mix=MIX, size=SIZE, rank=rank, world=world, seed=SEED, steps=STEPS
        )
        batches = list(sampler)
        assert len(batches) == len(sampler) == STEPS
        for step, indices in enumerate(batches):
            batch = plan.batch(step)
            kinds.add(batch.kind)
            rows = shard_batch(batch.lengths, rank, world, chunk_size=0).rows
            expected = list(zip(batch.query_row[rows], batch.passage_row[rows], strict=True))
            assert [pairs.rows_of(index) for index in indices] == expected
    assert kinds == set(MIX)


def test_all_ranks_yields_the_batches_of_the_ranks_in_turn() -> None:
    store = a_store()
    options: dict[str, Any] = {"mix": MIX, "size": SIZE, "world": 4, "seed": SEED, "steps": STEPS}
    interleaved = HybridBatchSampler(store, all_ranks=True, **options)
    by_rank = [list(HybridBatchSampler(store, rank=rank, **options)) for rank in range(4)]
    assert len(interleaved) == 4 * STEPS
    assert list(interleaved) == [by_rank[rank][step] for step in range(STEPS) for rank in range(4)]
    assert interleaved.batch_size is None  # ranks hold 3, 3, 2 and 2 pairs
    assert HybridBatchSampler(store, size=12, world=4).batch_size == 3


def test_epochs_and_resuming_continue_the_plan() -> None:
    store = a_store()
    whole = list(HybridBatchSampler(store, mix=MIX, size=SIZE, seed=SEED, steps=3 * STEPS))
    sampler = HybridBatchSampler(store, mix=MIX, size=SIZE, seed=SEED, steps=STEPS)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs += list(sampler)
    assert epochs == whole
    sampler.set_step(STEPS + 5)
    assert list(sampler) == whole[STEPS + 5 : 2 * STEPS]
    assert list(sampler) == whole[STEPS : 2 * STEPS]


def test_an_epoch_has_as_many_pairs_as_the_store() -> None:
    store = a_store()
    assert len(HybridBatchSampler(store, mix=MIX, size=SIZE)) == store.index.num_rows // SIZE == 12


def test_items_are_texts_of_both_rows() -> None:
    store = a_store()
    pairs = store.as_dataset()
    rows = store.index.num_rows
    assert len(pairs) == rows**2
    query_row, passage_row = 5, 83
    item = pairs[pairs.index_of(query_row, passage_row)]
    assert item == {
        "query": store.queries(np.array([query_row]))[0],
        "passage": store.passages(np.array([passage_row]))[0],
    }
    with pytest.raises(IndexError):
        pairs[rows**2]
    with pytest.raises(IndexError):
        pairs[-1]


def test_a_data_loader_reads_batches_of_the_plan() -> None:
    store = a_store()
    sampler = HybridBatchSampler(store, mix=MIX, size=SIZE, seed=SEED, steps=STEPS)
    loader = DataLoader(store.as_dataset(), batch_sampler=sampler, collate_fn=list)
    plan = plan_of(store)
    for step, items in enumerate(loader):
        batch = plan.batch(step)
        assert sorted(item["query"] for item in items) == sorted(store.queries(batch.query_row))
        assert sorted(item["passage"] for item in items) == sorted(
            store.passages(batch.passage_row)
        )
    assert step == STEPS - 1


def test_hard_negatives_are_those_of_the_plan() -> None:
    store = a_store(negatives_per_row=5)
    pairs = store.as_dataset(hard_negatives=2)
    sampler = HybridBatchSampler(
        store, mix=MIX, size=SIZE, seed=SEED, steps=STEPS, hard_negatives=2
    )
    plan = plan_of(store, hard_negatives=2)
    firsts = set()
    for step, indices in enumerate(sampler):
        batch = plan.batch(step)
        assert batch.negatives is not None
        rows = shard_batch(batch.lengths, 0, 1, chunk_size=0).rows
        drawn = batch.negatives.passages[batch.negatives.of(rows)]
        items = [pairs[index] for index in indices]
        texts = [item[f"negative_{n}"] for item in items for n in (1, 2)]
        assert texts == store.passage_texts(drawn)
        firsts |= {text[-1] for text in texts[::2]}
    assert len(firsts) == 5  # lists are entered anywhere


def test_ids_are_the_clusters_that_mark_false_negatives() -> None:
    rows = [
        ("en", "u1", "who?", "same"),
        ("en", "u2", "what?", "same"),
        ("en", "u3", "what?", "other"),
    ]
    store = store_of(rows, [["same"], ["unrelated"], []])
    pairs = store.as_dataset(hard_negatives=1, ids=True)
    by_uid = dict(zip(store.uids(np.arange(3)), range(3), strict=True))
    one, two, three = (
        pairs[pairs.index_of(by_uid[uid], by_uid[uid])]["ids"] for uid in ("u1", "u2", "u3")
    )
    assert one[0][0] == two[0][0] != three[0][0]
    assert two[0][1] == three[0][1] != one[0][1]
    assert one[1] == [one[0][0], -1]  # the hard negative answers the queries of u1 and u2
    assert two[1][0] not in {one[0][0], three[0][0]}
    assert len(three) == 1


def test_impossible_options_are_rejected() -> None:
    store = a_store()
    with pytest.raises(ValueError, match="rank 2 is not one of the 2 ranks"):
        HybridBatchSampler(store, rank=2, world=2)
    with pytest.raises(UserError, match="11 ranks; choose 11 or more"):
        HybridBatchSampler(store, size=10, world=11)
    with pytest.raises(UserError, match=r"batching\.mix\.bilingual: unknown key"):
        HybridBatchSampler(store, mix={"bilingual": 1})
    with pytest.raises(UserError, match=r"batching\.language_alpha"):
        HybridBatchSampler(store, language_alpha=-1)
    with pytest.raises(UserError, match=r"batching\.mix_end: needs the number of steps"):
        HybridBatchSampler(store, size=SIZE, mix_end={"multilingual": 1})


def test_the_factory_survives_pickling_and_takes_the_trainers_defaults() -> None:
    store = a_store()
    factory = pickle.loads(pickle.dumps(HybridBatchSampler.factory(mix=MIX, steps=STEPS)))
    sampler = factory(store.as_dataset(), batch_size=SIZE, drop_last=False, seed=SEED)
    expected = HybridBatchSampler(store, mix=MIX, size=SIZE, seed=SEED, steps=STEPS)
    assert list(sampler) == list(expected)
    other = HybridBatchSampler.factory(size=5, seed=1)(range(7), batch_size=3, drop_last=False)
    assert list(other) == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_public_names_are_these_classes() -> None:
    assert hd.HybridBatchSampler is HybridBatchSampler
    assert hd.Store is Store
    assert hd.InfoNCE is InfoNCE
    with pytest.raises(AttributeError, match="no attribute 'Sampler'"):
        hd.Sampler  # noqa: B018
