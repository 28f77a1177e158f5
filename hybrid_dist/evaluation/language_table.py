"""Scripts, families and resource tiers of the languages of common test sets.

A language is missing here, or has no tier, where no source settles it; docs/metrics.md names the
sources.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

LANGUAGES = {
    "Afro-Asiatic": """
        acm:Arab:- am:Ethi:2 apc:Arab:- ar:Arab:5 ars:Arab:- ary:Arab:- arz:Arab:3 ha:Latn:2
        he:Hebr:3 mt:Latn:2 om:Latn:1 so:Latn:1 ti:Ethi:2
    """,
    "Atlantic-Congo": """
        bem:Latn:- ff:Latn:- fon:Latn:0 ig:Latn:1 lg:Latn:1 ln:Latn:1 nso:Latn:- ny:Latn:1
        rw:Latn:1 sn:Latn:1 ss:Latn:1 st:Latn:- sw:Latn:2 tn:Latn:2 ts:Latn:1 tw:Latn:1
        wo:Latn:2 xh:Latn:2 yo:Latn:2 zu:Latn:2
    """,
    "Austroasiatic": "km:Khmr:1 vi:Latn:4",
    "Austronesian": """
        ceb:Latn:3 id:Latn:3 ilo:Latn:1 jv:Latn:1 mg:Latn:1 mi:Latn:1 ms:Latn:3 su:Latn:1
        tl:Latn:3 war:Latn:-
    """,
    "Basque": "eu:Latn:4",
    "Dravidian": "kn:Knda:1 ml:Mlym:1 ta:Taml:3 te:Telu:1",
    "Indo-European": """
        af:Latn:3 as:Beng:1 bg:Cyrl:3 bn:Beng:3 ca:Latn:4 ckb:Arab:1 cs:Latn:4 da:Latn:3
        de:Latn:5 el:Grek:3 en:Latn:5 es:Latn:5 fa:Arab:4 fr:Latn:5 gu:Gujr:1 hi:Deva:4
        hr:Latn:4 ht:Latn:- hy:Armn:1 is:Latn:2 it:Latn:4 kea:Latn:- lt:Latn:3 lv:Latn:3
        mk:Cyrl:1 mr:Deva:2 nb:Latn:1 ne:Deva:1 nl:Latn:4 no:Latn:1 or:Orya:1 pa:Guru:2
        pl:Latn:4 ps:Arab:- pt:Latn:4 ro:Latn:3 ru:Cyrl:4 sd:Arab:1 si:Sinh:- sk:Latn:3
        sl:Latn:3 sq:Latn:1 sr:Cyrl:4 sv:Latn:4 tg:Cyrl:1 uk:Cyrl:3 ur:Arab:3
    """,
    "Japonic": "ja:Jpan:5",
    "Kartvelian": "ka:Geor:3",
    "Koreanic": "ko:Kore:4",
    "Mande": "bm:Latn:1",
    "Mongolic-Khitan": "mn:Cyrl:1",
    "Nilotic": "luo:Latn:-",
    "Sino-Tibetan": "bo:Tibt:1 kac:Latn:- my:Mymr:1 zh:Hans:5",
    "Tai-Kadai": "lo:Laoo:2 shn:Mymr:0 th:Thai:3",
    "Tupian": "gn:Latn:-",
    "Turkic": "az:Latn:1 kk:Cyrl:3 ky:Cyrl:1 tr:Latn:4 uz:Latn:3",
    "Uralic": "et:Latn:3 fi:Latn:4 hu:Latn:4",
}
"""Top-level family in Glottolog -> its languages, each as language:script:tier.

The script is the code of the usual one in ISO 15924, the tier the class from 0 to 5 of Joshi et
al. (2020), or -. A language isolate is a family of its own.
"""


class Attributes(NamedTuple):
    """What is known of a language; None where no source settles it."""

    script: str | None
    family: str | None
    tier: str | None


COLUMNS = Attributes._fields
"""What languages can be grouped by."""


def attributes(language: str) -> Attributes:
    """The attributes of a language by its canonical name.

    A script in the name, as in zh-Hant, counts; regions and variants have those of their language.
    """
    base, *rest = language.split("-")
    known = _table().get(base, Attributes(None, None, None))
    written = rest[0] if rest and len(rest[0]) == 4 and rest[0].isalpha() else known.script
    return known._replace(script=written)


@cache
def _table() -> Mapping[str, Attributes]:
    """Canonical name of a language -> its attributes."""
    rows = {}
    for family, languages in LANGUAGES.items():
        for row in languages.split():
            language, script, tier = row.split(":")
            rows[language] = Attributes(script, family, None if tier == "-" else tier)
    return rows
