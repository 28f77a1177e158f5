"""The plan as a torch batch sampler, for training loops other than ours."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch.distributed as dist
from pydantic import TypeAdapter, ValidationError
from torch.utils.data import BatchSampler, Sampler, SequentialSampler

from hybrid_dist.batching.plan import GlobalBatch, Plan
from hybrid_dist.batching.sharding import check_world, shard_batch
from hybrid_dist.config.schema import Batching, Model
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.pair_dataset import PairDataset
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError, validation_problem


class HybridBatchSampler(Sampler[list[int]]):
    """Batches of indices into `store.as_dataset()`: the pairs that training takes, step by step.

    A run of `hybrid-dist train` on this store with the same options and `seed` (1 there unless
    given, 0 here) trains on the same global batches, split over ranks in the same way. Each rank
    computes them by itself.

    store           the pairs
    mix             weights of the kinds of batches: monolingual, cross_lingual, multilingual
    size            pairs in the global batch, over all ranks
    rank, world     whose part to yield; default to those of torch.distributed, or one process
    all_ranks       yield the batches of rank 0, 1, ... of each step one after the other, for
                    Accelerate, which gives every `world`-th batch to a rank. Leave
                    `split_batches` and `dispatch_batches` off
    seed            of everything drawn
    steps           steps per epoch; defaults to the pairs of the store divided by `size`
    hard_negatives  of each pair at most, as in `store.as_dataset(hard_negatives=...)`
    max_tokens      to which queries and passages are truncated; pairs are shared among ranks by
                    length
    batching        other options of the config section `batching`, such as language_alpha
    """

    def __init__(
        self,
        store: Store,
        *,
        mix: Mix | Mapping[str, float] | None = None,
        size: int = 128,
        rank: int | None = None,
        world: int | None = None,
        all_ranks: bool = False,
        seed: int = 0,
        steps: int | None = None,
        hard_negatives: int = 0,
        max_tokens: tuple[int, int] = (Model.max_query_tokens, Model.max_passage_tokens),
        **batching: Any,
    ) -> None:
        options = batching | {"size": size, "hard_negatives": hard_negatives}
        if mix is not None:
            options["mix"] = mix if isinstance(mix, Mix) else dict(mix)
        current_rank, current_world = _current_rank_and_world()
        self.rank = current_rank if rank is None else rank
        self.world = current_world if world is None else world
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} is not one of the {self.world} ranks of `world`")
        check_world(size, self.world)
        source = store.source("store", max_tokens)
        self._plan = Plan([source], _batching(options), seed, "the store")
        self._pairs = PairDataset(store, hard_negatives)
        self._all_ranks = all_ranks
        self.steps = max(1, store.index.num_rows // size) if steps is None else steps
        self.batch_size = None if size % self.world else size // self.world
        """Pairs per rank; None where ranks differ by one. Read by Accelerate."""
        self.drop_last = False
        self._epoch = self._skipped = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.steps * (self.world if self._all_ranks else 1)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch to iterate over next: steps epoch * steps, ... of the plan. As with
        torch's DistributedSampler, an epoch that is not set repeats the one before."""
        self._epoch, self._skipped = epoch, 0

    def set_step(self, step: int) -> None:
        """Resume: the next iteration starts at this step of the plan, counted from 0, and ends
        with that step's epoch."""
        self._epoch, self._skipped = divmod(step, self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        first, skipped = self._epoch * self.steps, self._skipped
        self._skipped = 0
        for step in range(first + skipped, first + self.steps):
            batch = self._plan.batch(step)
            for rank in range(self.world) if self._all_ranks else [self.rank]:
                yield self._rank_indices(batch, rank)

    def _rank_indices(self, batch: GlobalBatch, rank: int) -> list[int]:
        """Indices of one rank's pairs, in the order in which training takes them."""
        rows = shard_batch(batch.lengths, rank, self.world, chunk_size=0).rows
        offsets = rows * 0 if batch.negatives is None else batch.negatives.offsets[rows]
        columns = batch.query_row[rows], batch.passage_row[rows], offsets
        pairs = zip(*(column.tolist() for column in columns), strict=True)
        return [self._pairs.index_of(*pair) for pair in pairs]

    @classmethod
    def factory(
        cls, *, size: int | None = None, seed: int | None = None, **options: Any
    ) -> Callable[..., Sampler[list[int]]]:
        """What sentence-transformers' training arguments take as `batch_sampler`.

        Takes the options of HybridBatchSampler except those of ranks. `size` defaults to
        per_device_train_batch_size times the number of ranks, `seed` to that of the training
        arguments. The trainer's dataset has to be `store.as_dataset().to_hugging_face()`; other
        datasets, for evaluation, are read in order.
        """
        return partial(_trainer_sampler, cls, {"size": size, "seed": seed} | options)


def _trainer_sampler(
    cls: type[HybridBatchSampler],
    options: Mapping[str, Any],
    dataset: Any,
    batch_size: int,
    drop_last: bool,
    seed: int = 0,
    **unused: Any,
) -> Sampler[list[int]]:
    """A function of the module, since trainers pickle their arguments."""
    pairs = getattr(dataset, "pairs", dataset)
    if not isinstance(pairs, PairDataset):
        return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)
    given = {key: value for key, value in options.items() if value is not None}
    _, world = _current_rank_and_world()
    defaults: dict[str, Any] = {
        "size": batch_size * world,
        "seed": seed,
        "hard_negatives": pairs.hard_negatives,
    }
    return cls(pairs.store, all_ranks=True, **(defaults | given))


def _batching(options: dict[str, Any]) -> Batching:
    try:
        return TypeAdapter(Batching).validate_python(options)
    except ValidationError as error:
        raise UserError(f"batching.{validation_problem(error.errors()[0])}") from None


def _current_rank_and_world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
