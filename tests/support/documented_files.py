"""What the paths in documented commands stand for: files of the published shapes."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.targets import layouts
from tests.support import evaluation_sets
from tests.support.layout_rows import ROWS, nemo, webfaq
from tests.support.pair_lines import GOOD
from tests.support.published_files import json_lines, write

PAGE = "# tar\n\n> Archives files.\n\n- {}:\n\n`tar cf {{{{a}}}}`\n"


def parquet(file: Path, *rows: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def beir(folder: Path) -> None:
    layouts.beir(folder)
    for file in folder.rglob("test.tsv"):
        file.rename(file.with_name("train.tsv"))


def talks(folder: Path) -> None:
    for split in ("train", "dev"):
        parquet(folder / "en-de" / f"{split}-00000-of-00001.parquet", *ROWS["parallel_sentences"])


def tldr(folder: Path) -> None:
    write(folder / "pages" / "common" / "tar.md", PAGE.format("Pack files"))
    write(folder / "pages.de" / "common" / "tar.md", PAGE.format("Dateien packen"))


def mkqa(file: Path) -> None:
    layouts.mkqa(file.parent)
    write(file, (file.parent / "mkqa.jsonl").read_bytes())


FILES: dict[str, Callable[[Path], object]] = {
    "pairs/*.jsonl.gz": lambda path: json_lines(path.with_name("a.jsonl.gz"), GOOD),
    "faq.csv": lambda path: write(path, "question,answer\nwho?,Ada.\n"),
    "bitexts.parquet": lambda path: parquet(
        path, {"q_en": "who?", "q_de": "wer?", "a_en": "Ada.", "a_de": "Die Ada."}
    ),
    "bge.jsonl": lambda path: json_lines(path, *ROWS["flagembedding"]),
    "tevatron/train.jsonl.gz": lambda path: json_lines(path, *ROWS["tevatron"]),
    "triplets.parquet": lambda path: parquet(path, *ROWS["triplets"]),
    "talks": talks,
    "webfaq": lambda path: parquet(path / "eng-0.parquet", *ROWS["webfaq_bitexts"]),
    "swim/de/train.parquet": lambda path: parquet(path, *ROWS["swim_ir"]),
    "nemo.jsonl": lambda path: json_lines(path, *ROWS["nemo_inline"]),
    "nemo/train.json": nemo,
    "webfaq-retrieval": webfaq,
    "mfaq/data/de/train.jsonl": lambda path: json_lines(path, *ROWS["mfaq"]),
    "beir": beir,
    "miracl": layouts.miracl_rows,
    "mmarco/google": lambda path: layouts.mmarco(path.parent),
    "squad": layouts.squad,
    "xquad-r": layouts.lareqa,
    "tatoeba": layouts.tatoeba,
    "mkqa.jsonl.gz": mkqa,
    "units": layouts.units,
    "tldr": tldr,
}
"""By the path in a command: what writes its files there."""


EVALUATION_FILES = {
    **evaluation_sets.FILES,
    "data/tatoeba": layouts.tatoeba,
    "data/mkqa.jsonl.gz": mkqa,
}
"""The same for the commands that evaluate."""
