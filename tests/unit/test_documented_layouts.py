"""Every command of the tables in docs/data.md and docs/evaluation.md runs, on published shapes.

So do those that evaluate on MTEB's layout and on own.yaml.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.commands import bitext, evaluate, prepare
from hybrid_dist.config.task_names import BENCHMARK
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.task_specs import TASKS
from tests.fuzz.targets import layouts
from tests.support import evaluation_sets
from tests.support.benchmark_files import own_benchmark
from tests.support.launch import ROOT
from tests.support.layout_rows import ROWS, nemo, webfaq
from tests.support.mteb_data import write_subsets
from tests.support.pair_lines import GOOD
from tests.support.published_files import json_lines, write
from tests.support.small_models import write_model

DATA, EVALUATION = (
    (ROOT / page).read_text("utf-8") for page in ("docs/data.md", "docs/evaluation.md")
)
ROW = r"^\| .+ \| `hybrid-dist ({} .+?)` \|"


def commands(page: str, names: str) -> list[list[str]]:
    """The commands in the second column of a page's tables."""
    return [shlex.split(found) for found in re.findall(ROW.format(names), page, re.MULTILINE)]


COMMANDS = commands(DATA.partition("\n# Export\n")[0], "prepare")
EVALUATIONS = commands(EVALUATION, "(?:evaluate|bitext)")
EXAMPLE = r"^    hybrid-dist evaluate (.*--task '?(?:\w+=)?(?:mteb:data|own\.yaml).*)$"
EXAMPLES = [
    shlex.split(found)
    for page in (DATA, EVALUATION)
    for found in re.findall(EXAMPLE, page.replace("\\\n", ""), re.MULTILINE)
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


EVALUATION_FILES = {
    **evaluation_sets.FILES,
    "data/tatoeba": layouts.tatoeba,
    "data/mkqa.jsonl.gz": mkqa,
}
"""The same for the commands that evaluate."""


def task_of(words: list[str]) -> tuple[str, str]:
    """The name and the path of the task that a command evaluates on."""
    if words[0] == "bitext":
        return "bucc", words[1]
    name, _, rest = words[words.index("--task") + 1].partition(":")
    return name, rest.partition("?")[0]


def test_the_tables_have_every_source() -> None:
    trained_on = {name for name, source in SOURCES.items() if source.pairs is not None}
    assert {words[1] for words in COMMANDS} == trained_on
    evaluated_on = {TASKS[task_of(words)[0]].name for words in EVALUATIONS}
    assert evaluated_on >= SOURCES.keys() - trained_on - {BENCHMARK}


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


def test_examples_that_evaluate_write_reports(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("runs/hybrid"), toy / "model", seed=1)
    data = Path("data/mlqa-retrieval")
    data.mkdir(parents=True)
    write_subsets(data)
    own_benchmark(Path())
    for words in EXAMPLES:
        evaluate.main(words)
    out = Path(EXAMPLES[0][-1])
    reports = {file.parent.name for file in out.glob("*/report.json")}
    assert reports == {"mteb", "own", "MLQARetrieval"}
    (results,) = Path("mteb").rglob("*.json")
    assert results == Path("mteb/results/me__hybrid/1/MLQARetrieval.json")


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("runs") / "hybrid", toy / "model", 1)


@pytest.mark.parametrize("words", EVALUATIONS, ids=lambda words: ":".join(task_of(words)))
def test_a_command_of_the_table_evaluates(
    words: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/hybrid").symlink_to(model)
    name, path = task_of(words)
    (tmp_path / path).parent.mkdir(parents=True)
    EVALUATION_FILES[path](Path(path))
    {"evaluate": evaluate, "bitext": bitext}[words[0]].main(words[1:])
    out = Path(words[words.index("--out") + 1])
    assert (out / "bitext.json" if words[0] == "bitext" else out / name / "report.json").is_file()
