"""FAISS on the CPU, on one card, or on all cards of a process. Nothing else imports it.

`exhaustive` proposes passages of a shard, `build` and `search` use an index of a factory string.
Both classes run the same code and differ in where vectors and indexes are: on a card, torch's
tensors are searched in place.
"""

import importlib
import math
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.tiles import PASSAGES, Shard, free_memory
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.cores import own_cores

SLACK = 1e-5
"""Bounds the difference between two float32 summations of an inner product of unit vectors."""
HALF_SLACK = 2**-11 + 2e-5
"""The same where FAISS rounds a unit query to float16."""
FP32_BLOCK = 16 * PASSAGES
"""Passages in fp16 that are converted to fp32 at once on a CPU."""
PART_BYTES = 2 << 30
"""Bytes of passages in the host's memory that are copied to a card at once."""
TRAINED, ADDED = 1 << 20, 1 << 18
"""The most vectors from which an index is trained, and that are added to it at once."""
QUERIES_AT_ONCE, QUERIES_ON_CARDS = 4096, 16384
"""Queries that are searched at once, between two advances of the progress bar."""
TEMPORARY_BYTES = 512 << 20
"""Of each card, for FAISS's intermediate results; its default is 1.5 GiB."""
GPU_MOST, CUVS_MOST = 2048, 16384
"""The most proposals of a query that FAISS's own kernels return, and cuVS's."""
INSTEAD = "leave --search and --index out, or start a process for each GPU"
OWN = threading.local()
"""`resources` by card: FAISS's are not to be used by two threads."""

Proposals = tuple[np.ndarray, np.ndarray]
"""Scores [Q, C], best first, and rows of the shard [Q, C]; -1 where there are fewer than C."""


class Faiss:
    """FAISS on the CPU."""

    where = "the CPU"
    at_once = QUERIES_AT_ONCE

    def __init__(self, cores: int = 0) -> None:
        """`cores` for FAISS; 0: as many as torch has threads, which on GPU nodes may be one."""
        import faiss

        self.faiss, self.cores = faiss, cores
        self.metric = faiss.METRIC_INNER_PRODUCT
        self.name = f"faiss {faiss.__version__}"

    def use_cores(self) -> None:
        """Launchers set OMP_NUM_THREADS to 1, which FAISS has read."""
        self.faiss.omp_set_num_threads(self.cores or torch.get_num_threads())

    def on(self) -> AbstractContextManager[Any]:
        """Where FAISS is called: it takes torch's current device and stream."""
        return nullcontext()

    def most(self, shard: Shard) -> float:
        """The most proposals of a query that `exhaustive` can return."""
        return math.inf

    def slack(self, shard: Shard) -> float:
        """Bounds the difference between a score of `exhaustive` and the exact one."""
        return SLACK

    def exhaustive(self, queries: np.ndarray, shard: Shard, k: int) -> Proposals:
        """The best k of the shard, in parts if it is large; FAISS breaks ties arbitrarily."""
        self.use_cores()
        proposals: list[Proposals] = []
        lows = range(0, max(1, len(queries)), self.at_once)
        blocks = [queries[low : low + self.at_once] for low in lows]
        starts = range(0, shard.num_rows, self.rows_of_part(shard))
        steps = len(starts) * len(blocks)
        with progress_bar.part_in_steps("searching", len(queries), steps) as step:
            for low in starts:
                part = self.part(shard, low)
                found = []
                for block in blocks:
                    found.append(self.knn(block, part, min(k, len(part))))
                    step()
                scores, rows = _joined(found)
                proposals = [_best([*proposals, (scores, rows + low)], k)]
        return proposals[0]

    def rows_of_part(self, shard: Shard) -> int:
        """Passages that `knn` takes at once."""
        return shard.num_rows if shard.vectors.dtype == torch.float32 else FP32_BLOCK

    def part(self, shard: Shard, low: int) -> torch.Tensor:
        """The part that begins at a row, as `knn` takes it."""
        return shard.vectors[low : low + self.rows_of_part(shard)].float()

    def knn(self, queries: np.ndarray, part: torch.Tensor, k: int) -> Proposals:
        """The best k of one part, without an index, which would hold a second copy."""
        proposals: Proposals = self.faiss.knn(queries, part.numpy(), k, metric=self.metric)
        return proposals

    def build(self, factory: str, shard: Shard, k: int) -> Any:
        """An index of the shard from which k proposals will be asked."""
        return self.fill(self.empty(factory, shard.vectors.shape[1]), factory, shard)

    def empty(self, factory: str, dimension: int) -> Any:
        """An index on the CPU without vectors."""
        try:
            return self.faiss.index_factory(dimension, factory, self.metric)
        except RuntimeError as error:
            raise index_error(factory, f"of dimension {dimension}", error) from None

    def fill(self, index: Any, factory: str, shard: Shard) -> Any:
        """Train the index on the shard's vectors and add them."""
        self.use_cores()
        sample = shard.vectors[:: -(-shard.num_rows // TRAINED)]
        try:
            with self.on(), progress_bar.part("indexing passages", shard.num_rows) as advance:
                index.train(self.input(index, sample))
                for part in shard.vectors.split(ADDED):
                    index.add(self.input(index, part))
                    advance(len(part))
        except RuntimeError as error:
            raise index_error(factory, f"({shard.num_rows:,} on a rank)", error) from None
        return index

    def search(self, index: Any, queries: np.ndarray, k: int) -> Proposals:
        self.use_cores()
        proposals = []
        with progress_bar.part("searching", len(queries)) as advance:
            for low in range(0, len(queries), self.at_once):
                block = torch.from_numpy(np.ascontiguousarray(queries[low : low + self.at_once]))
                with self.on():
                    scores, rows = map(_numpy, index.search(self.input(index, block), k))
                proposals.append((scores, rows))
                advance(len(block))
        return _joined(proposals)

    def input(self, index: Any, vectors: torch.Tensor) -> Any:
        """Vectors as this index takes them, in fp32."""
        return np.ascontiguousarray(vectors.float().cpu().numpy())


class FaissOnCards(Faiss):
    """FAISS on one card, which holds the shard, or spread over all cards of a single process."""

    at_once = QUERIES_ON_CARDS

    def __init__(self, cards: Sequence[torch.device]) -> None:
        super().__init__(own_cores())
        importlib.import_module("faiss.contrib.torch_utils")  # makes FAISS take tensors
        self.cards = cards
        self.where = str(cards[0]) if len(cards) == 1 else f"{len(cards)} GPUs"
        self.cuvs = bool(self.faiss.GpuClonerOptions().use_cuvs)
        if self.cuvs:
            self.name += " with cuVS"

    def on(self) -> AbstractContextManager[Any]:
        card = self.cards[0]
        return torch.cuda.device(card) if card.type == "cuda" else nullcontext()

    def most(self, shard: Shard) -> float:
        return CUVS_MOST if self.cuvs and shard.vectors.dtype == torch.float32 else GPU_MOST

    def slack(self, shard: Shard) -> float:
        return SLACK if shard.vectors.dtype == torch.float32 else HALF_SLACK

    def exhaustive(self, queries: np.ndarray, shard: Shard, k: int) -> Proposals:
        if len(self.cards) == 1:
            return super().exhaustive(queries, shard, k)
        return self.search(self.build("Flat", shard, k), queries, k)

    def rows_of_part(self, shard: Shard) -> int:
        if shard.card is None:
            return shard.num_rows
        return max(1, PART_BYTES // (shard.vectors.shape[1] * shard.vectors.element_size()))

    def part(self, shard: Shard, low: int) -> torch.Tensor:
        return shard.vectors[low : low + self.rows_of_part(shard)].to(self.cards[0])

    def knn(self, queries: np.ndarray, part: torch.Tensor, k: int) -> Proposals:
        card = self.cards[0]
        with self.on():
            scores, rows = self.faiss.knn_gpu(
                self.resources(card),
                torch.from_numpy(queries).to(card, part.dtype),
                part,
                k,
                metric=self.metric,
                device=card.index or 0,
                use_cuvs=self.cuvs,
            )
        return _numpy(scores), _numpy(rows)

    def build(self, factory: str, shard: Shard, k: int) -> Any:
        """An index on the cards; on the CPU where FAISS has none for GPUs or there is no room."""
        index = self.empty(factory, shard.vectors.shape[1])
        if k > self.most(shard):
            self.where = f"the CPU, as its GPU indexes return at most {self.most(shard):,} passages"
            return self.fill(index, factory, shard)
        if len(self.cards) == 1 and not self.has_room(shard):
            self.where = "the CPU, as the card has no room for it"
            return self.fill(index, factory, shard)
        half = shard.vectors.dtype == torch.float16
        if len(self.cards) == 1:  # trained and filled on the card
            return self.fill(self.placed(index, half), factory, shard)
        return self.placed(self.fill(index, factory, shard), half)

    def has_room(self, shard: Shard) -> bool:
        """Whether the card can hold a second copy of the passages."""
        needed = shard.vectors.nbytes + TEMPORARY_BYTES
        return shard.card is None and needed <= free_memory(self.cards[0])

    def placed(self, index: Any, half: bool) -> Any:
        """The index on one card, or each of its vectors on one of several; fp16 storage if half."""
        options = self.faiss.GpuMultipleClonerOptions()
        options.useFloat16 = half
        options.shard = True  # the default is a whole copy on every card
        resources = [self.resources(card) for card in self.cards]
        numbers = [card.index or 0 for card in self.cards]
        try:
            if len(self.cards) == 1:
                return self.faiss.index_cpu_to_gpu(resources[0], numbers[0], index, options)
            return self.faiss.index_cpu_to_gpu_multiple_py(resources, index, options, numbers)
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise UserError(
                    f"faiss cannot put the passages on {self.where} ({error}); {INSTEAD}"
                ) from None
            self.where = "the CPU, as it has no such index for GPUs"
            return index

    def input(self, index: Any, vectors: torch.Tensor) -> Any:
        """Only indexes on one card take tensors there."""
        if not hasattr(index, "getDevice"):
            return super().input(index, vectors)
        return vectors.to(self.cards[0]).float().contiguous()

    def resources(self, card: torch.device) -> Any:
        """This thread's resources on the card, made once."""
        kept = OWN.__dict__.setdefault("resources", {})
        if card not in kept:
            kept[card] = self.faiss.StandardGpuResources()
            kept[card].setTempMemory(TEMPORARY_BYTES)
        return kept[card]


def index_error(factory: str, vectors: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0].rpartition(" failed: ")[2]
    if factory == "Flat":  # --search faiss on several cards
        return UserError(f"faiss cannot index vectors {vectors} ({reason}); {INSTEAD}")
    return UserError(
        f"--index {factory}: faiss cannot build this index from vectors {vectors} ({reason}); give "
        "a factory string such as IVF256,Flat"
    )


def _joined(blocks: Sequence[Proposals]) -> Proposals:
    """The proposals of all blocks of queries."""
    scores, rows = (np.concatenate(both) for both in zip(*blocks, strict=True))
    return scores, rows


def _best(proposals: Sequence[Proposals], k: int) -> Proposals:
    """The best k of each query over several parts."""
    if len(proposals) == 1:
        return proposals[0]
    scores, rows = (np.hstack(both) for both in zip(*proposals, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


def _numpy(array: Any) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
