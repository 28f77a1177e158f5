"""Tatoeba's parallel files: every language has its own pool of English sentences."""

from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.config.schema import Eval
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.reporting.evaluation_report import evaluate_task
from hybrid_dist.reporting.run_evaluation import Evaluation
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import unit_vectors
from tests.support.published_files import collection, read, relevance, rows, write

PARALLEL = {
    ("afr", "eng"): ["Een.\nTwee.\nDrie.\n", "One.\nTwo.\nThree.\n"],
    ("cmn", "eng"): ["一。\n二。\n", "One.\nTwo.\n"],
}


@pytest.fixture
def tatoeba(tmp_path: Path) -> Path:
    for (code, english), sides in PARALLEL.items():
        for side, content in zip((code, english), sides, strict=True):
            write(tmp_path / f"tatoeba.{code}-{english}.{side}.gz", content)
    return tmp_path


def test_every_language_has_its_own_english_pool(tatoeba: Path) -> None:
    result = collection("tatoeba", tatoeba)
    assert not result.one_pool
    assert {p.lang for p in result.passages} == {"en-x-af", "en-x-zh"}
    assert relevance(result)["zh", "zh-en:00002"] == {("en-x-zh", "zh-en:00002"): 1}
    assert [q.text for q in result.queries] == ["Een.", "Twee.", "Drie.", "一。", "二。"]


def test_some_languages_or_one_file(tatoeba: Path) -> None:
    assert len(collection("tatoeba", tatoeba, languages="zho").queries) == 2
    one = tatoeba / "tatoeba.afr-eng.afr.gz"
    assert len(collection("tatoeba", one).queries) == 3
    with pytest.raises(UserError, match=r"option languages=zz: 'zz' is no known language code"):
        collection("tatoeba", tatoeba, languages="zz")


def test_files_whose_code_names_no_language_do_not_hinder_others(tatoeba: Path) -> None:
    """LASER's folder has Berber languages as `ber`, and the retired code `kzj`."""
    for side in ("ber", "eng"):
        write(tatoeba / f"tatoeba.ber-eng.{side}", "A.\n")
    pairs, reading = read("tatoeba", tatoeba)
    assert {pair["lang"] for pair in pairs} == {"af", "en", "zh"}
    (note,) = reading.notes
    assert note.startswith(
        f"{tatoeba}/tatoeba.ber-eng.ber: left out: 'ber' is no code of ISO 639-3"
    )
    pairs, reading = read("tatoeba", tatoeba, languages="af")
    assert ({pair["lang"] for pair in pairs}, reading.notes) == ({"af", "en"}, [])
    with pytest.raises(UserError, match=r"ber-eng\.ber: left out: 'ber' is no code of ISO"):
        rows("tatoeba", tatoeba / "tatoeba.ber-eng.ber")


def test_a_line_is_a_pair_in_both_languages(tatoeba: Path) -> None:
    pairs, reading = read("tatoeba", tatoeba)
    assert [(r["uid"], r["lang"], r["query"], r["passage"]) for r in pairs[:2]] == [
        ("af-en:1", "af", "Een.", "Een."),
        ("af-en:1", "en", "One.", "One."),
    ]
    assert reading.where(pairs[3]["place"]) == f"{tatoeba / 'tatoeba.afr-eng.eng.gz'}:2"
    assert reading.named == {"afr": "af", "cmn": "zh"}


class Nearest:
    """Queries are near the given passages."""

    name = "given"

    def __init__(self, near: list[int], passages: int) -> None:
        self.passage_vectors = unit_vectors(np.random.default_rng(3), passages)
        self.query_vectors = self.passage_vectors[near]

    def encode_queries(self, texts: object) -> np.ndarray:
        return self.query_vectors

    def encode_passages(self, texts: object) -> np.ndarray:
        return self.passage_vectors


def test_accuracy_is_that_of_each_pair_and_their_mean(tatoeba: Path, tmp_path: Path) -> None:
    """2 of 3 Afrikaans sentences and 1 of 2 Chinese ones find theirs; a twin of the English
    sentence in the other language's pool is no rival."""
    task = load_task(f"tatoeba:{tatoeba}")
    assert task.languages == ("af", "en-x-af", "en-x-zh", "zh")
    report = evaluate_task(task, Nearest([0, 1, 0, 3, 3], 5), Ranks(), tmp_path / "out")
    assert report["recall_at_1_by_pair"] == {"af": {"en-x-af": 2 / 3}, "zh": {"en-x-zh": 1 / 2}}
    assert report["recall_at_1"] == {
        "monolingual": None,
        "cross_lingual": pytest.approx((2 / 3 + 1 / 2) / 2),
        "multilingual": None,
    }
    assert list(report["left_out"]) == ["monolingual", "multilingual", "rank_distance"]
    assert report["bias"]["rank_distance"]["mean"] is None
    page = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "in 3 languages" in page
    assert "| af | en-x-af | 0.833 | 0.667 |" in page
    assert "Multilingual: every language pair has a pool of its own" in page
    assert "every language pair has a pool" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert not (tmp_path / "out" / "language_share.png").exists()


def test_a_run_cannot_choose_by_a_figure_that_there_is_not(tatoeba: Path) -> None:
    chosen = Evaluation.of(Eval(tasks=(f"tatoeba:{tatoeba}",), metric="map.cross_lingual"))
    assert chosen.metric == "tatoeba/map.cross_lingual"
    with pytest.raises(
        UserError, match=r"has no map.multilingual: every .*; choose map.cross_ling"
    ):
        Evaluation.of(Eval(tasks=(f"tatoeba:{tatoeba}",)))


def test_files_of_different_lengths_are_refused(tatoeba: Path) -> None:
    write(tatoeba / "tatoeba.afr-eng.eng.gz", "One.\nTwo.\n")
    with pytest.raises(UserError, match=r"afr-eng.afr.gz:3: is its last line, that of .* is 2"):
        rows("tatoeba", tatoeba)


def test_a_side_that_is_missing_is_named(tatoeba: Path) -> None:
    (tatoeba / "tatoeba.afr-eng.eng.gz").unlink()
    with pytest.raises(UserError, match=r"afr-eng.afr.gz: its other side is missing"):
        rows("tatoeba", tatoeba)
    with pytest.raises(UserError, match=r"no file of this layout; expected tatoeba.xxx-eng.xxx"):
        rows("tatoeba", write(tatoeba / "deep" / "x.txt", "x").parent)


def test_an_empty_sentence_is_passed_over_with_its_other_side(tatoeba: Path) -> None:
    file = write(tatoeba / "tatoeba.cmn-eng.cmn.gz", "一。\n \n")
    with pytest.raises(UserError, match=rf"{file}:2: expected a sentence, found an empty line"):
        rows("tatoeba", tatoeba)
    pairs, reading = read("tatoeba", tatoeba, skip_bad=1)
    assert len(pairs) == 2 * (3 + 1)
    assert len(reading.bad) == 1


def test_a_sentence_that_is_not_utf_8_does_not_shift_the_others(tatoeba: Path) -> None:
    file = write(tatoeba / "tatoeba.afr-eng.afr.gz", b"Een.\nTw\xe9e.\nDrie.\n")
    with pytest.raises(UserError, match=rf"{file}:2: not UTF-8"):
        rows("tatoeba", tatoeba)
    pairs, _ = read("tatoeba", tatoeba, skip_bad=1, languages="af")
    assert [r["query"] for r in pairs] == ["Een.", "One.", "Drie.", "Three."]


def test_both_directions(tatoeba: Path) -> None:
    result = collection("tatoeba", tatoeba, directions="both")
    found = relevance(result)
    assert found["af", "af-en:00002"] == {("en-x-af", "af-en:00002"): 1}
    assert found["en-x-af", "af-en:00002"] == {("af", "af-en:00002"): 1}
    assert len(result.queries) == len(result.passages) == 2 * (3 + 2)
    with pytest.raises(UserError, match="option directions=from: give to_english or both"):
        collection("tatoeba", tatoeba, directions="from")
