"""Hybrid-batch training and evaluation of multilingual retrievers."""

import os

__version__ = "0.1.0"

ALLOCATOR = "PYTORCH_ALLOC_CONF"
"""Where torch reads its GPU allocator's options, when the first GPU memory is asked for."""
if not {ALLOCATOR, "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"} & os.environ.keys():
    # Chunks differ in size from step to step: segments of fixed sizes would leave gaps between them
    os.environ[ALLOCATOR] = "expandable_segments:True"
