"""What mining found: figures by language, what each filter removed, examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybrid_dist.batching.randomness import key, keyed_hash
from hybrid_dist.data.store.reader import Store
from hybrid_dist.mining.mined_blocks import TALLY, Mined, Place
from hybrid_dist.text import markdown as escaped

EXAMPLES = 5
"""Languages with an example."""
CLIP = 300
"""Characters of a text that are shown."""
FILTERS = ("relative", "absolute")
COLUMNS = (
    "",
    "Queries",
    "Mined",
    "None",
    "Positive",
    "Negative",
    "Known",
    "Relative",
    "Absolute",
)
LEGEND = (
    "Mined: negatives per query. None: queries without a negative. Positive, Negative: mean scores "
    "of the passages of pairs and of mined negatives. Known: passages per query that were passed "
    "over before the end of the rank window, because they share a text, uid or translation with a "
    "positive. Relative, Absolute: the share of the passages in the window that the filter "
    "removes; one that both remove counts for both."
)


@dataclass(frozen=True)
class _Example:
    """A row and its negatives."""

    priority: int
    row: int
    positive: float
    negatives: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


@dataclass
class Summary:
    """Sums over blocks, by language, and an example of each language."""

    store: Store
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    _examples: dict[str, _Example] = field(default_factory=dict)

    def add(self, place: Place, mined: Mined) -> None:
        language = self.store.index.languages[place.language]
        sums = self.sums.setdefault(language, {})
        added = {
            **dict(zip(TALLY, mined.tally.tolist(), strict=True)),
            "negatives": len(mined.negatives),
            "without": int((mined.counts == 0).sum()),
            "positive_scores": float(mined.positives.sum(dtype=np.float64)),
            "negative_scores": float(mined.scores.sum(dtype=np.float64)),
        }
        for name, value in added.items():
            sums[name] = sums.get(name, 0) + value
        with_any = np.flatnonzero(mined.counts)
        if len(with_any):
            self._note_example(language, place, mined, with_any)

    def _note_example(
        self, language: str, place: Place, mined: Mined, with_any: np.ndarray
    ) -> None:
        priority = keyed_hash(key("example"), place.rows.start + with_any)
        at = int(with_any[priority.argmin()])
        first = int(mined.counts[:at].sum())
        part = slice(first, first + int(mined.counts[at]))
        example = _Example(
            int(priority.min()),
            place.rows.start + at,
            float(mined.positives[at]),
            *(values[part] for values in (mined.negatives, mined.scores, mined.ranks)),
        )
        known = self._examples.get(language)
        if known is None or example.priority < known.priority:
            self._examples[language] = example

    def figures(self) -> dict[str, Any]:
        """Counts and mean scores of each language, and of all."""
        whole = {
            name: sum(sums[name] for sums in self.sums.values())
            for name in next(iter(self.sums.values()))
        }
        languages = {name: _figures(sums) for name, sums in self.sums.items()}
        return {"all": _figures(whole), "languages": languages}

    @property
    def examples(self) -> list[dict[str, Any]]:
        """A pair of up to EXAMPLES languages with its negatives."""
        return [
            self._example(language, example)
            for language, example in list(self._examples.items())[:EXAMPLES]
        ]

    def _example(self, language: str, example: _Example) -> dict[str, Any]:
        row = np.array([example.row])
        texts = self.store.passage_texts(example.negatives)
        return {
            "language": language,
            "uid": self.store.uids(row)[0],
            "query": self.store.queries(row)[0],
            "positive": {"score": example.positive, "text": self.store.passages(row)[0]},
            "negatives": [
                {"rank": rank, "score": score, "text": text}
                for rank, score, text in zip(
                    example.ranks.tolist(), example.scores.tolist(), texts, strict=True
                )
            ],
        }


def _figures(sums: Mapping[str, float]) -> dict[str, Any]:
    counts = {name: int(sums[name]) for name in (*TALLY, "negatives", "without")}
    means = {
        "positive_score": sums["positive_scores"] / sums["queries"],
        "negative_score": sums["negative_scores"] / max(1, sums["negatives"]),
    }
    return counts | {name: round(value, 6) for name, value in means.items()}


def rows(mining: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table by language, COLUMNS wide; all languages first."""
    return [
        _row(name, figures, mining)
        for name, figures in {"all": mining["all"], **mining["languages"]}.items()
    ]


def _row(name: str, figures: Mapping[str, Any], mining: Mapping[str, Any]) -> list[str]:
    queries, candidates = figures["queries"], max(1, figures["candidates"])
    has_any = figures["negatives"] > 0
    return [
        name,
        f"{queries:,}",
        f"{figures['negatives'] / queries:.2f}",
        f"{figures['without']:,}",
        f"{figures['positive_score']:.3f}",
        f"{figures['negative_score']:.3f}" if has_any else "-",
        f"{figures['relevant'] / queries:.2f}",
        *("-" if mining[kind] is None else f"{figures[kind] / candidates:.1%}" for kind in FILTERS),
    ]


def markdown(mining: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """mining.md: settings, the table by language, examples."""
    about = {key: value for key, value in mining.items() if key not in ("all", "languages")}
    table = [COLUMNS, ["---", *("---:" for _ in COLUMNS[1:])], *rows(mining)]
    lines = [
        "# Mined hard negatives",
        "",
        *(
            f"| {' | '.join(map(escaped, row)) if n != 1 else ' | '.join(row)} |"
            for n, row in enumerate(table)
        ),
        "",
        LEGEND,
        "",
        "## Examples",
        "",
        *(line for example in examples for line in _example_lines(example)),
        "## Settings",
        "",
        *(f"- {escaped(key)}: {escaped(_shown(value))}" for key, value in about.items()),
        "",
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _example_lines(example: Mapping[str, Any]) -> list[str]:
    positive = example["positive"]
    return [
        f"**{escaped(example['language'])}, uid {escaped(example['uid'])}**: "
        f"{escaped(_clip(example['query']))}",
        "",
        f"- positive, {positive['score']:.3f}: {escaped(_clip(positive['text']))}",
        *(
            f"- rank {negative['rank']}, {negative['score']:.3f}: "
            f"{escaped(_clip(negative['text']))}"
            for negative in example["negatives"]
        ),
        "",
    ]


def _clip(text: str) -> str:
    return text if len(text) <= CLIP else text[:CLIP].rstrip() + " ..."
