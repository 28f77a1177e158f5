"""Evaluation data as BEIR's files and as a prepared collection: time and memory to open them.

Passages of about 300 bytes in 4 languages are written, prepared, and opened in processes of their
own, from the files and from the collection, for the first time (checksums) and again. Memory is
the peak beyond the imports, without pages of mapped files.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LANGUAGES = ("de", "en", "sw", "th")
WORDS = 40
OPEN = """
import sys, time, threading
from pathlib import Path
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.stored_task import prepare_collection
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3

what, path, out = sys.argv[1:]
before, peak, done = anonymous(), 0.0, threading.Event()

def watch():
    global peak
    while not done.wait(0.02):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
begin = time.perf_counter()
if what == "prepare":
    task = prepare_collection(SOURCES["beir"], [path], Path(out), Reading())
else:
    task = load_task(path)
seconds = time.perf_counter() - begin
done.set()
watcher.join()
print(f"{seconds:.2f} {max(0.0, peak - before):.0f} {len(task.passage_ids)}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--passages", type=int, nargs="*", default=[500_000, 5_000_000])
    parser.add_argument("--folder", type=Path, help="where to write; by default TMPDIR")
    options = parser.parse_args()
    for count in options.passages:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            measure(Path(name), count)


def measure(folder: Path, count: int) -> None:
    files, collection = folder / "beir", folder / "collection"
    write(files, count)
    size = sum(file.stat().st_size for file in files.rglob("*.*")) / 1e9
    print(f"{count:,} passages, {size:.2f} GB of files", flush=True)
    for what, path in (
        ("prepare", str(files)),
        ("open the files", f"beir:{files}"),
        ("open the collection, first", f"collection:{collection}"),
        ("open the collection, again", f"collection:{collection}"),
    ):
        cache = {"HYBRID_DIST_CACHE": str(folder / ("cache" if "open" in what else "other"))}
        seconds, megabytes, found = run(what.split()[0], path, str(collection), cache)
        assert int(found) == count  # noqa: S101
        print(f"  {what:28} {float(seconds):8.2f} s {float(megabytes):8,.0f} MB", flush=True)


def run(what: str, path: str, out: str, environment: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", OPEN, what, path, out]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout.split()


def write(folder: Path, count: int) -> None:
    """Passages, queries and qrels of several languages, in an order other than that of ids."""
    rng = random.Random(0)
    vocabulary = [
        "".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 10))) for _ in range(999)
    ]
    begin = time.perf_counter()
    for language in LANGUAGES:
        place = folder / language
        (place / "qrels").mkdir(parents=True)
        with (place / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
            for number in range(count // len(LANGUAGES)):
                text = " ".join(rng.choices(vocabulary, k=WORDS))
                corpus.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
        with (
            (place / "queries.jsonl").open("w", encoding="utf-8") as queries,
            (place / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
        ):
            qrels.write("query-id\tcorpus-id\tscore\n")
            for number in range(1000):
                queries.write(json.dumps({"_id": f"q{number}", "text": f"about {number}"}) + "\n")
                qrels.write(f"q{number}\td{number}\t1\n")
    print(f"written in {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
