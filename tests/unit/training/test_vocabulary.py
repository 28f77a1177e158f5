"""Where only the used rows of the word embeddings are exchanged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_dist.model.encoder import BiEncoder
from hybrid_dist.training.vocabulary import VocabularyExchange, is_sparse
from tests.support.encoders import encoder_of


def test_ddp_leaves_out_every_name_of_the_table(tmp_path: Path) -> None:
    model: Any = BiEncoder(encoder_of("xlm-roberta", tmp_path), 0.05, learn_temperature=True)
    words = "encoder.backbone.embeddings.word_embeddings.weight"
    VocabularyExchange(model, world=2)
    assert model._ddp_params_and_buffers_to_ignore == [words]
    model.tied = torch.nn.Linear(1, 1)
    model.tied.weight = model.encoder.backbone.get_input_embeddings().weight
    VocabularyExchange(model, world=2)
    assert model._ddp_params_and_buffers_to_ignore == [words, "tied.weight"]


@pytest.mark.parametrize(
    ("option", "strategy", "nodes", "sparse"),
    [
        ("auto", "ddp", "2", True),
        ("auto", "ddp", "1", False),
        ("auto", "ddp", None, False),
        ("always", "ddp", "1", True),
        ("never", "ddp", "2", False),
        ("always", "single", "1", False),
        ("auto", "fsdp", "2", False),
        ("always", "zero2", "2", False),
    ],
)
def test_used_rows_are_exchanged_under_ddp_on_several_machines(
    option: str, strategy: str, nodes: str | None, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if nodes is None:
        monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("GROUP_WORLD_SIZE", nodes)
    assert is_sparse(option, strategy) is sparse
