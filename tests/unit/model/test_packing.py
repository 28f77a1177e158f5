"""Packed encoding: the same vectors and gradients as padded rows give, or padding with a reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hybrid_dist.model.encoder import BiEncoder, Chunk, Encoder
from hybrid_dist.model.packing import AttentionMode, PackedTexts
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.initial_model import choose_attention
from tests.support import varlen_on_cpu
from tests.support.encoders import DECODERS, KINDS, SIZES, encoder_of

varlen_on_cpu.register()
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
PADDED = {
    "deberta-v2": "take no attention but their own",
    "gemma2": "its attention has a softcap",
}


def vectors_and_gradients(encoder: Encoder, texts: PackedTexts) -> tuple[Tensor, dict[str, Tensor]]:
    encoder.zero_grad()
    vectors = encoder(texts)
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors).sin()).sum().backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in encoder.named_parameters()
        if parameter.grad is not None
    }
    return vectors.detach(), gradients


@pytest.mark.parametrize("mode", AttentionMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["mean", "one token"])
def test_packed_rows_give_what_padded_rows_give(
    kind: str, pooling: Any, mode: AttentionMode, tmp_path: Path
) -> None:
    if pooling == "one token":
        pooling = "last" if kind in DECODERS else "cls"
    encoder = encoder_of(kind, tmp_path, pooling=pooling).eval()
    assert_packed_equals_padded(encoder, mode)


@pytest.mark.parametrize("mode", AttentionMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_that_attend_both_ways_are_packed_too(
    kind: str, mode: AttentionMode, tmp_path: Path
) -> None:
    encoder = encoder_of(kind, tmp_path, attention="bidirectional", pooling="last").eval()
    assert_packed_equals_padded(encoder, mode)


def assert_packed_equals_padded(encoder: Encoder, mode: AttentionMode) -> None:
    """Vectors and gradients; weights are large enough for attention to matter."""
    assert encoder.padding_reason is None
    torch.manual_seed(1)
    for weights in encoder.parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, std=0.15)
    encoder.attention_mode = mode
    packed, packed_gradients = vectors_and_gradients(encoder, PackedTexts.of(SIZES))
    encoder.set_padding("a test")
    padded, padded_gradients = vectors_and_gradients(encoder, PackedTexts.of(SIZES))
    torch.testing.assert_close(packed, padded, rtol=0, atol=1e-5)
    assert packed_gradients.keys() == padded_gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in padded_gradients.values())
    for name, gradient in padded_gradients.items():
        torch.testing.assert_close(
            packed_gradients[name], gradient, msg=name, rtol=0, atol=1e-5 * largest
        )


WINDOWS: dict[str, dict[str, Any]] = {
    "modernbert": {"local_attention": 6, "layer_types": ["sliding_attention"]},
    "qwen3": {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0},
}
"""Layers that see three tokens to each side, or three to the left."""


@pytest.mark.parametrize("mode", [*AttentionMode, None], ids=lambda m: m.name if m else "padded")
@pytest.mark.parametrize(
    ("kind", "pooling"), [("modernbert", "cls"), ("modernbert", "last"), ("qwen3", "last")]
)
def test_a_window_ends_at_the_token_where_that_of_the_padded_model_does(
    kind: str, pooling: Any, mode: AttentionMode | None, tmp_path: Path
) -> None:
    """Of one layer: a token's hidden state has gradients for the words inside its window only."""
    sizes = {"num_hidden_layers": 1, "max_position_embeddings": 40} | WINDOWS[kind]
    encoder = encoder_of(kind, tmp_path, sizes, pooling=pooling).eval()
    assert encoder.padding_reason is None
    if mode is None:
        encoder.set_padding("a test")
    else:
        encoder.attention_mode = mode
    words = list(range(10, 22))  # each occurs once, so rows of the table are tokens
    _, gradients = vectors_and_gradients(encoder, PackedTexts.of([words, [30, 31]]))
    table = next(part for name, part in gradients.items() if len(part) == 60)
    used = table.abs().sum(1).nonzero().flatten().tolist()
    assert used == [*(words[:4] if pooling == "cls" else words[-4:]), 30, 31]


@pytest.mark.parametrize("kind", PADDED)
def test_models_that_cannot_be_packed_say_why_and_are_padded(kind: str, tmp_path: Path) -> None:
    encoder = encoder_of(kind, tmp_path).eval()
    assert encoder.padding_reason is not None
    assert PADDED[kind] in encoder.padding_reason
    assert kind in encoder.encoding_description
    together = encoder(PackedTexts.of(SIZES))
    for vector, text in zip(together, SIZES, strict=True):
        alone = encoder(PackedTexts.of([text]))[0]
        torch.testing.assert_close(vector, alone, rtol=0, atol=1e-5)


def test_a_model_with_configured_attention_dropout_pads_to_keep_it(tmp_path: Path) -> None:
    with_dropout = encoder_of("bert", tmp_path, attention_dropout=0.1)
    assert with_dropout.encoding_description.startswith("padded: packed attention has no dropout")
    unset = encoder_of("bert", tmp_path)
    assert unset.backbone.config.attention_probs_dropout_prob == 0.1
    assert unset.encoding_description.startswith("packed")


def test_a_saved_config_does_not_name_our_attention(tmp_path: Path) -> None:
    encoder_of("bert", tmp_path / "a").backbone.save_pretrained(tmp_path / "b")
    assert "hybrid_dist" not in (tmp_path / "b" / "config.json").read_text()


def test_padding_puts_tokens_back_in_rows() -> None:
    texts = PackedTexts.of([[5, 6], [7], [8, 9, 3]])
    rows, real = texts.padded(1)
    assert rows["input_ids"].tolist() == [[5, 6, 1], [7, 1, 1], [8, 9, 3]]
    assert rows["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert rows["input_ids"][real].tolist() == texts.ids.tolist()


def test_joined_texts_keep_their_offsets_and_positions() -> None:
    parts = [[5, 6], [7]], [[8, 9, 3], [4]]
    joined = PackedTexts.of(parts[0]).joined(PackedTexts.of(parts[1]))
    whole = PackedTexts.of([*parts[0], *parts[1]])
    assert joined.sizes == whole.sizes
    for part in ("ids", "positions", "offsets"):
        assert torch.equal(getattr(joined, part), getattr(whole, part))


def test_hard_negatives_of_all_chunks_follow_all_passages(tmp_path: Path) -> None:
    """Of two chunks with one and two rows, and two and one hard negatives."""
    module = BiEncoder(encoder_of("bert", tmp_path).eval(), 0.05, learn_temperature=False)
    queries = [[3, 4], [5], [6, 7]]
    passages, negatives = [[8], [9, 10], [11]], [[12], [13, 14], [15, 16, 17]]
    chunks = [
        Chunk(PackedTexts.of(queries[:1]), PackedTexts.of(passages[:1] + negatives[:2])),
        Chunk(PackedTexts.of(queries[1:]), PackedTexts.of(passages[1:] + negatives[2:])),
    ]
    actual_queries, actual_candidates, _ = module(chunks)
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(actual_queries, module.encoder(PackedTexts.of(queries)), **close)
    wanted = module.encoder(PackedTexts.of(passages + negatives))
    torch.testing.assert_close(actual_candidates, wanted, **close)


def test_words_of_several_chunks_are_looked_up_once(tmp_path: Path) -> None:
    module = BiEncoder(encoder_of("bert", tmp_path), 0.05, learn_temperature=False)
    looked_up: list[Tensor] = []
    table = module.encoder.backbone.get_input_embeddings()
    table.register_forward_hook(lambda _, args, __: looked_up.append(args[0]))
    chunks = [Chunk(PackedTexts.of([[3, 4], [4]]), PackedTexts.of([[5, 3], [9]])) for _ in range(3)]
    module(chunks)[0].sum().backward()
    assert [ids.tolist() for ids in looked_up] == [[3, 4, 5, 9]]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """Makes torch describe a GPU."""

    def make(name: str, major: int, minor: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return make


Card = Callable[[str, int, int], None]


@pytest.mark.parametrize("heads", [{"hidden_size": 104}, {"hidden_size": 1056}])
def test_heads_that_the_kernel_does_not_take_are_named(
    heads: dict[str, int], card: Card, tmp_path: Path
) -> None:
    """4 heads of 26, as TinyBERT's with 312 numbers, and of 264."""
    card("NVIDIA H100", 9, 0)
    encoder = encoder_of("bert", tmp_path, sizes=heads)
    refusal = encoder.kernel_refusal_reason(CUDA, torch.bfloat16)
    width = heads["hidden_size"] // 4
    assert refusal is not None and refusal.endswith(f"and this model's is {width}")
    encoder.select_attention(CUDA, refusal)
    assert encoder.attention_mode is AttentionMode.PADDED
    assert encoder.encoding_description.startswith(f"packed but for attention ({refusal})")


@pytest.mark.parametrize(
    ("name", "major", "minor", "dtype", "refused"),
    [
        ("Tesla V100-SXM2-32GB", 7, 0, torch.float16, "Tesla V100-SXM2-32GB has 7.0"),
        ("Tesla T4", 7, 5, torch.float16, "Tesla T4 has 7.5"),
        ("NVIDIA A100-SXM4-80GB", 8, 0, torch.float16, None),
        ("NVIDIA A100-SXM4-80GB", 8, 0, torch.float32, "bf16 and fp16 only"),
        ("NVIDIA H100 80GB HBM3", 9, 0, torch.bfloat16, None),
    ],
)
def test_the_kernel_is_used_by_card_and_precision(
    name: str,
    major: int,
    minor: int,
    dtype: torch.dtype,
    refused: str | None,
    card: Card,
    tmp_path: Path,
) -> None:
    card(name, major, minor)
    encoder = encoder_of("bert", tmp_path)
    refusal = encoder.kernel_refusal_reason(CUDA, dtype)
    if refused is None:
        assert refusal is None
    else:
        assert refusal is not None and refused in refusal
    encoder.select_attention(CUDA, refusal)
    assert encoder.attention_mode is (
        AttentionMode.KERNEL if refused is None else AttentionMode.PADDED
    )
    encoder.set_padding("a test")
    assert encoder.kernel_refusal_reason(CUDA, dtype) is None, "it needs no kernel"


def test_ranks_with_other_cards_attend_alike(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 on rank 1: rank 0, with an H100, leaves the kernel out too, for the same reason."""
    encoder = encoder_of("bert", tmp_path)
    card("Tesla T4", 7, 5)
    refusal = encoder.kernel_refusal_reason(CUDA, torch.bfloat16)
    card("NVIDIA H100", 9, 0)
    monkeypatch.setattr(Ranks, "gather", lambda ranks, own: [own, refusal])
    choose_attention(encoder, torch.bfloat16, Ranks(0, 2, CUDA))
    assert encoder.attention_mode is AttentionMode.PADDED
    assert "Tesla T4 has 7.5" in encoder.encoding_description


def test_on_cpus_texts_of_one_length_attend_together(tmp_path: Path) -> None:
    encoder = encoder_of("bert", tmp_path)
    choose_attention(encoder, torch.bfloat16, Ranks())
    assert encoder.attention_mode is AttentionMode.BY_SIZE
    assert encoder.encoding_description.startswith("packed: no padding")


def test_padded_attention_has_an_index_for_each_token() -> None:
    texts = PackedTexts.of([[5, 6], [7], [8] * 9])
    inputs = texts.for_attention(AttentionMode.PADDED)
    is_token = inputs["is_token"]
    assert is_token.shape == (3, 16), "lengths are rounded up to 8"
    assert is_token.flatten().nonzero().flatten().tolist() == inputs["padded_indices"].tolist()
    assert texts.for_attention(AttentionMode.KERNEL)["longest"] == 64


def test_padded_attention_is_one_call_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 on a GPU a call for each text would be mostly waiting for kernels to start."""
    encoder, calls = encoder_of("bert", tmp_path), list[Tensor]()
    attend = functional.scaled_dot_product_attention

    def counted(query: Tensor, *more: Any, **options: Any) -> Tensor:
        calls.append(query)
        return attend(query, *more, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    encoder.attention_mode = AttentionMode.PADDED
    encoder(PackedTexts.of(SIZES))
    assert [tuple(query.shape[:3]) for query in calls] == [(len(SIZES), 4, 32)] * 2
