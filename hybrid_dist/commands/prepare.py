"""`hybrid-dist prepare`: from what people have to the store that training opens."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

import hybrid_dist
from hybrid_dist.config.schema import Model
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.sources.source import COMMON, Source
from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store import space
from hybrid_dist.data.store.builder import NoPairsError, build
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.tokens import LONGEST, write_tokens
from hybrid_dist.errors import UserError, nearest, report_errors
from hybrid_dist.runtime.files import bytes_of, write_atomically
from hybrid_dist.text import json_text, printable

PICTURE = "description.png"
EXAMPLES = """Examples:
  hybrid-dist prepare pairs 'data/*.jsonl.gz' --out stores/mine --tokenize xlm-roberta-base
  hybrid-dist prepare --describe stores/mine
  hybrid-dist prepare --verify stores/mine
  hybrid-dist train --config configs/demo.yaml --data.train stores/mine"""


def main(args: Sequence[str], program: str = "hybrid-dist prepare") -> None:
    parser = _parser(program)
    asked = parser.parse_args(args)
    with report_errors(program):
        if asked.verify:
            _verify(asked.verify)
            return
        if asked.describe:
            _describe(asked.describe, asked.json, asked.plot)
            return
        for name, value in (("SOURCE", asked.source), ("PATH", asked.paths), ("--out", asked.out)):
            if not value:
                raise UserError(f"{name} is missing\n\n{parser.format_usage()}")
        if asked.skip_bad < 0:
            raise UserError(f"--skip-bad: {asked.skip_bad} is too few; give 0 or more")
        told = prepare(
            _source(asked.source),
            asked.paths,
            asked.out,
            Reading(skip_bad=asked.skip_bad, options=_options(asked.option)),
            asked.tokenize,
            (asked.query_prefix, asked.passage_prefix),
            asked.trust_remote_code,
        )
        _tell(asked.out, told)


def _parser(program: str) -> argparse.ArgumentParser:
    sources = "\n".join(f"  {name:<10} {source.summary}" for name, source in SOURCES.items())
    options = "\n".join(
        f"  {source.name}: {name}={told}"
        for source in SOURCES.values()
        for name, told in source.options.items()
    )
    options += "".join(f"\n  all but pairs: {name}={told}" for name, told in COMMON.items())
    parser = argparse.ArgumentParser(
        prog=program,
        description="Make a store of training pairs, describe one, or verify one.",
        epilog=f"Sources:\n{sources}\n{f'Options:{chr(10)}{options}{chr(10)}' if options else ''}"
        f"\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="SOURCE", nargs="?", help="what the data's form is called"
    )
    parser.add_argument("paths", metavar="PATH", nargs="*", help="files, quoted globs or folders")
    parser.add_argument("--out", type=Path, metavar="STORE", help="folder to make, or to replace")
    parser.add_argument(
        "--skip-bad", type=int, default=0, metavar="N", help="pass over so many bad lines"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the source"
    )
    parser.add_argument(
        "--tokenize", metavar="MODEL", help="keep the token ids of a Hugging Face model's tokenizer"
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code that the model of --tokenize brings along; read it first",
    )
    for kind in ("query", "passage"):
        default = getattr(Model(), f"{kind}_prefix")
        parser.add_argument(
            f"--{kind}-prefix",
            default=default,
            help=f"put before what is tokenized, as in model.{kind}_prefix (default: {default!r})",
        )
    parser.add_argument("--describe", type=Path, metavar="STORE", help="tell what is in a store")
    parser.add_argument(
        "--verify", type=Path, metavar="STORE", help="read all of a store and compare checksums"
    )
    parser.add_argument("--json", action="store_true", help="describe as one JSON object")
    parser.add_argument("--plot", type=Path, help=f"where the picture goes (STORE/{PICTURE})")
    return parser


def prepare(
    source: Source,
    paths: Sequence[str],
    out: Path,
    reading: Reading,
    tokenize: str | None = None,
    prefixes: tuple[str, str] = ("", ""),
    trust_remote_code: bool = False,
) -> Mapping[str, Any]:
    """Make the store, or leave everything as it was; the new store's manifest."""
    if source.pairs is None:
        raise UserError(
            f"{source.name}: has no training pairs; evaluate on it, as in "
            f"--eval.tasks {source.name}:{paths[0]}"
        )
    source.check(reading.options)
    # a wrong name is refused before anything is read
    tokens = _tokens(tokenize, prefixes, trust_remote_code) if tokenize else None
    with (
        store_format.replaced(out, space.estimated(paths, tokens is not None)) as folder,
        store_format.Checksums() as checksums,
        _progress() as progress,
    ):
        try:
            blocks = _watched(source.pairs(paths, reading), progress)
            languages = build(blocks, reading, folder, checksums)
        except NoPairsError as error:
            raise UserError(f"{', '.join(paths)}: {error}") from None
        about: dict[str, Any] = {
            "hybrid_dist": hybrid_dist.__version__,
            "source": source.name,
            "paths": list(paths),
            "options": dict(reading.options),
        }
        if tokens is not None:
            about["tokens"] = write_tokens(folder, tokens, str(tokenize), *prefixes)
        about |= {
            "languages": languages,
            "evaluation": _evaluation(source, paths, reading),
            "renamed": reading.named,
            "bad": reading.bad,
            "notes": reading.notes,
        }
        store_format.write_manifest(folder, about, checksums)
    return store_format.read_manifest(out)


def _source(name: str) -> Source:
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(f"SOURCE: unknown {name!r}{nearest(name, SOURCES)} (known: {known})")
    return SOURCES[name]


def _options(given: Sequence[str]) -> dict[str, str]:
    options = {}
    for option in given:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise UserError(f"--option: {option!r} is not KEY=VALUE")
        if key in options:
            raise UserError(f"--option: {key!r} is given twice; give it once")
        options[key] = value
    return options


def _tokens(model: str, prefixes: tuple[str, str], trust_remote_code: bool) -> Any:
    from hybrid_dist.model.repository import naming_flag
    from hybrid_dist.model.spec import EncoderSpec
    from hybrid_dist.model.tokenization import TextTokens  # seconds to import, so only when needed

    settings = EncoderSpec("mean", *prefixes, LONGEST, LONGEST)
    with naming_flag("--tokenize"):
        return TextTokens.load(model, settings, trust_remote_code).tokenizer


def _progress() -> Progress:
    """A line on the terminal that says how far reading is."""
    columns = (TextColumn("{task.completed:,} pairs read"), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _watched(blocks: Iterator[pa.RecordBatch], progress: Progress) -> Iterator[pa.RecordBatch]:
    task = progress.add_task("read", total=None)
    for block in blocks:
        yield block
        progress.advance(task, len(block))
    progress.stop()


def _evaluation(
    source: Source, paths: Sequence[str], reading: Reading
) -> dict[str, dict[str, int]]:
    """What the same paths give to evaluate on, by language; of pair files it is their passages."""
    if source.collection is None or source.name == "pairs":
        return {}
    again = Reading(skip_bad=reading.skip_bad, options=reading.options)
    try:
        collection = source.collection(paths, again)
    except UserError as error:
        reading.notes.append(f"nothing to evaluate on: {error}")
        return {}
    counts: dict[str, dict[str, int]] = {}
    told = (("candidates", collection.passages), ("queries", collection.queries))
    for name, texts in told:
        for language, count in sorted(Counter(text.lang for text in texts).items()):
            counts.setdefault(language, {})[name] = count
    return counts


def _tell(out: Path, told: Mapping[str, Any]) -> None:
    counts = told["languages"].values()
    trained = [count for count in counts if count["pairs"]]
    made = (
        f"{out}: {sum(count['pairs'] for count in counts):,} pairs in {len(trained)} languages, "
        f"{sum(count['passages'] for count in counts):,} distinct passages"
    )
    print(printable(made))
    if told["renamed"]:
        renamed = ", ".join(f"{given} is {name}" for given, name in told["renamed"].items())
        print(printable(f"languages by their one name here: {renamed}"))
    for note in told["notes"]:
        print(printable(note))
    if told["bad"]:
        print(f"passed over {len(told['bad'])} bad lines:", file=sys.stderr)
        for line in told["bad"]:
            print(printable(f"  {line}"), file=sys.stderr)


def _verify(folder: Path) -> None:
    store = Store(folder, check="now")
    sizes = [told["bytes"] for told in store.manifest["files"].values()]
    whole = (
        f"{folder}: whole: {len(sizes)} files of {bytes_of(sum(sizes))} are as they were prepared; "
        f"{store.index.rows:,} pairs in {len(store.index.languages)} languages"
    )
    print(printable(whole))


def _describe(folder: Path, as_json: bool, picture: Path | None) -> None:
    from hybrid_dist.reporting.store_summary import describe, plot, tables

    told = describe(Store(folder))
    if as_json:
        print(json_text(told, indent=1))
    else:
        console = Console()
        for table in tables(told, console.width):
            console.print(table)
    if picture or not as_json:
        picture = picture or folder / PICTURE
        write_atomically(picture, plot(told), durable=False)
        if not as_json:
            print(printable(picture))
