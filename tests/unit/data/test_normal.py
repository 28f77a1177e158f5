"""NFC normalization of columns, against Python's of every text."""

import sys
import unicodedata
from unittest import mock

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_dist.data import normal as normal_module
from hybrid_dist.data.normal import normalize_nfc

TRICKY = (
    "aeo\u0301\u0323\u0327\u0300ÅÅé가각ᄀ\u1161\u11a8か\u3099が"
    "\u093c\u0958क\u094d\u064b\u0651ﬁ\u0344\U0001d15e日—"
)
TEXTS = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])))


def by_python(texts: list[str]) -> list[str]:
    return [unicodedata.normalize("NFC", text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS, max_size=8))
def test_columns_are_normalized_as_every_text_by_itself(texts: list[str]) -> None:
    for piece in (5, 1 << 18):
        with mock.patch.object(normal_module, "PIECE", piece):
            result = normalize_nfc(pa.array(texts, pa.string()))
            of_slice = normalize_nfc(pa.array(["x", *texts], pa.large_string())[1:])
        assert result.to_pylist() == of_slice.to_pylist() == by_python(texts)


def test_every_letter_alone_and_after_another() -> None:
    letters = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n <= 0xDFFF]
    assigned = [letter for letter in letters if unicodedata.category(letter) not in ("Cn", "Co")]
    for before in ("", "a", "\u1100", "\u0327", "e\u0301"):
        texts = [before + letter for letter in (assigned if before else letters)]
        assert normalize_nfc(pa.array(texts)).to_pylist() == by_python(texts)


def test_text_that_has_the_form_is_not_copied() -> None:
    texts = pa.array(["plain", "café", "Ångström", "日本語", "русский", "한국어", "العربية"])
    assert normalize_nfc(texts) is texts
