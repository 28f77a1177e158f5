"""One name for every language."""

import pytest

from hybrid_dist.data.languages import canonical
from hybrid_dist.demo.toy_world import LANGUAGES

BELEBELE = """
acm_Arab afr_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng
azj_Latn bam_Latn ben_Beng ben_Latn bod_Tibt bul_Cyrl cat_Latn ceb_Latn ces_Latn ckb_Arab dan_Latn
deu_Latn ell_Grek eng_Latn est_Latn eus_Latn fin_Latn fra_Latn fuv_Latn gaz_Latn grn_Latn guj_Gujr
hat_Latn hau_Latn heb_Hebr hin_Deva hin_Latn hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn
isl_Latn ita_Latn jav_Latn jpn_Jpan kac_Latn kan_Knda kat_Geor kaz_Cyrl kea_Latn khk_Cyrl khm_Khmr
kin_Latn kir_Cyrl kor_Hang lao_Laoo lin_Latn lit_Latn lug_Latn luo_Latn lvs_Latn mal_Mlym mar_Deva
mkd_Cyrl mlt_Latn mri_Latn mya_Mymr nld_Latn nob_Latn npi_Deva npi_Latn nso_Latn nya_Latn ory_Orya
pan_Guru pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn ron_Latn rus_Cyrl shn_Mymr sin_Latn sin_Sinh
slk_Latn slv_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn
swh_Latn tam_Taml tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tsn_Latn tso_Latn tur_Latn ukr_Cyrl
urd_Arab urd_Latn uzn_Latn vie_Latn war_Latn wol_Latn xho_Latn yor_Latn zho_Hans zho_Hant zsm_Latn
zul_Latn
"""


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


def test_each_variant_of_belebele_has_a_name_of_its_own() -> None:
    names = [canonical(code) for code in BELEBELE.split()]
    assert len(set(names)) == len(names) == 122
    assert {"bn", "bn-Latn", "zh", "zh-Hant", "ar", "arz", "ms", "nb"} <= set(names)


def test_south_levantine_arabic_which_iso_639_has_merged_keeps_apart() -> None:
    assert [canonical(code) for code in ("ajp_Arab", "apc_Arab")] == ["ajp", "apc"]


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
