"""Sums over updates, kept on the device without waiting for it; one all-reduce reads them."""

from collections import Counter, deque
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_dist.batching import KINDS, Plan
from hybrid_dist.batching.language_pairs import LanguagePairs
from hybrid_dist.losses.options import PLAIN, LossOptions
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.stopwatch import Stopwatch
from hybrid_dist.training.feed import StepInputs
from hybrid_dist.training.flops import Flops, peak
from hybrid_dist.training.rank_times import RankTimes
from hybrid_dist.training.step import Result

GIB = 2**30
OTHERS = ("align", "distill")
"""Losses beside the contrastive one, by their section of the config."""


class Meters:
    """Sums over the updates since the last record: a few on the device, the rest on the host."""

    def __init__(
        self,
        ranks: Ranks,
        plan: Plan,
        flops: Flops | None,
        first: int,
        options: LossOptions = PLAIN,
        width: int = 0,
    ) -> None:
        self._ranks, self._flops, self._pairs = ranks, flops, LanguagePairs(plan.sources)
        self._options = options
        self._widths = [dims for dims, _ in options.widths(width)]
        self._rank_times = RankTimes(ranks)
        self.batches = plan.batch_counts(first)
        """Batches of each stream since the run began; `first` is the step it resumes from."""
        device = ranks.device
        self._peak = peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self.begin()

    def begin(self) -> None:
        device = self._ranks.device
        num_sums = 5 + len(self._widths) + 2 * len(self._pairs.names)
        self._sums = torch.zeros(num_sums, dtype=torch.float64, device=device)
        """Correct rows, cosine sums of positives and of negatives, negatives masked by id and by
        score; the loss at each width; then loss and rows of each language pair."""
        self._losses = torch.zeros(len(KINDS), dtype=torch.float64, device=device)
        self._made = torch.zeros(len(KINDS) + 2, dtype=torch.float64, device=device)
        """Of applied updates, the same on all ranks: updates of each kind, rows, negatives."""
        self._others = torch.zeros(2, len(OTHERS), dtype=torch.float64, device=device)
        """This rank's sums of OTHERS; the updates with each loss, the same on all ranks."""
        self._tokens = self._updates = 0
        self._computed = self._waited = 0.0
        self._seconds = Counter[str]()
        self._timing = deque[Stopwatch]()

    def wait(self, seconds: float) -> None:
        """Add the time for which no batch was ready."""
        self._waited += seconds

    def note(self, work: StepInputs, result: Result) -> None:
        """Add an update."""
        self._updates += 1
        self.batches[work.batch.stream] += 1
        sizes = list(chain(*((*c.queries.sizes, *c.candidates.sizes) for c in work.chunks)))
        self._tokens += sum(sizes)
        self._computed += self._flops(sizes) if self._flops is not None else 0.0
        self._timing.append(result.encoding)
        self._timing.append(result.loss.stopwatch)
        self._timing.extend(other.stopwatch for other in result.others.values())
        while self._timing and self._timing[0].ready:
            self._seconds.update(self._timing.popleft().seconds())
        self._add(work, result)

    def _add(self, work: StepInputs, result: Result) -> None:
        """Add the sums of an update; nothing for a skipped one, whose loss is not finite."""
        loss, kind = result.loss, KINDS.index(work.batch.kind)
        made = ~result.skipped
        negatives = work.layout.global_batch_size * (sum(work.layout.candidate_counts) - 1)
        self._made[kind] += made
        self._made[-2] += made.double() * work.layout.global_batch_size
        self._made[-1] += made.double() * negatives
        self._losses[kind] += torch.where(made, loss.share, 0.0)
        for name, other in result.others.items():
            self._others[0, OTHERS.index(name)] += torch.where(made, other.share, 0.0)
            self._others[1, OTHERS.index(name)] += made
        parts = (
            loss.num_correct.reshape(1),
            loss.similarity_sums,
            loss.num_false_negatives,
            loss.width_shares,
        )
        sums = torch.cat([part.double() for part in parts])
        self._sums[: len(sums)] += torch.where(made, sums, 0.0)
        losses = loss.query_losses.double()
        of_rows = torch.stack([losses, torch.ones_like(losses)], dim=1)
        of_pairs = self._sums[len(sums) :].view(-1, 2)
        of_pairs.index_add_(0, work.pairs, torch.where(made, of_rows, 0.0))

    def read(self, seconds: float, size: int) -> dict[str, Any]:
        """The record of the updates of the last `seconds`, in batches of `size` rows.

        All ranks call it together.
        """
        while self._timing:
            self._seconds.update(self._timing.popleft().seconds())
        mine = [
            self._waited,
            self._seconds["encoding"],
            self._seconds["gather"],
            self._seconds["loss"],
            _peak_memory(self._ranks.device),
            self._peak or np.nan,
        ]
        of_ranks = np.zeros((self._ranks.world, len(mine)))
        of_ranks[self._ranks.rank] = mine  # one row per rank, so that a sum keeps them apart
        losses, sums = self._losses.cpu().numpy(), self._sums.cpu().numpy()
        others, updates = self._others.cpu().numpy()
        parts = [losses, sums, others, np.array([self._tokens, self._computed]), of_ranks.ravel()]
        summed = self._ranks.sum(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])
        losses, sums, others, (tokens, computed), of_ranks = np.split(summed, ends[:-1])
        waited, encoding, gather, loss, memory, peaks = of_ranks.reshape(self._ranks.world, -1).T
        record = self._learned(losses, sums, self._made.cpu().numpy()) | {
            **{
                f"train/{n}_loss": v / k
                for n, v, k in zip(OTHERS, others, updates, strict=True)
                if k
            },
            "system/pairs_per_s": self._updates * size / seconds,
            "system/tokens_per_s": tokens / seconds,
            "system/step_ms": 1000 * seconds / self._updates,
            "system/data_wait_pct": 100 * waited.max() / seconds,
            "system/gather_ms": 1000 * gather.mean() / self._updates,
            "system/loss_ms": 1000 * loss.mean() / self._updates,
            "system/memory_gib": memory.max(),
        }
        if self._flops is not None and not np.isnan(peaks).any():
            record["system/mfu_pct"] = 100 * computed / seconds / peaks.sum()
        batches = {f"train/batches/{kind}": count for kind, count in self._by_kind().items()}
        own_ms = 1000 * (waited + encoding) / self._updates
        times = self._rank_times.record(own_ms, record["system/step_ms"])
        return {name: float(value) for name, value in record.items()} | times | batches

    def _by_kind(self) -> Counter[str]:
        counts = Counter[str]()
        for stream, count in self.batches.items():
            counts[stream.kind] += count
        return counts

    def _learned(
        self, losses: np.ndarray, sums: np.ndarray, counts: np.ndarray
    ) -> dict[str, float]:
        """Means over the applied updates; empty if there was none."""
        of_kind, (rows, candidates) = counts[:-2], counts[-2:]
        made = of_kind.sum()
        if not made:
            return {}
        correct, own, others, by_id, by_score = sums[:5]
        of_widths, of_pairs = np.split(sums[5:], [len(self._widths)])
        by_width = zip(self._widths, of_widths, strict=True) if self._options.dims else ()
        by_kind = zip(KINDS, losses, of_kind, strict=True)
        languages = self._pairs.languages
        by_pair = zip(self._pairs.names, *of_pairs.reshape(-1, 2).T, strict=True)
        of_languages = of_pairs.reshape(len(languages), len(languages), 2).sum(1)
        by_language = zip(languages, *of_languages.T, strict=True)
        masked = by_id + by_score
        negatives = candidates - masked
        by_rule = {
            "train/false_negatives/id": by_id / made,
            "train/false_negatives/score": by_score / made,
        }
        return {
            "train/loss": losses.sum() / made,
            **{f"train/loss/{kind}": v / n for kind, v, n in by_kind if n},
            **{f"train/loss_by_language/{name}": v / n for name, v, n in by_language if n},
            **{f"train/loss_by_pair/{name}": v / n for name, v, n in by_pair if n},
            **{f"train/loss_by_dims/{width}": v / made for width, v in by_width},
            "train/accuracy": correct / rows,
            "train/similarity/positive": own / rows,
            **({"train/similarity/negative": others / negatives} if negatives else {}),
            "train/false_negatives": masked / made,
            **(by_rule if self._options.margin else {}),
        }


def _peak_memory(device: torch.device) -> float:
    """Peak memory in GiB: of tensors on a GPU, of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    status = Path("/proc/self/status").read_text()  # getrusage also counts what ran before exec
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
