"""Scores of query and passage read together, by a CrossEncoder of sentence-transformers."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from hybrid_dist.errors import UserError
from hybrid_dist.model.repository import loading, naming_flag, read_object


class Rescorer:
    """A CrossEncoder with one score per pair of texts."""

    def __init__(self, name: str, device: torch.device, trust_remote_code: bool = False) -> None:
        if find_spec("sentence_transformers") is None:
            raise UserError(
                "--rescore: needs the package sentence-transformers, which is not installed: "
                "pip install sentence-transformers"
            )
        from sentence_transformers import CrossEncoder

        self.name = name
        with naming_flag("--rescore"), loading(name, "a CrossEncoder", trust_remote_code):
            self._model: Any = CrossEncoder(
                name, device=str(device), trust_remote_code=trust_remote_code
            )
        _check_head(name)
        if self._model.num_labels != 1:
            raise UserError(
                f"--rescore {name}: gives {self._model.num_labels} numbers for a pair of texts; "
                "name a CrossEncoder with one, such as a reranker"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        for name, weights in self._model.state_dict().items():
            digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
            digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def scores(self, queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
        """The score of each pair, float32."""
        pairs = list(zip(queries, passages, strict=True))
        scores = self._model.predict(pairs, show_progress_bar=False, convert_to_numpy=True)
        scores = np.asarray(scores, np.float32).reshape(len(pairs))
        if not np.isfinite(scores).all():
            raise UserError(
                f"--rescore {self.name}: gives scores that are not finite; its weights are broken"
            )
        return scores


def _check_head(name: str) -> None:
    """Refuse an encoder without a trained head: CrossEncoder would add one of random weights."""
    kinds = (read_object(name, "config.json") or {}).get("architectures") or []
    if kinds and all(str(kind).endswith(("Model", "MaskedLM")) for kind in kinds):
        raise UserError(
            f"--rescore {name}: is an encoder ({', '.join(map(str, kinds))}) that was not trained "
            "to score pairs of texts; name a CrossEncoder, such as a reranker"
        )
