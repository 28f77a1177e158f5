"""How a tokenizer treats the texts of each language: tokens it does not know, texts it cuts."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from hybrid_dist.errors import short_list
from hybrid_dist.model.tokenization import TextTokens

Side = Literal["query", "passage"]
Sample = Mapping[str, np.ndarray]
"""Some rows of each language, by its name."""
Sides = Mapping[Side, tuple[Sample, Callable[[np.ndarray], Sequence[str]]]]
"""The sample of each side, and what reads the texts of some rows."""
SAMPLED = 2048
"""Texts of each side that are tokenized, shared equally among languages."""
FEWEST = 8
"""Texts of a language that are tokenized, however many languages there are."""
MAX_CHARACTERS = 16_384
"""Longer texts are tokenized up to here; they are cut anyway."""
MAX_UNKNOWN, MAX_CUT = 0.02, 0.25
"""Shares of unknown tokens and of cut texts above which a language is named."""


def sample_slices(languages: Sequence[str], starts: np.ndarray) -> Sample:
    """Rows to look at where language l has the rows `starts[l] : starts[l + 1]`."""
    bounds = zip(languages, pairwise(starts.tolist()), strict=True)
    return {
        name: first + _spread(last - first, len(languages))
        for name, (first, last) in bounds
        if last > first
    }


def sample_codes(languages: Sequence[str], codes: np.ndarray) -> Sample:
    """Rows to look at where each row [rows] has a position in `languages`."""
    order = np.argsort(codes, kind="stable")
    present, first = np.unique(codes[order], return_index=True)
    return {
        languages[code]: own[_spread(len(own), len(present))]
        for code, own in zip(present.tolist(), np.split(order, first[1:]), strict=True)
    }


def _spread(count: int, languages: int) -> np.ndarray:
    """Evenly spaced places among so many rows of one language."""
    most = max(FEWEST, SAMPLED // languages)
    places: np.ndarray = np.unique(np.linspace(0, count - 1, most).astype(np.int64))
    return places


def warnings(tokens: TextTokens, sides: Sides) -> list[str]:
    """A line on unknown tokens, and one for each side with many texts that are cut."""
    unknown: dict[str, float] = {}
    lines = []
    for side, (sample, read) in sides.items():
        cut: dict[str, float] = {}
        most: int = getattr(tokens.settings, f"max_{side}_tokens")
        for name, rows in sample.items():
            own = measure(tokens, side, read(rows))
            unknown[name] = max(own.unknown, unknown.get(name, 0.0))
            cut[name] = float(np.mean(own.lengths > most))
        if named := _named(cut, MAX_CUT):
            lines.append(
                f"many {'queries' if side == 'query' else 'passages'} are longer than "
                f"max_{side}_tokens, {most}, and lose their ends: {named}"
            )
    return [*unknown_warning(tokens, unknown), *lines]


def unknown_warning(tokens: TextTokens, unknown: Mapping[str, float]) -> list[str]:
    """A line on the languages with many unknown tokens, from the share of each; or none."""
    if not (named := _named(unknown, MAX_UNKNOWN)):
        return []
    return [
        f"many tokens are unknown to the tokenizer ({tokens.tokenizer.unk_token}): {named}; "
        "the model cannot tell such texts apart: choose one whose vocabulary has these languages"
    ]


class Measured(NamedTuple):
    """Some texts of a language as the tokenizer sees them."""

    unknown: float
    """The share of unknown tokens, prefixes aside."""
    lengths: np.ndarray
    """[texts]: tokens with prefix and special tokens, not cut."""


def measure(tokens: TextTokens, side: Side, texts: Sequence[str]) -> Measured:
    prefix: str = getattr(tokens.settings, f"{side}_prefix")
    most: int = getattr(tokens.settings, f"max_{side}_tokens")
    texts = [text[: max(MAX_CHARACTERS, 16 * most)] for text in texts]
    ids = _ids(tokens, "", texts)
    unknown = sum(one.count(tokens.tokenizer.unk_token_id) for one in ids)
    whole = _ids(tokens, prefix, texts) if prefix else ids
    lengths = np.array([len(one) for one in whole]) + tokens.tokenizer.num_special_tokens_to_add()
    return Measured(unknown / max(1, sum(map(len, ids))), lengths)


def _ids(tokens: TextTokens, prefix: str, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens, not cut."""
    ids: list[list[int]] = tokens.tokenizer(
        [prefix + text for text in texts],
        add_special_tokens=False,
        return_token_type_ids=False,
        return_attention_mask=False,
        verbose=False,  # it would warn of texts that are longer than the model's positions
    )["input_ids"]
    return ids


def _named(shares: Mapping[str, float], most: float) -> str:
    """The languages above a share, the largest first."""
    above = sorted((-share, name) for name, share in shares.items() if share > most)
    return short_list([f"{name} {-share:.0%}" for share, name in above])
