"""One name for every language."""

import pytest

from hybrid_dist.data.languages import canonical
from hybrid_dist.demo.toy_world import LANGUAGES


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("zh", "zh zho chi cmn zh_CN zh-cn zh-Hans zho_Hans zh-Hans-CN"),
        ("zh-Hant", "zh-Hant zh_TW zh-tw zho_Hant zh-Hant-TW"),
        ("zh-HK", "zh_hk zh-HK zh-Hant-HK"),
        ("en", "en eng eng_Latn EN"),
        ("ar", "ar ara arb arb_Arab"),
        ("sw", "sw swa swh"),
        ("fa", "fa fas per pes"),
        ("de", "de deu ger"),
        ("sr", "sr srp srp_Cyrl"),
        ("ko", "ko kor kor_Hang"),
        ("he", "he heb iw"),
        ("pt-BR", "pt_BR pt-br por-BR"),
        ("tl", "tl tgl fil"),
        ("rw", "kin"),
        ("bem", "bem"),
        ("en-x-af", "en-x-af"),
    ],
)
def test_all_codes_of_a_language_have_one_name(name: str, codes: str) -> None:
    assert {canonical(code) for code in codes.split()} == {name}


def test_varieties_keep_apart() -> None:
    codes = ["pt", "pt-BR", "pt-PT", "zh", "zh-Hant", "zh-HK", "no", "nb", "nn", "sr", "sr-Latn"]
    assert [canonical(code) for code in codes] == codes


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("german", "did you mean 'de'"),
        ("quu", "did you mean 'qu'"),
        ("xx", "expected one of ISO 639"),
        ("", "expected one of ISO 639"),
        ("e", "is no known language code"),
        ("en\n", "is no known language code"),
        ("../en", "is no known language code"),
        ("the english language", "is no known language code"),
        ("en-XX", "'XX' is no known region"),
        ("en-Latm", "'Latm' is no known script; did you mean 'Latn'"),
        ("en--x", "is no language code"),
        ("zh-cnn", "is no language code"),
    ],
)
def test_a_wrong_code_is_reported(code: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canonical(code)


def test_a_code_of_any_length_makes_a_short_message() -> None:
    for code in ("a" * 70_000, "en-" + "x" * 70_000, "en-Latn-" + "9" * 70_000):
        with pytest.raises(ValueError, match="language code") as refusal:
            canonical(code)
        assert len(str(refusal.value)) < 300


def test_invented_languages_use_the_codes_that_iso_leaves_free() -> None:
    assert [canonical(language.code) for language in LANGUAGES] == [x.code for x in LANGUAGES]


def test_a_name_is_its_own_name() -> None:
    for code in ("zho_Hant", "por-BR", "kin", "qaa", "srp-Latn", "x-elvish", "es-419"):
        assert canonical(canonical(code)) == canonical(code)
