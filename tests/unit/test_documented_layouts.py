"""Every command of the tables in docs/data.md and docs/evaluation.md runs, on published shapes.

So do those that evaluate on MTEB's layout and on own.yaml.
"""

import re
import shlex
from pathlib import Path

import pytest

from hybrid_dist.commands import bitext, evaluate, prepare
from hybrid_dist.config.task_names import BENCHMARK
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.task_specs import TASKS
from tests.support.benchmark_files import own_benchmark
from tests.support.documented_files import EVALUATION_FILES, FILES
from tests.support.launch import ROOT
from tests.support.mteb_data import write_subsets
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
