"""`hybrid-dist search --model M --passages FILE`: ask a trained model."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.config.embedding import EmbeddingOptions
from hybrid_dist.data.passages import Passages
from hybrid_dist.data.user_cache import VARIABLE, cache_folder, store_cache
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.model.repository import check_name, naming_flag
from hybrid_dist.runtime import progress_bar
from hybrid_dist.runtime.loading_line import loading
from hybrid_dist.text import cell, json_text, printable

if TYPE_CHECKING:
    from hybrid_dist.evaluation.passage_index import Hit, PassageIndex
    from hybrid_dist.model.embedder import TextEmbedder
    from hybrid_dist.runtime.ranks import Ranks

PROMPT = "query> "
SHOWN = 300
"""Characters of a passage that are shown."""
INDENT = 5


@dataclass(frozen=True, kw_only=True)
class Options(EmbeddingOptions):
    """Search passages with a model: at a prompt, or by queries that are given or piped in, one a
    line. Passages are embedded once; their vectors are kept for the next search.

    Example: hybrid-dist search --model runs/hybrid --passages pairs.jsonl --in de
    """

    model: str
    """A run folder, a checkpoint in one, a saved model, or a name or folder that transformers or
    sentence-transformers loads."""
    passages: str
    """A store, pair files (a path or a glob), JSON lines with `text` and, where they are known,
    `lang` and `id`, or plain text with a passage a line."""
    query: tuple[str, ...] = ()
    """Queries to answer, instead of a prompt."""
    languages: Annotated[tuple[str, ...], tyro.conf.arg(name="in", metavar="LANGUAGE ...")] = ()
    """Search the passages in these languages only."""
    k: int = 10
    """Passages to show."""
    json: Flag = False
    """Print a JSON object for each query, with whole passages."""
    cache: Path | None = None
    """Keep the vectors here; by default they are in the user's cache. N passages take
    4 x N x dimension bytes and their texts."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UserError(f"--k: {self.k} is no number of passages; give 1 or more")
        for query in self.query:
            if problem := _problem(query):
                raise UserError(f"--query: {problem}")


def main(args: Sequence[str], program: str = "hybrid-dist search") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        with naming_flag("--model"):
            check_name(options.model)
        passages = Passages.read(options.passages, store_cache(""))
        parts = passages.of_languages(options.languages)
        known = len([name for name in passages.rows if name])
        where = f"in {known} language{'s' * (known > 1)}" if known else "of unknown language"
        _say(f"{options.passages}: {len(passages.texts):,} passages {where}")
        with loading(program):  # torch, which takes seconds: after what is wrong with the files
            embedder, ranks = _loaded(options)
        index = _index(passages, embedder, ranks, options.cache)
        shows_query = bool(options.query) or not sys.stdin.isatty()
        for query in _queries(options.query):
            (hits,) = index.search([query], options.k, parts)
            if options.json:
                print(_line(query, hits), flush=True)
            else:
                _show(query if shows_query else "", hits)


def _loaded(options: Options) -> "tuple[TextEmbedder, Ranks]":
    """The model, on the device of this process."""
    import torch

    from hybrid_dist.reporting.evaluation_job import load_model
    from hybrid_dist.runtime.cores import limit_threads
    from hybrid_dist.runtime.launch import check_machine
    from hybrid_dist.runtime.ranks import Ranks

    device = torch.device(check_machine())
    limit_threads(os.environ)
    return load_model(options.model, device, options), Ranks(device=device)


def _index(
    passages: Passages, embedder: "TextEmbedder", ranks: "Ranks", cache: Path | None
) -> "PassageIndex":
    from hybrid_dist.evaluation.passage_index import PassageIndex

    folder = cache or cache_folder("search")
    if folder is None:
        raise UserError(f"no folder for vectors can be written; give --cache, or set {VARIABLE}")
    with progress_bar.shown():
        index = PassageIndex(passages, embedder, folder, ranks)
    _say(f"{index.folder}: their vectors")
    return index


def _queries(given: Sequence[str]) -> Iterator[str]:
    if given:
        return iter(given)
    return _typed() if sys.stdin.isatty() else _piped()


def _typed() -> Iterator[str]:
    with suppress(ImportError):
        import readline  # noqa: F401 - input() uses it to edit lines, wide letters included
    while True:
        try:
            if not sys.stdout.isatty():  # input() would print the prompt among the results
                print(PROMPT, end="", file=sys.stderr, flush=True)
            query = input(PROMPT if sys.stdout.isatty() else "")
        except EOFError:
            print(file=sys.stderr)
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            raise
        if query.strip():
            if problem := _problem(query):
                _say(problem)
            else:
                yield query.strip()


def _piped() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            query = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 ({error.reason} at byte {error.start})"
            raise UserError(f"standard input:{number}: {problem}; convert it") from None
        if query:
            yield query


def _problem(query: str) -> str:
    """What is wrong with a query from the terminal; empty if nothing is."""
    if not query.strip():
        return "is empty; give the words to search for"
    try:
        query.encode()
    except UnicodeEncodeError:
        return f"{query!r} is not UTF-8; set the terminal and LANG to UTF-8"
    return ""


def _line(query: str, hits: Sequence["Hit"]) -> str:
    results = [
        {
            "rank": rank,
            "score": round(score, 6),
            "lang": passage.lang or None,
            "id": passage.id or None,
            "text": passage.text,
        }
        for rank, (score, passage) in enumerate(hits, 1)
    ]
    return json_text({"query": query, "results": results})


def _show(query: str, hits: Sequence["Hit"]) -> None:
    """Each passage begins a line of its own, so that its letters decide the line's direction."""
    console = Console(highlight=False, emoji=False)
    if query:
        console.print(cell(f"> {query}", "bold"))
    for rank, (score, passage) in enumerate(hits, 1):
        head = f"{rank:>{INDENT - 2}}. {score:.3f}  {passage.lang or '-'}  {passage.id or '-'}"
        console.print(cell(head, "dim"))
        text = Text(_shortened(passage.text))
        for line in text.wrap(console, max(1, console.width - INDENT), overflow="fold"):
            console.print(f"{' ' * INDENT}{line.plain.rstrip()}", markup=False, soft_wrap=True)
    console.file.flush()


def _shortened(text: str) -> str:
    """The beginning of a passage as one line."""
    flat = " ".join(text.split())
    return printable(flat if len(flat) <= SHOWN else f"{flat[:SHOWN].rstrip()} ...")


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr, flush=True)
