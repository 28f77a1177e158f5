"""InfoNCE in a plain DDP loop, against the reference loss in one float64 process.

Ranks hold different numbers of pairs and of hard negatives; with three ranks, one holds no pair at
all. Prints one line of JSON for each case, from the first rank.
"""

import json
from itertools import product

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hybrid_dist.losses import InfoNCE, LossOptions
from hybrid_dist.losses.reference import reference_info_nce
from hybrid_dist.runtime.ranks import exit_process

WIDTH, TEMPERATURE = 16, 0.2
QUERY_COUNTS = {1: (17,), 2: (11, 6), 3: (9, 0, 8)}
NEGATIVE_COUNTS = {1: (5,), 2: (0, 5), 3: (1, 3, 1)}
IDS = ("none", "of pairs", "of pairs and negatives")


def encoder() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, WIDTH)).double()


def texts() -> tuple[Tensor, Tensor, Tensor]:
    """Features of 17 queries, their passages and 5 hard negatives."""
    features = torch.randn(39, 8, generator=torch.Generator().manual_seed(2)).double()
    queries, passages, negatives = features.split([17, 17, 5])
    return queries, passages, negatives


def pair_ids() -> Tensor:
    return torch.randint(-3, 9, (17, 2), generator=torch.Generator().manual_seed(3))


def negative_ids() -> Tensor:
    return torch.randint(-3, 9, (5, 2), generator=torch.Generator().manual_seed(4))


def encode(model: nn.Module, features: Tensor) -> Tensor:
    return nn.functional.normalize(model(features), dim=-1)


def one_process(options: LossOptions, negatives: bool, ids: str) -> tuple[float, Tensor]:
    """Loss and gradient of the whole batch."""
    model = encoder()
    queries, passages, hard = (encode(model, part) for part in texts())
    candidates = torch.cat([passages, hard]) if negatives else passages
    all_ids = None
    if ids != "none":
        unique = torch.arange(100, 110).view(5, 2)  # of hard negatives whose ids are not given
        of_hard = negative_ids() if ids == "of pairs and negatives" else unique
        all_ids = torch.cat([pair_ids(), of_hard]) if negatives else pair_ids()
    loss = reference_info_nce(queries, candidates, TEMPERATURE, all_ids, options).mean()
    loss.backward()
    return loss.item(), gradient(model)


def gradient(model: nn.Module) -> Tensor:
    parts = [weights.grad for weights in model.parameters()]
    return torch.cat([part.double().flatten() for part in parts if part is not None])


def with_ddp(
    options: LossOptions, negatives: bool, ids: str, dtype: torch.dtype
) -> tuple[float, Tensor]:
    """The mean over ranks of the loss, and DDP's gradient."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(encoder().to(dtype))
    module = InfoNCE(TEMPERATURE, options)
    pairs, hard = list(QUERY_COUNTS[world]), list(NEGATIVE_COUNTS[world])
    queries, passages = (part.split(pairs)[rank].to(dtype) for part in texts()[:2])
    local = [queries, passages]
    local_ids = None if ids == "none" else pair_ids().split(pairs)[rank]
    if negatives:
        local.append(texts()[2].split(hard)[rank].to(dtype))
        if local_ids is not None and ids == "of pairs and negatives":
            local_ids = torch.cat([local_ids, negative_ids().split(hard)[rank]])
    vectors = encode(model, torch.cat(local)).split([len(part) for part in local])
    loss = module(*vectors, ids=local_ids)
    loss.backward()
    mean = loss.detach().double()
    dist.all_reduce(mean)
    return mean.item() / world, gradient(model)


def mismatches() -> dict[str, str]:
    """What each mistake is refused with, on this rank."""
    rank = dist.get_rank()
    vectors = torch.ones(2, 4)
    none = torch.ones(0, 4)
    wide = torch.ones(2, 4 + rank)
    calls = {
        "ids on one rank": lambda: InfoNCE()(
            vectors, vectors, ids=None if rank else torch.arange(2)
        ),
        "symmetric on one rank": lambda: InfoNCE(options=LossOptions(symmetric=not rank))(
            vectors, vectors
        ),
        "dims on one rank": lambda: InfoNCE(options=LossOptions(dims=(1 + rank,)))(
            vectors, vectors
        ),
        "other widths": lambda: InfoNCE()(wide, wide),
        "no queries": lambda: InfoNCE()(none, none),
    }
    errors = {}
    for name, call in calls.items():
        try:
            call()
        except ValueError as error:
            errors[name] = str(error)
    return errors


def in_a_group() -> dict[str, float | str]:
    """The loss over the last two of three ranks alone, which rank 0 is not a member of."""
    rank = dist.get_rank()
    group = dist.new_group([1, 2])
    model = encoder()
    queries, passages = (encode(model, part) for part in texts()[:2])
    loss = reference_info_nce(queries, passages, TEMPERATURE).mean()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    local = slice(0, 5) if rank == 1 else slice(5, 17)
    module = InfoNCE(TEMPERATURE, group=group)
    try:
        mine = module(encode(model, texts()[0][local]), encode(model, texts()[1][local]))
    except ValueError as error:
        return {"error": str(error)}
    actual = torch.cat(
        [part.flatten() for part in torch.autograd.grad(mine, [*model.parameters()])]
    )
    dist.all_reduce(actual, group=group)
    return {"gradient_error": apart(actual / 2, torch.cat([part.flatten() for part in expected]))}


def apart(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def main() -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    for symmetric, negatives, ids in product((False, True), (False, True), IDS):
        options = LossOptions(symmetric=symmetric)
        loss, true = one_process(options, negatives, ids)
        result: dict[str, object] = {"case": [symmetric, negatives, ids], "loss": loss}
        for dtype in (torch.float64, torch.float32):
            mean, actual = with_ddp(options, negatives, ids, dtype)
            result[str(dtype)] = [abs(mean / loss - 1), apart(actual, true)]
        if rank == 0:
            print("RESULT " + json.dumps(result), flush=True)
    refusals: list[object] = [None] * world
    dist.all_gather_object(refusals, mismatches())
    groups: list[object] = [None] * world
    if world == 3:
        dist.all_gather_object(groups, in_a_group())
    if rank == 0:
        print("RESULT " + json.dumps({"refusals": refusals, "groups": groups}), flush=True)
    exit_process()


if __name__ == "__main__":
    main()
