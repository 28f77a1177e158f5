"""Which columns of a table make its pairs: options such as `query=question`, or a YAML file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.config.strict_yaml import check_keys, read_yaml
from hybrid_dist.data.languages import canonical
from hybrid_dist.data.tables.column_texts import Column, Template, parse_template
from hybrid_dist.data.tables.conditions import Condition, parse_conditions
from hybrid_dist.errors import UserError, short

COLUMNS = {
    "query": "the column of queries, or a template such as 'about {title}'; two columns, as in "
    "query=question1,question2, are the two sides of a row",
    "passage": r"the column of passages, or a template such as '{title}\n{text}'",
    "lang": "the language of all rows; of two sides, as in lang=en,de",
    "lang_column": "the column of languages, in place of lang",
    "uid_column": "the column of uids; without it, a row's uid is its file and number",
    "negatives": "columns of hard negatives, each a text or a list of texts",
    "positive_score": "the column of the passage's score, if negative_scores has the negatives'",
    "negative_scores": "the column of the list of scores of the negatives, in their order",
    "where": "rows to keep, as in 'score > 0.8 and source != \"web\"'",
}
FILES = {
    "config": "the configuration of a published data set, as in config=de",
    "split": "the split, as in split=train; split=all takes every one",
    "columns": "the names of the columns of CSV files without a header, as in columns=a,b",
    "delimiter": "what separates cells in CSV files, as in 'delimiter=;'",
    "quotes": "quotes=no: quotation marks in CSV files are text",
}
FROM_FILE = "mapping"
LANGUAGE = ("lang", "lang_column")
SCORES = ("positive_score", "negative_scores")
OPTIONS = {FROM_FILE: "a YAML file with any of these options", **COLUMNS, **FILES}
Settings = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Side:
    """One pair of a row."""

    query: Template
    passage: Template
    lang: str | Column
    """A language, or the column that has it."""


@dataclass(frozen=True)
class TableMapping:
    """How rows become pairs."""

    sides: tuple[Side, ...]
    """Pairs of one uid: rows of parallel texts have two."""
    uid: Template | None
    negatives: tuple[Template, ...]
    scores: tuple[Column, Column] | None
    """Of the passage, and of the list of negatives."""
    where: tuple[Condition, ...]

    def columns(self) -> Iterator[tuple[str, Column]]:
        """The columns that are read, each with its option."""
        for side in self.sides:
            yield from (("query", column) for column in side.query.columns)
            yield from (("passage", column) for column in side.passage.columns)
            if isinstance(side.lang, Column):
                yield "lang_column", side.lang
        if self.uid is not None:
            yield from (("uid_column", column) for column in self.uid.columns)
        for template in self.negatives:
            yield from (("negatives", column) for column in template.columns)
        if self.scores is not None:
            yield from zip(SCORES, self.scores, strict=True)
        yield from (("where", condition.column) for condition in self.where)


def settings_of(options: Mapping[str, str]) -> Settings:
    """The options, with those of the file `mapping` below them."""
    given: dict[str, str | list[str]] = {k: v for k, v in options.items() if k in OPTIONS}
    file = given.pop(FROM_FILE, None)
    return given if file is None else replaced(_of_file(Path(str(file))), given)


def replaced(below: Settings, given: Settings) -> Settings:
    """Settings with given ones in their place; `lang` and `lang_column` replace each other."""
    if any(name in given for name in LANGUAGE):
        below = {name: value for name, value in below.items() if name not in LANGUAGE}
    return {**below, **given}


def _of_file(file: Path) -> Settings:
    if not file.is_file():
        raise UserError(f"option mapping={file}: no such file; name a YAML file of options")
    content = read_yaml(file)
    if not isinstance(content, dict):
        found = "a list" if isinstance(content, list) else short(content)
        found = "nothing" if content is None else found
        raise UserError(f"{file}: expected options such as `query: question`, found {found}")
    check_keys(content, {**COLUMNS, **FILES}, f"{file}")
    settings: dict[str, str | list[str]] = {}
    for key, value in content.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) for one in values):
            raise UserError(
                f"{file}: {key}: expected a text or a list of texts, found {short(value)}"
            )
        settings[key] = value
    return settings


def mapping_of(settings: Settings) -> TableMapping:
    """The mapping that options describe; they need `query`, `passage` and a language."""
    query, passage = _templates(settings, "query"), _templates(settings, "passage")
    langs = _languages(settings)
    if not len(query) == len(passage) == len(langs):
        hint = ""
        if any("," in one.written for one in (*query, *passage)):  # only a template has commas
            hint = (
                "; commas in a template are text: give several in a YAML file (option mapping), as "
                'a list such as ["{a}", "{b}"]'
            )
        raise UserError(
            f"option query names {len(query)} columns, passage {len(passage)}, and there are "
            f"{len(langs)} languages; each side of a row has one of each{hint}"
        )
    negatives = _templates(settings, "negatives")
    if len(query) > 1 and negatives:
        raise UserError("option negatives: rows of two sides have none; prepare one side alone")
    uid = _templates(settings, "uid_column")
    if len(uid) > 1:
        raise UserError(f"option uid_column={_shown(settings['uid_column'])}: name one column")
    return TableMapping(
        sides=tuple(map(Side, query, passage, langs)),
        uid=uid[0] if uid else None,
        negatives=tuple(negatives),
        scores=_scores(settings),
        where=tuple(one for part in conditions(settings) for one in parse_conditions(part)),
    )


def listed(settings: Settings, option: str) -> list[str]:
    """The values of an option, which commas separate unless there are braces."""
    value = settings.get(option, [])
    if isinstance(value, list):
        return value
    return [value] if "{" in value else [part.strip() for part in value.split(",")]


def conditions(settings: Settings) -> list[str]:
    """The values of `where`, as they are written."""
    value = settings.get("where", [])
    return value if isinstance(value, list) else [value]


def one_text(settings: Settings, option: str) -> str | None:
    """An option that has one value."""
    value = settings.get(option)
    if isinstance(value, list):
        raise UserError(f"option {option}={_shown(value)}: expected one value")
    return value


def _templates(settings: Settings, option: str) -> list[Template]:
    return [parse_template(written, option) for written in listed(settings, option)]


def _scores(settings: Settings) -> tuple[Column, Column] | None:
    names = [one_text(settings, option) for option in SCORES]
    positive, negative = names
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        raise UserError(f"options {' and '.join(SCORES)}: give both or none; a store has both")
    if len(listed(settings, "query")) > 1:
        raise UserError(f"option {SCORES[0]}: rows of two sides have no scores")
    return Column(positive), Column(negative)


def _languages(settings: Settings) -> Sequence[str | Column]:
    if "lang" in settings and "lang_column" in settings:
        raise UserError("options lang and lang_column: give one of the two")
    if "lang_column" in settings:
        return [Column(name) for name in listed(settings, "lang_column")]
    codes = listed(settings, "lang")
    for code in codes:
        try:
            canonical(code)
        except ValueError as error:
            raise UserError(f"option lang={code}: {error}; lang_column names a column") from None
    return codes


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
