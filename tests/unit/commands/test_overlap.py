"""`hybrid-dist overlap --drop`: what it says about the store or file that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.commands import overlap, prepare
from hybrid_dist.data.store.reader import Store


def write_lines(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.mark.parametrize("tokenize", [True, False])
def test_a_store_without_the_token_ids_of_its_source_says_so(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenize: bool
) -> None:
    lines = (toy / "train.jsonl").read_text("utf-8").splitlines()[:40]
    evaluated = write_lines(tmp_path / "evaluated.jsonl", lines[:1])
    source = str(tmp_path / "store")
    words = ["--tokenize", str(toy / "model")] if tokenize else []
    pairs = write_lines(tmp_path / "pairs.jsonl", lines)
    prepare.main(["pairs", str(pairs), "--out", source, *words])
    clean = [source, "--task", f"pairs:{evaluated}", "--drop"]
    uids = {json.loads(line)["uid"] for line in lines}
    capsys.readouterr()

    overlap.main([*clean, str(tmp_path / "clean")])
    printed = " ".join(capsys.readouterr().out.split())
    assert ("clean: is without token ids; to have them again, --drop into a" in printed) is tokenize
    kept = Store(tmp_path / "clean", check="now")
    assert kept.tokens is None
    assert len(set(kept.uids(np.arange(kept.index.num_rows)))) == len(uids) - 1

    overlap.main([*clean, str(tmp_path / "clean.jsonl")])
    assert "is without" not in capsys.readouterr().out


def test_scores_that_came_with_the_data_are_not_called_mined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = {"pos_scores": [2], "neg": ["Rye."], "neg_scores": [1]}
    rows = [{"query": f"who is {n}?", "pos": [f"Ada {n}."], **scored} for n in range(3)]
    lines = write_lines(tmp_path / "a.jsonl", [json.dumps(row) for row in rows])
    source = str(tmp_path / "store")
    prepare.main(["flagembedding", str(lines), "--out", source, "--option", "lang=en"])
    pair = {"uid": 1, "lang": "en", "query": "who is 1?", "passage": "Ada 1."}
    task = write_lines(tmp_path / "evaluated.jsonl", [json.dumps(pair)])
    capsys.readouterr()
    overlap.main([source, "--task", f"pairs:{task}", "--drop", str(tmp_path / "clean")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "clean: is without scores of negatives; scores that came with the data" in printed
    assert "mine" not in printed
