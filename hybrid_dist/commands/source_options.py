"""The options of a source on a command line: `--option query=question`, or `--query question`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import tyro

from hybrid_dist.data.sources.source import Source
from hybrid_dist.errors import UserError

Several = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
Columns = Annotated[Several, tyro.conf.arg(metavar="COLUMN")]


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Options of the source, in their long form and their short ones."""

    option: Several = ()
    """An option of SOURCE, as KEY=VALUE; may be given several times."""
    query: Columns = ()
    """For table, short for --option query=COLUMN; given twice, the two sides of a row."""
    passage: Columns = ()
    """For table, the same for --option passage=COLUMN."""
    lang: Annotated[Several, tyro.conf.arg(metavar="LANGUAGE")] = ()
    """For table, the same for --option lang=LANGUAGE."""
    lang_column: Columns = ()
    """For table, the same for --option lang_column=COLUMN."""
    uid_column: Columns = ()
    """For table, short for --option uid_column=COLUMN."""
    negatives_columns: Columns = ()
    """For table, short for --option negatives=COLUMN; may be given several times."""
    where: Annotated[Several, tyro.conf.arg(metavar="CONDITION")] = ()
    """For table, short for --option where=CONDITION; of several, all must hold."""

    def given_to(self, source: Source) -> dict[str, str]:
        """The options that are given, by their names in the source."""
        options: dict[str, str] = {}
        for word in self.option:
            key, equals, value = word.partition("=")
            if not equals or not key:
                raise UserError(f"--option: {word!r} is not KEY=VALUE")
            if key in options:
                raise UserError(f"--option: {key!r} is given twice; give it once")
            options[key] = value
        for flag, name, values in self._short():
            if not values:
                continue
            if name not in source.options:
                raise UserError(
                    f"{flag}: the source {source.name} has no option {name}; table has it"
                )
            if name in options:
                raise UserError(f"{flag}: beside --option {name}={options[name]}; give one of them")
            if name != "where" and len(values) > 1 and any("{" in value for value in values):
                raise UserError(
                    f"{flag}: of several, none may be a template; give --option mapping=FILE, with "
                    f"a YAML list as {name}"
                )
            options[name] = (" and " if name == "where" else ",").join(values)
        return options

    def _short(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Each flag, the option that it is short for, and its values."""
        yield "--query", "query", self.query
        yield "--passage", "passage", self.passage
        yield "--lang", "lang", self.lang
        yield "--lang-column", "lang_column", self.lang_column
        yield "--uid-column", "uid_column", self.uid_column
        yield "--negatives-columns", "negatives", self.negatives_columns
        yield "--where", "where", self.where
