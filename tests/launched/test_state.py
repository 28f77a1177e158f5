"""The training state does not know the strategy: what one wrote another goes on from."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.launched.launch import TORCHRUN, run, train
from tests.launched.test_training import column, options, succeed

SHARDED = str(Path(__file__).with_name("scripts") / "sharded_state.py")


def test_fsdp2s_state_goes_on_sharded_and_whole(tmp_path: Path) -> None:
    """PyTorch's own fully_shard: Accelerate offers it on GPUs only."""
    done = succeed(run([*TORCHRUN, "2", SHARDED, str(tmp_path)]))
    found = re.findall(r"RESULT (\w+) (\S+) on rank", done.output)
    assert sorted(name for name, _ in found) == ["sharded", "sharded", "whole", "whole"]
    for name, worst in found:
        assert float(worst) <= (0 if name == "sharded" else 1e-6), found


CHAINS = [
    [("zero3", 2), ("cpu", 3)],
    pytest.param([("zero3-offload", 2), ("zero2-offload", 3), ("", 1)], marks=pytest.mark.long),
    pytest.param([("zero1", 2), ("zero3", 3), ("", 1)], marks=pytest.mark.long),
    pytest.param([("", 1), ("zero2", 2), ("zero2", 3), ("cpu", 2)], marks=pytest.mark.long),
]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_run_goes_from_strategy_to_strategy(
    chain: list[tuple[str, int]], toy: Path, tmp_path: Path
) -> None:
    """Without dropout the curve is that of a run that stayed with one process."""
    changed = {"optim__schedule": "constant", "checkpoint__every": "5"}
    last = 5 * len(chain)
    succeed(train(options(toy, tmp_path, "whole", **changed, train__steps=str(last))))
    for number, (launcher, processes) in enumerate(chain, 1):
        args = options(toy, tmp_path, "moved", **changed, train__steps=str(5 * number))
        done = succeed(train(args, launcher, processes))
        assert number == 1 or f"step {5 * (number - 1)}" in done.output
    for key in ("train/loss", "train/grad_norm"):
        moved, whole = column(tmp_path, "moved", key), column(tmp_path, "whole", key)
        assert len(moved) == last
        assert np.max(np.abs(moved / whole - 1)) < 1e-4
