"""A Python whose imports are done: each program starts as a fork of one process.

Importing torch, transformers and accelerate takes seconds, in each of hundreds of processes that
the tests start. `start_server` returns an executable that takes the arguments of Python
(`-m MODULE ...` or a script) and sends them to a server with its environment, folder, standard
streams and signals. The server forks, and the executable ends with the exit code of the fork.
Launchers start it, too (`PYTHON_EXEC`). With any other arguments it is Python as usual.

Forks share one seed of hashes, and are no descendants of the command: tests of whole trainings
under launchers, of signals and of killed processes start Python as a user does.
"""

import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

PRELOADED = (
    "accelerate.commands.launch",
    # with a GPU it may start CUDA, which forks could not use then
    *(() if Path("/dev/nvidiactl").exists() else ("deepspeed",)),
    "hybrid_dist.commands.evaluate",
    "hybrid_dist.config.flags",
    "hybrid_dist.reporting.run_evaluation",
    "hybrid_dist.training.run",
    "pandas",  # by pyarrow
    "torch._dynamo",
    "torch.distributed.run",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "transformers.models.xlm_roberta.tokenization_xlm_roberta",
)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_LENGTH = struct.Struct("<I")


def start_server() -> Path:
    """Start the server of this test process, and return the executable that runs programs in it."""
    folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
    address, executable = folder / "socket", folder / "python"
    client = f'"{sys.executable}" -S -E "{__file__}" "{address}"'
    executable.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
    executable.chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_python", "--serve", str(address)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        start_new_session=True,
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    while not address.exists():
        if server.poll() is not None:
            raise RuntimeError(f"the server of forks ended with exit code {server.returncode}")
        time.sleep(0.05)
    return executable


def serve(address: str) -> None:
    """Fork for every request; tell its client the exit code; kill a fork whose client is gone."""
    # a shell ignores these for what it runs in the background, and programs inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for module in filter(_is_installed, PRELOADED):
        __import__(module)
    sys.executable = str(Path(address).with_name("python"))  # what programs start forks, too
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    Path(f"{address}.new").rename(address)
    forks: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, *forks.values()], [], [], 0.02 if forks else None)
        for pid, client in list(forks.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                client.send(_LENGTH.pack(os.waitstatus_to_exitcode(status) & 0xFFFFFFFF))
                client.close()
                del forks[pid]
            elif client in ready:
                if number := client.recv(1):
                    os.kill(pid, number[0])
                else:
                    os.killpg(pid, signal.SIGKILL)
        if listener in ready:
            client, _ = listener.accept()
            words, streams, _, _ = socket.recv_fds(client, _LENGTH.size, 3)
            size = _LENGTH.unpack(words)[0]
            request = json.loads(client.recv(size, socket.MSG_WAITALL))
            pid = os.fork()
            if pid == 0:
                for other in (listener, client, *forks.values()):
                    other.close()
                run(request, streams)
            forks[pid] = client
            for stream in streams:
                os.close(stream)


def _is_installed(module: str) -> bool:
    return find_spec(module.partition(".")[0]) is not None


def run(request: dict[str, object], streams: list[int]) -> None:
    """Be the program of a request, in a fork."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    os.chdir(str(request["folder"]))
    words: list[str] = request["words"]  # type: ignore[assignment]
    if words[0] == "-u":
        words = words[1:]
        for text in (sys.stdout, sys.stderr):
            text.reconfigure(write_through=True)  # type: ignore[union-attr]
    code: int | str | None = 1
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.path[0] = str(Path.cwd())
            sys.modules.pop(words[1], None)  # runpy warns of a module that is already imported
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path[0] = str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code or 0))


def request(address: str, words: list[str]) -> int:
    """Have the server run a program, and return its exit code."""
    program = words[1:] if words[0] == "-u" else words
    if program[0] != "-m" and not program[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *words])
    client = socket.socket(socket.AF_UNIX)
    client.connect(address)
    content = {"words": words, "environment": dict(os.environ), "folder": str(Path.cwd())}
    message = json.dumps(content).encode()
    socket.send_fds(client, [_LENGTH.pack(len(message))], [0, 1, 2])
    client.sendall(message)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: client.send(bytes([number])))
    answer = client.recv(_LENGTH.size, socket.MSG_WAITALL)
    (code,) = struct.unpack("<i", answer) if answer else (1,)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return int(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    sys.exit(request(sys.argv[1], sys.argv[2:]))
