"""Files that are parallel line by line: FLORES, NTREX, Tatoeba."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources.lines import lines, nfc
from hybrid_dist.errors import UserError

Sentences = dict[str, tuple[int, str]]
"""By language: the place of a sentence, and the sentence."""


def aligned(reading: Reading, files: Mapping[str, Path]) -> Iterator[tuple[int, Sentences]]:
    """The numbers of all lines, and the sentences of each in the languages that have a good one."""
    first = {lang: reading.place(file, 0) for lang, file in files.items()}
    texts = {lang: dict(lines(reading, file)) for lang, file in files.items()}
    last = {lang: max(found, default=0) for lang, found in texts.items()}
    one = next(iter(files))
    for lang, file in files.items():
        if last[lang] != last[one]:
            raise UserError(
                f"{files[one]}:{last[one]}: is its last line, that of {file.name} is {last[lang]}; "
                "parallel files have as many lines"
            )
    for number in range(1, last[one] + 1):
        sentences = {}
        for lang, file in files.items():
            sentence = texts[lang].get(number)
            if sentence is None:  # refused when it was read
                continue
            if sentence.strip():
                sentences[lang] = first[lang] + number, nfc(sentence)
            else:
                reading.refuse(f"{file}:{number}", "expected a sentence, found an empty line")
        yield number, sentences
