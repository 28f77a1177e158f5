"""Updates on several ranks equal those of one process with the whole batch, in float64."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import TORCHRUN, launch, run
from tests.support.updates import SCRIPT, assert_equal_updates, results

Measured = dict[str, dict[str, Any]]
Updates = Callable[[str, int, tuple[str, ...]], Measured]

NAMES = (
    "plain",
    "three chunks",
    "a row a chunk",
    "symmetric",
    "learned temperature",
    "no masks",
    "hard negatives",
    "margin",
    "guided",
    "hardness",
    "other negatives",
    "dims",
    "every signal",
    "padded",
    "labse",
    "all",
    "aligned",
    "aligned, mse",
    "aligned, few",
    "aligned rankings",
    "distilled scores",
    "distilled vectors",
    "distilled, mse",
    "taught by a model",
    "dropout",
)
COMBINED = ("margin", "hardness", "other negatives", "dims", "aligned, mse", "distilled, mse")
MOST = tuple(name for name in NAMES if name not in COMBINED)
"""Those of COMBINED are in `every signal` or close to another."""
FEW = ("plain", "every signal", "all", "aligned rankings", "taught by a model", "dropout")
FROZEN = ("frozen layer", "frozen layer, padded")
ENCODERS = ("lora", "windows", "decoder", "decoder, both ways")
BY_TOKENS = ("chunk tokens", "chunk tokens, padded")
USED_ROWS = ("used rows", "used rows, padded")

TOGETHER = {
    ("cpu", 3): (*MOST, *FROZEN, *USED_ROWS),
    ("zero2", 2): (*FEW, *FROZEN, *ENCODERS),
    ("fsdp2", 2): (*FEW, *FROZEN, *ENCODERS, *BY_TOKENS),
}
"""What the tests that are not long ask of a launcher: measured by one launch, not by each."""

EXTRA = {
    "aligned rankings": (1, 1),
    "distilled scores": (2, 1),
    "taught by a model": (2, 1),
    "other negatives": (1, 1),
    "every signal": (1, 1),
    "guided": (1, 0),
}
"""All-gathers and reduce-scatters that options add: a teacher's vectors are only gathered."""


@pytest.fixture(scope="module")
def updates(toy: Path) -> Updates:
    """The updates under a launcher with so many processes, by the names of their options."""

    @cache
    def launched(launcher: str, processes: int, names: tuple[str, ...]) -> Measured:
        words = [*SCRIPT, str(toy), *names]
        if launcher == "fsdp2":
            return results(run([*TORCHRUN, str(processes), *words]))
        return results(launch(launcher, processes, words))

    def updates(launcher: str, processes: int, names: tuple[str, ...]) -> Measured:
        together = TOGETHER.get((launcher, processes), ())
        measured = launched(launcher, processes, together if {*names} <= {*together} else names)
        return {name: measured[name] for name in names}

    return updates


def assert_collectives(
    measured: dict[str, dict[str, Any]], gathers_temperature: int = 0, scatters_temperature: int = 0
) -> None:
    """One all-gather and one reduce-scatter per step, whatever the number of chunks and widths.

    Losses over rankings, and queries as negatives of each other, add some. The symmetric loss adds
    two all-reduces: of the maxima and the sums of its columns.

    A learned temperature is a parameter that stands alone: some strategies gather it and scatter
    its gradient by itself.
    """
    plain = measured["plain"]["collectives"]
    gathers, scatters = plain["allgather_base"], plain["reduce_scatter_base"]
    reductions = plain.get("allreduce", 0)
    for name, result in measured.items():
        reduced = reductions + (2 if name in ("symmetric", "all", "aligned, few") else 0)
        learned = "temperature_error" in result
        gathered, scattered = EXTRA.get(name, (0, 0))
        assert result["collectives"] == plain | {
            "allgather_base": gathers + gathered + learned * gathers_temperature,
            "reduce_scatter_base": scatters + scattered + learned * scatters_temperature,
            **({"allreduce": reduced} if reduced else {}),
        }, name
    chunks = {name: result["chunks"] for name, result in measured.items()}
    assert chunks["plain"] == 1
    assert chunks["all"] == 3


@pytest.mark.parametrize(
    ("processes", "names"),
    [
        (3, MOST),
        pytest.param(3, NAMES, marks=pytest.mark.long),
        pytest.param(2, NAMES, marks=pytest.mark.long),
        pytest.param(4, NAMES, marks=pytest.mark.long),
    ],
)
def test_ddp_updates_equal_one_process(
    processes: int, names: tuple[str, ...], updates: Updates
) -> None:
    measured = updates("cpu", processes, names)
    assert_equal_updates(measured, names)
    assert_collectives(measured)
    loss = measured["plain"]["collectives"]
    assert (loss["allgather_base"], loss["reduce_scatter_base"]) == (1, 1)


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [("cpu", 3), pytest.param("zero2", 2, marks=pytest.mark.long), ("fsdp2", 2)],
)
def test_frozen_layers_stay_and_the_others_update_alike(
    launcher: str, processes: int, updates: Updates
) -> None:
    measured = updates(launcher, processes, FROZEN)
    assert_equal_updates(measured, FROZEN)
    for result in measured.values():
        assert result["frozen"] and all(result["frozen"].values()), "exactly as they were"


@pytest.mark.parametrize(
    "launcher",
    [
        *("zero2", "fsdp2"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("cpu", "zero3")),
    ],
)
def test_adapters_windows_and_decoders_update_alike(launcher: str, updates: Updates) -> None:
    measured = updates(launcher, 2, ENCODERS)
    assert_equal_updates(measured, ENCODERS)
    for name, result in measured.items():
        assert bool(result["frozen"]) == (name == "lora")
        assert all(result["frozen"].values()), "exactly as they were"


@pytest.mark.parametrize(
    "launcher", ["zero3", "fsdp2", pytest.param("cpu", marks=pytest.mark.long)]
)
def test_chunks_by_tokens_where_ranks_by_themselves_need_different_numbers(
    launcher: str, updates: Updates
) -> None:
    measured = updates(launcher, 2, ("plain", *BY_TOKENS))
    assert_equal_updates(measured, ("plain", *BY_TOKENS))
    for name in BY_TOKENS:
        own = measured[name]["own_chunks"]
        assert any(len(set(of_ranks)) > 1 for of_ranks in own)
        chunks = measured[name]["chunks"]
        assert chunks >= max(own[-1]) if launcher == "zero3" else chunks == max(own[-1])
        assert chunks >= 3
        assert measured[name]["collectives"] == measured["plain"]["collectives"]


def test_ranks_exchange_the_rows_of_the_vocabulary_that_they_used(
    toy: Path, updates: Updates
) -> None:
    """On three ranks; a step uses some words of the tokenizer and not all."""
    measured = updates("cpu", 3, ("plain", *USED_ROWS))
    assert_equal_updates(measured, ("plain", *USED_ROWS))
    words = len(json.loads((toy / "model" / "tokenizer.json").read_text())["model"]["vocab"])
    for name in USED_ROWS:
        assert 0 < measured[name]["used_rows"] < words
        reductions = measured[name]["collectives"]["allreduce"]
        assert reductions == measured["plain"]["collectives"]["allreduce"] + 2
    assert measured["plain"]["used_rows"] is None, "one machine"


@pytest.mark.parametrize(
    ("launcher", "names"),
    [
        ("zero2", FEW),
        pytest.param("zero1", NAMES, marks=pytest.mark.long),
        pytest.param("zero2", NAMES, marks=pytest.mark.long),
        pytest.param("zero3", NAMES, marks=pytest.mark.long),
    ],
)
def test_zero_updates_equal_one_process(
    launcher: str, names: tuple[str, ...], updates: Updates
) -> None:
    measured = updates(launcher, 2, names)
    assert_equal_updates(measured, names)
    assert_collectives(measured, gathers_temperature=1 if launcher == "zero3" else 0)


@pytest.mark.parametrize("names", [FEW, pytest.param(NAMES, marks=pytest.mark.long)])
def test_fsdp2_updates_equal_one_process(names: tuple[str, ...], updates: Updates) -> None:
    measured = updates("fsdp2", 2, names)
    assert_equal_updates(measured, names)
    assert_collectives(measured, gathers_temperature=1, scatters_temperature=1)


@pytest.mark.long
def test_compiled_layers_under_fsdp2_update_alike(updates: Updates) -> None:
    """Three chunks a step, of other sizes every time: one graph, and FSDP2 gathers around it."""
    names = ("plain", "compiled")
    measured = updates("fsdp2", 2, names)
    assert_equal_updates(measured, names)
    plain, compiled = measured["plain"], measured["compiled"]
    assert plain["graphs"] == 0
    assert 1 <= compiled["graphs"] <= 2, "texts of any number and length share it"
    assert compiled["collectives"] == plain["collectives"]
