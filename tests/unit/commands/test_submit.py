"""Submission of a run: what is checked first, the command line, and the snapshot it runs from."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hybrid_dist.commands import evaluate, prepare, submit, train
from hybrid_dist.config.resolve import from_yaml
from hybrid_dist.runtime.templates import copy_templates

SBATCH = "#!/bin/sh\nprintf '%s\\n' \"$@\" > words\necho '41;cluster'\n"


@pytest.fixture
def site(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with an sbatch that notes its words."""
    copy_templates(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "model: {init: scratch, max_passage_tokens: 128, "
        f"name_or_path: {toy / 'model'}}}\n"
        f"data: {{train: [{toy / 'train.jsonl'}]}}\nrun: {{name: big}}\n"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(SBATCH)
    (tmp_path / "bin/sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("LAUNCHER", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry_run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The words of the printed command."""
    own, _, more = " ".join(words).partition(" -- ")
    submit.main(["run.yaml", "--dry-run", *own.split(), *(["--", *more.split()] if more else [])])
    return capsys.readouterr().out.splitlines()[-1].split()


def test_a_dry_run_prints_the_command_and_writes_nothing(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(site.rglob("*"))
    words = dry_run(capsys, "--nodes 4 --time 24:00:00 --mail me@site -- --partition=gpu")
    assert words == [
        *("sbatch", "--parsable", "--nodes=4", "--gpus-per-node=8"),
        *("--cpus-per-gpu=8", "--mem-per-gpu=32G", "--time=24:00:00"),
        *("--mail-user=me@site", "--mail-type=END,FAIL"),
        *(f"--output={site}/runs/big/logs/job-%j.out", "--partition=gpu"),
        f"{site}/runs/big/submitted/1/slurm/train.sbatch",
        f"{site}/runs/big/submitted/1/config.yaml",
    ]
    assert sorted(site.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "resources"),
    [
        ("", {"cpus-per-gpu=8", "mem-per-gpu=32G"}),
        ("-- --cpus-per-task=64 --mem=0", {"cpus-per-task=64", "mem=0"}),
        ("-- -c 64 --mem-bind=local", {"mem-per-gpu=32G", "mem-bind=local"}),
        ("-- --cpus-per-gpu=4", {"cpus-per-gpu=4", "mem-per-gpu=32G"}),
        ("--launcher cpu --processes-per-node 2", {"cpus-per-task=16", "mem=64G"}),
    ],
)
def test_cores_and_memory_are_requested_in_one_way_each(
    site: Path, capsys: pytest.CaptureFixture[str], words: str, resources: set[str]
) -> None:
    line = dry_run(capsys, words)
    named = {word.removeprefix("--") for word in line if word.startswith(("--cpus", "--mem"))}
    assert named == resources
    assert ("--gpus-per-node=8" in line) == ("cpu" not in words.split())


@pytest.mark.parametrize("line", ["export WANDB_API_KEY=abc", "export A=1 HF_TOKEN='hf_x'"])
def test_secrets_in_what_is_copied_are_refused(
    site: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    harmless = "# HF_TOKEN=x\nexport TOKENIZERS_PARALLELISM=false HF_TOKEN=$(cat ~/.token)\n"
    (site / "slurm/site.env").write_text(harmless)
    dry_run(capsys)
    (site / "slurm/site.env").write_text(f"{harmless}{line}\n")
    with pytest.raises(SystemExit):
        submit.main(["run.yaml"])
    problem = capsys.readouterr().err
    assert "slurm/site.env:3: sets" in problem and "abc" not in problem and "hf_x" not in problem
    assert not (site / "runs").exists()


@pytest.mark.parametrize("secret", [f"hf_{'aB3' * 10}", "https://me:abc@example.org/pairs.jsonl"])
@pytest.mark.parametrize("main", [submit.main, train.main, evaluate.main, prepare.main])
def test_secrets_in_a_command_line_are_refused(
    main: Callable[[list[str]], None], secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--model", "m", "--unknown", secret])
    problem = capsys.readouterr()
    assert ended.value.code == 2 and "of the options holds a token" in problem.err
    assert secret not in problem.err + problem.out and "abc" not in problem.err


def test_few_cores_for_a_gpu_are_reported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submit.main(["run.yaml", "--dry-run", "--cores", "3"])
    assert "--cores 3: few for a GPU; give 4 or more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optim.lr -1", "optim.lr"),
        ("--launcher zero4", "no file launchers/zero4.yaml; did you mean 'zero"),
        ("--data.train nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("--data.dev nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("--model.name_or_path nowhere/model", "nowhere/model"),
        ("--eval.tasks toys:nowhere", "unknown task 'toys'; did you mean 'toy'?"),
        ("--loss.dims 4096", "loss.dims: has 4096"),
        ("--train.frozen_layers 90", "train.frozen_layers"),
        ("--nodes 4 --batching.size 31", "31 pairs cannot be split over 32 ranks"),
        ("--nodes 0", "--nodes: '0' is no number of nodes; give 4, or 2-4"),
        ("--nodes 4-2", "--nodes: '4-2' is no number of nodes"),
        ("--cores 0", "--cores: 0 is too few"),
        ("--optim.learning_rate 1", "--optim.learning_rate: unknown option"),
    ],
)
def test_errors_are_found_before_submission(
    site: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        submit.main(["run.yaml", *words.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (site / "words").exists() and not (site / "runs").exists()


def test_a_folder_without_batch_files_is_refused(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "slurm/train.sbatch").unlink()
    with pytest.raises(SystemExit):
        submit.main(["run.yaml"])
    assert "no file slurm/train.sbatch here" in capsys.readouterr().err


def test_a_job_runs_what_was_submitted(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--launcher", "cpu", "--processes-per-node", "2", "--seed", "7"]
    submit.main(["run.yaml", *words])
    assert capsys.readouterr().out.startswith("job 41: sbatch --parsable --nodes=1 ")
    first = site / "runs/big/submitted/1"
    script, config = map(Path, (site / "words").read_text().splitlines()[-2:])
    assert (script, config) == (first / "slurm/train.sbatch", first / "config.yaml")
    assert from_yaml(config).seed == 7
    head, _, body = script.read_text().partition("export ")
    assert all(line.startswith("#") for line in head.splitlines()) and "#SBATCH --requeue" in head
    assert body.startswith(f"HYBRID_DIST_SNAPSHOT={first}\n")
    assert f"export HYBRID_DIST_LOGS={site}/runs/big/logs\n" in body
    assert "export LAUNCHER=cpu\n" in body and "export PROCESSES_PER_NODE=2\n" in body
    assert (site / "runs/big/logs").is_dir(), "SLURM writes no log without it"
    code = "import hybrid_dist; print(hybrid_dist.__file__)"
    imported = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(first / "code"), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert imported.stdout.strip() == f"{first}/code/hybrid_dist/__init__.py"
    submit.main(["run.yaml", *words])  # the run has not started, and its folder is not refused
    assert (site / "runs/big/submitted/2/code/hybrid_dist").is_dir()
    assert from_yaml(config).seed == 7


def test_what_sbatch_refuses_is_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "bin/sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
    with pytest.raises(SystemExit):
        submit.main(["run.yaml"])
    assert "train.sbatch" in (error := capsys.readouterr().err) and "invalid partition" in error
