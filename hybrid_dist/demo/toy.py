"""The data of the demo: pair files about a small invented world, and the config of a model."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hybrid_dist.demo.toy_world import LANGUAGES, Fact, Language, facts, lexicons, say
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import atomic_folder, read_json


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """Options of the invented world and of its model."""

    seed: int = 1
    """Random seed of the words, the facts and how they are phrased."""
    languages: int = 8
    """Number of languages, 2 to 8."""
    cognates: float = 0.3
    """Fraction of concepts with (nearly) the same word in all languages; 0 to 1."""
    train_uids: int = 2000
    """Facts to train on."""
    dev_uids: int = 100
    """Facts for the loss that is measured during training."""
    test_uids: int = 250
    """Facts to evaluate on; each is a query and a passage in every language."""
    imbalance: float = 0.0
    """The n-th language has train_uids / n ** imbalance training pairs; 0: all have train_uids."""
    parallel: float = 1.0
    """Fraction of each language's training pairs that are translations of each other; the others
    are about facts of that language alone."""
    layers: int = 2
    """Layers of the model's config."""
    hidden: int = 128
    """Hidden size of the model's config; a multiple of heads."""
    heads: int = 4
    """Attention heads of the model's config."""


PREFIXES = ("Query:", "Passage:")
"""Words of the prefixes that training adds to texts; the tokenizer has to know them."""
SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
"""XLM-R's special tokens in the order of their ids, except the mask, which is its last token."""

BYTES_OF_A_PAIR = 220
BYTES_OF_A_VOCABULARY = 40_000
"""Of one language in the tokenizer's files."""
LIMITS = {
    "languages": (2, len(LANGUAGES)),
    "cognates": (0, 1),
    "train_uids": (2, 20_000),
    "dev_uids": (1, 5_000),
    "test_uids": (1, 5_000),
    "imbalance": (0, 10),
    "parallel": (0, 1),
    "layers": (1, 100),
    "hidden": (8, 8192),
    "heads": (1, 1024),
}
"""The smallest and the largest value of each option."""


def generate(out: Path, options: ToyOptions) -> dict[str, Any]:
    """Write the world to the folder `out` and return its manifest. A world with the same options
    that is already there is kept."""
    _check(options)
    out = out.resolve()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        return _existing(out, options)
    try:
        with atomic_folder(out, _size(options), replace=False) as folder:
            return _write(folder, options)
    except OSError:
        if not (out / "manifest.json").is_file():
            raise
        return _existing(out, options)  # another process was first


def _size(options: ToyOptions) -> int:
    """Estimated size of a world in bytes."""
    uids = options.train_uids + options.dev_uids + options.test_uids
    return options.languages * (BYTES_OF_A_PAIR * uids + BYTES_OF_A_VOCABULARY)


def _check(options: ToyOptions) -> None:
    for name, (low, high) in LIMITS.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise UserError(f"--{name} {value} is out of range: give {low} to {high}")
    if options.hidden % options.heads:
        raise UserError(
            f"--hidden {options.hidden} is not a multiple of --heads {options.heads}: "
            "give a multiple, or other --heads"
        )


def _existing(out: Path, options: ToyOptions) -> dict[str, Any]:
    """The manifest of an existing world; refuses a folder with anything else."""
    try:
        manifest: dict[str, Any] = read_json(out / "manifest.json")
        made_with = dict(manifest["options"])
    except (UserError, ValueError, TypeError, KeyError):
        raise UserError(f"--out {out} contains other files: choose a new or empty folder") from None
    before = asdict(ToyOptions()) | made_with
    differing = [name for name, value in asdict(options).items() if before[name] != value]
    if differing:
        raise UserError(
            f"--out {out} contains a world with other options ({', '.join(differing)}):"
            " choose another folder, or remove this one"
        )
    return manifest


def _write(folder: Path, options: ToyOptions) -> dict[str, Any]:
    languages = LANGUAGES[: options.languages]
    words = lexicons(languages, options.cognates, options.seed)
    facts_by_split = _facts(languages, options)
    counts: dict[str, dict[str, int]] = {}
    train_texts: list[str] = []
    for split, by_language in facts_by_split.items():
        counts[split] = {code: len(by_uid) for code, by_uid in by_language.items()}
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
            for language in languages:
                for uid, fact in by_language[language.code].items():
                    rng = random.Random(f"{options.seed}:say:{uid}:{language.code}")
                    pair = say(fact, language, words[language.code], rng)
                    line = {"uid": uid, "lang": language.code, **pair}
                    lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                    if split == "train":
                        train_texts += pair.values()
    vocabulary = _write_model(folder / "model", train_texts, options)
    manifest = {"options": asdict(options), "pairs": counts, "vocabulary": vocabulary}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def _facts(
    languages: Sequence[Language], options: ToyOptions
) -> dict[str, dict[str, dict[str, Fact]]]:
    """The facts of each split and language by uid: of a language with n training pairs the first
    are those of all languages, and the others its own."""
    wanted = {
        language.code: max(1, round(options.train_uids * rank**-options.imbalance))
        for rank, language in enumerate(languages, start=1)
    }
    shared = {code: round(options.parallel * count) for code, count in wanted.items()}
    sizes = {"train": max(shared.values()), "dev": options.dev_uids, "test": options.test_uids}
    own = sum(wanted.values()) - sum(shared.values())
    all_facts = iter(facts(sum(sizes.values()) + own, options.seed))
    splits: dict[str, dict[str, dict[str, Fact]]] = {}
    for split, size in sizes.items():
        common = {f"{split}-{number:05d}": next(all_facts) for number in range(size)}
        splits[split] = {language.code: dict(common) for language in languages}
    for code, count in wanted.items():
        of_language = dict(islice(splits["train"][code].items(), shared[code]))
        for number in range(count - shared[code]):
            of_language[f"train-{code}-{number:05d}"] = next(all_facts)
        splits["train"][code] = of_language
    return splits


def _write_model(folder: Path, texts: list[str], options: ToyOptions) -> int:
    """Write a tokenizer trained on the texts and the config of a small XLM-R; return the size of
    the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=400 * options.languages,
        special_tokens=list(SPECIAL_TOKENS.values()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts + list(PREFIXES) * 100, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=2 * options.hidden,
        max_position_embeddings=130,
        type_vocab_size=1,
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size()
