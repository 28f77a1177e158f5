"""Which languages a tokenizer does not know or cuts."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.text_checks import (
    FEWEST,
    SAMPLED,
    Sample,
    sample_codes,
    sample_slices,
    warnings,
)
from hybrid_dist.model.tokenization import TextTokens


@pytest.fixture(scope="module")
def tokens(toy: Path) -> TextTokens:
    spec = EncoderSpec("mean", "Query: ", "Passage: ", max_query_tokens=16, max_passage_tokens=32)
    return TextTokens.load(str(toy / "model"), spec)


@pytest.fixture(scope="module")
def known(toy: Path) -> str:
    """A word that is one token."""
    vocabulary = AutoTokenizer.from_pretrained(toy / "model").get_vocab()
    return next(word[1:] for word in sorted(vocabulary) if len(word) > 4 and word[0] == "▁")


def side(texts: Sequence[str], langs: str) -> tuple[Sample, Callable[..., list[str]]]:
    """`langs`: the language of each text, as in "de de en"."""
    names = sorted(set(langs.split()))
    codes = np.array([names.index(lang) for lang in langs.split()])
    return sample_codes(names, codes), lambda rows: [texts[row] for row in rows.tolist()]


def test_known_texts_that_fit_are_not_mentioned(tokens: TextTokens, known: str) -> None:
    texts = side([known] * 6, "de de de en en en")
    assert warnings(tokens, {"query": texts, "passage": texts}) == []


def test_unknown_tokens_are_named_by_language(tokens: TextTokens, known: str) -> None:
    arabic = "\u0643\u062a\u0627\u0628 \u062c\u062f\u064a\u062f"  # two words
    texts = [known, known, arabic, arabic, f"{known} {known} {known} {arabic[:4]}"]
    (line,) = warnings(tokens, {"query": side(texts, "de de ar ar fa")})
    assert line.startswith("many tokens are unknown to the tokenizer (<unk>): ar ")
    assert "de" not in line.partition(";")[0] and ", fa " in line
    shares = map(int, re.findall(r" (\d+)%", line))
    words = AutoTokenizer.from_pretrained(tokens.tokenizer.name_or_path)
    for text, share in zip((arabic, texts[4]), shares, strict=True):
        ids = words(text, add_special_tokens=False)["input_ids"]
        assert share == round(100 * ids.count(words.unk_token_id) / len(ids))


def test_texts_that_are_cut_are_named_by_side_and_language(tokens: TextTokens, known: str) -> None:
    room = 17 - len(tokens.query_ids([known])[0])
    fits, long = " ".join([known] * room), " ".join([known] * (room + 1))
    assert tokens.query_ids([fits]) == tokens.query_ids([long])
    queries = side([fits, fits, long, fits, fits, fits, fits, long], "de de en en fr fr fr fr")
    lines = warnings(tokens, {"query": queries, "passage": queries})
    assert lines == [
        "many queries are longer than max_query_tokens, 16, and lose their ends: en 50%"
    ]


def test_a_tokenizer_without_an_unknown_token_has_no_such_line(toy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy / "model")
    tokenizer.unk_token = None
    tokens = TextTokens(tokenizer, EncoderSpec("mean", "", "", 32, 32))
    assert warnings(tokens, {"query": side(["\u0643\u062a"], "ar")}) == []


@pytest.mark.parametrize(("count", "languages"), [(10_000, 1), (10_000, 7), (9_999, 1_000), (3, 2)])
def test_a_sample_is_spread_over_each_language(count: int, languages: int) -> None:
    codes = np.sort(np.random.default_rng(1).integers(0, languages, count))
    names = [f"l{code}" for code in range(languages)]
    rows = sample_codes(names, codes)
    assert sorted(rows) == sorted(names[code] for code in set(codes.tolist()))
    for name, own in rows.items():
        everything = np.flatnonzero(codes == names.index(name))
        assert (codes[own] == names.index(name)).all()
        assert {everything[0], everything[-1]} <= set(own.tolist())
        assert len(set(own.tolist())) == len(own)
        assert len(own) == min(len(everything), max(FEWEST, SAMPLED // len(rows)))
    starts = np.searchsorted(codes, np.arange(languages + 1))
    sliced = sample_slices(names, starts)
    assert sliced.keys() == rows.keys()
    if len(rows) == languages:
        assert all(np.array_equal(sliced[name], own) for name, own in rows.items())
