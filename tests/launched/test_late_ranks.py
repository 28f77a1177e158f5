"""Ranks that embed for longer than a collective may take, and ranks that hang while embedding."""

import json
from pathlib import Path

import pytest

from tests.support.launch import launch, script
from tests.support.runs import succeed
from tests.support.saved_models import saved

LIMIT = ["--timeout-minutes", "0.08"]


def words(fault: str, toy: Path, out: Path) -> list[str]:
    """The evaluation of an untrained model, in which `KIND RANK` happens."""
    model = out.parent / "model"
    saved(toy / "model", model)
    options = ["--model", str(model), "--task", f"toy:{toy}", "--out", str(out), *LIMIT]
    return [*script("slow_embedding"), *fault.split(), "--", *options]


@pytest.mark.parametrize("cached", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_rank_that_embeds_for_long_is_waited_for(cached: bool, toy: Path, tmp_path: Path) -> None:
    """Three times as long as a collective may take, and twice as long as it may stand still."""
    out = tmp_path / "out"
    cache = ["--cache", str(tmp_path / "cache")] if cached else []
    succeed(launch("cpu", 2, [*words("work 1", toy, out), *cache]))
    report = json.loads((out / "toy" / "report.json").read_text())
    assert report["timing"]["processes"] == 2
    assert report["timing"]["embed_s"] > 12 or cached
    assert not (out / "hang").exists()


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.long)])
def test_a_rank_that_hangs_while_embedding_is_named(rank: int, toy: Path, tmp_path: Path) -> None:
    ended, out = tmp_path / "ended.json", tmp_path / "out"
    out.mkdir()  # as if another task were finished
    module = words(f"sleep {rank}", toy, out)
    done = launch("cpu", 2, module, HYBRID_DIST_ENDED=str(ended))
    assert done.code != 0
    message = f"no progress for 0.08 minutes (--timeout-minutes): rank {rank} stands still"
    assert message in done.output, done.output
    ending = json.loads(ended.read_text())
    assert (ending["kind"], ending["rank"]) == ("hang", rank)
    assert "in late" in (out / f"hang/rank-{rank}.txt").read_text()
