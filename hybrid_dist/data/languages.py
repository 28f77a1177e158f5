"""The canonical name of a language, whichever code a source uses for it.

The name is the shortest BCP-47 tag: two letters if ISO 639-1 has them, no script if it is the
language's usual one, and a region only if the source gives one (`pt-BR`). So `zho`,
`cmn`, `zh_CN`, `zh-Hans` and `zho_Hans` are all `zh`; `zh-TW` and `zh-Hant` are `zh-Hant`.
"""

import re
from functools import cache

from hybrid_dist.data import language_codes as codes
from hybrid_dist.errors import nearest, short

VARIANTS = re.compile(r"(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(-x(-[a-z0-9]{1,8})+)?")
"""The end of a tag: registered variants, and private subtags after `-x-`."""
LOCAL = re.compile(r"q[a-t][a-z]")
"""`qaa` to `qtz`, which ISO 639 reserves for private use."""
EXPECTED = "; expected one of ISO 639 or BCP-47, such as en, swa, pt-BR or zh-Hant"


@cache
def canonical(code: str) -> str:
    """The canonical name of a language from any of its codes; a ValueError says what is wrong."""
    language, *rest = code.replace("_", "-").lower().split("-")
    if language == "x" and rest and VARIANTS.fullmatch("-".join(["-x", *rest])):
        return "-".join([language, *rest])
    name = _language(language, code)
    script = region = ""
    if rest and len(rest[0]) == 4 and rest[0].isalpha():
        script = _known(rest.pop(0).title(), codes.SCRIPTS, code, "script")
        script = "Kore" if script == "Hang" else script
    if rest and re.fullmatch(r"[a-z]{2}", rest[0]):
        region = _known(rest.pop(0).upper(), codes.REGIONS, code, "region")
    elif rest and re.fullmatch(r"[0-9]{3}", rest[0]):
        region = rest.pop(0)
    if not VARIANTS.fullmatch("-".join(["", *rest] if rest else [])):
        raise ValueError(f"{short(code)} is no language code{EXPECTED}")
    if name == "zh":
        script, region = _chinese(script, region)
    elif script == _table(codes.USUAL_SCRIPTS).get(name, "Latn"):
        script = ""
    return "-".join(part for part in (name, script, region, *rest) if part)


@cache
def english_names() -> dict[str, str]:
    """Some languages by their names in English."""
    return _table(codes.ENGLISH_NAMES)


def two_letters() -> frozenset[str]:
    """ISO 639-1."""
    return frozenset(_table(codes.TWO_LETTERS))


def _language(language: str, code: str) -> str:
    names = _names()
    if language in names:
        return names[language]
    if LOCAL.fullmatch(language):
        return language
    close = ""
    if language in english_names():
        close = f"; did you mean '{english_names()[language]}'?"
    elif language.isalpha():
        close = nearest(language, _table(codes.TWO_LETTERS))
    raise ValueError(f"{short(code)} is no known language code{close or EXPECTED}")


@cache
def _names() -> dict[str, str]:
    """Every known language code and its canonical name."""
    starts = _table(codes.THREE_LETTERS).items()
    three = {start + end: start + end for start, ends in starts for end in ends}
    two = _table(codes.TWO_LETTERS)
    return (
        three
        | {code: code for code in two}
        | {b: a for a, b in two.items()}
        | _table(codes.OTHER_CODES)
    )


def three_letters(language: str) -> str:
    """ISO 639-3 for a language without script or region."""
    return _table(codes.TWO_LETTERS).get(language, language)


@cache
def _table(entries: str) -> dict[str, str]:
    return dict(entry.split(":") for entry in entries.split())


def _known(part: str, known: str, code: str, what: str) -> str:
    if part not in known.split():
        raise ValueError(
            f"{short(code)}: {short(part)} is no known {what}{nearest(part, known.split())}"
        )
    return part


def _chinese(script: str, region: str) -> tuple[str, str]:
    """For Chinese a script implies a region, and the reverse: Hans and CN, Hant and TW."""
    if (script or "Hans", region or "CN") == ("Hans", "CN"):
        return "", ""
    if (script or "Hant", region or "TW") == ("Hant", "TW"):
        return "Hant", ""
    return ("" if script == ("Hans" if region == "SG" else "Hant") else script), region


def primary_subtag(lang: str) -> str:
    """The language of a tag without script, region or pool, so that varieties are compared."""
    return lang.partition("-")[0]


def script_of(name: str) -> str:
    """The script of a language by its canonical name, in ISO 15924."""
    language, *rest = name.split("-")
    if rest and rest[0].title() in codes.SCRIPTS.split():
        return rest[0].title()
    return _table(codes.USUAL_SCRIPTS).get(language, "Latn")
