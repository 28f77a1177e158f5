"""The package's options of allocators: torch's of GPU memory, and Arrow's."""

import os
import subprocess
import sys

import pytest

NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ({}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        *(({name: "max_split_size_mb:64"}, {name: "max_split_size_mb:64"}) for name in NAMES),
        ({"PYTORCH_CUDA_ALLOC_CONF": ""}, {"PYTORCH_CUDA_ALLOC_CONF": ""}),
    ],
)
def test_segments_grow_unless_the_user_says_otherwise(
    own: dict[str, str], used: dict[str, str]
) -> None:
    code = (
        "import sys, os, hybrid_dist.train\n"
        "assert 'torch' not in sys.modules, 'torch reads the variable when it is loaded'\n"
        f"print({{name: os.environ[name] for name in {NAMES} if name in os.environ}})"
    )
    rest = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=rest | own, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(used)


@pytest.mark.parametrize(("own", "used"), [({}, "system"), ({VARIABLE: "mimalloc"}, "mimalloc")])
def test_arrow_allocates_from_the_c_library(own: dict[str, str], used: str) -> None:
    code = "import hybrid_dist.cli, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    rest = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=rest | own, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == used
