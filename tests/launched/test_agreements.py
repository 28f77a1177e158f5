"""Ranks that are about to do different things end with an error instead of a hang."""

from tests.support.launch import TORCHRUN, run, script

SCRIPT = script("agreements")


def test_ranks_that_agree_go_on() -> None:
    done = run([*TORCHRUN, "3", *SCRIPT, "-1"])
    assert done.code == 0, done.output
    assert all(f"rank {rank} goes on" in done.output for rank in range(3))


def test_a_rank_that_differs_is_named_with_both_values() -> None:
    done = run([*TORCHRUN, "3", *SCRIPT, "2"])
    assert done.code != 0
    assert "goes on" not in done.output
    assert (
        "ranks 0 and 2 are about to do different things: the step is 3 on rank 0 and 7 on rank 2"
        in done.output
    )
