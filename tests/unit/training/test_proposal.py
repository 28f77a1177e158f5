"""The values that are proposed for pairs, a model and a machine, and that they make a config."""

from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.config.resolve import load_config
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.starting_point import Sizes, StartingPoint
from hybrid_dist.runtime.machine import Machine
from hybrid_dist.training.own_pairs import WIDTH, commented
from hybrid_dist.training.pair_facts import LanguageFacts, Lengths, PairFacts
from hybrid_dist.training.proposal import Parts, Proposal

GIB = 2**30
CPU = Machine(2, 8 * GIB, 0, has_bf16=False)
CARDS = Machine(64, 500 * GIB, 8, "H100")
SPEC = EncoderSpec("mean", "query: ", "passage: ", 512, 512)
SMALL = StartingPoint("intfloat/e5", SPEC, "its files", True, Sizes(12, 384, 250_037), None)
PLAIN = StartingPoint("xlm-roberta-base", SPEC, "the paper", False, None, None)


def facts(
    sizes: dict[str, int],
    translated: int,
    query: int = 16,
    passage: int = 60,
    in_tokens: bool = True,
) -> PairFacts:
    """Languages of so many pairs; `translated` uids are in all of them, as far as they go."""
    languages = {
        name: LanguageFacts(
            pairs,
            min(pairs, translated),
            Lengths(query / 2, query // 2, query),
            Lengths(passage / 2, passage // 2, passage),
            0.0 if in_tokens else None,
        )
        for name, pairs in sizes.items()
    }
    return PairFacts(languages, translated, in_tokens)


def values(
    pairs: PairFacts, start: StartingPoint = SMALL, machine: Machine = CPU, dev: int = 100
) -> dict[str, Any]:
    proposal = Proposal(pairs, start, machine, Parts(pairs.pairs, dev, 200))
    return {each.key: each.value for each in proposal.settings()}


EVEN = {"de": 9000, "en": 9000, "sw": 9000}


def test_on_two_cores() -> None:
    proposed = values(facts(EVEN, 9000))
    assert proposed["batching.size"] == 64 and proposed["train.steps"] == 50
    assert proposed["batching.mix"] == {"monolingual": 0.5, "cross_lingual": 0.5}
    assert proposed["train.frozen_layers"] == 8 and proposed["train.precision"] == "fp32"
    assert proposed["model.max_query_tokens"] == 16 and proposed["model.max_passage_tokens"] == 64
    assert proposed["loss.temperature"] == 0.02 and proposed["optim.lr"] == 5e-5
    assert proposed["optim.warmup_steps"] == 5
    assert proposed["data.dev"] == ["pairs/dev.jsonl"]
    assert proposed["eval.tasks"] == ["heldout=pairs:pairs/heldout.jsonl"]
    assert proposed["eval.metric"] == "dev/loss"
    assert "train.chunk_size" not in proposed and "batching.language_alpha" not in proposed


def test_on_eight_gpus() -> None:
    proposed = values(facts(dict.fromkeys(EVEN, 90_000), 90_000), PLAIN, CARDS)
    assert proposed["batching.size"] == 1024 and proposed["train.steps"] == 792
    assert proposed["train.precision"] == "bf16" and proposed["train.chunk_size"] == "auto"
    assert proposed["loss.temperature"] == 0.05 and proposed["optim.lr"] == 3e-5
    assert "train.frozen_layers" not in proposed


@pytest.mark.parametrize(
    ("sizes", "translated", "size"),
    [
        ({"de": 100, "en": 100}, 100, 16),
        ({"de": 5000, "en": 5000}, 40, 8),
        ({"de": 5000, "en": 5000, "sw": 60}, 5000, 64),  # less than 1% makes no batch smaller
        ({"de": 30, "en": 20}, 0, 8),
        ({str(n): 5 for n in range(12)}, 0, 4),
        ({str(n): 5 for n in range(12)}, 5, 4),
    ],
)
def test_batches_are_smaller_than_the_data(
    sizes: dict[str, int], translated: int, size: int
) -> None:
    assert values(facts(sizes, translated))["batching.size"] == size


def test_long_texts_make_small_batches_on_a_cpu_and_are_cut() -> None:
    proposed = values(facts(EVEN, 9000, query=40, passage=500))
    assert proposed["batching.size"] == 8
    assert proposed["model.max_passage_tokens"] == 128 and proposed["model.max_query_tokens"] == 40
    assert values(facts(EVEN, 9000, passage=900), machine=CARDS)["model.max_passage_tokens"] == 512


@pytest.mark.parametrize(
    ("translated", "mix"),
    [
        (9000, {"monolingual": 0.5, "cross_lingual": 0.5}),
        (1000, {"monolingual": 0.9, "cross_lingual": 0.1}),
        (128, {"monolingual": 0.95, "cross_lingual": 0.05}),
        (15, {"monolingual": 1.0}),
        (0, {"monolingual": 1.0}),
    ],
)
def test_the_mix_follows_the_translations(translated: int, mix: dict[str, float]) -> None:
    assert values(facts(EVEN, translated), machine=CARDS)["batching.mix"] == mix


def test_uneven_languages_are_drawn_by_the_root_of_their_size() -> None:
    assert values(facts({"en": 8000, "sw": 500}, 500))["batching.language_alpha"] == 0.5


def test_lengths_in_characters_give_lengths_in_tokens() -> None:
    proposed = values(facts(EVEN, 9000, query=60, passage=200, in_tokens=False), PLAIN)
    assert proposed["model.max_query_tokens"] == 32 and proposed["model.max_passage_tokens"] == 104
    assert "train.frozen_layers" not in proposed


def test_little_memory_gives_chunks() -> None:
    proposed = values(facts(EVEN, 9000, passage=120), machine=Machine(2, int(1.3 * GIB), 0))
    assert 1 <= proposed["train.chunk_size"] < proposed["batching.size"]


def test_without_pairs_for_a_loss_the_task_chooses() -> None:
    proposed = values(facts(EVEN, 9000), dev=0)
    assert "data.dev" not in proposed and "eval.metric" not in proposed


@pytest.mark.parametrize("machine", [CPU, CARDS, Machine(4, GIB, 1, "V100", has_bf16=False)])
@pytest.mark.parametrize("start", [SMALL, PLAIN])
@pytest.mark.parametrize("translated", [0, 40, 9000])
def test_the_file_is_a_config_with_a_reason_for_each_value(
    translated: int, start: StartingPoint, machine: Machine, tmp_path: Path
) -> None:
    pairs = facts({**EVEN, "no": 30}, translated, passage=900)
    settings = Proposal(pairs, start, machine, Parts(27_030, 100, 200)).settings()
    file = tmp_path / "config.yaml"
    file.write_text(commented(settings, "# about"))
    text = file.read_text()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(each.reason for each in settings)
    config = load_config(file, {})
    assert config.model.query_prefix == start.spec.query_prefix
    for each in settings:
        section, key = each.key.split(".")
        value = getattr(getattr(config, section), key)
        if key == "mix":
            assert {name: getattr(value, name) for name in each.value} == each.value
        else:
            assert value == (tuple(each.value) if isinstance(each.value, list) else each.value)


def test_values_that_yaml_would_misread_are_quoted(tmp_path: Path) -> None:
    odd = ["yes", "1e3", "a: b", "#no", "ünï", "- x", "null", "0x1"]
    for text in odd:
        start = StartingPoint(text, SPEC, "its files", True, None, None)
        file = tmp_path / "config.yaml"
        proposal = Proposal(facts(EVEN, 0), start, CPU, Parts(27_000, 0, 200))
        file.write_text(commented(proposal.settings(), "# about"))
        assert load_config(file, {}).model.name_or_path == text
