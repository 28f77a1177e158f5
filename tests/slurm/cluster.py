"""A SLURM cluster of this machine's own, for as long as the tests run: munge, slurmctld and two
nodes, each with a name, an address and processes of its own.

A node is a slurmd in namespaces, on one core: its processes see neither the other node's nor this
machine's, so a hidden `localhost` is found, and ending the namespace is a power cut. Needs root.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.patience import SECONDS, Patience

NODES = ("node1", "node2")
NETWORK = f"198.18.{1 + os.getpid() % 254}"
"""Of the range that is set aside for tests of networks: one that a killed test has not left."""
HEAD = f"{NETWORK}.1"
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "slurmstepd", "sbatch", "ip")
TOOLS = ("unshare", "taskset")
PACKAGES = "slurm-wlm munge iproute2"
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONF = """
ClusterName=tests
SlurmctldHost={host}({head})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits (120 s otherwise)
AuthInfo=socket={dir}/munge.sock,cred_expire=5
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/spool/%n/slurmd.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
MailProg=/bin/true
# no cgroups and no accounting
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
# nodes have what is claimed for them, not what the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
ReturnToService=2
# batch files have to ask for it themselves
JobRequeue=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# quick where a real cluster is patient (300, 30 and 60 s, 5 minutes)
SlurmdTimeout=8
KillWait=5
OverTimeLimit=0
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1,sched_min_interval=0
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""

BOOT = """
hostname {name}
mount --bind {dir}/{name}.hosts /etc/hosts
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip addr add {address}/24 dev eth0
ip link set eth0 up
cd {dir}/spool/{name}
exec slurmd -D -N {name} -f {dir}/slurm.conf -d {dir}/stepd
"""

# Launchers give their workers sessions of their own. Where there are no cgroups SLURM finds a job's
# processes by their parents, so the step's daemon has to inherit those that lost theirs:
# prctl(PR_SET_CHILD_SUBREAPER), which holds across exec.
STEP_DAEMON = """#!{python}
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.execv("{slurmstepd}", ["slurmstepd", *sys.argv[1:]])
"""


def unavailable() -> str:
    """Why no cluster can be had here; empty where it can."""
    missing = [name for name in (*PROGRAMS, *TOOLS) if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        return f"no {', '.join(missing)} here (as root: apt-get install {PACKAGES})"
    if os.geteuid() != 0:
        return "a cluster of one's own needs root"
    trial = ["unshare", "--uts", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]
    done = subprocess.run(trial, capture_output=True, text=True)
    return f"no namespaces can be made here: {done.stderr.strip()}" if done.returncode else ""


def wait_for(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> None:
    patience = Patience(seconds)
    while not condition():
        if patience.is_over():
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


class Cluster:
    """Started with `with`; what it started ends with the block, or with this process."""

    def __init__(self, folder: Path) -> None:
        if len(str(folder)) > 70:
            raise ValueError(f"{folder}: too long for the paths of sockets")
        self.folder = folder
        self._conf = folder / "slurm.conf"
        self._bridge = f"sl{os.getpid()}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._write_files()
            self._start_head()
            for name in NODES:
                self.power_on(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._daemons):
            self._end(name)
        for name in NODES:
            self._unlink(name)
        self._try("ip", "link", "del", self._bridge)

    # What people do with a cluster

    def command(self, *words: str, folder: Path | None = None, **environment: str) -> str:
        """What a command prints; it has to succeed."""
        done = subprocess.run(
            words,
            cwd=folder,
            capture_output=True,
            text=True,
            env={**self._env(), **environment},
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM reports of a job, by SLURM's names."""
        output = self.command("scontrol", "show", "job", number)
        return dict(re.findall(r"(\S+?)=(\S*)", output))

    def state(self, number: str) -> str:
        return self.job(number)["JobState"]

    def wait(self, number: str, seconds: float = SECONDS) -> dict[str, str]:
        """The job at its end."""
        ongoing = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "CONFIGURING")
        patience = Patience(seconds)
        while (job := self.job(number))["JobState"] in ongoing:
            if patience.is_over():
                log = Path(job.get("StdOut", os.devnull))
                output = log.read_text() if log.is_file() else ""
                raise TimeoutError(
                    f"job {number} is {job['JobState']} ({job['Reason']}) after {seconds:.0f} s\n"
                    f"{output}"
                )
            time.sleep(0.5)
        return job

    def clear(self) -> None:
        """Cancel what is left, and wait until both nodes are idle."""
        self.command("scancel", "--user=root")
        for name in NODES:
            if self._daemons[name].poll() is not None:
                self.power_on(name)
        idle = ("sinfo", "-h", "-N", "-p", "low", "-t", "idle", "-o", "%N")
        wait_for("idle nodes", lambda: self.command(*idle).split() == list(NODES))

    def power_off(self, name: str) -> None:
        """Cut the link, then end all that the node runs at once, without a notice."""
        self._unlink(name)
        self._end(name)

    def power_on(self, name: str, attempts: int = 3) -> None:
        """Start the node, and wait until jobs may come; on a busy machine it may need a restart."""
        try:
            self._boot(name)
        except TimeoutError as late:
            print(f"{late}\n{self.command('scontrol', 'show', 'node', name)}\n{self.logs()}")
            self.power_off(name)
            if attempts == 1:
                raise
            self.power_on(name, attempts - 1)

    def _boot(self, name: str) -> None:
        number = NODES.index(name) + 1
        boot = BOOT.format(name=name, dir=self.folder, address=self.address(name))
        apart = ["--uts", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        cores = sorted(os.sched_getaffinity(0))
        pinned = ["taskset", "--cpu-list", str(cores[number % len(cores)])]
        node = self._start(name, *pinned, "unshare", *apart, "bash", "-ec", boot)
        own, network = _namespace(Path("/proc/self/ns/net")), Path(f"/proc/{node.pid}/ns/net")
        wait_for("a network", lambda: _namespace(network) not in ("", own), 60)
        link = ["ip", "link", "add", f"{self._bridge}v{number}", "type", "veth"]
        self._run(*link, "peer", "name", "eth0", "netns", str(node.pid))
        self._run("ip", "link", "set", f"{self._bridge}v{number}", "master", self._bridge, "up")
        state = ("sinfo", "-h", "-n", name, "-p", "low", "-o", "%T")
        ready = ("idle", "mixed", "allocated", "completing")  # a * behind it: does not answer
        wait_for(f"{name} to be ready", lambda: self.command(*state) in ready, 60)

    def processes(self, name: str) -> dict[int, str]:
        """The command lines of what runs on a node by this machine's process ids, SLURM's own
        daemon left out."""
        pids = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit()]
        own = _namespace(Path(f"/proc/{self._daemons[name].pid}/ns/pid_for_children"))
        here = [pid for pid in pids if own and _namespace(pid / "ns/pid") == own]
        lines = {int(pid.name): _line(pid) for pid in here}
        return {pid: line for pid, line in lines.items() if line and "slurmd -D" not in line}

    def stop_controller(self) -> None:
        """As for an upgrade, its state saved; jobs run on."""
        self._daemons["slurmctld"].terminate()
        self._daemons["slurmctld"].wait()

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self._conf))
        wait_for("slurmctld", lambda: self._try("scontrol", "ping"))

    @staticmethod
    def address(name: str) -> str:
        return f"{NETWORK}.{11 + NODES.index(name)}"

    def logs(self) -> str:
        """The ends of the daemons' logs, for when a test fails."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    # How it is made

    def _write_files(self) -> None:
        for part in ("state", *(f"spool/{name}" for name in NODES)):
            (self.folder / part).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        nodes = []
        for number, name in enumerate(NODES):
            # as on Debian a node's own name is a loopback address on the node itself
            others = [f"{self.address(other)} {other}" for other in NODES if other != name]
            hosts = ["127.0.0.1 localhost", f"127.0.1.1 {name}", *others]
            (self.folder / f"{name}.hosts").write_text("\n".join(hosts) + "\n")
            nodes.append(
                f"NodeName={name} NodeAddr={self.address(name)} Port={port + 1 + number} "
                "CPUs=4 RealMemory=8000 Gres=gpu:1 State=UNKNOWN"
            )
        self._conf.write_text(
            CONF.format(
                host=socket.gethostname().split(".")[0],
                head=HEAD,
                port=port,
                dir=self.folder,
                nodes="\n".join(nodes),
            )
        )
        gpus = [f"NodeName={name} Name=gpu File=/dev/null\n" for name in NODES]  # only claimed
        (self.folder / "gres.conf").write_text("".join(gpus))
        stepd = self.folder / "stepd"
        stepd.write_text(
            STEP_DAEMON.format(
                python=sys.executable, slurmstepd=shutil.which("slurmstepd", path=SYSTEM_PATH)
            )
        )
        stepd.chmod(0o755)

    def _start_head(self) -> None:
        munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
        munge |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / file}" for option, file in munge.items()]
        self._start("munged", "munged", "--foreground", "--force", *options)
        sockets = self.folder / "munge.sock"
        wait_for("munged", lambda: self._try("munge", "-S", str(sockets), "-n"))
        self._run("ip", "link", "add", self._bridge, "type", "bridge")
        self._run("ip", "addr", "add", f"{HEAD}/24", "dev", self._bridge)
        self._run("ip", "link", "set", self._bridge, "up")
        self.start_controller()

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """A daemon that ends when this process does."""
        with (self.folder / f"{name}.out.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                cwd=self.folder,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._daemons[name]

    def _end(self, name: str) -> None:
        """SIGKILL; with a node's goes all that it runs."""
        daemon = self._daemons[name]
        daemon.kill()
        daemon.wait()

    def _unlink(self, name: str) -> None:
        self._try("ip", "link", "del", f"{self._bridge}v{NODES.index(name) + 1}")

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, env=self._env())
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")

    def _try(self, *words: str) -> bool:
        return subprocess.run(words, capture_output=True, env=self._env()).returncode == 0

    def _env(self) -> Mapping[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return kept | {"PATH": SYSTEM_PATH, "SLURM_CONF": str(self._conf)}


def _namespace(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _line(pid: Path) -> str:
    try:
        return (pid / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
