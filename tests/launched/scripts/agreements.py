"""Every rank states what it is about to do; one of them may state something else."""

import os
import sys

import torch.distributed as dist

from hybrid_dist.errors import report_errors
from hybrid_dist.runtime.ranks import Ranks, exit_process


def main() -> None:
    odd = int(sys.argv[1])
    dist.init_process_group("gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    with report_errors("agreements"):
        ranks.agree({"the seed": 1, "the step": 7 if ranks.rank == odd else 3})
    print(f"rank {os.environ['RANK']} goes on", flush=True)
    exit_process()


if __name__ == "__main__":
    main()
