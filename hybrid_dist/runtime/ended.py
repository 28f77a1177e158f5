"""How one start of a program ended, for people and batch files: ended.json."""

import json
import os
import platform
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import torch
import torch.distributed as dist

from hybrid_dist.errors import UserError, file_error
from hybrid_dist.runtime.files import DISK_IS_FULL
from hybrid_dist.runtime.ranks import Ranks

ENDED = "ended.json"
JOB_FILE = "HYBRID_DIST_ENDED"
"""The variable by which a batch file names a second place for the same content. It is written also
where the run folder is not, because the start is refused before the folder belongs to it."""
MOST = 2000
"""Characters of a message."""
SECONDS_FOR_OTHERS = 10.0
_LOST_PEER = re.compile(r"gloo/|Connection (closed|reset) by|remote process exited|Broken pipe")


@dataclass(frozen=True)
class Ending:
    """The content of ended.json."""

    kind: str
    """finished, stopped, refused, not finite, out of memory, disk full, crash or hang."""
    rank: int | None
    """The rank that caused it; None if that is not known, as when a rank has only lost another."""
    node: str | None
    step: int | None
    time: str
    message: str

    @classmethod
    def now(
        cls, kind: str, rank: int | None, node: str | None, step: int | None, message: str
    ) -> "Ending":
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(kind, rank, node if rank is not None else None, step, at, message[:MOST])

    def write(self, file: Path) -> None:
        """Write the file unless an earlier ending is there that names its rank.

        A full disk is reported elsewhere.
        """
        draft = file.with_name(f".{file.name}.{uuid4().hex[:8]}.part")
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
                draft.write_text(text + "\n", "utf-8")
                self._place(draft, file)
            finally:
                draft.unlink(missing_ok=True)

    def _place(self, draft: Path, file: Path) -> None:
        """A link fails where the name is taken, on network file systems too."""
        try:
            os.link(draft, file)
        except OSError:  # the name is taken, or the file system has no links
            if not file.exists() or (self.rank is not None and _names_no_rank(file)):
                draft.replace(file)


def _names_no_rank(file: Path) -> bool:
    try:
        return json.loads(file.read_text("utf-8"))["rank"] is None
    except (OSError, ValueError, KeyError, TypeError):
        return True


class EndRecord:
    """Notes how the block ends: by the rank that fails, or by the first one if none does."""

    def __init__(self, folder: Path | None = None, asked: Callable[[], int] = lambda: 0) -> None:
        """`folder`: the run folder, if there is one; written to from `begin` on. `asked`: whether
        this process is asked to end."""
        self._asked, self._is_noted = asked, False
        self.step: int | None = None
        self.stopped_by: str | None = None
        """The signal or file that stopped the work before its end."""
        self._folder = folder
        self._files = [Path(os.environ[JOB_FILE])] if JOB_FILE in os.environ else []
        self._rank = int(os.environ.get("RANK", "0"))
        self._nodes = {self._rank: this_node()}

    def begin(self, ranks: Ranks) -> None:
        """The run folder is held by this run from now on. All ranks call it together."""
        self._rank = ranks.rank
        if self._folder is not None:
            if ranks.is_first:
                (self._folder / ENDED).unlink(missing_ok=True)
            self._files.append(self._folder / ENDED)
        self._nodes = dict(enumerate(ranks.gather(this_node())))

    def hang(self, ranks: Sequence[int], why: str) -> None:
        """The watchdog ends this process, and names the ranks of which one hangs."""
        self._write("hang", ranks[0] if len(ranks) == 1 else None, why)

    def __enter__(self) -> "EndRecord":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None:
            self._note(error)
            if JOB_FILE in os.environ and is_loss_of_peer(error):
                self._hold_back()
        elif self._rank == 0:
            stopped = self.stopped_by is not None
            self._write("stopped" if stopped else "finished", 0, self.stopped_by or "")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note at once how the block fails: what surrounds it may take long to end."""
        try:
            yield
        except BaseException as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        if self._is_noted:
            return
        self._is_noted = True
        if isinstance(error, Exception):
            message = str(error)
            if not isinstance(error, UserError):
                message = f"{type(error).__name__}: {message}"
            rank = None if is_loss_of_peer(error) else self._rank
            self._write(kind_of(error), rank, message)
        elif (number := _signal_of(error)) is not None:
            self._write("stopped", self._rank, number.name)

    def _hold_back(self) -> None:
        """Let the launcher of the lost rank end first: srun then ends all others, and the launcher
        would not come to say what happened."""
        end = time.monotonic() + SECONDS_FOR_OTHERS
        while not self._asked() and time.monotonic() < end:
            time.sleep(0.1)

    def _write(self, kind: str, rank: int | None, message: str) -> None:
        if rank is None:
            message = f"seen by rank {self._rank} on {this_node()}: {message}"
        node = None if rank is None else self._nodes.get(rank)
        ending = Ending.now(kind, rank, node, self.step, message)
        for file in self._files:
            ending.write(file)


def this_node() -> str:
    """The name of this machine, under SLURM the one that SLURM knows."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def kind_of(error: Exception) -> str:
    """The kind of ending that an error is."""
    if file_error(error) in DISK_IS_FULL:
        return "disk full"
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return error.ending if isinstance(error, UserError) else "crash"


def is_loss_of_peer(error: BaseException) -> bool:
    """Whether an error says no more than that another rank, or the way to it, is gone."""
    lost = isinstance(error, RuntimeError) and _LOST_PEER.search(str(error)) is not None
    return lost or isinstance(error, dist.DistError)


def _signal_of(error: BaseException) -> signal.Signals | None:
    """The signal that ended the program as an exception."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return signal.Signals(error.code - 128)
    return None
