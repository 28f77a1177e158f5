"""Preparing a Parquet table of any columns, beside `datasets`.

Both sides make `uid, lang, query, passage` of a table in two languages that has other columns too:
`hybrid-dist prepare table`, and `datasets` with load_dataset, renamed columns and save_to_disk.
With `--passage template` a passage is made of two columns: by a template, and by a batched map.
Each turn of a side is a process of its own, and the sides take turns. Reported are wall-clock time,
processor time and peak memory (mapped pages included) with imports.

    python benchmarks/tables.py --rows 1000000 --peer-python PYTHON

PYTHON is one that has `datasets`; without it our side runs alone.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GROUP = 100_000
WORDS = 30_000
LETTERS = list("etaoinshrdlucmfwypvbgkjqxzéöüñ")
LENGTHS = {"question": 6, "title": 2, "text": 18, "comment": 10}
"""The words of each column of text."""
COLUMNS = {"uid": "id", "lang": "language", "query": "question", "passage": "text"}
TEMPLATE = r"{title}\n{text}"


def generate(file: Path, rows: int) -> None:
    """Write a table in which two rows, one per language, share an id."""
    random = np.random.default_rng(1)
    words = pa.array(["".join(random.choice(LETTERS, random.integers(2, 8))) for _ in range(WORDS)])
    schema = pa.schema(
        [("id", pa.string()), ("language", pa.string()), ("score", pa.float64())]
        + [(name, pa.string()) for name in LENGTHS]
    )
    with pq.ParquetWriter(file, schema) as out:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            numbers = np.arange(start, start + count)
            ids = pc.binary_join_element_wise("q", pa.array(numbers // 2).cast(pa.string()), "")
            languages = pa.array(["en", "deu"]).take(pa.array(numbers % 2))
            texts = [_texts(random, words, count, length) for length in LENGTHS.values()]
            columns = [ids, languages, pa.array(random.random(count)), *texts]
            out.write_table(pa.table(columns, schema=schema))


def _texts(random: np.random.Generator, words: pa.Array, count: int, length: int) -> pa.Array:
    drawn = words.take(pa.array(np.minimum(random.geometric(2e-4, count * length), WORDS) - 1))
    starts = pa.array(np.arange(0, count * length + 1, length), pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(starts, drawn), " ")


def ours(file: str, folder: str, passage: str) -> None:
    from hybrid_dist.cli import main

    chosen = COLUMNS["passage"] if passage == "column" else TEMPLATE
    options = [f"query={COLUMNS['query']}", f"passage={chosen}"]
    options += [f"lang_column={COLUMNS['lang']}", f"uid_column={COLUMNS['uid']}"]
    given = [word for option in options for word in ("--option", option)]
    sys.argv = ["hybrid-dist", "prepare", "table", file, "--out", folder, *given]
    main()


def theirs(file: str, folder: str, passage: str) -> None:
    from datasets import load_dataset

    read = [*COLUMNS.values()] if passage == "column" else [*COLUMNS.values(), "title"]
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
        rows = load_dataset(
            "parquet", data_files=file, split="train", cache_dir=cache, columns=read
        )
        if passage == "template":
            rows = rows.map(_joined, batched=True, remove_columns=["title"])
        renamed = {theirs: ours for ours, theirs in COLUMNS.items()}
        rows.rename_columns(renamed).save_to_disk(folder)


def _joined(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    pairs = zip(rows["title"], rows["text"], strict=True)
    return {"text": [f"{title}\n{text}" for title, text in pairs]}


SIDES = {"ours": ours, "datasets": theirs}


def run_side(side: str, file: str, folder: str, passage: str) -> dict[str, float]:
    begin = time.perf_counter()
    SIDES[side](file, folder, passage)
    seconds = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text("utf-8").split()
    peak = int(status[status.index("VmHWM:") + 1]) / 2**20
    return {"seconds": seconds, "processor_seconds": time.process_time(), "peak_gib": peak}


def measured(python: str, side: str, file: Path, folder: Path, passage: str) -> Any:
    """The figures of one turn; None if the side does not run."""
    command = [python, __file__, "--side", side, "--passage", passage, str(file), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        print(f"{side}: did not run: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        return None
    figures = json.loads(done.stdout.splitlines()[-1])
    shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"{side}: {shown}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--turns", type=int, default=1, help="of which medians are taken")
    parser.add_argument("--passage", choices=["column", "template"], default="column")
    parser.add_argument("--peer-python", default=sys.executable, help="a python with `datasets`")
    parser.add_argument("--folder", type=Path, help="where files go (default: a temporary folder)")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        file, folder = options.paths
        print(json.dumps(run_side(options.side, file, folder, options.passage)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        table = Path(made) / "table.parquet"
        generate(table, options.rows)
        print(f"{options.rows:,} rows, {table.stat().st_size / 1e9:.2f} GB of Parquet", flush=True)
        pythons = {"ours": sys.executable, "datasets": options.peer_python}
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
        for _ in range(options.turns):
            for side, python in pythons.items():
                turn = measured(python, side, table, Path(made) / side, options.passage)
                if turn is not None:
                    taken[side].append(turn)
        if all(taken.values()):
            for name in taken["ours"][0]:
                one, other = (statistics.median(t[name] for t in taken[side]) for side in pythons)
                print(f"{name}: {one:.2f}, datasets {other:.2f}, {other / one:.2f} times ours")


if __name__ == "__main__":
    main()
