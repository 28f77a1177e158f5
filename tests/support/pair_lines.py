"""Lines of pair files, right and wrong ones."""

import gzip
import json
from pathlib import Path
from typing import Any

GOOD = {"uid": "u1", "lang": "en", "query": "who?", "passage": "Ada did"}


def line(**changes: Any) -> str:
    return json.dumps(GOOD | changes, ensure_ascii=False)


def write(file: Path, *lines: str | bytes) -> str:
    content = b"\n".join(text.encode() if isinstance(text, str) else text for text in lines)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return str(file)


BAD_LINES = {
    "truncated JSON": (line()[:-5], "not JSON"),
    "two objects on a line": (line() + line(), "not JSON"),
    "a list": ("[1, 2]", "expected an object with uid, lang, query, passage"),
    "a number": ("7", "expected an object"),
    "missing passage": (json.dumps({"uid": "a", "lang": "en", "query": "q"}), "'passage'"),
    "nothing at all": ("{}", "found only nothing"),
    "empty passage": (line(passage=""), "non-empty text as 'passage', found ''"),
    "blank query": (line(query=" \t\u00a0"), "non-empty text as 'query'"),
    "null query": (line(query=None), "'query', found None"),
    "a list for a text": (line(query=["a"]), "'query', found ['a']"),
    "a fraction as uid": (line(uid=1.5), "'uid', found 1.5"),
    "true as uid": (line(uid=True), "'uid', found True"),
    "a word for a language": (line(lang="the english language"), "language code"),
    "a language of one letter": (line(lang="e"), "language code"),
    "a language with a newline": (line(lang="en\n"), "language code"),
    "a path for a language": (line(lang="../en"), "language code"),
    "an encoded surrogate": (
        b'{"uid": "a", "lang": "en", "query": "q", "passage": "p", "\xed\xa0\x80": 1}',
        "not UTF-8",
    ),
    "Latin-1": (b'{"uid": "a", "lang": "en", "query": "caf\xe9", "passage": "p"}', "not UTF-8"),
    "an empty text for negatives": (line(negatives=""), "texts as 'negatives', found ''"),
    "zero for negatives": (line(negatives=0), "texts as 'negatives', found 0"),
    "false for negatives": (line(negatives=False), "texts as 'negatives', found False"),
    "an object for negatives": (line(negatives={}), "texts as 'negatives', found {}"),
    "an empty negative": (line(negatives=["a", ""]), "texts as 'negatives', found ['a', '']"),
    "false as uid": (line(uid=False), "'uid', found False"),
    "a uid of 5,000 digits": (f'{{"uid": {"9" * 5000}, "lang": "en"}}', "not JSON (Exceeds"),
    "other text for a uid": (line(passage="Bob did"), "uid 'u1' has other text in language 'en'"),
}
