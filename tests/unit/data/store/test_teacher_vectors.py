"""Vectors of a teacher without the mean of their languages."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import prepare
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import BLOCK, write_teacher_vectors
from tests.support.auxiliary_losses import hashed_vectors
from tests.support.small_models import write_model

WIDTH = 8
PAIRS = {"de": 40, "en": 30, "fi": 19}
"""Finnish has one pair less than a mean needs."""


def shifted_vectors(texts: Sequence[str]) -> np.ndarray:
    """Vectors of hashes with a part that tells the language."""
    vectors = hashed_vectors(texts, WIDTH).astype(np.float64)
    for row, text in enumerate(texts):
        vectors[row, sorted(PAIRS).index(text[:2])] += 2
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of a language share a passage, and some passages are only negatives."""
    lines = [
        {
            "uid": f"u{number}",
            "lang": lang,
            "query": f"{lang} query {number}",
            "passage": f"{lang} passage {max(number, 1)}",
            "negatives": [f"{lang} negative {number}"] if number % 3 == 0 else [],
        }
        for lang, count in PAIRS.items()
        for number in range(count)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return file


def stored(pairs: Path, debias: bool) -> Store:
    def annotate(folder: Path) -> dict[str, Any]:
        about = {"model": "hashes", "fingerprint": "f"}
        encode = shifted_vectors
        return {"teacher": write_teacher_vectors(folder, encode, encode, about, debias)}

    return Store.build(str(pairs), annotate=annotate)


def centered(vectors: np.ndarray) -> np.ndarray:
    without: np.ndarray = vectors - vectors.mean(0)
    return without / np.linalg.norm(without, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [7, BLOCK])
def test_the_mean_of_each_language_is_subtracted(
    block: int, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_dist.data.store.teacher_vectors.BLOCK", block)
    store = stored(pairs, debias=True)
    assert store.teacher is not None
    texts = {
        "queries": store.queries(np.arange(sum(PAIRS.values()))),
        "passages": store.passage_texts(np.arange(len(store.teacher.passages))),
    }
    for kind, of_kind in texts.items():
        vectors = getattr(store.teacher, kind)
        assert len(of_kind) == len(vectors)
        for lang in PAIRS:
            rows = [row for row, text in enumerate(of_kind) if text.startswith(lang)]
            before = shifted_vectors([of_kind[row] for row in rows])
            wanted = before if lang == "fi" else centered(before)
            np.testing.assert_allclose(vectors[rows], wanted, rtol=0, atol=2e-3)
            assert np.abs(before - centered(before)).max() > 0.1


def test_equal_vectors_of_a_language_stay(pairs: Path, tmp_path: Path) -> None:
    def annotate(folder: Path) -> dict[str, Any]:
        def encode(texts: Sequence[str]) -> np.ndarray:
            return np.full((len(texts), 4), 0.5)

        about = {"model": "m", "fingerprint": "f"}
        return {"teacher": write_teacher_vectors(folder, encode, encode, about, debias=True)}

    store = Store.build(str(pairs), annotate=annotate)
    assert store.teacher is not None
    assert np.all(store.teacher.queries == 0.5)


def test_the_command_says_so_and_keeps_it_in_the_manifest(
    pairs: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = partial(prepare_with, pairs, write_model(tmp_path / "model", toy / "model", 5), tmp_path)
    plain, debiased = run("plain"), run("debiased", "--teacher-debias", "mean")
    printed = capsys.readouterr().out
    assert "; language means subtracted, except in fi, with fewer than 20 texts" in printed
    assert plain.teacher is not None and debiased.teacher is not None
    assert debiased.teacher.settings["debias"] == "mean"
    assert debiased.teacher.fingerprint != plain.teacher.fingerprint
    of_english = slice(PAIRS["de"], PAIRS["de"] + PAIRS["en"])
    wanted = centered(plain.teacher.queries[of_english].astype(np.float64))
    np.testing.assert_allclose(debiased.teacher.queries[of_english], wanted, rtol=0, atol=2e-2)


def prepare_with(pairs: Path, model: Path, folder: Path, name: str, *flags: str) -> Store:
    out = folder / name
    prepare.main(["pairs", str(pairs), "--out", str(out), "--teacher", str(model), *flags])
    return Store.open(str(out))


def test_no_teacher_is_refused(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prepare.main(
            ["pairs", str(pairs), "--out", str(tmp_path / "s"), "--teacher-debias", "mean"]
        )
    assert "--teacher-debias: needs --teacher MODEL" in capsys.readouterr().err
