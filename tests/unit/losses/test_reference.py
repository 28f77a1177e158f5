"""The reference loss itself, against numbers and masks computed element by element."""

import math

import numpy as np
import pytest
import torch

from hybrid_dist.losses.options import LossOptions
from hybrid_dist.losses.reference import false_negatives, reference_info_nce
from tests.support.loss_cases import CASES, SIZE, Case, expected, negative_ids, pair_ids, vectors


def test_the_loss_of_two_queries_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    losses = reference_info_nce(queries, candidates, 0.5)
    first = math.log(math.exp(1.2) + math.exp(0.0) + math.exp(2.0)) - 1.2
    second = math.log(math.exp(1.6) + math.exp(2.0) + math.exp(0.0)) - 2.0
    assert losses.tolist() == pytest.approx([first, second])


def test_the_symmetric_loss_averages_in_the_queries_of_each_passage() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    one_way = reference_info_nce(queries, candidates, 0.5)
    first = math.log(math.exp(1.2) + math.exp(1.6)) - 1.2
    second = math.log(math.exp(0.0) + math.exp(2.0)) - 2.0
    losses = reference_info_nce(queries, candidates, 0.5, options=LossOptions(symmetric=True))
    other_way = (2 * losses - one_way).tolist()
    assert other_way == pytest.approx([first, second], rel=1e-5)


def test_a_masked_candidate_is_not_in_the_softmax() -> None:
    queries, passages, _ = vectors(3)
    ids = torch.tensor([[0], [1], [0]])
    losses = reference_info_nce(queries, passages, 0.1, ids)
    without_third = reference_info_nce(queries[:2], passages[:2], 0.1)
    assert losses[0] == pytest.approx(float(without_third[0]))


@pytest.mark.parametrize("with_negatives", [False, True])
def test_false_negatives_are_those_of_a_plain_double_loop(with_negatives: bool) -> None:
    ids = torch.cat([pair_ids(), negative_ids()]) if with_negatives else pair_ids()
    masked = false_negatives(ids, SIZE)
    rows = ids.tolist()
    for i in range(SIZE):
        for j in range(len(rows)):
            shares_one = rows[i][0] == rows[j][0] or rows[i][1] == rows[j][1]
            assert masked[i, j] == (i != j and shares_one)
    assert masked[:, :SIZE].any()
    assert masked[:, SIZE:].any() == with_negatives


def test_equal_numbers_in_different_columns_are_different_ids() -> None:
    crossed = torch.stack([torch.arange(SIZE), torch.arange(SIZE).roll(1)], dim=1)
    assert not false_negatives(crossed, SIZE).any()


def test_every_option_changes_the_loss_of_the_test_batch() -> None:
    losses = [float(expected(case)["loss"]) for case in CASES]
    assert np.diff(np.sort(np.array(losses))).min() > 1e-3
    assert expected(Case(masked=True))["num_false_negatives"][0] > 0
