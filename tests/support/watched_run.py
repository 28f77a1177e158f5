"""The folder of a run of 100 steps, for the tests of `watch`."""

from typing import Any

from hybrid_dist.config.schema import Config, Data, Eval, Run, Train


def record(step: int, **more: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    values = {
        "step": step,
        "train/loss": 4.0 / step,
        "train/loss/monolingual": 0.5,
        "train/kind": "monolingual",
        "train/batches/monolingual": 3 * step // 4,
        "train/batches/cross_lingual": step // 4,
        "system/pairs_per_s": 1234.5,
        "system/tokens_per_s": 99999.0,
        "system/step_ms": 500.0,
        "system/data_wait_pct": 0.5,
        "system/memory_gib": 2.5,
    }
    return values | more


def run_config(runs: str, dev: tuple[str, ...] = ()) -> Config:
    return Config(
        run=Run(dir=runs, name="a run"),
        data=Data(train=("a",), dev=dev),
        train=Train(steps=100),
        eval=Eval(tasks=("toy:somewhere",), metric="map.multilingual"),
    )
