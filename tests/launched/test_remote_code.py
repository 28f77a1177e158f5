"""The Python code of a model's folder runs where it is allowed, and nowhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_dist.commands import evaluate, prefetch
from tests.support.launch import warm_python

CODE = """
from pathlib import Path
Path({marker!r}).touch()  # all that a thief needs
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

class OwnConfig(XLMRobertaConfig):
    model_type = "own-roberta"

class OwnModel(XLMRobertaModel):
    config_class = OwnConfig

class OwnTokenizer(XLMRobertaTokenizer):
    pass
"""
AUTO = {"AutoConfig": "evil.OwnConfig", "AutoModel": "evil.OwnModel"}


class Case:
    """A model folder with code that leaves a mark when it is run."""

    def __init__(self, toy: Path, folder: Path) -> None:
        self.toy, self.root, self.model = toy, folder, folder / "model"
        self.marker = folder / "was run"
        self.model.mkdir()
        for file in (toy / "model").iterdir():
            (self.model / file.name).write_bytes(file.read_bytes())
        (self.model / "evil.py").write_text(CODE.format(marker=str(self.marker)))

    def change(self, file: str, **changes: object) -> None:
        content = json.loads((self.model / file).read_text())
        (self.model / file).write_text(json.dumps(content | changes))

    def run(self, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        """hybrid-dist, with someone at the keyboard who says yes to everything."""
        cache = {"HF_HOME": str(self.root / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [python, "-m", "hybrid_dist", *words],
            input="y\n" * 20,
            capture_output=True,
            text=True,
            env=os.environ | cache,
            cwd=self.root,
        )

    def of_run(self, *more: str) -> list[str]:
        """The flags of a run that would train this model."""
        model = ["--model.name_or_path", str(self.model), "--model.init=scratch"]
        data = ["--data.train", str(self.toy / "train.jsonl"), "--batching.size=8"]
        sizes = ["--model.max_passage_tokens=64", "--train.precision=fp32", "--train.steps=1"]
        return [*model, *data, *sizes, *more]


@pytest.fixture
def case(toy: Path, tmp_path: Path) -> Case:
    return Case(toy, tmp_path)


@pytest.fixture
def evil(case: Case) -> Case:
    case.change("config.json", model_type="own-roberta", auto_map=AUTO)
    return case


def commands(case: Case) -> dict[str, list[str]]:
    """Every command that loads a model, and what its message says to give."""
    config = case.root / "run.yaml"
    config.write_text("seed: 1\n")
    task = ["--task", f"toy:{case.toy}", "--out", "out"]
    pairs = ["pairs", str(case.toy / "dev.jsonl"), "--out", "store"]
    return {
        "evaluate": ["evaluate", "--model", str(case.model), *task],
        "prepare": ["prepare", *pairs, "--tokenize", str(case.model)],
        "prefetch": ["prefetch", str(config), *case.of_run()],
        "plan": ["plan", "--json", "--world-size=1", "--steps=1", *case.of_run()],
        "train": ["train", *case.of_run()],
    }


@pytest.mark.parametrize(
    "command",
    [
        "evaluate",
        "prepare",
        "train",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("prefetch", "plan")),
    ],
)
def test_code_that_is_not_allowed_is_not_run_and_there_is_no_prompt(
    evil: Case, command: str
) -> None:
    if command in ("prepare", "plan"):  # they load the tokenizer alone, whose class is not known
        tokenizer = {"AutoTokenizer": ["evil.OwnTokenizer", None]}
        evil.change("tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokenizer)
    done = evil.run(*commands(evil)[command], python=str(warm_python()))
    assert not evil.marker.exists()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "[y/N]" not in done.stdout + done.stderr
    flag = command in ("evaluate", "prepare")
    key = {"evaluate": "--model", "prepare": "--tokenize"}.get(command, "model.name_or_path")
    cure = "give --trust-remote-code" if flag else "set model.trust_remote_code: true"
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert f"error: {key}: {evil.model} is " in line
    assert line.count("evil.py") == 1 and line.endswith(f"if you trust it, {cure}")


def test_code_of_a_type_that_transformers_knows_is_passed_over(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    case.change("config.json", auto_map=AUTO)
    case.change("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.OwnTokenizer", None]})
    prefetch.main(commands(case)["prefetch"][1:])
    assert "sizes and tokenizer in " in capsys.readouterr().out
    assert not case.marker.exists()


def test_code_that_is_allowed_runs_and_the_run_and_the_report_say_so(
    evil: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = "--model.trust_remote_code=true"
    evaluated = ["--eval.tasks", f"toy:{evil.toy}", "--log.wandb=disabled"]
    done = evil.run("train", *evil.of_run(allowed, *evaluated))
    assert done.returncode == 0, done.stderr
    assert evil.marker.exists()
    run = evil.root / "runs" / "run"
    assert json.loads((run / "environment.json").read_text())["trust_remote_code"] is True
    report = json.loads((run / "eval/toy/report.json").read_text())
    assert report["settings"]["trust remote code"] is True
    evil.marker.unlink()
    for model in (run, run / "checkpoints" / "step-000001"):
        out = str(evil.root / "out")
        words = ["--model", str(model), "--task", f"toy:{evil.toy}", "--out", out]
        with pytest.raises(SystemExit) as ended:
            evaluate.main(words)  # a run folder may be another's: its config.yaml allows nothing
        assert (ended.value.code, evil.marker.exists()) == (2, False)
        assert "give --trust-remote-code" in capsys.readouterr().err
    done = evil.run("evaluate", *words, "--trust-remote-code")
    assert done.returncode == 0, done.stderr
    again = json.loads((evil.root / "out/toy/report.json").read_text())
    assert again["map"] == report["map"]
