"""`hybrid-dist bitext`: mine translations from two corpora, as in BUCC, and score them by F1."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hybrid_dist.config.command_options import parse
from hybrid_dist.config.embedding import EmbeddingOptions
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.evaluation.bitext_mining import NEIGHBOURS, Margin
from hybrid_dist.text import json_text, printable

REPORT = "bitext.json"


@dataclass(frozen=True, kw_only=True)
class Options(EmbeddingOptions):
    """Mine the translations of BUCC and score them: F1 by a threshold that is tuned on one split
    and applied to another.

    Both sides are embedded as queries. docs/evaluation.md has the method.

    Example: hybrid-dist bitext data/bucc2018 --model runs/hybrid --out results/bucc
    """

    path: Annotated[str, tyro.conf.Positional]
    """A folder with BUCC's files, or hf://."""
    model: str
    """A run folder, a checkpoint, a saved model, or a name or folder that transformers loads."""
    out: Path
    """Folder of bitext.json; an older one is replaced."""
    tune: str = "sample"
    """The split that the threshold is tuned on."""
    apply: str = "training"
    """The split that it is applied to."""
    languages: str | None = None
    """Only these pairs with English, as in de,zh."""
    margin: Margin = "ratio"
    """The score of a pair: the cosine similarity over (ratio) or minus (distance) the mean of those
    to the neighbours of both, or itself (cosine)."""
    neighbours: int = NEIGHBOURS
    """The number of nearest neighbours of each sentence."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise UserError(f"--neighbours: {self.neighbours} is too few; give 1 or more")


def main(args: Sequence[str], program: str = "hybrid-dist bitext") -> None:
    with report_errors(program):
        _run(parse(Options, args, program))


def _run(options: Options) -> None:
    from hybrid_dist.data.reading import Reading
    from hybrid_dist.data.sources.bucc import read_corpora
    from hybrid_dist.evaluation.bitext_mining import MinedCorpora
    from hybrid_dist.reporting.evaluation_job import load_model
    from hybrid_dist.runtime import progress_bar
    from hybrid_dist.runtime.files import write_atomically
    from hybrid_dist.runtime.launch import start

    given = {} if options.languages is None else {"languages": options.languages}
    tune, apply = (
        {one.lang: one for one in read_corpora([options.path], Reading(options=given), split)}
        for split in (options.tune, options.apply)
    )
    if absent := sorted(apply.keys() - tune.keys()):
        raise UserError(f"{options.path}: the split {options.tune} has no {', '.join(absent)}")
    options.out.mkdir(parents=True, exist_ok=True)
    _, ranks = start()
    if ranks.world > 1:
        raise UserError(f"{ranks.world} processes were started; this command runs in one")
    embedder = load_model(options.model, ranks.device, options)
    results: dict[str, Any] = {}
    for lang, corpora in apply.items():
        with progress_bar.shown(ranks.is_first):
            tuned, mined = (
                MinedCorpora(one, embedder, ranks, options.margin, options.neighbours)
                for one in (tune[lang], corpora)
            )
        score = mined.above(tuned.tuned())
        figures = {name: getattr(score, name) for name in ("precision", "recall", "f1")}
        results[lang] = {**figures, **asdict(score), "tuned_f1": tuned.above(score.threshold).f1}
        print(
            f"{lang}-en: F1 {score.f1:.4f}, precision {score.precision:.4f}, recall "
            f"{score.recall:.4f}; {score.found:,} pairs above {score.threshold:.4f}"
        )
    settings = {
        "model": embedder.name,
        **embedder.settings,
        "tuned on": options.tune,
        "applied to": options.apply,
        "margin": options.margin,
        "neighbours": options.neighbours,
    }
    content = json_text({"pairs": results, "settings": settings}, indent=2) + "\n"
    write_atomically(options.out / REPORT, content)
    print(printable(f"The figures: {options.out / REPORT}"), file=sys.stderr)
