"""The trial of FAISS in a process of its own: what it returns, and what a crash there becomes."""

import importlib.util
import sys
from pathlib import Path

import pytest

from hybrid_dist.runtime import faiss_build
from hybrid_dist.runtime.faiss_build import (
    FaissBuild,
    extra,
    import_problem,
    packages,
    remedy,
    try_faiss,
)


@pytest.fixture(autouse=True)
def _forget() -> None:
    faiss_build._tried.cache_clear()


def test_the_installed_faiss_searches_on_the_cpu() -> None:
    faiss = pytest.importorskip("faiss")
    build = try_faiss()
    assert (build.version, build.problem) == (faiss.__version__, "")
    assert [name.split()[1] for name in packages()] == [faiss.__version__]
    if not build.on_gpus:
        expected = f"faiss {faiss.__version__} is built without GPUs"
        assert try_faiss(0) == FaissBuild(faiss.__version__, problem=expected)


FAKE = """
import sys
__version__ = "9.9"
METRIC_INNER_PRODUCT = 0
class StandardGpuResources:
    def setTempMemory(self, size): pass
class GpuClonerOptions:
    use_cuvs = True
"""
CRASH = """
def knn_gpu(*args, **rest):
    import os
    os.write(2, b"Faiss assertion 'err' failed; details: CUDA error 209 no kernel image\\n")
    os.abort()
"""
WRONG = """
def knn_gpu(resources, queries, passages, k, **rest):
    import numpy as np
    return None, np.zeros((8, 1), np.int64)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            FAKE + CRASH,
            FaissBuild(
                *("9.9", True, True),
                "faiss 9.9 does not run on GPU 0 (CUDA error 209 no kernel image)",
            ),
        ),
        (FAKE + WRONG, FaissBuild("9.9", True, True, "a search by faiss 9.9 gives wrong rows")),
        (
            "raise ImportError('libcudart.so.12 is missing')",
            FaissBuild(
                problem="faiss cannot be imported (ImportError: libcudart.so.12 is missing)"
            ),
        ),
    ],
)
def test_a_crash_of_the_trial_is_a_reason(
    code: str, expected: FaissBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faiss.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert try_faiss(0) == expected


@pytest.mark.parametrize(
    ("cuda", "name"), [(None, "cpu"), ("12.8", "gpu"), ("13.0", "gpu-cu13"), ("13.2", "gpu-cu13")]
)
def test_the_extra_goes_with_torch(
    cuda: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.version.cuda", cuda)
    assert extra() == name


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ([], ""),
        (["faiss-cpu 1.15.1"], "pip uninstall faiss-cpu, then "),
        (["faiss-cpu 1.15.1", "faiss-gpu 1.15.1"], "pip uninstall faiss-cpu faiss-gpu, then "),
    ],
)
def test_no_second_package_is_installed(
    names: list[str], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setattr(faiss_build, "packages", lambda: names)
    assert remedy() == f'{first}pip install "hybrid_dist[gpu]"'


@pytest.mark.parametrize("kind", ["ImportError", "OSError", "AttributeError"])
def test_what_an_import_says_is_a_reason(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faiss.py").write_text(f"raise {kind}('no libcudart')")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert import_problem() == "faiss cannot be imported (no libcudart)"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert import_problem() == "faiss is not installed"
