"""One copy of a task for all processes of a machine that a launcher has started.

The first of them to come reads the files and writes what is in them to a folder for temporary
files, as a prepared collection; all of them map it. The last one to open it removes its name.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from hybrid_dist.data.user_cache import open_or_build
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.stored_task import open_task, write_task
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.runtime.files import OTHER_TMPDIR, writing

_numbers = count()
"""Tasks that this process has opened; the others open the same ones in the same order."""


def shared_task(read: Callable[[], Task], name: str, path: str) -> Task:
    """The task that `read` reads, by one process of the machine. `name` and `path` are the task's.

    All processes of the launcher call it together.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here == 1:
        return read()

    def opened(folder: Path) -> Task:
        return open_task(folder, name, path, check="never")

    def build(folder: Path) -> Task:
        write_task(read(), folder, {}, durable=False)
        return opened(folder)

    meeting = _own_folder() / f"{_launcher()}-{next(_numbers)}"
    with writing(meeting, cure=OTHER_TMPDIR):
        meeting.mkdir(exist_ok=True)
        task, _ = open_or_build(meeting / "task", opened, build)
        (meeting / f"opened-{os.environ.get('LOCAL_RANK', '0')}").touch()
    if len(list(meeting.glob("opened-*"))) == here:
        shutil.rmtree(meeting, ignore_errors=True)
    return task


def _own_folder() -> Path:
    """A folder for temporary files that only this user has."""
    folder = Path(tempfile.gettempdir()) / f"hybrid_dist-tasks-{os.getuid()}"
    with writing(folder, cure=OTHER_TMPDIR):
        folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; set TMPDIR to another folder")
    return folder


def _launcher() -> str:
    """A name that the processes of one start on one machine have in common, and no others."""
    names = [str(os.getppid()), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")]
    with suppress(OSError):  # another system than Linux
        stat = Path(f"/proc/{names[0]}/stat").read_text("ascii", "replace")
        names.append(stat.rpartition(")")[2].split()[19])  # when it was started
        names.append(Path("/proc/self/ns/pid").readlink().name.strip("pid:[]"))
    return "-".join(names)
