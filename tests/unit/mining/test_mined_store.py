"""The store that mining writes: what it keeps, what it replaces, and what verification covers."""

import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from hybrid_dist.data.store import format as store_format
from hybrid_dist.data.store.columns import save_array
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import write_teacher_vectors
from hybrid_dist.data.store.token_cache import write_tokens
from hybrid_dist.errors import UserError
from hybrid_dist.mining.mined_blocks import BlockFiles, Mined, places
from hybrid_dist.mining.mined_store import OF_FILES, Findings, write_mined
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.reporting.store_summary import describe, tables
from tests.support.pair_rows import pair_blocks

ROWS = [
    (lang, f"{n}", f"{lang} query {n}", f"{lang} passage {n}")
    for lang in ("de", "en")
    for n in range(6)
]
LISTED = [["de passage 2", "de other"], *([[]] * 10), ["en other"]]
SETTINGS = {
    "model": "m",
    "number": 2,
    "relative": 0.9,
    "absolute": None,
    "pool": ["own"],
    "seed": 1,
}


@pytest.fixture(scope="module")
def store(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with token ids, a teacher's vectors and negatives of its own."""
    tokenizer = TextTokens.load(str(toy / "model"), EncoderSpec("mean", "", "", 64, 64)).tokenizer
    out = tmp_path_factory.mktemp("stores") / "store"

    def add(folder: Path) -> dict[str, Any]:
        about = {"model": "large", "fingerprint": "f", "settings": {}}
        return {
            "tokens": write_tokens(folder, tokenizer, "toy", "", ""),
            "teacher": write_teacher_vectors(folder, vectors_of, vectors_of, about),
        }

    return Store.build(pair_blocks(ROWS, LISTED), out, annotate=add)


def vectors_of(texts: Sequence[str]) -> np.ndarray:
    """A vector of each text, different for different texts."""
    values = [[len(text), *map(ord, text[-2:])] for text in texts]
    return np.array(values).reshape(-1, 3) / 128


@pytest.fixture
def blocks(store: Store, tmp_path: Path) -> BlockFiles:
    """Blocks of four rows: row r has r % 3 negatives."""
    files = BlockFiles(tmp_path / "blocks", places(store.index, 4))
    for number, (_, rows) in enumerate(files.places):
        counts = np.array([row % 3 for row in rows])
        total = int(counts.sum())
        files.write(
            number,
            Mined(
                counts,
                np.arange(total) + number,
                np.linspace(0.9, 0.1, total, dtype=np.float32),
                np.arange(1, total + 1),
                np.linspace(0.5, 1.0, len(rows), dtype=np.float32),
                np.array([len(rows), 8, 1, 3, 0, 3]),
            ),
        )
    return files


@pytest.fixture
def written(store: Store, blocks: BlockFiles, tmp_path: Path) -> tuple[Store, Findings]:
    findings = write_mined(store, tmp_path / "mined", blocks, SETTINGS)
    return Store(tmp_path / "mined", check="now"), findings


def test_blocks_are_of_one_language_and_cover_all_rows(store: Store) -> None:
    assert [tuple(place) for place in places(store.index, 4)] == [
        (0, range(4)),
        (0, range(4, 6)),
        (1, range(6, 10)),
        (1, range(10, 12)),
    ]


def test_negatives_are_replaced_and_the_rest_is_kept(
    store: Store, written: tuple[Store, Findings]
) -> None:
    mined, rows = written[0], np.arange(12)
    assert np.diff(mined.index.negative_starts).tolist() == [row % 3 for row in rows]
    assert mined.index.negatives.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5]
    assert mined.queries(rows) == store.queries(rows)
    assert mined.passages(rows) == store.passages(rows)
    everything = np.arange(len(store.passage_column))
    assert mined.passage_texts(everything) == store.passage_texts(everything)
    assert "de other" in mined.passage_texts(everything), "a negative of before stays a passage"
    assert mined.tokens is not None and store.tokens is not None
    assert mined.tokens.passages(everything, 64) == store.tokens.passages(everything, 64)
    assert mined.teacher is not None and store.teacher is not None
    assert mined.teacher.width == 3
    assert np.array_equal(mined.teacher.queries, store.teacher.queries)
    assert np.array_equal(mined.teacher.passages, store.teacher.passages)
    assert mined.manifest["teacher"] == store.manifest["teacher"]
    assert mined.fingerprint != store.fingerprint
    assert mined.scores["negative_scores"].dtype == np.float32
    assert len(mined.scores["positive_scores"]) == 12
    assert store.scores == {}


def test_a_description_names_the_teacher_and_the_mining_model(
    store: Store, written: tuple[Store, Findings]
) -> None:
    described = describe(written[0])
    listed = [described["languages"][name]["listed_negatives"] for name in ("de", "en")]
    assert listed == [6, 6]
    assert described["teacher"] == {"model": "large", "width": 3}
    assert described["mining"] == {"model": "m", "negatives": 12}
    assert "mining" not in describe(store)
    shown = StringIO()
    for table in tables(described):
        Console(file=shown, width=80).print(table)
    assert re.search(r"Teacher's vectors *│ large *│ 3 dimensions", shown.getvalue())
    assert re.search(r"Mined negatives *│ m *│ 12 passages", shown.getvalue())


def test_a_mined_store_can_be_mined_again(
    written: tuple[Store, Findings], blocks: BlockFiles, tmp_path: Path
) -> None:
    first = written[0]
    write_mined(first, tmp_path / "again", blocks, SETTINGS)
    again = Store(tmp_path / "again", check="now")
    assert again.fingerprint == first.fingerprint


def test_figures_add_blocks_up_by_language(written: tuple[Store, Findings]) -> None:
    figures = written[0].manifest["mining"]
    assert figures == json.loads(json.dumps(written[1].figures))
    german = figures["languages"]["de"]
    assert (german["queries"], german["negatives"], german["without"]) == (6, 6, 2)
    assert (german["candidates"], german["relative"]) == (16, 6)
    assert figures["all"]["candidates"] == 32
    assert german["positive_score"] == pytest.approx((0.5 + 2 / 3 + 5 / 6 + 1 + 0.5 + 1) / 6, 1e-5)


def test_the_report_shows_shares_and_examples(written: tuple[Store, Findings]) -> None:
    page = (written[0].folder / "mining.md").read_text("utf-8")
    assert "| all | 12 | 1.00 | 4 | 0.750 |" in page
    assert "| 37.5% | - |" in page, "the share of a filter, and one that is not set"
    for example in written[1].examples:
        assert len(example["negatives"]) > 0
        assert f"uid {example['uid']}**: {example['query']}" in page
        for negative in example["negatives"]:
            shown = f"- rank {negative['rank']}, {negative['score']:.3f}: {negative['text']}"
            assert shown in page
    assert [example["language"] for example in written[1].examples] == ["de", "en"]


@pytest.mark.parametrize(
    "name",
    ["negative_scores.npy", "positive_scores.npy", "mining.md", "teacher_passages.npy"],
)
def test_verification_covers_every_file(written: tuple[Store, Findings], name: str) -> None:
    file = written[0].folder / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: has changed since the store was prepared"):
        Store(written[0].folder, check="now")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(11, np.float32), "negative_scores: has other than 12 numbers"),
        (np.full(12, np.nan, np.float32), "negative_scores: no scores"),
        (np.ones(12, np.int32), "negative_scores: no scores"),
    ],
)
def test_scores_that_do_not_fit_are_refused(
    written: tuple[Store, Findings], values: np.ndarray, message: str
) -> None:
    folder = written[0].folder
    save_array(folder / "negative_scores.npy", values)
    about = {key: value for key, value in written[0].manifest.items() if key not in OF_FILES}
    with store_format.Checksums() as checksums:
        store_format.write_manifest(folder, about, checksums)
    with pytest.raises(UserError, match=message):
        Store(folder, check="now")


def test_an_error_leaves_no_half_written_store(
    store: Store, blocks: BlockFiles, tmp_path: Path
) -> None:
    (blocks.folder / "1.npz").write_bytes(b"damaged")
    assert blocks.missing() == [1]
    with pytest.raises(UserError, match="block 1 is damaged"):
        write_mined(store, tmp_path / "mined", blocks, SETTINGS)
    assert {path.name for path in tmp_path.iterdir()} == {"blocks"}
