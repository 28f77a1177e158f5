"""Memory of a card that passages may take."""

import numpy as np
import pytest
import torch

from hybrid_dist.evaluation.tiles import CARD_RESERVE, Shard

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here")


def test_memory_that_torch_caches_is_free() -> None:
    card = torch.device("cuda", 0)
    torch.cuda.empty_cache()
    most = torch.cuda.mem_get_info(card)[0] - CARD_RESERVE // 2
    torch.empty(most, dtype=torch.uint8, device=card)  # nothing refers to it; torch keeps it
    assert torch.cuda.memory_reserved(card) >= most
    assert Shard.of(0, np.eye(4, dtype=np.float32), card).card is None
