"""The scripts in examples/ run on two ranks and train on the pairs of the plan."""

import json
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.batching import Plan, shard_batch
from hybrid_dist.config.schema import Batching
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.reader import open_sources
from tests.support.launch import ROOT, TORCHRUN, run, run_in_folder
from tests.support.published_files import paragraph, squad_json, write
from tests.support.runs import succeed
from tests.support.small_models import write_model

RECORD = str(Path(__file__).with_name("scripts") / "recorded_batches.py")
SIZE, STEPS = 32, 6
Pairs = list[tuple[int, int]]


def launched(example: str, toy: Path, out: Path, processes: int, *more: str) -> str:
    """Run an example under torchrun, recording the batches of each rank in `out`."""
    options = ["--pairs", str(toy / "train.jsonl"), "--model", str(toy / "model"), *more]
    script = str(ROOT / "examples" / example)
    sizes = ["--size", str(SIZE), "--steps", str(STEPS)]
    done = run([*TORCHRUN, str(processes), RECORD, str(out), script, *options, *sizes])
    assert done.code == 0, done.output
    return done.output


def consumed(out: Path, rank: int, rows: int) -> list[Pairs]:
    """Query row and passage row of each pair in each batch of a rank."""
    batches = json.loads((out / f"{rank}.json").read_text())
    return [[divmod(index, rows) for index in batch] for batch in batches]


def planned(toy: Path, rank: int, world: int) -> tuple[list[Pairs], int]:
    """The pairs that training would give a rank in each step; and the rows of the store."""
    _, sources = open_sources([str(toy / "train.jsonl")], max_tokens=(64, 256))
    batching = Batching(size=SIZE, mix=Mix(monolingual=0.5, cross_lingual=0.5))
    plan = Plan(sources, batching, seed=0)
    pairs = []
    for batch in map(plan.batch, range(STEPS)):
        rows = shard_batch(batch.lengths, rank, world, chunk_size=0).rows
        pairs.append(list(zip(batch.query_row[rows], batch.passage_row[rows], strict=True)))
    return pairs, sources[0].index.num_rows


@pytest.mark.skipif(find_spec("datasets") is None, reason="needs the package datasets")
def test_sentence_transformers_trainer_consumes_the_plan(toy: Path, tmp_path: Path) -> None:
    more = ["--out", str(tmp_path / "model"), "--cpu"]
    launched("sentence_transformers_trainer.py", toy, tmp_path, 2, *more)
    for rank in range(2):
        expected, rows = planned(toy, rank, 2)
        assert consumed(tmp_path, rank, rows) == expected
    assert (tmp_path / "model" / "modules.json").is_file()


def test_infonce_in_a_ddp_loop_has_the_loss_of_one_process(toy: Path, tmp_path: Path) -> None:
    losses = []
    for world in (1, 2):
        output = launched("infonce_ddp.py", toy, tmp_path, world)
        losses.append([float(loss) for loss in re.findall(r"step \d+: loss ([\d.]+)", output)])
        for rank in range(world):
            expected, rows = planned(toy, rank, world)
            assert consumed(tmp_path, rank, rows) == expected
    assert len(losses[0]) == STEPS
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def debias_commands() -> list[str]:
    """The commands of the example's README, in their order."""
    text = (ROOT / "examples/debias-e5/README.md").read_text()
    block = text.split("```")[1].replace("\\\n", " ")
    return [line for line in block.splitlines() if line]


def test_the_readme_of_debias_e5_runs_with_local_folders(toy: Path, tmp_path: Path) -> None:
    """Where the README clones repositories and names a model of the hub, folders stand in."""
    model = write_model(tmp_path / "e5", toy / "model", 1, max_passage_tokens=128)
    rows = [json.loads(line) for line in (toy / "train.jsonl").read_text().splitlines()]
    write_tldr_pages(tmp_path / "tldr", rows)
    for lang in ("en", "de"):
        paragraphs = [
            paragraph(f"{lang} say {n} ka.", f"ba {n}.", **{f"q{n}": f"ka {n}?|say {n}"})
            for n in range(8)
        ]
        write(tmp_path / f"lareqa/xquad-r/{lang}.json", squad_json(paragraphs))
    (tmp_path / "config.yaml").write_text((ROOT / "examples/debias-e5/config.yaml").read_text())
    commands = debias_commands()
    assert [command.split()[0] for command in commands[:2]] == ["git", "git"]
    short = "--train.steps 3 --train.frozen_layers 1 --train.precision fp32 --batching.size 8"
    for command in commands[2:]:
        command = command.replace("intfloat/multilingual-e5-small", str(model))
        command = command.replace("hybrid-dist", f"{sys.executable} -m hybrid_dist", 1)
        if " train " in command:
            command += f" {short} --model.name_or_path {model} --log.wandb disabled"
        succeed(run_in_folder(tmp_path, shlex.split(command)))
    text = (tmp_path / "results/report.md").read_text()
    assert all(name in text for name in ("before/as-is", "after/mean"))


def write_tldr_pages(folder: Path, rows: list[dict[str, str]]) -> None:
    """Toy pairs as pages of commands in three languages; the first is taken for English."""
    folders = {"qaa": "pages", "qab": "pages.de", "qac": "pages.fr"}
    for row in rows:
        if row["lang"] in folders:
            name = row["uid"]
            page = f"# {name}\n\n> {row['passage']}\n\n- {row['query']}\n\n`{name} go`\n"
            write(folder / folders[row["lang"]] / "common" / f"{name}.md", page)
