"""`hybrid-dist prepare`: build the store that training opens, describe one, or verify one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import tyro

from hybrid_dist.commands.source_options import SourceOptions
from hybrid_dist.commands.store_output import describe, print_summary, verify
from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.config.schema import Model
from hybrid_dist.data.changes import Changes
from hybrid_dist.data.cleaning import Cleaning
from hybrid_dist.data.dry_run import try_out
from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES, source_named
from hybrid_dist.data.sources.source import COMMON, Source
from hybrid_dist.data.store.teacher_vectors import write_teacher_vectors
from hybrid_dist.data.store.token_cache import LONGEST, write_tokens
from hybrid_dist.data.tables.known_layouts import LAYOUTS
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.runtime import progress_bar
from hybrid_dist.text import printable

WIDTH = 200
"""Characters of a text that a dry run shows."""
OF_PAIRS = (
    *("dry_run", "links", "near_duplicates", "max_per_passage", "sample_per_language"),
    *("tokenize", "teacher"),
)
"""Flags that --collection does not have."""
USAGE = "give hybrid-dist prepare SOURCE PATH --out STORE"


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Build a store of training pairs, describe one, or verify one."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = ""
    """The layout of the data, from the list above."""
    paths: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH ...")] = ()
    """Files, quoted globs or folders."""
    out: Path | None = None
    """The store's folder, new or to be replaced."""
    dry_run: Flag = False
    """Show ten pairs as they are understood and what would be left out and why; write no store."""
    collection: Flag = False
    """Prepare queries, passages and qrels instead, to evaluate on them: --task collection:OUT."""
    skip_bad: int = 0
    """Skip up to this many bad lines."""
    links: Path | None = None
    """Lines of two uids with a tab between them: pairs that are linked get one uid."""
    near_duplicates: float | None = None
    """Leave out pairs whose query and passage are this similar (0.5 to 1) to another pair's."""
    max_per_passage: int | None = None
    """Keep at most so many pairs of a passage in each language."""
    sample_per_language: int | None = None
    """Keep at most so many pairs of each language, drawn with --seed."""
    seed: int = 0
    """Decides which pairs are kept."""
    tokenize: str | None = None
    """Store the token ids of this Hugging Face model's tokenizer."""
    teacher: str | None = None
    """Store the vectors of this model, from which training can distill (distill.teacher)."""
    teacher_query_prefix: str | None = None
    """The text before each query for --teacher; what its files say by default."""
    teacher_passage_prefix: str | None = None
    """The text before each passage for --teacher; what its files say by default."""
    teacher_debias: Literal["none", "mean"] = "none"
    """mean: subtract the mean vector of each language from those of --teacher."""
    trust_remote_code: Flag = False
    """Run the Python code in the repository of --tokenize and --teacher; read it first."""
    query_prefix: str = Model.query_prefix
    """The text before each query for --tokenize, as in model.query_prefix."""
    passage_prefix: str = Model.passage_prefix
    """The text before each passage for --tokenize, as in model.passage_prefix."""
    list: Flag = False
    """Show all layouts, with the files and columns that each has."""
    describe: Path | None = None
    """Show the contents of this store."""
    verify: Path | None = None
    """Read this whole store and compare its checksums."""
    json: Flag = False
    """Print the description as one JSON object."""
    plot: Path | None = None
    """Where to save the plot of a description; by default STORE/description.png."""


def main(args: Sequence[str], program: str = "hybrid-dist prepare") -> None:
    options = parse(Options, args, program, _help())
    with report_errors(program):
        if options.list:
            for name, source in SOURCES.items():
                print(f"{name}\n  {source.summary}\n  {source.columns}")
        elif options.verify:
            verify(options.verify)
        elif options.describe:
            describe(options.describe, options.json, options.plot)
        else:
            _prepare(options)


def _help() -> str:
    width = max(map(len, SOURCES))
    sources = "\n".join(f"  {name:<{width}} {source.summary}" for name, source in SOURCES.items())
    layouts = {layout.name for layout in LAYOUTS}
    lines = [
        f"  {source.name}: {name}={meaning}"
        for source in SOURCES.values()
        for name, meaning in source.options.items()
        if source.name not in layouts
    ]
    lines.append(f"  {', '.join(sorted(layouts))}: the options of table")
    lines += [f"  all: {name}={meaning}" for name, meaning in COMMON.items()]
    source_options = "\n".join(lines)
    return f"""{Options.__doc__}

Sources:
{sources}

Options of sources:
{source_options}

Examples:
  hybrid-dist prepare pairs 'data/*.jsonl.gz' --out stores/mine --tokenize xlm-roberta-base
  hybrid-dist prepare table faq.csv --query question --passage answer --lang en --dry-run
  hybrid-dist prepare miracl data/miracl --option languages=sw --collection --out collections/sw
  hybrid-dist prepare --list
  hybrid-dist prepare --describe stores/mine
  hybrid-dist prepare --verify stores/mine
  hybrid-dist train --config configs/demo.yaml --data.train stores/mine"""


def _prepare(options: Options) -> None:
    for name, value in (("SOURCE", options.source), ("PATH", options.paths)):
        if not value:
            raise UserError(f"{name} is missing; {USAGE}")
    if options.collection:
        _check_collection(options)
    if options.dry_run:
        _try_out(options)
        return
    if options.out is None:
        raise UserError(f"--out is missing; {USAGE}")
    if options.skip_bad < 0:
        raise UserError(f"--skip-bad: {options.skip_bad} is too few; give 0 or more")
    source = source_named(options.source)
    reading = Reading(skip_bad=options.skip_bad, options=options.given_to(source))
    source.check(reading.options)
    if options.collection:
        _prepare_collection(options, source, reading, options.out)
        return
    if options.teacher_debias != "none" and not options.teacher:
        raise UserError("--teacher-debias: needs --teacher MODEL")
    changes = _changes(options)
    add_tokens = _token_writer(options.tokenize, options) if options.tokenize else None
    add_teacher = _teacher_writer(options.teacher, options) if options.teacher else None
    with progress_bar.shown():
        store = prepare(
            source, options.paths, options.out, reading, add_tokens, _counted, add_teacher, changes
        )
    print_summary(options.out, store.manifest)


def _check_collection(options: Options) -> None:
    """Refuse what is for training pairs alone."""
    for flag in OF_PAIRS:
        if getattr(options, flag) not in (None, False):
            name = flag.replace("_", "-")
            raise UserError(
                f"--{name}: is for training pairs, which --collection leaves out; give one of the "
                "two"
            )


def _prepare_collection(options: Options, source: Source, reading: Reading, out: Path) -> None:
    from hybrid_dist.evaluation.stored_task import prepare_collection

    with progress_bar.shown():
        task = prepare_collection(source, options.paths, out, reading)
    summary = (
        f"{out}: {len(task.query_ids):,} queries and {len(task.passage_ids):,} passages in "
        f"{len(task.languages)} languages; evaluate on it with --task collection:{out}"
    )
    print(printable(summary))
    for note in task.notes:
        print(printable(note))


def _try_out(options: Options) -> None:
    source = source_named(options.source)
    given = options.given_to(source)
    result = try_out(source, options.paths, given, _show_pair, _changes(options))
    for language, counts in result.languages.items():
        line = f"{language}: {counts['pairs']:,} pairs, {counts['passages']:,} distinct passages"
        print(printable(line))
    if not result.languages:
        print("no pair would be left")
    for note in result.notes:
        print(printable(note))
    for reason in result.reasons:
        print(printable(f"bad rows: {reason.rows:,}: {reason.what} (first: {reason.example})"))
    if result.reasons:
        count = sum(reason.rows for reason in result.reasons)
        print(f"bad rows end a preparation; --skip-bad {count} would skip these")


def _changes(options: Options) -> Changes:
    near, seed = options.near_duplicates, options.seed
    most, sample = options.max_per_passage, options.sample_per_language
    if near is not None and not 0.5 <= near <= 1:
        raise UserError(f"--near-duplicates {near}: is out of range; give 0.5 to 1")
    for name, value in (("max-per-passage", most), ("sample-per-language", sample)):
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: is too few; give 1 or more")
    if not 0 <= seed < 1 << 63:
        raise UserError(f"--seed {seed}: is out of range; give 0 or more")
    return Changes(options.links, Cleaning(near, most, sample, seed))


def _show_pair(place: str, pair: Mapping[str, Any]) -> None:
    print(printable(f"{place}  lang {pair['lang']}  uid {pair['uid']}"))
    texts = [("query", pair["query"]), ("passage", pair["passage"])]
    texts += [("negative", text) for text in pair["negatives"] or ()]
    for name, text in texts:
        shown = text if len(text) <= WIDTH else f"{text[:WIDTH]} ..."
        print(printable(f"  {name:<8}  {shown}"))


def _token_writer(tokenizer: str, options: Options) -> Callable[[Path], Mapping[str, Any]]:
    """Writes the token ids of a store; the tokenizer is loaded here, before any pair is read."""
    from hybrid_dist.model.repository import naming_flag
    from hybrid_dist.model.spec import EncoderSpec
    from hybrid_dist.model.tokenization import TextTokens  # seconds to import, so only when needed

    prefixes = options.query_prefix, options.passage_prefix
    spec = EncoderSpec("mean", *prefixes, LONGEST, LONGEST)
    with naming_flag("--tokenize"):
        tokens = TextTokens.load(tokenizer, spec, options.trust_remote_code)

    def write(folder: Path) -> Mapping[str, Any]:
        return write_tokens(folder, tokens.tokenizer, tokenizer, *prefixes)

    return write


def _teacher_writer(teacher: str, options: Options) -> Callable[[Path], Mapping[str, Any]]:
    """Writes a teacher's vectors; its weights are loaded here, before any pair is read."""
    from hybrid_dist.model.embedder import TextEmbedder
    from hybrid_dist.model.repository import naming_flag

    prefixes = options.teacher_query_prefix, options.teacher_passage_prefix
    with naming_flag("--teacher"):
        model = TextEmbedder.load(teacher, None, options.trust_remote_code, *prefixes)

    debias = options.teacher_debias == "mean"
    about: dict[str, Any] = {"model": teacher, "fingerprint": model.fingerprint}
    about["settings"] = model.settings
    if debias:
        about["fingerprint"] += ", language means subtracted"
        about["settings"] = {**model.settings, "debias": "mean"}

    def write(folder: Path) -> Mapping[str, Any]:
        encode = model.encode_queries, model.encode_passages
        return write_teacher_vectors(folder, *encode, about, debias)

    return write


def _counted(blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with progress_bar.part("reading pairs", None) as advance:
        for block in blocks:
            yield block
            advance(len(block))
