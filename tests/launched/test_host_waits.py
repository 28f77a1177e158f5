"""A step makes the host wait for a GPU once at most."""

import json
from pathlib import Path

from tests.support.launch import launch, script

ONE_CHUNK = (
    "plain",
    "no masks",
    "symmetric",
    "learned temperature",
    "aligned, mse",
    "distilled vectors",
)
CHUNKS = (
    "three chunks",
    "a row a chunk",
    "hard negatives",
    "labse",
    "all",
    "aligned rankings",
    "distilled scores",
)


def test_the_host_waits_once_a_step_at_most(toy: Path) -> None:
    names = (*ONE_CHUNK, *CHUNKS, "taught by a model", "padded")
    done = launch("cpu", 2, [*script("host_waits"), str(toy), *names])
    lines = [line for line in done.output.splitlines() if line.startswith("WAITS ")]
    assert done.code == 0 and len(lines) == 1, done.output
    waits = json.loads(lines[0].removeprefix("WAITS "))
    for name in ONE_CHUNK:
        assert waits[name] == [[], [], []], name
    for name in CHUNKS:  # the distinct tokens of all chunks
        assert waits[name] == [["aten._unique2.default"]] * 3, name
    taught = "taught by a model"  # the distinct tokens of a teacher's chunks too
    assert waits[taught] == [["aten._unique2.default"] * 2] * 3
    # transformers asks whether a padded batch needs a mask: in six calls, four of them twice
    assert waits["padded"] == [["aten._local_scalar_dense.default"] * 10] * 3
