"""docs/tutorial.md runs from top to bottom, with a small model in the place of the hub's.

Blocks that begin with `# on` need GPUs, a cluster or an account; test_documented_commands parses
their commands.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support.launch import ROOT, run_in, warm_python
from tests.support.runs import succeed
from tests.support.small_models import write_model

PAGE = (ROOT / "docs/tutorial.md").read_text("utf-8")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = "intfloat/multilingual-e5-small"
LANGUAGES = {"qaa": "de", "qab": "en", "qac": "sw", "qad": "tr"}


def script(page: str, model: Path, folder: Path) -> str:
    """All blocks that run anywhere, as one script."""
    python = str(warm_python())
    parts = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCK.findall(page)):
        if language == "python":
            (folder / f"{number}.py").write_text(code)
            parts.append(f'"{python}" "{folder}/{number}.py"')
        elif not code.startswith("# on"):
            code = code.replace(NAME, str(model)).replace(" --data", f" --model {model} --data")
            parts.append(code.replace("hybrid-dist ", f'"{python}" -m hybrid_dist '))
    return "\n".join(parts)


def test_the_page_runs(toy: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", toy / "model", 1, max_passage_tokens=128)
    here = tmp_path / "here"
    (here / "pairs").mkdir(parents=True)
    rows = [json.loads(line) for line in (toy / "train.jsonl").read_text("utf-8").splitlines()]
    for old, new in LANGUAGES.items():
        own = [json.dumps(row | {"lang": new}) for row in rows if row["lang"] == old]
        (here / f"pairs/{new}.jsonl").write_text("\n".join(own))
    environment = {"PYTHON_EXEC": str(warm_python()), "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", script(PAGE, model, tmp_path)]
    done = succeed(run_in(environment, command, here))

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


@pytest.mark.parametrize("mark", ["# on the machine with GPUs", "# on the login node"])
def test_blocks_that_are_left_out_are_marked(mark: str) -> None:
    blocks = [code for language, code in BLOCK.findall(PAGE) if code.startswith("# on")]
    assert any(code.startswith(mark) for code in blocks) and len(blocks) == 3
