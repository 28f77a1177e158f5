"""`hybrid-dist evaluate` on vectors and runs made elsewhere, and its words that make no sense."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist import evaluate
from hybrid_dist.config import Eval
from hybrid_dist.errors import UserError
from hybrid_dist.evaluate import Evaluation, Options
from hybrid_dist.evaluation.names import passage_names, question_names
from hybrid_dist.evaluation.tasks import load_task
from tests.unit.evaluation_problems import unit_vectors


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rows = [
        {
            "uid": f"{n:02d}",
            "lang": lang,
            "query": f"{lang} asks {n}",
            "passage": f"{lang} says {n}",
        }
        for lang in ("de", "en")
        for n in range(12)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return f"pairs:{tmp_path / 'pairs.jsonl'}"


@pytest.fixture
def vectors(tmp_path: Path, pairs: str) -> Path:
    folder = tmp_path / "vectors"
    folder.mkdir()
    task, rng = load_task(pairs), np.random.default_rng(1)
    for name, names in (("query", question_names(task)), ("corpus", passage_names(task))):
        (folder / f"{name}_ids.txt").write_text("\n".join(names) + "\n")
        array = "queries" if name == "query" else "corpus"
        np.save(folder / f"{array}.npy", unit_vectors(rng, len(names)))
    return folder


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "pairs" / "report.json").read_text())
    return found


def test_vectors_then_the_run_that_they_gave(pairs: str, vectors: Path, tmp_path: Path) -> None:
    words = ["--embeddings", str(vectors), "--task", pairs, "--out", str(tmp_path / "one")]
    words += ["--groups", "few=de", "--ties", "trec_eval", "--save_run", "24"]
    evaluate.main(words)
    one = report(tmp_path / "one")
    assert list(one["groups"]) == ["few"]
    assert one["settings"]["ties"].startswith("as trec_eval")
    run = tmp_path / "one" / "pairs" / "run.trec"
    words = ["--run", str(run), "--task", pairs, "--out", str(tmp_path / "two")]
    evaluate.main([*words, "--ties", "trec_eval"])
    two = report(tmp_path / "two")
    assert (two["map"], two["bias"]) == (one["map"], one["bias"])
    assert two["model"] == str(run)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "give one of --model, --embeddings and --run; none was given"),
        ({"model": "m", "run": Path("r")}, "--model and --run was given"),
        ({"run": Path("r"), "task": ("pairs:x", "toy:y")}, "--run: holds what belongs to one task"),
        ({"run": Path("r"), "save_run": 5}, "a run is there already"),
        ({"model": "m", "save_run": -1}, "-1 is no number of passages"),
    ],
)
def test_words_that_make_no_sense(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Options(**({"task": ("pairs:x",), "out": Path("out")} | given))


def test_what_a_run_was_trained_on_makes_seen_and_unseen(pairs: str, tmp_path: Path) -> None:
    assert evaluate.trained_languages(tmp_path) is None
    (tmp_path / "environment.json").write_text(json.dumps({"training_languages": ["en", "fr"]}))
    assert evaluate.trained_languages(tmp_path) == ["en", "fr"]
    found = Evaluation.of(Eval(tasks=(pairs,), groups=("all=de,en",)), ["en", "fr"])
    groups = found.groups.within(found.tasks[0])
    assert groups == {"seen": ("en",), "unseen": ("de",), "all": ("de", "en")}


def test_a_wrong_group_is_refused_before_training(pairs: str) -> None:
    with pytest.raises(UserError, match="no task has questions in 'sw'"):
        Evaluation.of(Eval(tasks=(pairs,), groups=("few=sw",)))
