"""Language bias in one command, and languages removed from vectors before they are ranked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import bias, evaluate
from tests.support.small_models import write_model
from tests.support.vector_files import write_biased, write_pairs


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "pairs" / "report.json").read_text())
    return found


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Vectors that hold their language, and the meaning in what is left."""
    spec = write_pairs(tmp_path, 60)
    return ["--embeddings", str(write_biased(tmp_path / "vectors", spec)), "--task", spec]


def test_removing_languages_leaves_the_meaning(words: list[str], tmp_path: Path) -> None:
    evaluate.main([*words, "--out", str(tmp_path / "before")])
    evaluate.main([*words, "--out", str(tmp_path / "after"), "--debias", "mean"])
    before, after = report(tmp_path / "before"), report(tmp_path / "after")
    assert before["map"]["multilingual"] < 0.6, "the other language comes last"
    assert after["map"]["multilingual"] > 0.99
    assert after["settings"]["debiasing"].startswith("language means removed, fitted on the other")
    assert "debiasing" not in before["settings"]


def test_bias_compares_a_retriever_with_itself_without_languages(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bias"
    bias.main([*words, "--out", str(out)])
    shown = capsys.readouterr()
    assert shown.err.count("queries.npy: norms are ") == 1, "a warning once, not for each method"
    printed = " ".join(shown.out.split())
    assert "The first 10 results have the query's language 2.00 (2.00 to 2.00) times" in printed
    assert "mean: own language 1." in printed
    assert "mAP in the pool of all languages +0." in printed
    record = json.loads((out / "report.json").read_text())
    assert list(record["runs"]) == ["as-is", "mean", "directions"]
    assert record["runs"]["mean"]["map.multilingual"] > 0.99
    assert (out / "report.html").is_file()


def test_texts_are_embedded_once(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", toy / "model", 1, max_passage_tokens=128)
    words = ["--model", str(model), "--task", write_pairs(tmp_path, 30)]
    bias.main([*words, "--out", str(tmp_path / "bias"), "--debias", "mean", "--query-prefix", "Q"])
    said = capsys.readouterr().err
    assert said.count(": 0 of 60 queries are in") == 1
    assert said.count(": 60 of 60 queries are in") == 1
    assert report(tmp_path / "bias" / "mean")["settings"]["query prefix"] == "Q"


def test_every_method_is_measured_at_every_cut(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by vectors that were cut before they were given."""
    bias.main([*words, "--out", str(tmp_path / "both"), "--debias", "mean", "--dims", "20,3"])
    lines = capsys.readouterr().out.splitlines()
    cut = [line for line in lines if ", cut to " in line]
    assert [line.partition(" dimensions")[0] for line in cut] == [
        f"{name}, cut to {dim}" for dim in (3, 20) for name in ("as-is", "mean")
    ]
    given = Path(words[1])
    for array in ("queries.npy", "corpus.npy"):
        short = np.load(given / array)[:, :3].astype(np.float64)
        np.save(given / array, (short / np.linalg.norm(short, axis=1, keepdims=True)).astype("f4"))
    bias.main([*words, "--out", str(tmp_path / "cut"), "--debias", "mean"])
    for method in ("as-is", "mean"):
        at_3 = report(tmp_path / "both" / method)["dims"]["3"]
        beforehand = report(tmp_path / "cut" / method)
        assert at_3["map"] == pytest.approx(beforehand["map"], abs=1e-6)
        for figure in ("rank_distance", "self_preference"):
            expected = beforehand["bias"][figure]["mean"]
            assert at_3["bias"][figure]["mean"] == pytest.approx(expected, rel=1e-6)
    whole = report(tmp_path / "both" / "mean")
    assert f"{whole['dims']['3']['map']['multilingual']:.3f}" in cut[1]
    assert whole["map"] != whole["dims"]["3"]["map"]


def test_dims_that_leave_nothing_are_refused_before_anything_is_embedded(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dims, message in (
        ("8,0", "--dims: '0' is no number of dimensions"),
        ("3,8", "--debias: directions:3 leaves nothing of vectors of dimension 3"),
    ):
        with pytest.raises(SystemExit):
            bias.main(
                [*words, "--out", str(tmp_path / "o"), "--debias", "directions:3", "--dims", dims]
            )
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("methods", [["mean", "mean"], ["none"]])
def test_methods_are_named_once(
    methods: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bias.main([*words, "--out", str(tmp_path / "bias"), "--debias", *methods])
    assert "--debias: name each method once" in capsys.readouterr().err
    assert not (tmp_path / "bias").exists()


def test_a_task_without_parallel_passages_has_no_bias(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_pairs(tmp_path, 30)
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines[:30]))
    vectors = write_biased(tmp_path / "vectors", spec)
    out = str(tmp_path / "bias")
    bias.main(["--embeddings", str(vectors), "--task", spec, "--out", out, "--debias", "mean"])
    assert "No figure of language bias: " in capsys.readouterr().out
