"""`hybrid-dist mine`: its output, and what it refuses before any model is loaded."""

import json
from pathlib import Path

import pytest

from hybrid_dist.commands import mine
from hybrid_dist.data.store.reader import Store
from tests.support.small_models import write_model


@pytest.fixture(scope="module")
def folder(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a model."""
    folder = tmp_path_factory.mktemp("mining")
    Store.build(str(toy / "train.jsonl"), folder / "store")
    write_model(folder / "model", toy / "model", seed=1)
    return folder


def test_the_command_writes_a_store_and_shows_what_it_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mined"
    words = ["--model", str(folder / "model"), "--from", "2", "--to", "50", "--number", "3"]
    mine.main([str(folder / "store"), *words, "--relative", "0.99", "--out", str(out)])
    printed, logged = capsys.readouterr()
    store = Store(out, check="now")
    all_, languages = (store.manifest["mining"][key] for key in ("all", "languages"))
    assert store.manifest["mining"]["from"] == 2
    assert list(languages) == list(store.index.languages)
    assert all_["negatives"] == len(store.index.negatives)
    assert f"{out}: {all_['negatives']:,} negatives of 1,200 queries" in printed.replace("\n", "")
    assert f"{all_['relative'] / all_['candidates']:.1%}" in printed
    assert "peak memory" in logged and "mined 1,200 of 1,200 queries" in logged
    assert [path.name for path in tmp_path.iterdir()] == ["mined"], "no cache is left"


def test_options_for_embedding_reach_the_model(folder: Path, tmp_path: Path) -> None:
    for name, prefix in (("one", "a: "), ("two", "b: ")):
        words = ["--model", str(folder / "model"), "--to", "50", "--query-prefix", prefix]
        mine.main([str(folder / "store"), *words, "--out", str(tmp_path / name)])
    weights = [
        json.loads((tmp_path / name / "manifest.json").read_text("utf-8"))["mining"]["weights"]
        for name in ("one", "two")
    ]
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["STORE", "--from", "30", "--to", "20"], "--from 30 is above --to 20"),
        (["STORE", "--from", "0"], "--from 0: ranks start at 1"),
        (["STORE", "--to", "300"], "--to 300: the window is larger than the pool, which has 299"),
        (["STORE", "--pool", "xx"], "--pool xx: "),
        (["STORE", "--relative", "95"], "--relative 95.0: is no share"),
        (["FOLDER"], "is no store; make one with `hybrid-dist prepare"),
        (["FOLDER/none"], "none: is no store"),
        (["STORE", "--out", "FOLDER"], "exists already; name a new folder"),
        (["STORE", "--model", "FOLDER/none"], "--model: "),
        (["STORE", "--rescore", "FOLDER/model"], "--rescore "),
    ],
)
def test_what_cannot_be_mined_is_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    words = [word.replace("FOLDER", str(folder)) for word in words]
    words = [word.replace("STORE", str(folder / "store")) for word in words]
    given = ["--model", str(folder / "model"), "--out", str(tmp_path / "out"), *words[1:]]
    with pytest.raises(SystemExit) as ended:
        mine.main([words[0], *given], "hybrid-dist mine")
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
