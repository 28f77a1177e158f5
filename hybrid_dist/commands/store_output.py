"""What `hybrid-dist prepare` prints of stores: a summary, a description, or a verdict."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from hybrid_dist.data.store.format import COLLECTION, is_store
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import FEWEST_TEXTS
from hybrid_dist.runtime.files import bytes_of, write_atomically
from hybrid_dist.text import json_text, printable

PICTURE = "description.png"


def print_summary(out: Path, manifest: Mapping[str, Any]) -> None:
    """Print what has been prepared, and what was left out."""
    counts = manifest["languages"].values()
    trained = [count for count in counts if count["pairs"]]
    summary = (
        f"{out}: {sum(count['pairs'] for count in counts):,} pairs in {len(trained)} languages, "
        f"{sum(count['passages'] for count in counts):,} distinct passages"
    )
    print(printable(summary))
    if "teacher" in manifest:
        print(printable(_teacher_line(manifest)))
    if manifest["renamed"]:
        renamed = ", ".join(f"{code} is {name}" for code, name in manifest["renamed"].items())
        print(printable(f"language codes that have another name here: {renamed}"))
    for note in manifest["notes"]:
        print(printable(note))
    if manifest["bad"]:
        print(f"skipped {len(manifest['bad'])} bad lines:", file=sys.stderr)
        for line in manifest["bad"]:
            print(printable(f"  {line}"), file=sys.stderr)


def _teacher_line(manifest: Mapping[str, Any]) -> str:
    teacher = manifest["teacher"]
    line = f"vectors of the teacher {teacher['model']}, {teacher['width']} dimensions"
    if teacher["settings"].get("debias") != "mean":
        return line
    line += "; language means subtracted"
    few = [
        name
        for name, count in manifest["languages"].items()
        if min(count["pairs"], count["passages"]) < FEWEST_TEXTS
    ]
    if few:
        line += f", except in {', '.join(few)}, with fewer than {FEWEST_TEXTS} texts"
    return line


def verify(folder: Path) -> None:
    """Read a whole store or collection, and print that it is complete."""
    if is_store(folder, COLLECTION):
        from hybrid_dist.evaluation.stored_task import open_task

        task = open_task(folder, folder.name, str(folder), check="now")
        counts = f"{len(task.query_ids):,} queries and {len(task.passage_ids):,} passages"
        print(printable(f"{folder}: complete: {counts} are as they were prepared"))
        return
    store = Store(folder, check="now")
    sizes = [file["bytes"] for file in store.manifest["files"].values()]
    result = (
        f"{folder}: complete: {len(sizes)} files of {bytes_of(sum(sizes))} are as they were "
        f"prepared; {store.index.num_rows:,} pairs in {len(store.index.languages)} languages"
    )
    print(printable(result))


def describe(folder: Path, as_json: bool, picture: Path | None) -> None:
    """Print the contents of a store, and plot them."""
    from hybrid_dist.reporting import store_summary  # a second to import

    description = store_summary.describe(Store(folder))
    if as_json:
        print(json_text(description, indent=1))
    else:
        console = Console()
        for table in store_summary.tables(description, console.width):
            console.print(table)
    if picture or not as_json:
        picture = picture or folder / PICTURE
        write_atomically(picture, store_summary.plot(description), durable=False)
        if not as_json:
            print(printable(picture))
