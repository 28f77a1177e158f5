"""The training state is independent of the strategy: any strategy resumes from any other's."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.training.checkpoint import manifest, trained_model
from tests.support.launch import TORCHRUN, run, script, train
from tests.support.runs import column, metrics, options, succeed

SHARDED = script("sharded_state")


def test_fsdp2s_state_is_restored_sharded_and_whole(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    done = succeed(run([*TORCHRUN, "2", *SHARDED, str(tmp_path / "state")]))
    differences = re.findall(r"RESULT (\w+) (\S+) on rank", done.output)
    assert sorted(name for name, _ in differences) == ["sharded", "sharded", "whole", "whole"]
    for name, worst in differences:
        assert float(worst) <= (0 if name == "sharded" else 1e-6), differences

    refusals = re.findall(
        r"REFUSED on rank (\d), unchanged (\w+): rank 1: (\S+): (.*)", done.output
    )
    assert sorted(rank for rank, *_ in refusals) == ["0", "1"], (
        "what one rank cannot take none takes"
    )
    for _, unchanged, file, why in refusals:
        assert unchanged == "True"
        assert file.endswith("exp_avg.safetensors")
        assert why == "is of another model; blocks.0.one.bias is 1 in it and 5 here"


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("zero3", 2),
        pytest.param("", 1, marks=pytest.mark.long),
        pytest.param("cpu", 2, marks=pytest.mark.long),
        pytest.param("zero1", 2, marks=pytest.mark.long),
        pytest.param("zero2", 2, marks=pytest.mark.long),
    ],
)
def test_a_crafted_checkpoint_is_refused_by_all_ranks(
    launcher: str, processes: int, toy: Path, tmp_path: Path
) -> None:
    """Its checksums are right, but a bias of one number would be broadcast."""
    changed = {"optim__schedule": "constant", "checkpoint__every": "2"}
    succeed(train(options(toy, tmp_path, "run", **changed, train__steps="2")))
    folder = tmp_path / "run/checkpoints/step-000002"
    weights = load_file(folder / "weights.safetensors")
    name = next(name for name, value in weights.items() if value.ndim == 1)
    weights[name] = torch.ones(1)
    save_file(weights, folder / "weights.safetensors")
    whole = manifest.read(folder)
    checksum = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    files = whole.files | {"weights.safetensors": checksum}
    manifest.write(folder, manifest.Manifest(whole.progress, files))
    done = train(options(toy, tmp_path, "run", **changed, train__steps="4"), launcher, processes)
    assert done.code != 0
    assert f"weights.safetensors: is of another model; {name} is 1 in it" in done.output
    assert "hybrid_dist.train: error" in done.output
    assert not done.output.partition("hybrid_dist.train: error")[0].count("Traceback")
    assert len(column(tmp_path, "run", "step")) == 2


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [("", 1), ("zero2", 2), pytest.param("zero3", 2, marks=pytest.mark.long)],
)
def test_frozen_weights_are_kept_in_checkpoints(
    launcher: str, processes: int, toy: Path, tmp_path: Path
) -> None:
    """So that a model can be exported from one, and any strategy resumes."""
    changed = {"optim__schedule": "constant", "checkpoint__every": "2", "train__frozen_layers": "1"}
    changed |= {"loss__dims": "16"}
    first = options(toy, tmp_path, "run", **changed, train__steps="2")
    succeed(train(first, launcher, processes))
    initial = load_file(tmp_path / "run/model/model.safetensors")
    stored = load_file(tmp_path / "run/checkpoints/step-000002/weights.safetensors")
    assert {f"encoder.backbone.{name}" for name in initial} == stored.keys()
    moments = load_file(tmp_path / "run/checkpoints/step-000002/exp_avg.safetensors")
    frozen = sorted(stored.keys() - moments.keys())
    assert {name.split(".")[2] for name in frozen} == {"embeddings", "encoder"}
    assert not any("layer.1." in name for name in frozen)
    succeed(train(options(toy, tmp_path, "run", **changed, train__steps="4")))
    final = load_file(tmp_path / "run/model/model.safetensors")
    for name in initial:
        same = torch.equal(initial[name], final[name])
        assert same == (f"encoder.backbone.{name}" in frozen), name
    trained_model.export(tmp_path / "run/checkpoints/step-000004", tmp_path / "exported")
    for folder in ("run/model", "exported"):
        assert json.loads((tmp_path / folder / "hybrid_dist.json").read_text())["dims"] == [16]


@pytest.mark.parametrize(
    ("launcher", "processes"), [("zero2", 2), pytest.param("zero3", 2, marks=pytest.mark.long)]
)
def test_adapters_are_resumed_under_other_strategies_and_merged_in_the_model(
    launcher: str, processes: int, toy: Path, tmp_path: Path
) -> None:
    changed = {"optim__schedule": "constant", "checkpoint__every": "2", "model__lora_rank": "4"}
    changed |= {"optim__lr": "0.01"}
    succeed(train(options(toy, tmp_path, "whole", **changed, train__steps="4")))
    args = options(toy, tmp_path, "moved", **changed, train__steps="2")
    done = succeed(train(args, launcher, processes))
    assert re.search(
        r"LoRA on 12 layers \(dense, key, query, value\): [\d,]+ of [\d,]+ parameters", done.output
    )
    initial = load_file(tmp_path / "moved/checkpoints/step-000002/weights.safetensors")
    done = succeed(train(options(toy, tmp_path, "moved", **changed, train__steps="4"), "cpu", 2))
    assert "resumed from" in done.output
    for key in ("train/loss", "train/grad_norm"):
        moved, whole = column(tmp_path, "moved", key), column(tmp_path, "whole", key)
        assert len(moved) == 4
        assert np.max(np.abs(moved / whole - 1)) < 1e-4
    checkpoint = tmp_path / "moved/checkpoints/step-000004"
    stored = load_file(checkpoint / "weights.safetensors")
    changed_names = {name for name, part in stored.items() if not torch.equal(part, initial[name])}
    assert changed_names == {name for name in stored if "lora_" in name}
    assert_merged(checkpoint, tmp_path / "moved/model", tmp_path / "exported")


def assert_merged(checkpoint: Path, model: Path, out: Path) -> None:
    """The model has plain weights only, with the vectors of the adapters in the checkpoint."""
    backbone, report = AutoModel.from_pretrained(
        model, output_loading_info=True, add_pooling_layer=False
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not any("lora" in name for name in backbone.state_dict())
    texts, cpu = ["bo du fo ka?", "ka", "ra ti mo " * 9], torch.device("cpu")
    adapted = trained_model.load(checkpoint, cpu).encode_passages(texts)
    merged = TextEmbedder.load(model, cpu).encode_passages(texts)
    np.testing.assert_allclose(merged, adapted, rtol=0, atol=1e-5)
    trained_model.export(checkpoint, out)
    exported, whole = (load_file(folder / "model.safetensors") for folder in (out, model))
    assert exported.keys() == whole.keys()
    assert all(torch.equal(exported[name], whole[name]) for name in whole)


@pytest.mark.long
def test_another_metric_starts_the_selection_anew(toy: Path, tmp_path: Path) -> None:
    changed = {"optim__schedule": "constant", "checkpoint__every": "2"}
    changed |= {"eval__every": "2", "eval__tasks": f"toy:{toy}"}
    succeed(train(options(toy, tmp_path, "run", **changed, train__steps="4")))
    changed["eval__metric"] = "bias.rank_distance.mean"
    done = succeed(train(options(toy, tmp_path, "run", **changed, train__steps="6")))
    assert "was eval/toy/map.multilingual and is eval/toy/bias.rank_distance.mean" in done.output
    last = [record for record in metrics(tmp_path, "run") if "eval/best" in record][-1]
    assert (last["step"], last["eval/best_step"]) == (6, 6)
    assert last["eval/best"] == last["eval/toy/bias.rank_distance.mean"]


def test_a_checkpoint_of_another_run_brings_no_best_model(toy: Path, tmp_path: Path) -> None:
    """Nor is one taken up that is trained further than this run is to be."""
    changed = {
        "optim__schedule": "constant",
        "eval__every": "2",
        "data__dev": str(toy / "dev.jsonl"),
    }
    changed |= {"checkpoint__every": "2", "optim__lr": "0.1"}  # so that nothing better comes
    succeed(train(options(toy, tmp_path, "one", **changed, train__steps="2")))
    changed["checkpoint__resume"] = str(tmp_path / "one/checkpoints/step-000002")
    done = succeed(train(options(toy, tmp_path, "other", **changed, train__steps="3")))
    assert "the best model so far is not in this run's folder" in done.output
    assert (tmp_path / "other/model/model.safetensors").is_file()
    done = train(options(toy, tmp_path, "short", **changed, train__steps="1"))
    assert done.code == 2
    assert "train.steps: is 1, but" in done.output and "is trained to step 2" in done.output


CHAINS = [
    [("zero3", 2), ("cpu", 3)],
    pytest.param([("zero3-offload", 2), ("zero2-offload", 3), ("", 1)], marks=pytest.mark.long),
    pytest.param([("zero1", 2), ("zero3", 3), ("", 1)], marks=pytest.mark.long),
    pytest.param([("", 1), ("zero2", 2), ("zero2", 3), ("cpu", 2)], marks=pytest.mark.long),
]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_run_resumes_under_other_strategies(
    chain: list[tuple[str, int]], toy: Path, tmp_path: Path
) -> None:
    """Without dropout the curve is that of a run that stayed with one process."""
    changed = {"optim__schedule": "constant", "checkpoint__every": "5"}
    last = 5 * len(chain)
    succeed(train(options(toy, tmp_path, "whole", **changed, train__steps=str(last))))
    for number, (launcher, processes) in enumerate(chain, 1):
        args = options(toy, tmp_path, "moved", **changed, train__steps=str(5 * number))
        done = succeed(train(args, launcher, processes))
        assert number == 1 or f"step {5 * (number - 1)}" in done.output
    for key in ("train/loss", "train/grad_norm"):
        moved, whole = column(tmp_path, "moved", key), column(tmp_path, "whole", key)
        assert len(moved) == last
        assert np.max(np.abs(moved / whole - 1)) < 1e-4
