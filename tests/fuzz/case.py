"""One case: inputs, damage, the result, and whether the result is acceptable."""

import gc
import io
import os
import random
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError, report_errors
from tests.fuzz.edits import Edit, Tree, apply, clear, read_tree, write_tree
from tests.fuzz.mutations import draw
from tests.fuzz.target import Target, bad_message

PROGRAM = "fuzz"
NOBODY = 65534
OURS = f"{os.sep}hybrid_dist{os.sep}"


@dataclass(frozen=True)
class Finding:
    """What should not have happened, and how to see it again."""

    target: str
    variant: str
    seed: int
    case: int
    what: str
    """One line: equal for what has one cause, as far as that is known."""
    more: str = ""
    """A traceback, or both values."""
    edits: tuple[Any, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """Folders for the cases of one class, and what comes of its inputs as they are."""

    def __init__(self, target: Target, work: Path) -> None:
        self.target = target
        self.folder, self.out, self.tmp = (work / name for name in ("case", "out", "tmp"))
        for folder in (self.folder, self.out, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.tmp)
        self.trees: dict[str, Tree] = {}
        self.good: dict[str, Any] = {}
        for variant, write in target.inputs().items():
            made = work / "base" / target.name / variant
            if not made.exists():
                draft = made.with_name(f"{variant}.part")
                draft.mkdir(parents=True)
                write(draft)
                draft.rename(made)
            self.trees[variant] = read_tree(made)
            finding = self.check(variant, [], -1, -1)
            if finding is not None:
                raise AssertionError(f"{target.name}/{variant}: {finding.what}\n{finding.more}")

    def drawn(self, seed: int, case: int) -> tuple[str, list[Edit]]:
        """The damage of a case, decided by its class, seed and number."""
        rng = random.Random(f"{self.target.name}/{seed}/{case}")
        variant = rng.choice(sorted(self.trees))
        tree = self.trees[variant]
        return variant, draw(rng, tree, self.target.among(variant, tree))

    def check(self, variant: str, edits: Sequence[Edit], seed: int, case: int) -> Finding | None:
        for folder in (self.folder, self.out, self.tmp):
            clear(folder)
        write_tree(self.folder, self.trees[variant])
        apply(self.folder, edits)
        what = self._problem(variant, first=not edits, unprivileged=_forbids(edits))
        if what is None:
            return None
        summary, _, more = what.partition("\n")
        edits_as_json = tuple(edit.as_json() for edit in edits)
        return Finding(self.target.name, variant, seed, case, summary, more, edits_as_json)

    def _problem(self, variant: str, first: bool, unprivileged: bool) -> str | None:
        target, folder = self.target, self.folder
        before = self._listing()
        refusal = value = None
        try:
            with _watched(folder, unprivileged) as noise:
                try:
                    with report_errors(PROGRAM):
                        value = _acted(target, variant, folder, self.out)
                except SystemExit as end:
                    refusal = _refusal(end)
        except BaseException as error:
            return _signature(error)
        if noise:
            return noise[0]
        new = sorted(self._listing() - before)
        left = [name for name in new if not target.may_leave(name, refusal is not None)]
        if left:
            how = "refused" if refusal is not None else "accepted"
            return f"{how}, and left behind {_plain(left[0])}: {', '.join(left[:3])}"
        if refusal is not None:
            if first:
                return f"the inputs as they are were refused: {refusal}"
            return bad_message(refusal, folder, target) or target.refused(variant, folder, refusal)
        if first:
            self.good[variant] = value
        result = target.accepted(variant, folder, value, self.good[variant])
        del value
        return result

    def _listing(self) -> set[str]:
        paths = set()
        for root in (self.folder, self.out, self.tmp):
            paths |= {f"{root.name}/{path.relative_to(root)}" for path in root.rglob("*")}
        return paths


def _plain(name: str) -> str:
    """A file's name without what differs from case to case."""
    return re.sub(r"[0-9a-f]{8,}", "*", name)


def _acted(target: Target, variant: str, folder: Path, out: Path) -> Any:
    """What comes of it; errors of files as the command line has them."""
    try:
        return target.act(variant, folder, out)
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}") from None


def _refusal(end: SystemExit) -> str:
    """The message that a user sees."""
    printed = sys.stderr.buffer.getvalue().decode()  # type: ignore[union-attr]
    message: str = printed.rpartition(f"{PROGRAM}: error: ")[2]
    if end.code != 2 or not message:
        raise end
    return message.removesuffix("\n")


def _forbids(edits: Sequence[Edit]) -> bool:
    return any(edit.do == "forbid" for edit in edits)


def _signature(error: BaseException) -> str:
    """The kind of an error and the place in the product that it came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if OURS in f.filename and "site-packages" not in f.filename]
    at = ours[-1] if ours else frames[-1]
    place = f"{at.filename.rpartition(OURS)[2]}:{at.name}"
    description = " ".join(ascii(str(error)).split())[:160]
    return f"{type(error).__name__} in {place}: {description}\n" + "".join(
        traceback.format_exception(error)
    )


@contextmanager
def _watched(folder: Path, unprivileged: bool) -> Iterator[list[str]]:
    """In the folder, without output; what goes wrong in threads and destructors is noted."""
    noise: list[str] = []

    def note(problem: Any) -> None:
        noise.append(f"in the background, {_signature(problem.exc_value)}")

    kept = sys.stdout, sys.stderr, sys.unraisablehook, threading.excepthook
    sys.stdout, sys.stderr = _strict(), _strict()
    sys.unraisablehook = threading.excepthook = note
    os.chdir(folder)
    if unprivileged and os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield noise
        sys.stdout.flush()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        os.chdir("/")
        gc.collect(0)
        sys.stdout, sys.stderr, sys.unraisablehook, threading.excepthook = kept


def _strict() -> io.TextIOWrapper:
    """As a terminal: what is not UTF-8 cannot be printed."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", line_buffering=True)
