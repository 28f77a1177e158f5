"""The losses beside the contrastive one as their definitions, and a teacher for tests."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.config.schema import Align, Distill
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import write_teacher_vectors


def alignment(
    align: Align, texts: tuple[Tensor, Tensor], translations: tuple[Tensor, Tensor], pool: Tensor
) -> Tensor:
    """Of the aligned rows' queries and passages, given all candidates."""
    sides = {"queries": (0,), "passages": (1,), "both": (0, 1)}[align.of]
    one, other = (torch.cat([part[side] for side in sides]) for part in (texts, translations))
    if align.kind == "jsd":
        return jensen_shannon(one, other, pool, align.temperature).mean()
    if align.kind == "mse":
        return functional.mse_loss(one, other)
    return 1 - functional.cosine_similarity(one, other).mean()


def jensen_shannon(one: Tensor, other: Tensor, pool: Tensor, temperature: float) -> Tensor:
    """Of the distributions of every row and its translation over the pool."""
    p, q = ((rows @ pool.T / temperature).softmax(1) for rows in (one, other))
    mean = (p + q) / 2
    return ((p * (p / mean).log()).sum(1) + (q * (q / mean).log()).sum(1)) / 2


def distillation(
    distill: Distill, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]
) -> Tensor:
    """Of all queries and candidates."""
    if distill.kind == "scores":
        shares, wanted = (
            (queries @ pool.T / distill.temperature).softmax(1)
            for queries, pool in (student, teacher)
        )
        return (wanted * (wanted / shares).log()).sum(1).mean()
    mine, its = torch.cat(student), torch.cat(teacher)
    if distill.kind == "mse":
        return functional.mse_loss(mine, its)
    return 1 - functional.cosine_similarity(mine, its).mean()


def hashed_vectors(texts: Sequence[str], width: int) -> np.ndarray:
    """A teacher that knows nothing but which texts are equal: normalized vectors [texts, width]."""
    seeds = [int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest()) for t in texts]
    rows = [np.random.default_rng(seed).normal(size=width) for seed in seeds]
    vectors = np.array(rows).reshape(-1, width)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rounded: np.ndarray = vectors.astype(np.float16)
    return rounded


def with_vectors(pairs: str, width: int) -> Store:
    """The store of the pairs with this teacher's vectors."""

    def annotate(folder: Path) -> dict[str, Any]:
        encode = partial(hashed_vectors, width=width)
        about = {"model": "hashes", "fingerprint": str(width)}
        return {"teacher": write_teacher_vectors(folder, encode, encode, about)}

    return Store.build(pairs, annotate=annotate)
