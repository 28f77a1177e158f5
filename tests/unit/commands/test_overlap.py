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
