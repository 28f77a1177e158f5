"""The published files themselves, where the variable HYBRID_DIST_DATA names a folder of them."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.vectors import PrecomputedVectors
from hybrid_dist.reporting.evaluation_report import evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.published_files import collection, read, relevance

VARIABLE = "HYBRID_DIST_DATA"


def data(name: str) -> Path:
    """A data set's folder; without it, its test is passed over with a plain message."""
    folder = Path(os.environ.get(VARIABLE, ""))
    if VARIABLE not in os.environ or not (folder / name).is_dir():
        pytest.skip(f"set {VARIABLE} to the folder that contains {name}/ to read the real files")
    return folder / name


XQUAD_R = {
    "ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244,
    "ru": 1219, "th": 852, "tr": 1167, "vi": 1209, "zh": 1196,
}  # fmt: skip


@pytest.mark.parametrize("variant", ["sentence", "sentence+context"])
def test_xquad_r_has_the_published_counts(variant: str) -> None:
    task = load_task(f"xquad_r:{data('xquad-r')}?variant={variant}")
    assert task.languages == tuple(XQUAD_R)
    names = np.array(task.languages)
    assert Counter(names[task.passage_language].tolist()) == XQUAD_R
    assert Counter(names[task.query_language].tolist()) == dict.fromkeys(XQUAD_R, 1190)
    assert set(np.diff(task.relevant_starts).tolist()) == {11}
    assert task.left_out == {}
    right = task.pair_language.reshape(-1, 11)
    assert np.array_equal(right, np.tile(np.arange(11), (len(right), 1)))


def trigrams(text: str) -> np.ndarray:
    """A number for each three characters in a row."""
    codes = np.frombuffer(text.lower().encode("utf-32-le"), np.uint32).astype(np.uint64)
    first, second, third = (codes[at : len(codes) - 2 + at] for at in range(3))
    result: np.ndarray = (first << np.uint64(42)) | (second << np.uint64(21)) | third
    return result


def tf_idf(texts: list[str], known: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """(1 + log tf) * idf of 3-grams, hashed with signs into so many numbers; length 1."""
    rng = np.random.default_rng(1)
    column, sign = rng.integers(0, size, len(known)), rng.choice([-1.0, 1.0], len(known))
    vectors = np.zeros((len(texts), size), np.float32)
    for row, text in enumerate(texts):
        grams, counts = np.unique(trigrams(text), return_counts=True)
        place = np.searchsorted(known, grams).clip(max=len(known) - 1)
        here = known[place] == grams
        place, values = place[here], 1 + np.log(counts[here])
        np.add.at(vectors[row], column[place], sign[place] * weight[place] * values)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.mark.long
def test_character_3_grams_on_xquad_r(tmp_path: Path) -> None:
    """No learning, so nearly all is found in the query's own language alone."""
    task = load_task(f"xquad_r:{data('xquad-r')}")
    queries, passages = list(task.query_texts), list(task.passage_texts)
    known, counts = np.unique(
        np.concatenate([np.unique(trigrams(text)) for text in passages]), return_counts=True
    )
    weight = np.log((1 + len(passages)) / (1 + counts)) + 1
    np.save(tmp_path / "queries.npy", tf_idf(queries, known, weight, 4096))
    np.save(tmp_path / "corpus.npy", tf_idf(passages, known, weight, 4096))
    (tmp_path / "query_ids.txt").write_text("\n".join(query_names(task)))
    (tmp_path / "corpus_ids.txt").write_text("\n".join(passage_names(task)))
    names = set(passage_names(task))
    assert {"ar_1_0", "en_240_0"} <= names and not any("_241_" in name for name in names)
    vectors = PrecomputedVectors(tmp_path, task)
    report = evaluate_vectors(task, vectors, Ranks(), tmp_path / "out")
    assert report["map"]["multilingual"] == pytest.approx(0.09, abs=0.01)
    assert report["mrr_at_10"]["monolingual"] == pytest.approx(0.73, abs=0.02)
    assert report["map"]["cross_lingual"] < 0.15
    assert report["bias"]["rank_distance"]["normalised"] > 1
    assert report["bias"]["self_preference"]["mean"] > 8


def test_xquad_r_s_right_sentences_hold_their_answers() -> None:
    folder = data("xquad-r")
    pairs, _ = read("lareqa", folder)
    told_in = {(row["lang"], row["uid"]): row["passage"] for row in pairs}
    assert len(told_in) == 11 * 1190
    held = []
    for lang in ("en", "th", "zh"):
        with gzip.open(folder / f"{lang}.json.gz") as file:
            articles = json.load(file)["data"]
        parts = [part for article in articles for part in article["paragraphs"]]
        for part in parts:
            for query in part["qas"]:
                held.append(query["answers"][0]["text"] in told_in[lang, query["id"]])
    assert len(held) == 3 * 1190
    assert np.mean(held) > 0.99, "an answer may run on into the next sentence, but few do"


def test_xquad_r_s_paragraphs() -> None:
    result = collection("squad", data("xquad-r"))
    assert Counter(p.lang for p in result.passages) == dict.fromkeys(XQUAD_R, 240)


@pytest.mark.parametrize(
    ("name", "pairs", "languages", "passages"),
    [
        ("tldr", 65_689, 39, 19_489),
        ("pydocs", 12_881, 10, 12_875),
        ("mono_qa", 22_129, 5, 6_069),
    ],
)
def test_units(name: str, pairs: int, languages: int, passages: int) -> None:
    rows, _ = read("units", data(name))
    result = collection("units", data(name))
    assert len(rows) == len({(row["uid"], row["lang"]) for row in rows}) == pairs
    assert len({row["lang"] for row in rows}) == languages
    assert (len(result.queries), len(result.passages)) == (pairs, passages)
    if name == "tldr":
        counts = Counter(row["lang"] for row in rows)
        some = {"en": 19616, "ko": 18548, "zh": 3093, "pt-BR": 1907, "zh-Hant": 379, "lo": 3}
        assert {lang: counts[lang] for lang in some} == some
        in_languages = Counter(Counter(row["uid"] for row in rows).values())
        assert sum(n for langs, n in in_languages.items() if langs >= 2) == 19_616
        assert sum(n for langs, n in in_languages.items() if langs >= 8) == 1_049


def test_tatoeba_is_a_pool_for_every_language() -> None:
    result = collection("tatoeba", data("tatoeba"))
    pools = Counter(p.lang for p in result.passages)
    assert len(pools) == 36
    assert {lang: pools[f"en-x-{lang}"] for lang in ("af", "jv", "te", "zh")} == {
        "af": 1000, "jv": 205, "te": 234, "zh": 1000,
    }  # fmt: skip
    assert len(result.queries) == sum(pools.values()) == 31_692


def test_errors_name_missing_miracl_passages_of_each_language() -> None:
    with pytest.raises(UserError) as refusal:
        collection("miracl", data("miracl"))
    for counts in (
        "bn (411 queries, 863 right of 4,206 judged)",
        "sw (482 queries, 910 right of 5,092 judged)",
    ):
        assert counts in str(refusal.value)


def test_afriqa_asks_english_and_french() -> None:
    right = relevance(collection("beir", data("afriqa"), split="dev"))
    assert Counter(lang for lang, _ in right) == {
        "bem": 235, "fon": 271, "ha": 222, "ig": 307, "rw": 230, "tw": 348, "zu": 242,
    }  # fmt: skip
    assert {passage for passages in right.values() for passage, _ in passages} == {"en", "fr"}
