"""How a start ended: which kind, whose fault, and which of several ranks is believed."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from hybrid_dist.errors import DeviceMemoryError, LaunchError, NotFiniteError, UserError
from hybrid_dist.runtime.ended import ENDED, JOB_FILE, EndRecord
from hybrid_dist.runtime.files import DiskError
from hybrid_dist.runtime.launcher import note_killed
from hybrid_dist.runtime.ranks import Ranks

LOST = RuntimeError("[x/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.delenv(JOB_FILE, raising=False)


def ended(folder: Path) -> Any:
    return json.loads((folder / ENDED).read_text("utf-8"))


def end_with(folder: Path, error: BaseException | None = None, rank: int = 0) -> None:
    """A start of a run in which one rank ends so, after step 5."""
    try:
        with EndRecord(folder) as record:
            record.begin(Ranks(rank))
            record.step = 5
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, "finished"),
        (UserError("no such file"), "refused"),
        (LaunchError("too few processes"), "refused"),
        (NotFiniteError("step 5"), "not finite"),
        (DeviceMemoryError("step 5"), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
        (DiskError("runs: cannot be written", errno.EDQUOT, Path("runs")), "disk full"),
        (OSError(errno.EIO, "Input/output error"), "crash"),
        (ValueError("a bug"), "crash"),
        (SystemExit(128 + signal.SIGTERM), "stopped"),
    ],
)
def test_each_end_has_its_kind(error: BaseException | None, kind: str, tmp_path: Path) -> None:
    end_with(tmp_path, error)
    content = ended(tmp_path)
    assert (content["kind"], content["rank"], content["node"]) == (kind, 0, "node7")
    assert content["step"] == 5 and content["time"]
    assert [file.name for file in tmp_path.iterdir()] == [ENDED], "no draft is left"


def test_the_first_rank_that_fails_is_believed(tmp_path: Path) -> None:
    end_with(tmp_path, ValueError("the cause"), rank=1)
    end_with(tmp_path, ValueError("what follows"), rank=2)
    assert (ended(tmp_path)["rank"], ended(tmp_path)["message"]) == (1, "ValueError: the cause")


@pytest.mark.parametrize("lost", [LOST, torch.distributed.DistBackendError("NCCL error")])
def test_a_rank_that_has_lost_another_accuses_none(lost: Exception, tmp_path: Path) -> None:
    """It is the first to write, before the launcher of the killed process has noticed."""
    end_with(tmp_path, lost, rank=1)
    content = ended(tmp_path)
    assert (content["kind"], content["rank"], content["node"]) == ("crash", None, None)
    assert content["message"].startswith("seen by rank 1 on node7: ")
    end_with(tmp_path, ValueError("the cause"), rank=2)
    assert ended(tmp_path)["rank"] == 2


@pytest.mark.parametrize(
    ("number", "rank"), [(signal.SIGKILL, 3), (signal.SIGSEGV, 3), (signal.SIGABRT, None)]
)
def test_the_launcher_writes_for_a_killed_process(
    number: int, rank: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL's watchdog aborts those that have lost another."""
    monkeypatch.setenv(JOB_FILE, str(tmp_path / ENDED))
    failed = ProcessFailure(local_rank=1, pid=7, exitcode=-number, error_file="")
    note_killed(ChildFailedError("train", {3: failed}))
    content = ended(tmp_path)
    assert (content["kind"], content["rank"]) == ("crash", rank)
    assert content["node"] == ("node7" if rank else None)


def test_a_hanging_rank_is_named_if_there_is_one(tmp_path: Path) -> None:
    record = EndRecord(tmp_path)
    record.begin(Ranks(0))
    record.hang([0, 1], "one of ranks 0, 1 stands still")
    assert (ended(tmp_path)["kind"], ended(tmp_path)["node"]) == ("hang", None)
    record.hang([0], "rank 0 stands still")
    assert (ended(tmp_path)["kind"], ended(tmp_path)["node"]) == ("hang", "node7")


def test_a_refused_start_writes_for_its_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may belong to a run that goes on."""
    job = tmp_path / "jobs" / "7"
    monkeypatch.setenv(JOB_FILE, str(job))
    with pytest.raises(UserError), EndRecord(tmp_path / "run"):
        raise UserError("another process is training in it")
    assert json.loads(job.read_text())["kind"] == "refused"
    assert not (tmp_path / "run").exists()


def test_where_links_cannot_be_made_the_first_is_believed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    end_with(tmp_path, LOST)
    end_with(tmp_path, ValueError("the cause"), rank=1)
    end_with(tmp_path, ValueError("what follows"), rank=2)
    assert ended(tmp_path)["rank"] == 1
