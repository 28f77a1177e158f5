"""A class of the fuzzer: small inputs, the call that reads them, and the acceptable results."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.fuzz.edits import Tree

Variants = Mapping[str, Callable[[Path], object]]


class Target:
    """One class. Inputs are a folder; the product sees a damaged copy as its working folder."""

    name: str
    heavy = False
    """Whether it imports torch: such classes share a process."""
    variants: ClassVar[Variants] = {}
    """Each writes its inputs into an empty folder."""
    outputs: Sequence[str] = ()
    """Files and folders beside the inputs that the product may leave where it accepts."""
    seconds = 10.0
    """Of processor time: a case that takes longer hangs."""

    def inputs(self) -> Variants:
        """`variants`, of a class that makes them of itself."""
        return self.variants

    def among(self, variant: str, tree: Tree) -> Sequence[str]:
        """The files to damage; empty: all of them."""
        return ()

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        """Do what a user would; what comes of it, in values that can be compared."""
        raise NotImplementedError

    def may_leave(self, name: str, refused: bool) -> bool:
        """Whether a new file or folder is well: `out/report`, or `case/x` among the inputs."""
        if name.startswith("tmp/hybrid_dist-0"):  # that a store is whole, of a user without a home
            return True
        return not refused and name.startswith(tuple(self.outputs) or "\0")

    def names(self, message: str) -> bool:
        """Whether a message that names no file says where all the same."""
        return False

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        """What is wrong with what came of it; `good` came of the inputs as they were."""
        return None

    def refused(self, variant: str, folder: Path, message: str) -> str | None:
        """What is wrong with a refusal, beside what is wrong with any message."""
        return None


def bad_message(message: str, folder: Path, target: Target) -> str | None:
    """What is wrong with a message: it names no file, it cannot be read, or it is no message."""
    if not message.strip():
        return "an empty message"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", message):
        return f"letters that steer a terminal in the message: {ascii(message)[:300]}"
    if len(message) > 20_000:
        return f"a message of {len(message):,} letters: {ascii(message)[:200]}"
    if "Traceback" in message:
        return f"a traceback in the message: {message[:300]}"
    names = {path.name for path in folder.rglob("*")} | {str(folder)}
    if not any(name in message for name in names) and not target.names(message):
        return f"a message that names no file: {message[:300]}"
    return None
