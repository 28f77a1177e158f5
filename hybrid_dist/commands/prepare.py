"""`hybrid-dist prepare`: build the store that training opens, describe one, or verify one."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from hybrid_dist.config.schema import Model
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES, source_named
from hybrid_dist.data.sources.source import COMMON
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.tokens import LONGEST, write_tokens
from hybrid_dist.errors import UserError, report_errors
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
    options = parser.parse_args(args)
    with report_errors(program):
        if options.verify:
            _verify(options.verify)
        elif options.describe:
            _describe(options.describe, options.json, options.plot)
        else:
            _check(options, parser.format_usage())
            _prepare(options)


def _parser(program: str) -> argparse.ArgumentParser:
    sources = "\n".join(f"  {name:<10} {source.summary}" for name, source in SOURCES.items())
    lines = [
        f"  {source.name}: {name}={meaning}"
        for source in SOURCES.values()
        for name, meaning in source.options.items()
    ]
    lines += [f"  all: {name}={meaning}" for name, meaning in COMMON.items()]
    source_options = "\n".join(lines)
    parser = argparse.ArgumentParser(
        prog=program,
        description="Build a store of training pairs, describe one, or verify one.",
        epilog=f"Sources:\n{sources}\n\nOptions of sources:\n{source_options}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", nargs="?", help="the layout of the data, from the list below")
    add("paths", metavar="PATH", nargs="*", help="files, quoted globs or folders")
    add("--out", type=Path, metavar="STORE", help="the store's folder, new or to be replaced")
    add("--skip-bad", type=int, default=0, metavar="N", help="skip up to N bad lines")
    add("--option", action="append", default=[], metavar="KEY=VALUE", help="an option of SOURCE")
    add("--tokenize", metavar="MODEL", help="store token ids of a Hugging Face model's tokenizer")
    add(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code in the repository of --tokenize; read it first",
    )
    for kind in ("query", "passage"):
        default = getattr(Model(), f"{kind}_prefix")
        add(
            f"--{kind}-prefix",
            default=default,
            help=f"the text before each {kind} to tokenize, as in model.{kind}_prefix "
            f"(default: {default!r})",
        )
    add("--describe", type=Path, metavar="STORE", help="show the contents of a store")
    add("--verify", type=Path, metavar="STORE", help="read a whole store and compare checksums")
    add("--json", action="store_true", help="print the description as one JSON object")
    add("--plot", type=Path, help=f"where to save the plot (default: STORE/{PICTURE})")
    return parser


def _check(options: argparse.Namespace, usage: str) -> None:
    required = {"SOURCE": options.source, "PATH": options.paths, "--out": options.out}
    for name, value in required.items():
        if not value:
            raise UserError(f"{name} is missing\n\n{usage}")
    if options.skip_bad < 0:
        raise UserError(f"--skip-bad: {options.skip_bad} is too few; give 0 or more")


def _prepare(options: argparse.Namespace) -> None:
    source = source_named(options.source)
    reading = Reading(skip_bad=options.skip_bad, options=_source_options(options.option))
    source.check(reading.options)
    add_tokens = _token_writer(options) if options.tokenize else None
    with _progress() as progress:
        watch = partial(_show_progress, progress)
        store = prepare(source, options.paths, options.out, reading, add_tokens, watch)
    _print_summary(options.out, store.manifest)


def _source_options(words: Sequence[str]) -> dict[str, str]:
    """The options in words such as `split=dev`."""
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"--option: {word!r} is not KEY=VALUE")
        if key in options:
            raise UserError(f"--option: {key!r} is given twice; give it once")
        options[key] = value
    return options


def _token_writer(options: argparse.Namespace) -> Callable[[Path], Mapping[str, Any]]:
    """Writes the token ids of a store; the tokenizer is loaded here, before any pair is read."""
    from hybrid_dist.model.repository import naming_flag
    from hybrid_dist.model.spec import EncoderSpec
    from hybrid_dist.model.tokenization import TextTokens  # seconds to import, so only when needed

    prefixes = options.query_prefix, options.passage_prefix
    spec = EncoderSpec("mean", *prefixes, LONGEST, LONGEST)
    with naming_flag("--tokenize"):
        tokens = TextTokens.load(options.tokenize, spec, options.trust_remote_code)

    def write(folder: Path) -> Mapping[str, Any]:
        return write_tokens(folder, tokens.tokenizer, options.tokenize, *prefixes)

    return write


def _progress() -> Progress:
    """A line on the terminal with the number of pairs read."""
    columns = (TextColumn("{task.completed:,} pairs read"), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_progress(
    progress: Progress, blocks: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    task = progress.add_task("read", total=None)
    for block in blocks:
        yield block
        progress.advance(task, len(block))
    progress.stop()


def _print_summary(out: Path, manifest: Mapping[str, Any]) -> None:
    counts = manifest["languages"].values()
    trained = [count for count in counts if count["pairs"]]
    summary = (
        f"{out}: {sum(count['pairs'] for count in counts):,} pairs in {len(trained)} languages, "
        f"{sum(count['passages'] for count in counts):,} distinct passages"
    )
    print(printable(summary))
    if manifest["renamed"]:
        renamed = ", ".join(f"{code} is {name}" for code, name in manifest["renamed"].items())
        print(printable(f"language codes that have another name here: {renamed}"))
    for note in manifest["notes"]:
        print(printable(note))
    if manifest["bad"]:
        print(f"skipped {len(manifest['bad'])} bad lines:", file=sys.stderr)
        for line in manifest["bad"]:
            print(printable(f"  {line}"), file=sys.stderr)


def _verify(folder: Path) -> None:
    store = Store(folder, check="now")
    sizes = [file["bytes"] for file in store.manifest["files"].values()]
    result = (
        f"{folder}: complete: {len(sizes)} files of {bytes_of(sum(sizes))} are as they were "
        f"prepared; {store.index.rows:,} pairs in {len(store.index.languages)} languages"
    )
    print(printable(result))


def _describe(folder: Path, as_json: bool, picture: Path | None) -> None:
    from hybrid_dist.reporting.store_summary import describe, plot, tables

    description = describe(Store(folder))
    if as_json:
        print(json_text(description, indent=1))
    else:
        console = Console()
        for table in tables(description, console.width):
            console.print(table)
    if picture or not as_json:
        picture = picture or folder / PICTURE
        write_atomically(picture, plot(description), durable=False)
        if not as_json:
            print(printable(picture))
