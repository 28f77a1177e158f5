"""What the doctor has found: one line of its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hybrid_dist.errors import short_list

State = Literal["ok", "slow", "wrong"]
STATES: tuple[State, ...] = ("ok", "slow", "wrong")


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    state: State
    message: str
    remedy: str = ""


def over_machines(found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """The lines of all machines as lines of one table; a problem names the machines that have it.

    Every machine has the same lines, in the same order.
    """
    return [
        _worst(dict(zip(found, lines, strict=True))) for lines in zip(*found.values(), strict=True)
    ]


def _worst(lines: Mapping[str, Finding]) -> Finding:
    """One line for all machines, by their names."""
    first = next(iter(lines.values()))
    state = max((line.state for line in lines.values()), key=STATES.index)
    if len(lines) == 1 or state == "ok":
        return first
    bad = {name: line for name, line in lines.items() if line.state != "ok"}
    listed = short_list([f"{name}: {line.message}" for name, line in bad.items()])
    worst = next(line for line in bad.values() if line.state == state)
    return Finding(first.what, state, listed, worst.remedy)
