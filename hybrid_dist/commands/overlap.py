"""`hybrid-dist overlap`: whether what tasks evaluate on is among training pairs.

Looked for are queries and the passages that answer them; other candidates tell no answer.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import tyro
from rich.console import Console
from rich.table import Table

from hybrid_dist.data.store.builder import NoPairsError
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.contamination import (
    Hit,
    Overlap,
    blocks,
    evaluated,
    normalized_text,
    primary_subtag,
)
from hybrid_dist.evaluation.tasks import load_task
from hybrid_dist.runtime.files import atomic_file, made_parents
from hybrid_dist.text import cell, json_text, printable

CLIP = 160
KINDS = {"query": "queries", "passage": "passages"}
"""What is looked for: one, and several."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check that what is evaluated on was not trained on: equal texts, or most of their n-grams.

    Ends with 1 where something is found, and 0 where nothing is, or where --drop leaves it out.

    Example: hybrid-dist overlap 'data/*.jsonl.gz' --task xquad_r:data/xquad-r
    """

    store: Annotated[str, tyro.conf.Positional]
    """Training pairs: a store, a pair file or a glob."""
    task: tuple[str, ...]
    """Tasks, each NAME:PATH."""
    threshold: float = 0.8
    """Share of a text's character n-grams that another has when it contains the text."""
    examples: int = 5
    """Found texts to show."""
    json: bool = False
    """Print one JSON object instead of tables."""
    drop: Path | None = None
    """Write the pairs here without those found, and without their parallels: a translation of what
    is evaluated on tells it too. A store; a pair file if its name ends in .jsonl or .jsonl.gz."""


def main(args: Sequence[str], program: str = "hybrid-dist overlap") -> None:
    options = tyro.cli(Options, args=args, prog=program, use_underscores=True)
    if not 0.5 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold} is out of range: give 0.5 to 1")
    store = Store.open(options.store)
    tasks = [load_task(spec) for spec in options.task]
    found = Overlap([text for task in tasks for text in evaluated(task)], options.threshold)
    for block in blocks(store):
        found.add(block)
    if options.json:
        print(json_text(described(found, options.examples), indent=2))
    else:
        show(found, options.examples)
    if options.drop is not None:
        pairs = without(blocks(store), found.uids)
        is_file = options.drop.name.endswith((".jsonl", ".jsonl.gz"))
        size = sum(told["bytes"] for told in store.manifest["files"].values())
        kept = (
            write_file(pairs, options.drop, size)
            if is_file
            else write_store(pairs, options.drop, options, size)
        )
        if not options.json:
            told = f"{options.drop}: {kept:,} of {store.index.rows:,} pairs are left"
            print(printable(told))
    elif found.best:
        raise SystemExit(1)


def without(pairs: Iterable[pa.RecordBatch], uids: set[str]) -> Iterator[pa.RecordBatch]:
    """The pairs of other uids."""
    left_out = pa.array(sorted(uids), pa.string())
    for block in pairs:
        yield block.filter(pc.invert(pc.is_in(block.column("uid"), value_set=left_out)))


def write_store(pairs: Iterable[pa.RecordBatch], out: Path, options: Options, size: int) -> int:
    """Write pairs as a store; how many there were. `size`: bytes of all pairs, about."""

    def annotate(_: Path) -> Mapping[str, Any]:
        return {"source": "overlap", "paths": [options.store], "without": list(options.task)}

    try:
        return Store.build(pairs, out, needed=size, annotate=annotate).index.rows
    except NoPairsError:
        raise UserError(f"--drop {out}: no pair would be left") from None


def write_file(pairs: Iterable[pa.RecordBatch], out: Path, size: int) -> int:
    """Write pairs as a pair file; how many there were. `size`: bytes of all pairs, about."""
    if out.exists():
        raise UserError(f"--drop {out}: exists already; name a new file")
    packed = out.suffix == ".gz"
    with made_parents(out), atomic_file(out, needed=size // 4 if packed else size) as file:
        if packed:
            with gzip.GzipFile(out.stem, "wb", 6, file) as lines:
                return _write_lines(pairs, lines)
        return _write_lines(pairs, file)


def _write_lines(pairs: Iterable[pa.RecordBatch], lines: IO[bytes] | gzip.GzipFile) -> int:
    count = 0
    for block in pairs:
        for row in block.drop_columns(["place"]).to_pylist():
            lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def verdict(found: Overlap) -> str:
    """What was found, in a line."""
    tasks = ", ".join(sorted({one.task for one in found.evaluated}))
    exact = sum(hit.exact for hit in found.best.values())
    what = (
        f"{exact:,} are there as they are, {len(found.best) - exact:,} in other texts "
        f"({found.threshold:.0%} of their n-grams or more)"
        if found.best
        else "none is there"
    )
    return (
        f"overlap: of {len(found.evaluated):,} texts that {tasks} evaluates on, {what}, in "
        f"{sum(found.pairs.values()):,} training pairs"
    )


def described(found: Overlap, examples: int) -> dict[str, Any]:
    """All figures, and the worst examples."""
    return {
        "verdict": verdict(found),
        "clean": not found.best,
        "threshold": found.threshold,
        "pairs": sum(found.pairs.values()),
        "uids_found": len(found.uids),
        "by_language": _by_language(found),
        "examples": [
            {
                "share": round(hit.share, 4),
                "exact": hit.exact,
                "evaluated": hit.evaluated._asdict(),
                "training": {"uid": hit.uid, "column": hit.column, "text": hit.text},
            }
            for hit in _worst(found, examples)
        ],
    }


def show(found: Overlap, examples: int) -> None:
    """The same, for people."""
    console = Console()
    table = Table("Language", "Training pairs", "Queries found", "Passages found")
    for lang, row in _by_language(found).items():
        cells = (
            f"{row[kinds]['exact']:,} + {row[kinds]['contained']:,} of {row[kinds]['evaluated']:,}"
            for kinds in KINDS.values()
        )
        table.add_row(cell(lang), f"{row['pairs']:,}", *cells)
    console.print(table)
    console.print("Found: equal texts + those that another text contains.")
    for hit in _worst(found, examples):
        one = hit.evaluated
        how = "the very text" if hit.exact else f"{hit.share:.0%} of its n-grams"
        asked = f"{one.task} {one.kind} {one.id} ({one.lang}): {_clip(one.text)}"
        print(f"\n{printable(asked)}")
        print(printable(f"  {how} in the {hit.column} of {hit.uid}: {_clip(hit.text)}"))
    print(f"\n{printable(verdict(found))}")


def _by_language(found: Overlap) -> dict[str, Any]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in found.evaluated:
        counts[primary_subtag(one.lang), one.kind, "evaluated"] += 1
    for hit in found.best.values():
        how = "exact" if hit.exact else "contained"
        counts[primary_subtag(hit.evaluated.lang), hit.evaluated.kind, how] += 1
    pairs: Counter[str] = Counter()
    for lang, count in found.pairs.items():
        pairs[primary_subtag(lang)] += count
    return {
        lang: {
            "pairs": pairs[lang],
            **{
                kinds: {
                    what: counts[lang, kind, what] for what in ("evaluated", "exact", "contained")
                }
                for kind, kinds in KINDS.items()
            },
        }
        for lang in sorted({*pairs, *(lang for lang, _, _ in counts)})
    }


def _worst(found: Overlap, count: int) -> list[Hit]:
    """The fullest, longest first; only one of each text."""
    ordered = sorted(found.best.values(), key=lambda hit: (-hit.share, -len(hit.evaluated.text)))
    distinct = {normalized_text(hit.evaluated.text): hit for hit in reversed(ordered)}
    return list(reversed(distinct.values()))[:count]


def _clip(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= CLIP else text[:CLIP].rstrip() + " ..."
