"""`hybrid-dist init --data`: what it finds in pairs, what it writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_dist.commands import init
from hybrid_dist.config.resolve import load_config
from hybrid_dist.config.schema import Config
from hybrid_dist.data.store.reader import Store
from tests.support.small_models import write_model

Ended = tuple[int, str, str]
Init = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Init:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> Ended:
        code = 0
        try:
            init.main([*map(str, words)])
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "small"
    return write_model(out, toy / "model", 1, query_prefix="ask ", passage_prefix="tell ")


def config_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(folder)
    return load_config("config.yaml", {})


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_folder_for_pairs(
    run: Init, toy: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    code, out, err = run(folder, "--data", toy / "train.jsonl", "--model", model, "--gpus", 0)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80 or str(tmp_path) in out
    config = config_of(folder, monkeypatch)
    train = Store(Path("pairs/train"))
    dev, heldout = lines(Path("pairs/dev.jsonl")), lines(Path("pairs/heldout.jsonl"))
    sizes = train.index.num_rows, len(dev), len(heldout)
    assert sum(sizes) == 1200 and sizes[1:] == (40, 80)
    assert f"Held out: {len(dev)} pairs for the loss, {len(heldout)} for the report" in out
    assert {row["lang"] for row in dev} == set(train.index.languages)
    assert config.data.train == ("pairs/train",) and config.data.dev == ("pairs/dev.jsonl",)
    assert config.model.name_or_path == str(model)
    assert (config.model.query_prefix, config.model.passage_prefix) == ("ask ", "tell ")
    assert config.batching.size <= 270 // 4 and config.train.frozen_layers == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.yaml", "configs", "launchers", "pairs", "slurm")
    ]
    assert "<unk>" not in out and "0.0%" in out


def test_what_the_tokenizer_does_not_know_is_said_in_the_config_too(
    run: Init, model: Path, tmp_path: Path
) -> None:
    rows = [
        {
            "uid": f"{n}",
            "lang": "ar",
            "query": f"\u0633\u0624\u0627\u0644 {n}",
            "passage": f"\u0646\u0635 {n}",
        }
        for n in range(60)
    ]
    (tmp_path / "ar.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run(tmp_path / "x", "--data", tmp_path / "ar.jsonl", "--model", model)
    text = (tmp_path / "x/config.yaml").read_text()
    assert code == 0
    for shown in (" ".join(out.split()), " ".join(text.replace("#", " ").split())):
        assert "many tokens are unknown to the tokenizer (<unk>): ar" in shown
        assert "too few pairs to measure a loss on" in shown
    assert "there is one language" in text and "mix: {monolingual: 1}" in text


def test_a_store_and_several_files_are_taken(
    run: Init, toy: Path, model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    Store.build(toy / "train.jsonl", store)
    rows = (toy / "train.jsonl").read_text("utf-8").splitlines(keepends=True)
    halves = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    halves[0].write_text("".join(rows[::2]))
    halves[1].write_text("".join(rows[1::2]))
    assert run(tmp_path / "x", "--data", store, "--model", model)[0] == 0
    assert run(tmp_path / "y", "--data", *halves, "--model", model)[0] == 0
    one, other = (Store(tmp_path / name / "pairs/train") for name in "xy")
    assert one.fingerprint == other.fingerprint
    texts = [(tmp_path / name / "config.yaml").read_text().splitlines() for name in "xy"]
    values = [[line for line in text if "#" not in line] for text in texts]
    assert values[0] == values[1] and len(values[0]) > 20


def test_a_model_that_is_not_at_hand_is_taken_by_its_name(
    run: Init, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(tmp_path / "x", "--data", toy / "train.jsonl", "--gpus", 8)
    shown = " ".join(out.split())
    assert code == 0 and "characters" in shown and "8 GPUs" in shown
    assert "intfloat/multilingual-e5-small is no folder and the hub cannot be reached" in shown
    config = config_of(tmp_path / "x", monkeypatch)
    assert (config.model.query_prefix, config.model.passage_prefix) == ("query: ", "passage: ")
    assert config.train.chunk_size == "auto"


def test_what_is_refused_before_anything_is_written(
    run: Init, toy: Path, model: Path, tmp_path: Path
) -> None:
    pairs = toy / "train.jsonl"
    few = tmp_path / "few.jsonl"
    few.write_text("".join(pairs.read_text("utf-8").splitlines(keepends=True)[:20]))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"uid": "a"}\n' + pairs.read_text("utf-8"))
    for words, message in (
        (["--data", tmp_path / "none.jsonl"], "none.jsonl: no such file"),
        (["--data", few, "--model", model], "20 pairs are too few to set some aside"),
        (["--data", bad, "--model", model], "bad.jsonl:1: expected a non-empty text as 'lang'"),
        (["--data", pairs, "--model", tmp_path / "no/model"], "--model: "),
        (["--data", pairs, "--model", toy / "model"], "model has no weights (*.safetensors or"),
        (["--data", pairs, "--gpus", -1], "--gpus: -1 is out of range"),
        (["--data", pairs, "--skip-bad", -1], "--skip-bad: -1 is too few"),
        (["--gpus", 8], "--gpus: belongs to --data"),
    ):
        code, out, err = run(tmp_path / "x", *words)
        assert (code, out) == (2, "") and message in err, words
        assert not (tmp_path / "x").exists(), words
    code, out, _ = run(tmp_path / "y", "--data", bad, "--model", model, "--skip-bad", 1)
    assert code == 0 and "Skipped: 1 bad lines, such as" in " ".join(out.split())


def test_a_config_and_pairs_are_not_replaced(
    run: Init, toy: Path, model: Path, tmp_path: Path
) -> None:
    words = (tmp_path, "--data", toy / "train.jsonl", "--model", model)
    (tmp_path / "config.yaml").write_text("mine")
    code, _, err = run(*words)
    assert code == 2 and "config.yaml: exists already; remove it, or name another folder" in err
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/en.jsonl").touch()
    code, _, err = run(*words)
    assert code == 2 and "pairs: exists already; name a new folder" in err
    assert [file.name for file in tmp_path.iterdir()] == ["pairs"]
