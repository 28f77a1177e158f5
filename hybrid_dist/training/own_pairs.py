"""A folder to train in from a user's own pairs: what is trained on, what is held out, a config."""

import json
import re
import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_dist.data.export import trainer_lines
from hybrid_dist.data.holding_out import HeldOut, hold_out
from hybrid_dist.data.pair_files import read_pair_files
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.store.format import is_store
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.space import estimate_bytes
from hybrid_dist.data.store.stored_pairs import stored_pairs
from hybrid_dist.errors import UserError
from hybrid_dist.model.starting_point import StartingPoint
from hybrid_dist.model.text_checks import unknown_warning
from hybrid_dist.runtime.files import atomic_folder, check_new_folder, write_atomically
from hybrid_dist.runtime.machine import Machine
from hybrid_dist.text import printable
from hybrid_dist.training.pair_facts import PairFacts
from hybrid_dist.training.proposal import DEV, HELD_OUT, TRAIN, Parts, Proposal, Setting

CONFIG = "config.yaml"
WIDTH = 80
PLAIN = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
"""Text that YAML reads as text without quotes, but for the words of RESERVED."""
RESERVED = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
SHARED_TEXTS = (
    "all pairs are linked by texts that they share, so some texts of the held-out pairs are "
    "trained on too: their figures will be too good"
)


def check_new(folder: Path) -> None:
    """Refuse to replace a config, or pairs that a run may have been trained on."""
    if (folder / CONFIG).exists():
        raise UserError(f"{folder / CONFIG}: exists already; remove it, or name another folder")
    check_new_folder(folder / TRAIN.partition("/")[0])


def lay_out(
    folder: Path, paths: Sequence[str], start: StartingPoint, machine: Machine, reading: Reading
) -> tuple[Proposal, list[str]]:
    """Write the parts of the pairs and a config; what it proposes, and what to know first."""
    check_new(folder)
    store = _read(paths, reading)
    held = hold_out(store)
    with atomic_folder(folder / TRAIN.partition("/")[0]) as draft:
        _write(draft / Path(DEV).name, store, held.dev)
        _write(draft / Path(HELD_OUT).name, store, held.heldout)
        train = Store.build(
            stored_pairs(store, held.train, scores=True),
            draft / Path(TRAIN).name,
            annotate=lambda _: {"source": "pairs", "paths": list(paths)},
        )
        facts = PairFacts.of(train, start.tokens)
    parts = Parts(len(held.train), len(held.dev), len(held.heldout))
    proposal = Proposal(facts, start, machine, parts)
    notes = _notes(proposal, held)
    write_atomically(folder / CONFIG, commented(proposal.settings(), _heading(proposal, notes)))
    return proposal, notes


def _read(paths: Sequence[str], reading: Reading) -> Store:
    if len(paths) == 1 and is_store(Path(paths[0])):
        return Store(Path(paths[0]))
    pairs = read_pair_files(paths, reading)
    name = ", ".join(paths)
    return Store.build(pairs, reading=reading, name=name, needed=estimate_bytes(paths))


def _write(file: Path, store: Store, rows: np.ndarray) -> None:
    """Write some rows as a pair file; none if there are no rows."""
    if len(rows):
        names = ["uid", "lang", "query", "passage"]
        blocks = (block.select(names).to_pylist() for block in stored_pairs(store, rows))
        trainer_lines.write(file, (record for block in blocks for record in block))


def _notes(proposal: Proposal, held: HeldOut) -> list[str]:
    notes, facts, start = [], proposal.facts, proposal.start
    if start.tokens is None:
        notes.append(
            f"{start.name} is no folder and the hub cannot be reached, so lengths are in "
            "characters: start again with --model FOLDER, or fetch it before you train, with "
            "`hybrid-dist prefetch config.yaml`"
        )
    else:
        unknown = {name: each.unknown or 0.0 for name, each in facts.languages.items()}
        notes += unknown_warning(start.tokens, unknown)
    if held.shares_texts:
        notes.append(SHARED_TEXTS)
    if not len(held.dev):
        notes.append(
            "too few pairs to measure a loss on: data.dev is left out, and the pairs of the report "
            "choose the best of the evaluated steps too, so its figures are slightly too good"
        )
    return notes


def _heading(proposal: Proposal, notes: Sequence[str]) -> str:
    facts = proposal.facts
    languages = f"{len(facts.languages)} language{'s' if len(facts.languages) > 1 else ''}"
    about = (
        f"Written by `hybrid-dist init` for {facts.pairs:,} pairs in {languages} and a machine "
        f"with {proposal.machine}. Each value has its reason above it. Paths are relative to this "
        "folder: start commands here."
    )
    return "\n".join(_comment(text) for text in (about, *notes))


def commented(settings: Sequence[Setting], heading: str) -> str:
    """YAML with a comment above every value."""
    lines = [heading]
    for section, members in groupby(settings, lambda each: each.key.partition(".")[0]):
        lines.append(f"{section}:")
        for each in members:
            lines.append(_comment(each.reason, "  "))
            lines.append(f"  {each.key.partition('.')[2]}: {_flow(each.value)}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str = "") -> str:
    start = f"{indent}# "
    lines = textwrap.wrap(printable(text), WIDTH - len(start), break_on_hyphens=False)
    return "\n".join(start + line for line in lines)


def _flow(value: Any) -> str:
    """A value on one line; strings are quoted where YAML would read something else."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    is_plain = PLAIN.fullmatch(value) and value.lower() not in RESERVED
    return value if is_plain else json.dumps(value, ensure_ascii=False)
