"""How processes form a group, and the settings of FSDP2 whatever the launcher file has."""

from typing import Any

import pytest
import torch

from hybrid_dist.commands import evaluate, mine
from hybrid_dist.config.schema import Config, Data, Train
from hybrid_dist.errors import LaunchError
from hybrid_dist.reporting.run_evaluation import load_evaluation
from hybrid_dist.runtime import launch
from hybrid_dist.runtime.launch import fsdp2_plugin, start
from hybrid_dist.training import run as training

LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
LAUNCHERS = {
    "ours": {
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "false",
    },
    "accelerate's defaults": {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"},
    "with a precision of its own": {"ACCELERATE_MIXED_PRECISION": "fp16"},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in FSDP2.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")  # the plugin sets it
    return monkeypatch


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_fsdp2_sums_gradients_in_fp32_and_leaves_outputs_alone(
    precision: str, launcher: str, environment: pytest.MonkeyPatch
) -> None:
    for name, value in LAUNCHERS[launcher].items():
        environment.setenv(name, value)
    plugin: Any = fsdp2_plugin(precision)
    if precision != "fp32":
        plugin.set_mixed_precision(precision)  # as Accelerate does when it starts
    policy = plugin.mixed_precision_policy
    assert policy.param_dtype == LOW.get(precision)
    assert policy.reduce_dtype == torch.float32
    assert policy.output_dtype is None
    assert plugin.fsdp_version == 2
    assert not plugin.cpu_ram_efficient_loading


def test_start_hands_the_plugin_to_accelerate(environment: pytest.MonkeyPatch) -> None:
    class Given(Exception):
        """Carries the arguments of Accelerator."""

    def accelerator(**given: Any) -> None:
        raise Given(given)

    environment.setattr("accelerate.Accelerator", accelerator)
    environment.setattr(torch.cuda, "is_available", lambda: True)
    environment.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(Given) as given:
        start("bf16")
    policy = given.value.args[0]["fsdp_plugin"].mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    environment.delenv("ACCELERATE_USE_FSDP")
    with pytest.raises(Given) as given:
        start("bf16")
    assert given.value.args[0]["fsdp_plugin"] is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FSDP_VERSION", "1", "fsdp_version: 2"),
        ("FSDP_VERSION", "", "fsdp_version: 2"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "True", "train.gradient_checkpointing"),
    ],
)
def test_launcher_files_whose_updates_would_be_wrong_are_refused(
    name: str, value: str, message: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, value)
    with pytest.raises(LaunchError, match=message):
        fsdp2_plugin("bf16")


def test_zero_without_deepspeed_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r'pip install "hybrid_dist\[gpu\]"'):
        launch.start()


def test_a_launcher_for_gpus_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    expected = "is for GPUs and none is visible here; use launchers/cpu.yaml"
    config = Config(data=Data(train=("no/where.jsonl",)), train=Train(precision="fp32"))
    with pytest.raises(LaunchError, match=expected):
        training.run(config, load_evaluation)
    for main, words in (
        (evaluate.main, ["--model", "no/where", "--task", "pairs:no/where", "--out", "x"]),
        (mine.main, ["no/where", "--model", "no/where", "--out", "x"]),
    ):
        with pytest.raises(SystemExit):
            main(words)
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
