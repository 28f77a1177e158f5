"""Preparing, opening and drawing from millions of pairs in 26 languages, beside `datasets`.

Each side runs in its own process, on the same file and the same cores. Reported are the time from
the file to the folder that training opens, the peak memory of that process, the time and memory
to open that folder beyond imports, and the time to draw a million random rows as text. For our
side also the time of the first opening, which reads everything and compares checksums, and that of
`--verify`. The sides take turns; medians are compared.

    python benchmarks/data.py --pairs 2000000 --peer-python PYTHON

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
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ro", "tr", "vi"),
    *("id", "fi", "hu", "ru", "uk", "el", "ar", "he", "fa", "hi", "th", "zh", "ja"),
)
LETTERS = {
    **dict.fromkeys(("ru", "uk"), "абвгдежзийклмнопрстуфхцчшщыьэюя"),
    "el": "αβγδεζηθικλμνξοπρστυφχψω",
    **dict.fromkeys(("ar", "fa"), "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"),
    "he": "אבגדהוזחטיכלמנסעפצקרשת",
    "hi": "कखगघचछजझटठडढतथदधनपफबभमयरलवशसह",
    "th": "กขคฆงจฉชซญดตถทธนบปผฝพฟภมยรลวสหอ",
    "zh": "".join(chr(0x4E00 + 7 * n) for n in range(300)),
    "ja": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよ",
}
"""The letters of words; other languages have Latin letters, some with accents."""
LATIN = "etaoinshrdlucmfwypvbgkjqxzéöüñçāśğ"
WORDS = 30_000
BLOCK = 20_000
DRAWN = 1_000_000


def sizes(pairs: int) -> np.ndarray:
    """Pairs per language: the largest language has five times as many as the smallest."""
    shares = 1 / np.sqrt(np.arange(1, len(LANGUAGES) + 1))
    return (pairs * shares / shares.sum()).astype(np.int64)


def generate(file: Path, pairs: int) -> None:
    """Write pairs, a block per language in turn; one passage in ten is shared."""
    random = np.random.default_rng(1)
    counts = sizes(pairs)
    words = [_words(random, LETTERS.get(name, LATIN)) for name in LANGUAGES]
    with file.open("w", encoding="utf-8") as out:
        for start in range(0, int(counts[0]), BLOCK):
            for language, count in enumerate(counts.tolist()):
                uids = range(start, min(start + BLOCK, count))
                if not uids:
                    continue
                lines = _lines(random, LANGUAGES[language], words[language], uids)
                out.write("".join(f"{line}\n" for line in lines))


def _words(random: np.random.Generator, letters: str) -> np.ndarray:
    choices = random.choice(list(letters), (WORDS, 6))
    lengths = random.integers(2, 7, WORDS)
    return np.array(
        ["".join(word[:length]) for word, length in zip(choices, lengths, strict=True)], object
    )


def _lines(
    random: np.random.Generator, language: str, words: np.ndarray, uids: range
) -> Iterator[str]:
    texts = words[np.minimum(random.geometric(2e-4, (len(uids), 26)), WORDS) - 1]
    shared = [" ".join(text[6:]) for text in texts[: max(1, len(texts) // 20)]]
    for number, (uid, text) in enumerate(zip(uids, texts, strict=True)):
        passage = shared[number % len(shared)] if number % 10 == 0 else " ".join(text[6:])
        query = " ".join(text[:6])  # letters and spaces alone: nothing that JSON would escape
        yield (
            f'{{"uid": "q{uid}", "lang": "{language}", "query": "{query}?", '
            f'"passage": "{passage}"}}'
        )


def ours_prepare(file: str, folder: str) -> None:
    from hybrid_dist.cli import main

    sys.argv = ["hybrid-dist", "prepare", "pairs", file, "--out", folder]
    main()


def ours_open(folder: str) -> object:
    from hybrid_dist.data.store.reader import Store

    return lambda: Store(Path(folder))


def ours_verified(folder: str) -> dict[str, float]:
    from hybrid_dist.data.store.reader import Store

    figures = {}
    for name, check in (("first_open_s", "once"), ("verify_s", "now")):
        begin = time.perf_counter()
        Store(Path(folder), check)  # type: ignore[arg-type]
        figures[name] = time.perf_counter() - begin
    size = sum(file.stat().st_size for file in Path(folder).iterdir())
    print(
        f"ours: {size / 1e9:.2f} GB opened the first time in {figures['first_open_s']:.2f} s, "
        f"verified again in {figures['verify_s']:.2f} s",
        file=sys.stderr,
    )
    return figures


def ours_draw(store: object, rows: np.ndarray) -> tuple[list[str], list[str]]:
    return store.queries(rows), store.passages(rows)  # type: ignore[attr-defined]


def theirs_prepare(file: str, folder: str) -> None:
    from datasets import load_dataset

    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
        load_dataset("json", data_files=file, split="train", cache_dir=cache).save_to_disk(folder)


def theirs_open(folder: str) -> object:
    from datasets import load_from_disk

    return lambda: load_from_disk(folder)


def theirs_draw(dataset: object, rows: np.ndarray) -> tuple[list[str], list[str]]:
    drawn = dataset[rows]  # type: ignore[index]
    return drawn["query"], drawn["passage"]


SIDES = {
    "ours": (ours_prepare, ours_open, ours_draw),
    "datasets": (theirs_prepare, theirs_open, theirs_draw),
}


def resident(peak: bool = False) -> float:
    """MiB of memory the process takes or took at most, mapped pages included."""
    name = "VmHWM:" if peak else "VmRSS:"
    status = Path("/proc/self/status").read_text("utf-8").split()
    return int(status[status.index(name) + 1]) / 1024


def run_side(side: str, what: str, file: str, folder: str) -> dict[str, float]:
    prepare, opening, draw = SIDES[side]
    if what == "prepare":
        begin = time.perf_counter()
        prepare(file, folder)
        return {
            "prepare_s": time.perf_counter() - begin,
            "prepare_cpu_s": time.process_time(),
            "peak_mib": resident(peak=True),
        }
    if what == "verify":
        return ours_verified(folder) if side == "ours" else {}
    open_folder = opening(folder)  # imported by now
    before, begin = resident(), time.perf_counter()
    store = open_folder()  # type: ignore[operator]
    figures = {"open_s": time.perf_counter() - begin, "open_mib": resident() - before}
    pairs = int(sizes(int(Path(file).with_suffix(".count").read_text("utf-8"))).sum())
    rows = np.random.default_rng(2).integers(0, pairs, DRAWN)
    begin = time.perf_counter()
    drawn = draw(store, rows)
    figures["draw_s"] = time.perf_counter() - begin
    if sum(map(len, drawn)) != 2 * DRAWN:
        raise SystemExit("not all rows were drawn")
    return figures


def measured(python: str, side: str, file: Path, folder: Path) -> dict[str, float] | None:
    """The figures of a side, each part in a new process; nothing if it does not run."""
    figures: dict[str, float] = {}
    for what in ("prepare", "verify", "open"):
        command = [python, __file__, "--side", side, "--what", what, str(file), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            print(f"{side}: did not run: {reason}")
            return None
        print(done.stderr if what == "verify" else "", end="")
        figures |= json.loads(done.stdout.splitlines()[-1])
    print(
        f"{side}: prepared in {figures['prepare_s']:.1f} s ({figures['prepare_cpu_s']:.1f} s of "
        f"processor time), {figures['peak_mib']:,.0f} MiB at most;"
        f" opened in {figures['open_s']:.2f} s and {figures['open_mib']:.0f} MiB; "
        f"{DRAWN:,} rows in {figures['draw_s']:.2f} s",
        flush=True,
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--turns", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--peer-python", default=sys.executable, help="a python with `datasets`")
    parser.add_argument("--folder", type=Path, help="where files go (default: a temporary folder)")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--what", help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options.side, options.what, *options.paths)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        file = Path(made) / "pairs.jsonl"
        generate(file, options.pairs)
        file.with_suffix(".count").write_text(str(options.pairs), "utf-8")
        print(f"{options.pairs:,} pairs, {file.stat().st_size / 1e9:.2f} GB", flush=True)
        pythons = {"ours": sys.executable, "datasets": options.peer_python}
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
        for _ in range(options.turns):
            for side, python in pythons.items():
                folder = Path(made) / side
                if (figures := measured(python, side, file, folder)) is not None:
                    taken[side].append(figures)
                shutil.rmtree(folder, ignore_errors=True)
        if all(taken.values()):
            for name in ("prepare_s", "prepare_cpu_s", "peak_mib", "open_s", "open_mib", "draw_s"):
                ours, theirs = (statistics.median(f[name] for f in taken[side]) for side in pythons)
                print(f"{name}: {ours:.2f}, datasets {theirs:.2f}, {theirs / ours:.2f} times ours")


if __name__ == "__main__":
    main()
