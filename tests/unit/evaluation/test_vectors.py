"""Folders of vectors that were made elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import metrics
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.vectors import PrecomputedVectors
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import (
    exact_vectors,
    make_task,
    sorted_ranks,
    unit_vectors,
)
from tests.support.vector_files import array, task_of, write


def test_names_in_several_languages_are_those_of_lareqa() -> None:
    task = task_of()
    assert query_names(task)[:2] == ["u0_de", "u1_de"]
    assert passage_names(task)[4:6] == ["en_1_0", "en_2_0"]
    alone = make_task([0], [0, 0], [[0]])
    assert (query_names(alone), passage_names(alone)) == (["q0"], ["p0", "p1"])


@pytest.mark.parametrize("scale", [1.0, 2.0**-9, 4096.0])
def test_scores_are_inner_products_for_any_norm(tmp_path: Path, scale: float) -> None:
    """As from a full sort of inner products, including ties."""
    rng = np.random.default_rng(1)
    task = task_of(3, 40)
    queries, passages = exact_vectors(rng, 120, 4), exact_vectors(rng, 120, 4)
    vectors = PrecomputedVectors(
        write(tmp_path / "v", task, queries * scale, passages * scale), task
    )
    report = evaluate_vectors(
        task, vectors, Ranks(), tmp_path / "out", report_options=ReportOptions(vectors.settings)
    )
    ranks = metrics.Hits(
        task.pair_query, sorted_ranks(task, queries @ passages.T)[1], task.grades, 120
    )
    expected = metrics.by_language(task, metrics.average_precision(ranks)).mean()
    assert report["map"]["multilingual"] == pytest.approx(expected, abs=1e-9)
    assert "norms" in report["settings"]["vectors"]


@pytest.mark.parametrize(
    ("kind", "exponent"),
    [
        ("<f8", -1060),  # zeros as float32, and squares of 0 as float64
        ("<f8", 1000),  # infinite as float32, and squares that are infinite as float64
        (">f8", 0),
        ("<f4", -140),  # subnormal
        ("<f4", 120),
        ("<f2", -10),
    ],
)
@pytest.mark.parametrize("fortran", [False, True])
def test_norms_and_layouts_of_arrays_do_not_matter(
    tmp_path: Path, kind: str, exponent: int, fortran: bool
) -> None:
    rng = np.random.default_rng(1)
    task = task_of()
    folder = write(tmp_path / "v", task, exact_vectors(rng, 8, 4), exact_vectors(rng, 8, 4))
    rows = slice(0, 8)
    before = PrecomputedVectors(folder, task)
    expected = [before.queries(rows), before.passages(rows)]
    for name in ("queries.npy", "corpus.npy"):
        kept = np.ldexp(np.load(folder / name).astype(np.float64), exponent)
        np.save(folder / name, kept.astype(kind, order="F" if fortran else "C"))
    vectors = PrecomputedVectors(folder, task)
    assert np.array_equal(vectors.queries(rows), expected[0])
    assert np.array_equal(vectors.passages(rows), expected[1])


Change = Callable[[Path], object]


def lines(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def header(text: str) -> bytes:
    """A .npy file with this header, and zeros behind it."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(4096)


def changed(vectors: np.ndarray, rows: int, scale: float) -> np.ndarray:
    """The first rows scaled, in float64."""
    vectors = vectors.astype(np.float64)
    vectors[:rows] *= scale
    return vectors


def npz(file: Path) -> None:
    """An archive of arrays in the place of an array."""
    with file.open("wb") as out:
        np.savez(out, a=np.zeros(3))


def pickled(file: Path) -> None:
    np.save(file, np.array([{"a": 1}] * 8, dtype=object), allow_pickle=True)


def with_nan(vectors: np.ndarray) -> np.ndarray:
    vectors[[1, 3, 5, 6], 0] = np.nan
    return vectors


BAD: dict[str, tuple[Change, str]] = {
    "a file is missing": (lambda f: (f / "query_ids.txt").unlink(), r"has no query_ids\.txt"),
    "an array is missing": (lambda f: (f / "corpus.npy").unlink(), r"has no corpus\.npy"),
    "a language is missing": (
        lambda f: (
            lines(f / "corpus_ids.txt", lambda x: [i for i in x if i.startswith("de")]),
            array(f / "corpus.npy", lambda v: v[:4]),
        ),
        r"corpus_ids\.txt: 4 of the 8 ids of task toy .*first: en_1_0, en_2_0, en_3_0; all of en",
    ),
    "ids that are not the task's": (
        lambda f: lines(f / "query_ids.txt", lambda x: [f"x{i}" for i in x]),
        r"8 of the 8 ids .*the file begins with xu",
    ),
    "an id too many": (
        lambda f: (
            lines(f / "query_ids.txt", lambda x: [*x, "u9_de", "u9_en"]),
            array(f / "queries.npy", lambda v: np.concatenate([v, v[:2]])),
        ),
        r"2 of its 10 ids are not in task toy \(first: u9_de, u9_en\); .* look like u0_de",
    ),
    "an id twice": (
        lambda f: (
            lines(f / "query_ids.txt", lambda x: [*x, x[0]]),
            array(f / "queries.npy", lambda v: np.concatenate([v, v[:1]])),
        ),
        r"query_ids\.txt: 1 ids are repeated \(first: u\d_",
    ),
    "rows without ids": (
        lambda f: array(f / "queries.npy", lambda v: v[:5]),
        r"queries\.npy has 5 rows, query_ids\.txt 8 lines",
    ),
    "vectors of two sizes": (
        lambda f: array(f / "corpus.npy", lambda v: v[:, :7]),
        r"queries\.npy has vectors of dimension 48, corpus\.npy of 7",
    ),
    "no table": (
        lambda f: array(f / "corpus.npy", lambda v: v[0]),
        r"expected an array of floats \[rows",
    ),
    "an empty array": (
        lambda f: (f / "corpus.npy").write_bytes(b""),
        r"corpus\.npy: is not a readable array",
    ),
    "a cut array": (
        lambda f: (f / "corpus.npy").write_bytes((f / "corpus.npy").read_bytes()[:-9]),
        r"corpus\.npy: is not a readable array .*expected an array of floats \[rows",
    ),
    "text as an array": (
        lambda f: (f / "corpus.npy").write_text("1 2 3"),
        r"npy: is not a readable array",
    ),
    "an archive": (lambda f: npz(f / "corpus.npy"), r"corpus\.npy: is an \.npz archive"),
    "a cut archive": (
        lambda f: (f / "corpus.npy").write_bytes(b"PK\x03\x04 and no more"),
        r"corpus\.npy: is not a readable array",
    ),
    "a pickle": (
        lambda f: pickled(f / "corpus.npy"),
        r"corpus\.npy: is not a readable array .*Python objects",
    ),
    "records": (
        lambda f: np.save(f / "corpus.npy", np.zeros((8, 4), "f4,i4")),
        r"floats .* holds \[\('f0'.* \[8, 4\]",
    ),
    "a nested header": (
        lambda f: (f / "corpus.npy").write_bytes(header("(" * 9000)),
        r"corpus\.npy: is not a readable array",
    ),
    "a header of great numbers": (
        lambda f: (f / "corpus.npy").write_bytes(
            header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**63}, {2**63})}}")
        ),
        r"corpus\.npy: is not a readable array",
    ),
    "vectors of no numbers": (
        lambda f: [array(f / n, lambda v: v[:, :0]) for n in ("queries.npy", "corpus.npy")],
        r"queries\.npy: expected .* holds float32 \[8, 0\]",
    ),
    "zeros": (
        lambda f: array(f / "corpus.npy", np.zeros_like),
        r"corpus\.npy: all 8 vectors are 0 \(float32 \[8, 48\]\), so that all scores tie",
    ),
    "some far shorter than others": (
        lambda f: array(f / "corpus.npy", lambda v: changed(v, 5, 1e-60)),
        r"corpus\.npy: 5 of 8 vectors are shorter .*tie in float32 \(first: \w+, \w+, \w+\)",
    ),
    "ids in Latin-1": (
        lambda f: (f / "query_ids.txt").write_bytes(b"caf\xe9\n"),
        r"query_ids\.txt: not UTF-8 \(byte 3\)",
    ),
    "a folder as ids": (
        lambda f: ((f / "query_ids.txt").unlink(), (f / "query_ids.txt").mkdir()),
        r"query_ids\.txt: cannot be read \(Is a directory\)",
    ),
    "whole numbers": (
        lambda f: array(f / "corpus.npy", lambda v: v.astype(int)),
        r"floats .* holds int64",
    ),
    "NaN": (
        lambda f: array(f / "corpus.npy", with_nan),
        r"corpus\.npy: 4 vectors have NaN .*\(first: \w+, \w+, \w+\)",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_vectors_are_named(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(2)
    task = task_of()
    folder = write(tmp_path / "v", task, unit_vectors(rng, 8), unit_vectors(rng, 8))
    PrecomputedVectors(folder, task)
    change, message = BAD[kind]
    change(folder)
    with pytest.raises(UserError, match=message):
        PrecomputedVectors(folder, task)


def test_ids_may_contain_unicode_line_separators(tmp_path: Path) -> None:
    """Unicode has more line separators than text files use, and Windows ends lines with two."""
    task = replace(task_of(1), query_ids=["a\u2028b", "c\x85d", "e\x0cf", "g"])
    rng = np.random.default_rng(2)
    folder = write(tmp_path / "v", task, unit_vectors(rng, 4), unit_vectors(rng, 4))
    expected = PrecomputedVectors(folder, task).queries(slice(0, 4))
    file = folder / "query_ids.txt"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert np.array_equal(PrecomputedVectors(folder, task).queries(slice(0, 4)), expected)


def test_some_zero_vectors_are_accepted(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    task = task_of()
    passages = unit_vectors(rng, 8)
    passages[2] = 0
    folder = write(tmp_path / "v", task, unit_vectors(rng, 8), passages)
    assert not PrecomputedVectors(folder, task).passages(slice(2, 3)).any()


def test_norms_are_reported_and_warned_of_unless_they_are_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    task = task_of()
    queries, passages = unit_vectors(rng, 8), unit_vectors(rng, 8)
    queries[0] *= np.float32(1.0000002)  # as rounding leaves them
    whole = PrecomputedVectors(write(tmp_path / "v", task, queries, passages), task)
    assert whole.settings == {"vectors": "given; norms of queries 1, of passages 1"}
    assert whole.warnings == []
    passages[2], passages[3] = 0, 3 * passages[3]
    queries *= 0.5
    folder = write(tmp_path / "v", task, queries, passages)
    other = PrecomputedVectors(folder, task)
    expected = "given; norms of queries 0.5, of passages 1 to 3 (1 are 0)"
    assert other.settings == {"vectors": expected}
    assert [line.partition("; ")[0] for line in other.warnings] == [
        f"{folder}/queries.npy: norms are 0.5, not 1, and scores are inner products",
        f"{folder}/corpus.npy: 1 of 8 are zero vectors, which score 0 with everything",
        f"{folder}/corpus.npy: norms are 1 to 3 (1 are 0), not 1, and scores are inner products",
    ]
