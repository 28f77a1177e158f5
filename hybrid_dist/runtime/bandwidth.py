"""How fast the machines of a run exchange data, two at a time, and which of them is slow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import torch
import torch.distributed as dist

from hybrid_dist.runtime.ranks import Ranks

MESSAGE, TURNS = 64 << 20, 3
"""Bytes that each of two machines sends to the other, and how often, after a first time."""
SLOW = 0.5
"""A machine is slow if its best rate is below this share of the others' best."""
Rates = dict[tuple[int, int], float]


def rates(ranks: Ranks, leaders: Sequence[int]) -> Rates:
    """Bytes a second between each two of some ranks, one for each machine. All ranks call it."""
    own: Rates = {}
    buffer = torch.ones(MESSAGE // 4, device=ranks.device)
    for pairs in rounds(leaders):
        for one, two in pairs:
            if ranks.rank in (one, two):
                own[one, two] = MESSAGE * 2 / _exchange(ranks, one, two, buffer)
        ranks.barrier()
    found: Rates = {}
    for part in ranks.gather(own):
        for pair, rate in part.items():
            found[pair] = min(rate, found.get(pair, rate))
    return found


def rounds(members: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Each pair once, in rounds in which every member is in one pair at most."""
    circle: list[int | None] = [*members, *([None] if len(members) % 2 else [])]
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        pairs = zip(circle[:half], reversed(circle[half:]), strict=True)
        yield [(one, two) for one, two in pairs if one is not None and two is not None]
        circle = [circle[0], circle[-1], *circle[1:-1]]


def _exchange(ranks: Ranks, one: int, two: int, buffer: torch.Tensor) -> float:
    """Seconds for a message each way, the median of some turns."""
    seconds = []
    for _ in range(TURNS + 1):
        begin = time.perf_counter()
        for sender in (one, two):
            if ranks.rank == sender:
                dist.send(buffer, two if sender == one else one)
            else:
                dist.recv(buffer, sender)
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[1:])


def slow_members(found: Mapping[tuple[int, int], float]) -> list[int]:
    """Those who are slow with everyone; of two alone, it cannot be told which of them it is."""
    members = sorted({member for pair in found for member in pair})
    best = {m: max(rate for pair, rate in found.items() if m in pair) for m in members}
    if len(members) < 3:
        return []
    return [member for member in members if best[member] < SLOW * median(best.values())]
