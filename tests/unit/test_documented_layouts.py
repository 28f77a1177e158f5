"""Every command of the table in docs/data.md builds a store, on files of that layout.

Commands of the pages that evaluate on MTEB's layout and on own.yaml write a report.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.commands import evaluate, prepare
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from tests.fuzz.targets import layouts
from tests.support.benchmark_files import own_benchmark
from tests.support.launch import ROOT
from tests.support.layout_rows import ROWS, nemo, webfaq
from tests.support.mteb_data import write_subsets
from tests.support.pair_lines import GOOD
from tests.support.published_files import json_lines, write
from tests.support.small_models import write_model

ROW = re.compile(r"^\| .+ \| `hybrid-dist (prepare .+)` \|$", re.MULTILINE)
IMPORT, _, EXPORT = (ROOT / "docs/data.md").read_text("utf-8").partition("\n# Export\n")
assert EXPORT, "tests/unit/data/test_conversion.py reads its layouts back"
COMMANDS = [shlex.split(found) for found in ROW.findall(IMPORT)]
EVALUATION = re.compile(
    r"^    hybrid-dist evaluate (.*--task '?(?:\w+=)?(?:mteb:data|own\.yaml).*)$", re.MULTILINE
)
EVALUATIONS = [
    shlex.split(found)
    for page in ("data", "evaluation")
    for found in EVALUATION.findall(
        (ROOT / f"docs/{page}.md").read_text("utf-8").replace("\\\n", "")
    )
]
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


def test_the_table_has_every_source() -> None:
    assert {words[1] for words in COMMANDS} == SOURCES.keys()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_a_command_of_the_table_builds_a_store(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(words[2])
    (path if not path.suffix else path.parent).mkdir(parents=True, exist_ok=True)
    FILES[words[2]](path)
    prepare.main(words[1:])
    store = Store(Path(words[words.index("--out") + 1]))
    assert store.index.num_rows > 0
    assert store.manifest["source"] == words[1]


def test_commands_that_evaluate_write_reports(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("runs/hybrid"), toy / "model", seed=1)
    data = Path("data/mlqa-retrieval")
    data.mkdir(parents=True)
    write_subsets(data)
    own_benchmark(Path())
    for words in EVALUATIONS:
        evaluate.main(words)
    out = Path(EVALUATIONS[0][-1])
    reports = {file.parent.name for file in out.glob("*/report.json")}
    assert reports == {"mteb", "own", "MLQARetrieval"}
    (results,) = Path("mteb").rglob("*.json")
    assert results == Path("mteb/results/me__hybrid/1/MLQARetrieval.json")
