"""Evaluation in which one rank is late: `slow_embedding.py KIND RANK -- the options of evaluate`.

KIND is what that rank does before it embeds passages: `work` takes several times as long as the
process group lets ranks wait in a collective, now here, now there; `sleep` never comes back.
"""

import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from torch.distributed import distributed_c10d

from hybrid_dist.commands import evaluate
from hybrid_dist.model.embedder import TextEmbedder
from tests.launched.scripts.faulty import LONG, work_for

LIMIT = timedelta(seconds=LONG / 3)


def main() -> None:
    kind, rank = sys.argv[1:3]
    here = rank == os.environ.get("RANK")
    whole = TextEmbedder.encode_passages

    def late(self: Any, texts: Sequence[str]) -> np.ndarray:
        if texts:
            distributed_c10d._set_pg_timeout(LIMIT)  # that of the launcher is over a minute
        if texts and here and kind == "work":
            work_for(LONG)
        if texts and here and kind == "sleep":
            time.sleep(1000)
        return whole(self, texts)

    TextEmbedder.encode_passages = late  # type: ignore[method-assign]
    evaluate.main(sys.argv[4:])


if __name__ == "__main__":
    main()
