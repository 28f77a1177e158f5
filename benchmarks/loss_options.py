"""What options of the loss cost: time and memory relative to plain InfoNCE.

The loss of 4,096 pairs of width 768, forward and backward, in one thread. Options take turns with
plain InfoNCE; ratios of medians are printed, above 1 the option is slower. Peak memory is measured
in a process of its own for each option.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import torch
from measuring import forget_peak, peak_gib
from torch.nn import functional

from hybrid_dist.losses import BatchLayout, Guide, LossOptions, Margin, info_nce
from hybrid_dist.losses.options import PLAIN

PAIRS, WIDTH = 4096, 768
OPTIONS: dict[str, LossOptions] = {
    "plain": PLAIN,
    "margin": LossOptions(margin=Margin(0.05)),
    "margin by a guide": LossOptions(margin=Margin(0.05)),
    "hardness": LossOptions(hardness=5.0),
    "query_negatives": LossOptions(query_negatives=True),
    "passage_negatives": LossOptions(passage_negatives=True),
    "dims 64 128 256": LossOptions(dims=(64, 128, 256)),
    "symmetric": LossOptions(symmetric=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="turns each")
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)  # run by this file itself
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory_of(options.memory)))
        return
    compare(options.turns)


def loss(name: str, size: int = PAIRS) -> None:
    numbers = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, size, WIDTH, generator=numbers)
    queries, passages, guide = functional.normalize(vectors, dim=-1)
    options, layout = OPTIONS[name], BatchLayout(0, (size,), None)
    guided = Guide(guide, guide) if name == "margin by a guide" else None
    inputs = queries.requires_grad_(), passages.requires_grad_()
    info_nce(*inputs, torch.tensor([0.05]), layout, options, guided).loss.backward()


def memory_of(name: str) -> float:
    """Peak GiB beyond what a small batch takes."""
    loss(name, 8)
    before = peak_gib()
    forget_peak()
    loss(name)
    return peak_gib() - before


def compare(turns: int) -> None:
    print(f"{PAIRS:,} x {WIDTH}, forward and backward")
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for turn in range(-1, turns):  # the first, which warms up, is not counted
        for name, of in seconds.items():
            begin = time.perf_counter()
            loss(name)
            if turn >= 0:
                of.append(time.perf_counter() - begin)
    memory = {name: _in_its_own_process(name) for name in OPTIONS}
    for name, of in seconds.items():
        ratio = median(of) / median(seconds["plain"])
        share = memory[name] / memory["plain"]
        print(f"  {name:<18} {ratio:5.2f} times the time, {share:5.2f} times the memory")


def _in_its_own_process(name: str) -> float:
    command = [sys.executable, __file__, "--memory", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
