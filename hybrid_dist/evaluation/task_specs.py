"""Task specs, `LABEL=NAME:PATH?option=value&option=value`: parsing, checking and loading them.

The label and the options may be left out. `own.yaml` is a benchmark in one file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hybrid_dist.config.hints import hint_for_task
from hybrid_dist.config.task_names import BENCHMARK, split_label
from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.reading import Collection, Reading
from hybrid_dist.data.sources import SOURCES, benchmark, pairs
from hybrid_dist.data.sources.paths import local
from hybrid_dist.data.sources.source import Source
from hybrid_dist.data.store.format import COLLECTION, read_manifest
from hybrid_dist.errors import UserError, nearest
from hybrid_dist.evaluation.shared_task import shared_task
from hybrid_dist.evaluation.stored_task import open_task
from hybrid_dist.evaluation.tasks import Task, backwards, from_collection


def _toy_file(path: str) -> str:
    """The test split of a folder made by `hybrid-dist toy`, or the file itself."""
    place = Path(path)
    if path_exists(path) and place.is_file():
        return path
    if not path_exists(str(place / "test.jsonl")):
        raise UserError(
            f"task toy:{path}: no file {place / 'test.jsonl'}; "
            f"make it with `hybrid-dist toy --out {path}`, or name another folder"
        )
    return str(place / "test.jsonl")


def _toy_collection(paths: Sequence[str], reading: Reading) -> Collection:
    return pairs.collection([_toy_file(path) for path in paths], reading)


def _stored_manifest(path: str) -> object:
    """The manifest of a prepared collection."""
    return read_manifest(Path(path), COLLECTION)


STORED = "collection"
"""The task that is read from a prepared collection."""
TASKS = {
    "toy": replace(pairs.SOURCE, name="toy", collection=_toy_collection, locate=_toy_file),
    "xquad_r": SOURCES["lareqa"],
    "mlqa_r": SOURCES["lareqa"],
    **{name: source for name, source in SOURCES.items() if source.collection is not None},
    STORED: Source(STORED, "prepared by --collection", "its own files", locate=_stored_manifest),
}
"""All tasks: name -> the source that reads it."""
SKIP_BAD = "skip_bad"
"""The option that all tasks have: how many malformed lines to skip."""
MAX_DIGITS = 18
"""Longest number of lines that is accepted."""


def load_task(spec: str, ties: str = "number", stage: str = "") -> Task:
    """Load the task that a spec names. `ties` is one of TIES. `stage`: see `open_task`."""
    task = _load(spec, stage)
    return backwards(task) if ties == "trec_eval" else task


def _load(spec: str, stage: str) -> Task:
    name, path, options = _split(spec)
    label, rest = split_label(spec)
    if name == STORED:
        task = open_task(Path(path), label or name, rest.partition(":")[2], stage=stage)
        return replace(task, kind=name if label else "")
    collection = TASKS[name].collection
    if collection is None:
        raise UserError(f"task {spec!r}: {TASKS[name].name} is for training only")
    called, where = label or name, rest.partition(":")[2]

    def read() -> Task:
        reading = Reading(_skip_bad(spec, options), options)
        task = from_collection(called, where, collection([path], reading))
        notes = (*reading.notes, *reading.bad)
        return replace(task, notes=notes, missing=tuple(reading.missing))

    return replace(shared_task(read, called, where), kind=name if label else "")


def check_task(spec: str) -> None:
    """Refuse an unknown name or a missing file without reading the task."""
    name, path, _ = _split(spec)
    if not path.startswith("hf://"):
        TASKS[name].locate(path)


def fetch_task(spec: str) -> None:
    """Download whatever a task reads from the hub, so that it can be loaded offline."""
    check_task(spec)
    name, path, options = _split(spec)
    paths = benchmark.locate(path) if name == BENCHMARK else [path]
    for place in (*paths, *options.values()):
        if place.startswith("hf://"):
            local(place)


def _split(spec: str) -> tuple[str, str, dict[str, str]]:
    """The name, path and options of a spec."""
    known = sorted(TASKS)
    name, colon, path = split_label(spec)[1].partition(":")
    if not colon or not path:
        raise UserError(
            f"task {spec!r}: expected NAME:PATH, as in toy:toy{hint_for_task(spec)} "
            f"(NAME: {', '.join(known)})"
        )
    if name not in known:
        raise UserError(
            f"task {spec!r}: unknown task {name!r}{nearest(name, known)} "
            f"(known: {', '.join(known)})"
        )
    path, listed = _cut_options(path, TASKS[name].has_globs)
    options = {}
    hint = "; a value with & goes into a file: mapping=FILE, or own.yaml" if "&" in listed else ""
    for part in listed.split("&") if listed else ():
        option, equals, value = part.partition("=")
        if not equals:
            raise UserError(
                f"task {spec!r}: {part!r} is not an option; expected NAME:PATH?name=value{hint}"
            )
        if option in options:
            raise UserError(f"task {spec!r}: option {option!r} is given twice; give it once")
        options[option] = value
    _skip_bad(spec, options)
    TASKS[name].check(options, (SKIP_BAD,))
    return name, path, options


def _cut_options(path: str, may_be_glob: bool) -> tuple[str, str]:
    """A path and the options after it; the `?` of a glob starts options only if a `=` follows."""
    if not may_be_glob:
        path, _, options = path.partition("?")
        return path, options
    start, _, options = path.rpartition("?")
    return (start, options) if start and "=" in options else (path, "")


def _skip_bad(spec: str, options: Mapping[str, str]) -> int:
    """How many malformed lines to skip."""
    given = options.get(SKIP_BAD, "0")
    if not given.isdecimal() or len(given) > MAX_DIGITS:
        raise UserError(f"task {spec!r}: {SKIP_BAD}={given}: give a whole number of lines")
    return int(given)
