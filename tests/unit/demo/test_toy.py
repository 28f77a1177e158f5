"""The toy languages are the same on every machine, and a fair basis for a comparison."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.demo.toy import ToyOptions, generate
from hybrid_dist.demo.toy_world import LANGUAGES
from hybrid_dist.errors import UserError

SMALL = ToyOptions(languages=3, train_uids=120, dev_uids=10, test_uids=40, hidden=16, heads=2)
SPLITS = ("train", "dev", "test")
Row = dict[str, str]


def rows(folder: Path, split: str) -> list[Row]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def words(pairs: list[Row], lang: str) -> set[str]:
    texts = [row[side] for row in pairs if row["lang"] == lang for side in ("query", "passage")]
    return set(re.findall(r"\w+", " ".join(texts)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "world"
    generate(folder, SMALL)
    return folder


def test_layout(world: Path) -> None:
    assert set(contents(world)) == {
        *(f"{split}.jsonl" for split in SPLITS),
        "manifest.json",
        "model/config.json",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    }
    assert [path.name for path in world.parent.iterdir()] == ["world"], "nothing half-made is left"
    manifest = json.loads((world / "manifest.json").read_text("utf-8"))
    codes = [language.code for language in LANGUAGES[:3]]
    for split, size in zip(SPLITS, (120, 10, 40), strict=True):
        assert manifest["pairs"][split] == dict.fromkeys(codes, size)
        assert all(set(row) == {"uid", "lang", "query", "passage"} for row in rows(world, split))
        by_uid = defaultdict(list)
        for row in rows(world, split):
            by_uid[row["uid"]].append(row["lang"])
        assert len(by_uid) == size
        assert all(langs == codes for langs in by_uid.values()), "each uid once in each language"


def test_same_options_same_bytes_whatever_the_hash_seed(world: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hybrid_dist.demo.toy import *;"
        f"generate(Path(sys.argv[1]), {SMALL!r})"
    )
    env = os.environ | {"PYTHONHASHSEED": "77", "RAYON_NUM_THREADS": "3"}
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", program, str(again)], check=True, env=env)
    assert contents(again) == contents(world)


def test_another_seed_is_another_world(world: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()  # an empty folder will do
    generate(tmp_path / "other", replace(SMALL, seed=2))
    other = rows(tmp_path / "other", "test")
    assert not {row["query"] for row in other} & {row["query"] for row in rows(world, "test")}
    ours = words(rows(world, "test"), "qaa")
    assert len(ours & words(other, "qaa")) < 0.1 * len(ours)


def test_splits_share_no_uid_and_no_text(world: Path) -> None:
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for key in ("uid", "query", "passage"):
            ours, theirs = (
                {(row["lang"], row[key]) for row in rows(world, split)} for split in (one, other)
            )
            assert not ours & theirs, f"{key} in {one} and {other}"


def test_every_query_has_one_answer(world: Path) -> None:
    """No query and no passage occurs twice."""
    for lang in ("qaa", "qab", "qac"):
        pairs = [row for split in SPLITS for row in rows(world, split) if row["lang"] == lang]
        assert len({row["query"] for row in pairs}) == len(pairs)
        assert len({row["passage"] for row in pairs}) == len(pairs)


def test_the_order_of_words_says_who_did_it_to_whom(world: Path) -> None:
    for lang in ("qaa", "qab", "qac"):
        pairs = [row for row in rows(world, "train") if row["lang"] == lang]
        passages = [row["passage"].split(".")[0].split() for row in pairs]
        assert len({tuple(sentence) for sentence in passages}) == len(passages)
        assert len({frozenset(sentence) for sentence in passages}) < 0.9 * len(passages)


def test_common_words_help_but_do_not_find_the_passage(world: Path) -> None:
    """Else there would be nothing to learn, or nothing to compare."""
    unique_best = []
    for lang in ("qaa", "qab", "qac"):
        pairs = [row for row in rows(world, "test") if row["lang"] == lang]
        queries = [set(re.findall(r"\w+", row["query"])) for row in pairs]
        passages = [set(re.findall(r"\w+", row["passage"])) for row in pairs]
        for right, query in enumerate(queries):
            common = [len(query & passage) for passage in passages]
            unique_best.append(common[right] == max(common) and common.count(max(common)) == 1)
    assert 0.1 < sum(unique_best) / len(unique_best) < 0.6


@pytest.mark.parametrize("cognates", [0.0, 0.5, 1.0])
def test_cognates_are_the_share_of_common_words(tmp_path: Path, cognates: float) -> None:
    generate(tmp_path / "toy", replace(SMALL, cognates=cognates))
    pairs = rows(tmp_path / "toy", "train")
    stems = [words(pairs, lang) for lang in ("qaa", "qab")]
    common = len(stems[0] & stems[1]) / min(map(len, stems))
    # A cognate keeps its very form in a language seven times in ten, so in both one time in two.
    assert 0.2 * cognates <= common <= 0.01 + 0.7 * cognates


def test_imbalance_shrinks_later_languages_in_training_only(tmp_path: Path) -> None:
    manifest = generate(tmp_path / "toy", replace(SMALL, imbalance=1.0))
    assert manifest["pairs"]["train"] == {"qaa": 120, "qab": 60, "qac": 40}
    assert manifest["pairs"]["test"] == {"qaa": 40, "qab": 40, "qac": 40}
    pairs = rows(tmp_path / "toy", "train")
    uids = {code: {row["uid"] for row in pairs if row["lang"] == code} for code in ("qaa", "qac")}
    assert len(uids["qac"]) == 40
    assert uids["qac"] < uids["qaa"], "a small language's facts are in the larger ones too"


def test_scarce_translations_leave_each_language_facts_of_its_own(tmp_path: Path) -> None:
    manifest = generate(tmp_path / "toy", replace(SMALL, parallel=0.25, imbalance=1.0))
    assert manifest["pairs"]["train"] == {"qaa": 120, "qab": 60, "qac": 40}
    uids: dict[str, set[str]] = defaultdict(set)
    for row in rows(tmp_path / "toy", "train"):
        uids[row["lang"]].add(row["uid"])
    assert len(uids["qaa"] & uids["qab"]) == 15, "a quarter of the smaller language"
    assert uids["qaa"] & uids["qac"] == uids["qab"] & uids["qac"]
    assert len(uids["qaa"] & uids["qac"]) == 10
    everything = [*rows(tmp_path / "toy", "train"), *rows(tmp_path / "toy", "test")]
    queries = [(row["lang"], row["query"]) for row in everything]
    assert len(set(queries)) == len(queries), "no query twice"


def test_a_world_made_before_an_option_existed_is_kept(tmp_path: Path) -> None:
    generate(tmp_path / "toy", SMALL)
    manifest = json.loads((tmp_path / "toy/manifest.json").read_text())
    del manifest["options"]["parallel"]
    (tmp_path / "toy/manifest.json").write_text(json.dumps(manifest))
    assert generate(tmp_path / "toy", SMALL) == manifest
    with pytest.raises(UserError, match=r"other options \(parallel\)"):
        generate(tmp_path / "toy", replace(SMALL, parallel=0.5))


def test_model_folder_loads_and_knows_the_words(world: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer, XLMRobertaModel

    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert tokenizer.convert_tokens_to_ids(special)[:4] == [0, 1, 2, 3]
    assert tokenizer.mask_token == "<mask>"
    assert tokenizer.model_max_length == 128
    for prefix in ("Query", "Passage"):
        assert tokenizer.tokenize(f"{prefix}: mo")[:2] == [f"▁{prefix}", ":"]
    texts = [f"Passage: {row['passage']}" for row in rows(world, "test")]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    assert set(encoded) == {"input_ids", "attention_mask"}
    ids = encoded["input_ids"]
    assert (ids[:, 0] == 0).all()
    assert (ids == 2).sum(1).eq(1).all()
    assert not (ids == 3).any(), "no unknown token"
    assert encoded["attention_mask"].sum(1).float().mean() < 45
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == texts[0]

    config = AutoConfig.from_pretrained(world / "model")
    assert config.vocab_size == len(tokenizer)
    model = XLMRobertaModel(config).eval()
    assert model(**encoded).last_hidden_state.shape == (*ids.shape, 16)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("languages", 1),
        ("languages", 9),
        ("cognates", 1.5),
        ("cognates", float("nan")),
        ("train_uids", 0),
        ("test_uids", 0),
        ("imbalance", -1.0),
        ("parallel", 1.5),
        ("layers", 0),
        ("hidden", 130),
        ("heads", 0),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, option: str, value: float) -> None:
    bad: dict[str, Any] = {option: value}
    with pytest.raises(UserError, match=f"--{option} {value}.*give"):
        generate(tmp_path / "toy", replace(ToyOptions(), **bad))
    assert not any(tmp_path.iterdir())


def test_same_world_is_kept(world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    manifest = generate(world, SMALL)
    assert manifest == json.loads((world / "manifest.json").read_text("utf-8"))
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before


def test_other_folders_are_refused_and_left_alone(world: Path, tmp_path: Path) -> None:
    before = contents(world)
    with pytest.raises(UserError, match=r"other options \(seed\)"):
        generate(world, replace(SMALL, seed=3))
    assert contents(world) == before
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="contains other files"):
        generate(tmp_path, SMALL)
    with pytest.raises(UserError, match="contains other files"):
        generate(tmp_path / "thesis.txt", SMALL)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("disk full")

    monkeypatch.setattr("hybrid_dist.demo.toy._write_model", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        generate(tmp_path / "toy", SMALL)
    assert not any(tmp_path.iterdir())
