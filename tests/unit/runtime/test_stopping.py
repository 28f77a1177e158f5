"""Work that is left when a process is asked to stop; of several ranks: tests/launched/."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.runtime.stopping import Stopped, stoppable


def advance(ranks: Ranks) -> None:
    with progress_bar.part("embedding", 2) as done:
        done(1)


@pytest.mark.parametrize(
    "work",
    [
        advance,
        lambda ranks: ranks.barrier(),
        lambda ranks: ranks.gather(1),
        lambda ranks: ranks.sum(np.ones(1)),
        lambda ranks: ranks.gather_rows(np.ones(1)),
        lambda ranks: ranks.broadcast_from_first(1),
        lambda ranks: ranks.decide_on_first(lambda: 1),
        lambda ranks: ranks.agree({}),
        lambda ranks: None,  # asked after all was done, and another rank still works
    ],
)
def test_work_is_left_at_any_collective_and_where_progress_is_shown(
    work: Callable[[Ranks], Any],
) -> None:
    asked = 0
    with stoppable(Ranks(), lambda: asked) as ranks:
        work(ranks)
    with pytest.raises(Stopped) as stopped, stoppable(Ranks(), lambda: asked) as ranks:
        asked = 12
        work(ranks)
    assert stopped.value.by == 12
    asked = 0
    advance(Ranks())
