"""What every rank leaves in the run folder when a run hangs: all stacks, and PyTorch's flight
recorder."""

import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hybrid_dist.runtime.files import write_atomically

FOLDER = "hang"
RECORDER_PREFIX = "flight_recorder_rank_"
SECONDS_FOR_RECORDER = 5.0
RECORDED = 2000
"""Collectives that the flight recorder remembers."""


def record_collectives() -> None:
    """Have PyTorch record the last collectives, unless the user has said how many; call it before
    the process group is made."""
    if "TORCH_NCCL_TRACE_BUFFER_SIZE" not in os.environ:  # its name in older versions
        os.environ.setdefault("TORCH_FR_BUFFER_SIZE", str(RECORDED))


class HangReport:
    """This rank's files in RUN/hang/; without a run folder, stacks go to standard error.

    The file of stacks is opened ahead of any hang, so that Python's own watchdog thread can write
    to it while a call never gives back the interpreter's lock. Hangs of earlier starts stay in it.
    """

    def __init__(self, run_folder: Path, rank: int) -> None:
        self._run_folder, self._rank = run_folder, rank
        self._file: IO[str] | None = None

    @property
    def folder(self) -> Path:
        return self._run_folder / FOLDER

    def arm(self, seconds: float) -> None:
        """Write all stacks unless this is called again within so many seconds."""
        if (file := self._opened()) is not None:
            faulthandler.dump_traceback_later(seconds, file=file)

    def write(self, where: str) -> None:
        """Write the stacks of all threads, then what the flight recorder holds."""
        file = self._opened() or sys.stderr
        with suppress(OSError):
            file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} rank {self._rank}: {where}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        if self._file is not None:
            # in a thread, since it asks the device, which may not answer
            recorder = threading.Thread(target=self._write_recorder, daemon=True)
            recorder.start()
            recorder.join(SECONDS_FOR_RECORDER)

    def close(self) -> None:
        """Remove what is empty, as after any run that did not hang."""
        faulthandler.cancel_dump_traceback_later()
        if self._file is None:
            return
        self._file.close()
        with suppress(OSError):
            if not self._path.stat().st_size:
                self._path.unlink()
                self.folder.rmdir()  # fails while it holds files of other ranks

    @property
    def _path(self) -> Path:
        return self.folder / f"rank-{self._rank}.txt"

    def _opened(self) -> IO[str] | None:
        if self._file is None and self._run_folder.is_dir():
            with suppress(OSError):
                self.folder.mkdir(exist_ok=True)
                self._file = self._path.open("a")
        return self._file

    def _write_recorder(self) -> None:
        with suppress(OSError, RuntimeError):
            if content := flight_recorder():
                name = f"{RECORDER_PREFIX}{self._rank}"
                write_atomically(self.folder / name, content, durable=False)


def flight_recorder() -> bytes | None:
    """The collectives that PyTorch has recorded, as `torch.distributed.flight_recorder` reads them:
    those of NCCL where it is used, else of gloo."""
    import torch.distributed as dist
    from torch._C import _distributed_c10d as c10d

    if not dist.is_initialized():
        return None
    name = "_dump_nccl_trace" if "nccl" in dist.get_backend() else "_dump_fr_trace"
    dump: Any = getattr(c10d, name, None)  # private, and not in every build
    content: bytes | None = dump() if dump is not None else None
    return content
