"""The tutorials run from top to bottom, with a small model in the place of the hub's."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.documented_blocks import RUN_BY, SHELL, blocks
from tests.support.launch import ROOT, Done, run_in, warm_python
from tests.support.runs import succeed
from tests.support.small_models import write_model

OWN_PAIRS, BIAS = ROOT / "docs/tutorial.md", ROOT / "docs/tutorial-bias.md"
NAME = "intfloat/multilingual-e5-small"
LANGUAGES = {"qaa": "de", "qab": "en", "qac": "sw", "qad": "tr"}


def script(page: Path, model: Path, folder: Path) -> str:
    """All blocks of a page that are marked as run, as one script."""
    python = str(warm_python())
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        code = block.code.replace(NAME, str(model))
        if block.kind != RUN_BY:
            continue
        if block.language == SHELL:
            code = code.replace(" --data", f" --model {model} --data")
            parts.append(code.replace("hybrid-dist ", f'"{python}" -m hybrid_dist '))
        else:
            (folder / f"{block.line}.py").write_text(code)
            parts.append(f'"{python}" "{folder}/{block.line}.py"')
    return "\n".join(parts)


def run_page(page: Path, model: Path, here: Path) -> Done:
    environment = {"PYTHON_EXEC": str(warm_python()), "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", script(page, model, here.parent)]
    return succeed(run_in(environment, command, here))


@pytest.fixture
def model(toy: Path, tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", toy / "model", 1, max_passage_tokens=128)


def own_pairs(toy: Path) -> dict[str, list[str]]:
    """The toy's pairs as lines by language, in codes that stand for real languages."""
    rows = [json.loads(line) for line in (toy / "train.jsonl").read_text("utf-8").splitlines()]
    return {
        new: [json.dumps(row | {"lang": new}) for row in rows if row["lang"] == old]
        for old, new in LANGUAGES.items()
    }


def test_the_page_on_your_own_pairs_runs(toy: Path, model: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "pairs").mkdir(parents=True)
    for language, lines in own_pairs(toy).items():
        (here / f"pairs/{language}.jsonl").write_text("\n".join(lines))
    done = run_page(OWN_PAIRS, model, here)

    first = here / "my-retriever/runs/first"
    assert (first / "eval/heldout/report.html").is_file()
    assert (here / "my-retriever/results/report.html").is_file()
    assert "nothing was uploaded to USER/my-retriever" in done.output
    described = json.loads((here / "my-retriever/runs/two-processes/environment.json").read_text())
    assert described["processes"] == 2
    records = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    losses = [record["dev/loss"] for record in records if "dev/loss" in record]
    assert len(losses) == 2 and losses[1] < losses[0]  # half-way and at the end
    folders = [here / name for name in ("my-retriever", "on-gpus")]
    small, large = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders)
    assert small["train"]["steps"] <= 50 and large["train"]["chunk_size"] == "auto"
    same = [(folder / "pairs/heldout.jsonl").read_bytes() for folder in folders]
    assert same[0] == same[1]


def test_the_page_on_bias_runs(toy: Path, model: Path, tmp_path: Path) -> None:
    """Vectors that its script writes give the figures of the model that they are from."""
    here = tmp_path / "here"
    here.mkdir()
    lines = [line for lines in own_pairs(toy).values() for line in lines[:60]]
    (here / "questions.jsonl").write_text("\n".join(lines))
    done = run_page(BIAS, model, here)

    assert done.output.count("The first 10 results have the query's language ") == 2
    assert (here / "results/report.html").is_file()
    for variant in ("as-is", "mean"):
        folders = [here / f"results/{name}/{variant}/pairs" for name in ("e5", "api")]
        ours, given = (json.loads((each / "report.json").read_text()) for each in folders)
        assert ours["map"]["multilingual"] == pytest.approx(given["map"]["multilingual"], abs=2e-3)
