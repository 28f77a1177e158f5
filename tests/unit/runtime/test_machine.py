"""What a machine is found to have."""

from hybrid_dist.runtime.machine import Machine


def test_a_number_of_gpus_replaces_those_of_the_machine() -> None:
    there = Machine.here(8)
    assert (there.gpus, there.has_bf16) == (8, True)
    assert "8 GPUs" in str(there)
    assert Machine.here(0).gpus == 0
    assert "no GPU" in str(Machine(2, 2**30, 0)) and "1.0 GiB" in str(Machine(2, 2**30, 0))
