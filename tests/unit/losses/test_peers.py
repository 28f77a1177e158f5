"""Options of the loss against the losses of sentence-transformers, on the same vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as peers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from hybrid_dist.losses import Guide, InfoNCE, LossOptions, Margin
from tests.support.loss_cases import TEMPERATURE, WIDTH, vectors

Columns = Sequence[Tensor]
"""Vectors of queries, of passages, and of a hard negative of each query."""
COLUMNS = (*vectors()[:2], vectors(seed=2)[1])


class Given(nn.Module):
    """Stands for a SentenceTransformer: it embeds the text `{"column": i}` as given vectors."""

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0})))
    max_seq_length = 8

    def __init__(self) -> None:
        super().__init__()
        self.columns: Columns = ()

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"sentence_embedding": self.columns[features["column"]]}


def assert_alike(
    options: LossOptions,
    peer: Callable[[Columns], Tensor],
    hard: bool,
    guide: Columns | None = None,
    ratio: float = 1.0,
) -> None:
    """Our loss is `ratio` times the peer's, and so are the gradients."""
    columns = COLUMNS if hard else COLUMNS[:2]
    ours, theirs = ([part.clone().requires_grad_() for part in columns] for _ in range(2))
    of_guide = None
    if guide is not None:
        of_guide = Guide(guide[0], torch.cat(list(guide[1 : len(columns)])))
    # the peers normalize, which takes the radial part out of gradients
    queries, passages, *negatives = (functional.normalize(part, dim=1) for part in ours)
    hard_negatives = negatives[0] if negatives else None
    module = InfoNCE(TEMPERATURE, options)
    loss = module(queries, passages, hard_negatives, guide=of_guide)
    expected = ratio * peer(theirs)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    loss.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-12)


def ranking(**options: Any) -> Callable[[Columns], Tensor]:
    model = SentenceTransformer(modules=[nn.Identity()])
    module = peers.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, **options)
    return lambda columns: module.compute_loss_from_embeddings(list(columns), torch.empty(0))


def of_features(module: nn.Module, model: Given) -> Callable[[Columns], Tensor]:
    def loss(columns: Columns) -> Tensor:
        model.columns = columns
        features = [{"column": i} for i in range(len(columns))]
        value: Tensor = module(features, torch.empty(0))
        return value

    return loss


@pytest.mark.parametrize("hard", [False, True])
def test_hardness_is_that_of_all_negatives(hard: bool) -> None:
    peer = ranking(hardness_mode="all_negatives", hardness_strength=5.0)
    assert_alike(LossOptions(hardness=5.0), peer, hard)


def test_queries_and_passages_are_negatives_of_each_other() -> None:
    peer = ranking(directions=("query_to_doc", "query_to_query", "doc_to_doc"))
    assert_alike(LossOptions(query_negatives=True, passage_negatives=True), peer, hard=False)


def test_the_symmetric_loss_has_two_directions() -> None:
    peer = ranking(directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction")
    assert_alike(LossOptions(symmetric=True), peer, hard=False)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("margin", [Margin(), Margin(0.2), Margin(-0.1), Margin(0.3, True)])
def test_a_guide_recognizes_false_negatives_as_in_gistembed(margin: Margin, hard: bool) -> None:
    guide = (*vectors(seed=3)[:2], vectors(seed=4)[1])
    model, guiding = Given(), Given()
    guiding.columns = guide
    module = peers.GISTEmbedLoss(
        model,
        guiding,
        temperature=TEMPERATURE,
        margin_strategy="relative" if margin.is_relative else "absolute",
        margin=margin.size,
    )
    options = LossOptions(margin=margin, query_negatives=True, passage_negatives=True)
    assert_alike(options, of_features(module, model), hard, guide)


@pytest.mark.parametrize("hard", [False, True])
def test_dims_are_those_of_a_matryoshka_loss(hard: bool) -> None:
    model = Given()
    inner = peers.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    module = peers.MatryoshkaLoss(model, inner, [WIDTH, 5, 2], [1.0, 0.5, 2.0])
    options = LossOptions(dims=(5, 2), dim_weights=(0.5, 2.0))
    assert_alike(options, of_features(module, model), hard, ratio=1 / 3.5)
