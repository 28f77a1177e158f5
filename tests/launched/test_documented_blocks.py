"""The blocks of the README and of docs/ that are marked as run by this test do run.

Each runs in a folder with files of the published shapes and a finished run on toy pairs.

What differs from a reader's: models of the hub are a small one, `launchers/ddp.yaml` is `cpu.yaml`,
and dimensions, ranks, steps of checkpoints and the configs in configs/ are smaller.
"""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.fuzz.targets import layouts
from tests.support.documented_blocks import PAGES, RUN_BY, SHELL, Block, blocks
from tests.support.documented_files import beir, tldr
from tests.support.launch import ROOT, run_in, warm_python
from tests.support.layout_rows import ROWS, nemo
from tests.support.published_files import json_lines, tsv, write
from tests.support.runs import succeed
from tests.support.small_models import write_model

NAME = f"tests/launched/{Path(__file__).name}"
BLOCKS = [b for page in PAGES for b in blocks(page) if (b.kind, b.detail) == (RUN_BY, NAME)]
LANGUAGES = {"qaa": "de", "qab": "en", "qac": "sw", "qad": "fr"}
SMALLER = {
    "launchers/ddp.yaml": "launchers/cpu.yaml",
    "truncate_dim=64": "truncate_dim=8",
    "--from 10 --to 200": "--from 2 --to 40",
    "step-001500": "step-000004",
    "step-002000": "step-000008",
}
MODELS = re.compile(r"intfloat/multilingual-e5-small|xlm-roberta-base|models/(large|e5-small)\b")
EVALUATE = "hybrid-dist evaluate --model runs/hybrid --task xquad_r:data/xquad-r"
FIRST = {
    "convert stores/mine": "hybrid-dist prepare pairs 'data/*.jsonl.gz' --out stores/mine",
    'Path("index")': "hybrid-dist search --model runs/hybrid --passages passages.jsonl"
    " --cache index --query who",
    "runs/demo/hybrid": "mkdir runs/demo; cp -r runs/hybrid runs/demo/hybrid",
    "results/monolingual": f"{EVALUATE} --out results/monolingual",
    "(task, query_vectors": "import numpy\n"
    "query_vectors, passage_vectors = numpy.eye(2, 3), numpy.eye(3)",
}
"""By a part of a block: what its page takes to have been done before."""


def people(file: Path) -> None:
    row = {"question": "who?", "title": "Ada", "text": "She.", "language": "en", "score": 0.9}
    file.parent.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), file)


def bitexts(folder: Path) -> None:
    row = {f"{name}{n}": f"{name} {n}" for name in ("question", "answer") for n in (1, 2)}
    folder.mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist([row | {"language1": "en", "language2": "de"}]), folder / "0.parquet"
    )


def linked(file: Path) -> None:
    for lang in ("en", "de"):
        rows = [(f"{lang} {n}?", f"{lang} {n}.", lang) for n in range(2)]
        tsv(file.with_name(f"{lang}.tsv"), ("question", "answer", "language"), *rows)
    write(file, "en.tsv:2\tde.tsv:3\n")


def units(folder: Path) -> None:
    """Descriptions in two languages, enough for a batch of the config."""
    rows = [
        {"unit": f"{n}", "lang": lang, "query": f"{lang} asks {n}", "passage": f"{lang} says {n}"}
        for n in range(60)
        for lang in ("en", "de")
    ]
    json_lines(folder / "pairs.jsonl", *({**row, "text": row.pop("passage")} for row in rows))


WRITERS: dict[tuple[str, str], Callable[[Path], object]] = {
    ("lareqa/xquad-r", "lareqa/xquad-r"): layouts.lareqa,
    ("data/xquad-r", "data/xquad-r"): layouts.lareqa,
    ("data/mlqa-r", "data/mlqa-r"): layouts.lareqa,
    ("data/miracl", "data/miracl"): layouts.miracl,
    ("prepare miracl data/miracl --option languages=sw --out", "data/miracl"): layouts.miracl_rows,
    ("data/mmarco/google", "data/mmarco/google"): lambda path: layouts.mmarco(path.parent),
    ("data/tatoeba", "data/tatoeba"): layouts.tatoeba,
    ("data/beir/nq", "data/beir/nq"): beir,
    ("data/afriqa", "data/afriqa"): layouts.beir,
    ("data/translate-train", "data/translate-train"): layouts.squad,
    ("data/tldr", "data/tldr"): layouts.units,
    ("prepare tldr tldr", "tldr"): tldr,
    ("prepare units tldr", "tldr"): units,
    ("nemo/train.json", "nemo/train.json"): nemo,
    ("prepare flagembedding train.jsonl", "train.jsonl"): lambda path: json_lines(
        path, *ROWS["flagembedding"]
    ),
    ("faq.csv", "faq.csv"): lambda path: write(path, "question,answer\nwho?,Ada.\n"),
    ("people/*.parquet", "people/*.parquet"): lambda path: people(path.with_name("0.parquet")),
    ("table bitexts", "bitexts"): bitexts,
    ("links.tsv", "links.tsv"): linked,
}
"""By a part of a block, and a path: what writes the files there."""


@pytest.fixture(scope="module")
def world(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, pairs in four languages, configs, and a run with its report."""
    here = tmp_path_factory.mktemp("world")
    write_model(here / "model", toy / "model", 1, max_passage_tokens=128)
    rows = [json.loads(line) for line in (toy / "train.jsonl").read_text("utf-8").splitlines()]
    own = [row | {"lang": LANGUAGES[row["lang"]]} for row in rows if row["uid"] < "train-00060"]
    lines = "".join(f"{json.dumps(row)}\n" for row in own)
    for name in ("near.jsonl", "far.jsonl", "heldout.jsonl", "pairs/a.jsonl"):
        write(here / name, lines)
    for name in ("data/train.jsonl.gz", "pairs/a.jsonl.gz"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(gzip.compress(lines.encode()))
    passages = [{"id": row["uid"], "lang": row["lang"], "text": row["passage"]} for row in own]
    json_lines(here / "passages.jsonl", *passages)
    write(here / "queries.txt", f"{own[0]['query']}\n{own[1]['query']}\n")
    for folder in ("launchers", "slurm"):
        (here / folder).symlink_to(ROOT / folder)
    shutil.copytree(ROOT / "configs", here / "configs")
    for name in ("demo", "e5-small"):
        smaller(here / f"configs/{name}.yaml", here / "model")
    shell(
        "hybrid-dist train --config configs/demo.yaml --data.train data/train.jsonl.gz"
        " --run.dir runs --eval.tasks heldout=pairs:heldout.jsonl --checkpoint.every 4",
        here,
    )
    return here


def smaller(file: Path, model: Path) -> None:
    """Make a config train in seconds, on the pairs that it is given."""
    config = yaml.safe_load(file.read_text("utf-8"))
    config["model"] |= {"name_or_path": str(model), "init": "pretrained"}
    config["data"] = {"train": ["data/train.jsonl.gz"]}
    config["batching"]["size"] = 16
    config["train"] |= {"steps": 8, "precision": "fp32"}
    config["optim"]["warmup_steps"] = 0
    config["log"] = {"wandb": "disabled"}
    config.pop("eval", None)
    file.write_text(yaml.safe_dump(config))


def shell(code: str, folder: Path) -> str:
    """Run commands as they stand, with this Python's hybrid-dist; their output."""
    python = str(warm_python())
    code = MODELS.sub(str(folder / "model"), code)
    code = code.replace("--data '", f"--model {folder / 'model'} --data '")
    code = re.sub(r"\bhybrid-dist ", f'"{python}" -m hybrid_dist ', code)
    code = re.sub(r"\baccelerate launch ", f'"{python}" -m accelerate.commands.launch ', code)
    command = ["bash", "-c", f"set -euo pipefail\nexec </dev/null\n{code}"]
    environment = {"PYTHON_EXEC": python, "PYTHONPATH": str(ROOT)}
    return succeed(run_in(environment, command, folder)).output


def test_pages_have_blocks_that_run_here() -> None:
    assert len(BLOCKS) > 30


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_runs(
    block: Block, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    shutil.copytree(world, here, symlinks=True)
    monkeypatch.chdir(here)
    code = block.code
    for theirs, ours in SMALLER.items():
        code = code.replace(theirs, ours)
    before = [done for part, done in FIRST.items() if part in code]
    for (part, path), writer in WRITERS.items():
        if part in "\n".join([code, *before]):
            writer(here / path)
    if block.language != SHELL:
        imports = [before.pop() for done in before if done.startswith("import")]
        (here / "block.py").write_text("\n".join([*imports, code]))
        code = f'"{warm_python()}" block.py'
    shell("\n".join([*before, code]), here)
