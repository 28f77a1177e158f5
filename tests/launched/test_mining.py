"""Mining in one process and in two, and going on after a kill: the same store to the last bit."""

from pathlib import Path

import pytest

from hybrid_dist.commands import mine
from hybrid_dist.data.store.reader import Store
from tests.support.launch import launch, launch_command, running, train, wait_for
from tests.support.mining import contents
from tests.support.runs import metrics, options, succeed
from tests.support.small_models import write_model, write_reranker

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def words(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Mines more passages than one tile holds, so that each of two ranks has some, and rescores
    them, so that a block takes a while."""
    folder = tmp_path_factory.mktemp("mining")
    Store.build(str(toy / "train.jsonl"), folder / "store")
    model = write_model(folder / "model", toy / "model", seed=1)
    reranker = write_reranker(folder / "reranker", toy / "model", seed=2)
    window = ["--pool", "all", "--from", "3", "--to", "12", "--relative", "0.999"]
    return [str(folder / "store"), "--model", str(model), "--rescore", str(reranker), *window]


@pytest.fixture(scope="module")
def by_one(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "mined"
    mine.main([*words, "--out", str(out)])
    return out


def test_two_processes_mine_what_one_does(words: list[str], by_one: Path, tmp_path: Path) -> None:
    module = ["-m", "hybrid_dist.mine", *words, "--out", str(tmp_path / "mined")]
    done = succeed(launch("cpu", 2, module))
    assert done.output.count("negatives of 1,200 queries") == 1, "only the first rank prints"
    assert contents(tmp_path / "mined") == contents(by_one)
    assert len(Store(by_one).index.negatives) > 1200


def test_a_killed_command_goes_on_and_mines_the_same(
    words: list[str], by_one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work = tmp_path / "mined", tmp_path / ".mined.mining"
    module = ["-m", "hybrid_dist.mine", *words, "--out", str(out)]
    with running(launch_command("cpu", 2, module)):
        wait_for(lambda: list(work.glob("blocks-*/*.npz")))
    assert not out.exists()
    capsys.readouterr()
    mine.main([*words, "--out", str(out)])
    logged = capsys.readouterr().err
    assert "of 4 blocks of queries are mined already" in logged
    assert logged.count("1,200 of 1,200") == 3, "queries and passages are cached; mined to the end"
    assert contents(out) == contents(by_one)
    assert [path.name for path in tmp_path.iterdir()] == ["mined"]


def test_a_mistake_is_told_once_by_two_processes(words: list[str], tmp_path: Path) -> None:
    wrong = [*words, "--to", "9000", "--out", str(tmp_path / "mined")]
    refused = launch("cpu", 2, ["-m", "hybrid_dist.mine", *wrong])
    assert refused.code not in (0, None)
    assert refused.output.count("--to 9000: the window is larger than the pool") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_trains_on_mined_negatives(by_one: Path, toy: Path, tmp_path: Path) -> None:
    given = {"train__steps": "3", "data__train": str(by_one), "batching__hard_negatives": "2"}
    mined = options(toy, tmp_path, "run", **given)
    succeed(train(mined))
    assert len(metrics(tmp_path, "run")) >= 3
    plain = options(toy, tmp_path, "plain", **given | {"data__train": str(toy / "train.jsonl")})
    assert "hard_negatives" in train(plain).output, "pairs without negatives are refused"
