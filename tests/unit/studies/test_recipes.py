"""Recipes: which pairs they keep, set aside and leave out."""

import json
from collections import Counter
from pathlib import Path

import pytest

from hybrid_dist.commands.prepare import main as prepare
from hybrid_dist.errors import UserError
from hybrid_dist.studies.recipes import (
    Recipe,
    TrainingPair,
    build_recipe,
    cut_pairs,
    recipe_of,
)


def pairs(**sizes: int) -> list[TrainingPair]:
    """Parallel pairs: the uids of a smaller language are among those of a larger one."""
    return [
        TrainingPair(0, f"u{n}", lang, f"{lang} q{n}", f"{lang} p{n}", ())
        for lang, size in sizes.items()
        for n in range(size)
    ]


def test_held_out_uids_leave_training_in_all_languages() -> None:
    cut = cut_pairs(pairs(a=2000, b=1000), Recipe(held_out_uids=0.1))
    held_out, trained = ({pair.uid for pair in part} for part in (cut.held_out, cut.train))
    assert not held_out & trained
    assert 150 < len(held_out) < 250
    assert len(cut.held_out) + len(cut.train) == 3000
    without = cut_pairs(pairs(a=2000, b=1000), Recipe(held_out_uids=0.1, without=("b",)))
    assert without.held_out == cut.held_out, "the same to evaluate on for every recipe"
    assert {pair.lang for pair in without.train} == {"a"}


def test_uids_that_share_a_passage_are_held_out_together() -> None:
    rows = [TrainingPair(0, f"u{n}", "a", f"q{n}", f"p{n // 4}", ()) for n in range(400)]
    cut = cut_pairs(rows, Recipe(held_out_uids=0.2))
    passages = [{pair.passage for pair in part} for part in (cut.held_out, cut.train)]
    assert passages[0] and not passages[0] & passages[1]


def test_a_smaller_cut_is_part_of_a_larger_one() -> None:
    rows = pairs(a=1000, b=1000)
    tenth, half = (cut_pairs(rows, Recipe(keep={"b": share})).train for share in (0.1, 0.5))
    assert set(tenth) < set(half)
    counts = Counter(pair.lang for pair in tenth)
    assert counts["a"] == 1000 and 70 < counts["b"] < 130
    other = cut_pairs(rows, Recipe(keep={"b": 0.1}, seed=2)).train
    assert set(other) != set(tenth)


def test_skewed_languages_follow_zipfs_law() -> None:
    rows = pairs(a=900, b=800, c=700)
    flat = cut_pairs(rows, Recipe(zipf=0, total=600))
    assert flat.counts() == {"a": 200, "b": 200, "c": 200}
    uids = [{pair.uid for pair in flat.train if pair.lang == lang} for lang in "abc"]
    assert len(uids[0] & uids[1]) > 150, "parallel pairs are kept together"
    steep = cut_pairs(rows, Recipe(zipf=2, total=600))
    assert steep.counts() == {"a": 441, "b": 110, "c": 49}
    assert cut_pairs(rows, Recipe(zipf=1, head=600)).counts() == {"a": 600, "b": 300, "c": 200}
    with pytest.raises(UserError, match=r"zipf 0\.0 needs 800 pairs in c, which has 700"):
        cut_pairs(rows, Recipe(zipf=0, total=2400))


def test_pair_files_are_written_once_for_each_source(toy: Path, tmp_path: Path) -> None:
    recipe = Recipe(held_out_uids=0.2, keep={"qab": 0.5}, languages=("qaa", "qab"))
    sources = [str(toy / "train.jsonl"), f"pairs:{toy / 'dev.jsonl'}"]
    files = build_recipe(recipe, sources, tmp_path / "cut")
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [file.name for file in files] == ["train-1.jsonl", "train-2.jsonl"]
    assert {row["lang"] for some in rows for row in some} == {"qaa", "qab"}
    assert set(rows[0][0]) == {"uid", "lang", "query", "passage"}
    described = json.loads((tmp_path / "cut/recipe.json").read_text())
    assert sum(described["pairs"].values()) == len(rows[0]) + len(rows[1])
    held_out = (tmp_path / "cut/held_out-1.jsonl").read_text().splitlines()
    assert 0 < len(held_out) < described["held_out"]
    before = files[0].stat().st_mtime_ns
    assert build_recipe(recipe, ["nowhere"], tmp_path / "cut")[0].stat().st_mtime_ns == before
    again = build_recipe(recipe, sources, tmp_path / "again")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in files]


def test_a_source_without_a_pair_left_is_refused(toy: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text('{"uid": "x", "lang": "qaa", "query": "q", "passage": "p"}\n')
    sources = [str(toy / "train.jsonl"), str(one)]
    with pytest.raises(UserError, match=r"no training pair is left of .*one\.jsonl"):
        build_recipe(Recipe(without=("qaa",)), sources, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(UserError, match=r"recipe\.keeps: unknown key; did you mean 'keep'"):
        recipe_of({"keeps": {}}, "study")
    assert recipe_of({}, "study") is None


def test_pairs_of_a_store_keep_their_hard_negatives(tmp_path: Path) -> None:
    lines = [
        {"uid": f"u{n}", "lang": lang, "query": f"{lang} q{n}", "passage": f"{lang} p{n}"}
        | ({"negatives": [f"{lang} p{n + 1}", f"{lang} x{n}"]} if n % 2 else {})
        for lang in ("de", "en")
        for n in range(6)
    ]
    file, store = tmp_path / "pairs.jsonl", tmp_path / "store"
    file.write_text("\n".join(map(json.dumps, lines)))
    prepare(["pairs", str(file), "--out", str(store)])
    (written,) = build_recipe(Recipe(languages=("en",)), [str(store)], tmp_path / "recipe")
    rows = {row["uid"]: row for row in map(json.loads, written.read_text().splitlines())}
    assert rows == {line["uid"]: line for line in lines if line["lang"] == "en"}
