"""A private Slurm of one node, without systemd and without an accounting database: up, down, and what it runs."""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
# The step of a job starts without SLURM_CONF, so the configuration must be found where Slurm looks by itself.
SYSTEM_FOLDER = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
MEMORY_CONTROLLER = Path("/sys/fs/cgroup/memory/cgroup.procs")
MEMORY_MB, GPUS = 200000, 4  # declared, not real


class ClusterError(Exception):
    """Slurm cannot be started here; the message says why."""


@dataclass(frozen=True)
class SlurmJob:
    """One line of the queue."""

    number: int
    state: str
    comment: str


@dataclass(frozen=True)
class Cluster:
    """Daemons of one node.

    Attributes:
        folder: an empty folder, which every user may enter.
        cpus: cores the node claims; by default so many that two GPU jobs run beside those of a run that was killed.
    """

    folder: Path
    cpus: int = 16

    def start(self) -> None:
        """Write the configuration and start munged, slurmctld and slurmd.

        Raises:
            ClusterError: not root, a program is missing, another Slurm is configured, or a daemon does not come up.
        """
        _check_machine()
        for name in ("run", "log", "state", "spool"):
            (self.folder / name).mkdir()
        self._configure()
        self._start_munge()
        for daemon in ("slurmctld", "slurmd"):
            _checked([daemon, "-c"])
        wait_for(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T").split(), 30, "no idle node")

    def stop(self) -> None:
        """Cancel all jobs, stop the daemons that were started here, and remove the links to the configuration."""
        if (self.folder / "run/slurmctld.pid").exists():
            self.ask("scancel", "--user=root")
            wait_for(lambda: not self.jobs("RUNNING", "COMPLETING"), 30, "jobs do not end")
        for daemon in ("slurmd", "slurmctld", "munged"):
            _stop_daemon(self.folder / "run" / f"{daemon}.pid")
        for name in FILES:
            link = SYSTEM_FOLDER / name
            if link.is_symlink() and link.readlink().parent == self.folder:
                link.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *command: str) -> str:
        """Run a Slurm command and return what it printed, also when it failed."""
        return subprocess.run(  # noqa: S603 - our own commands
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False
        ).stdout

    def jobs(self, *states: str, comment: str = "") -> list[SlurmJob]:
        """Jobs in the given states whose comment (rule and wildcards) holds a text, oldest first."""
        wanted = ",".join(states) or "all"
        lines = self.ask("squeue", "--noheader", f"--states={wanted}", "--format=%i|%T|%k").splitlines()
        found = [SlurmJob(int(number), state, note) for number, state, note in (line.split("|") for line in lines)]
        return sorted((job for job in found if comment in job.comment), key=lambda job: job.number)

    def set_node(self, state: str) -> None:
        """Give the node a state: drain, down or resume."""
        _checked(["scontrol", "update", f"NodeName={_host()}", f"State={state}", "Reason=test"])

    def processes(self, job: SlurmJob) -> list[int]:
        """Process ids of a job's steps."""
        lines = self.ask("scontrol", "listpids", str(job.number)).splitlines()[1:]
        return [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]

    def _configure(self) -> None:
        texts = {"slurm.conf": _slurm_conf(self.folder, self.cpus), "gres.conf": "AutoDetect=off\n", "cgroup.conf": ""}
        for gpu in range(GPUS):  # a GPU must be a character device; these are copies of /dev/null
            device = self.folder / "run" / f"gpu{gpu}"
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            texts["gres.conf"] += f"Name=gpu File={device}\n"
        if MEMORY_CONTROLLER.exists():
            texts["cgroup.conf"] = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"
        SYSTEM_FOLDER.mkdir(exist_ok=True)
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            (SYSTEM_FOLDER / name).symlink_to(self.folder / name)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        run, log = self.folder / "run", self.folder / "log"
        _checked([
            "munged", "--force", f"--key-file={key}", f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid",
            f"--log-file={log}/munged.log", f"--seed-file={run}/munged.seed",
        ])  # fmt: skip
        wait_for((run / "munge.socket").exists, 10, "munged opens no socket")


def wait_for(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Wait until a condition holds.

    Raises:
        ClusterError: with the text given, when it does not in that time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.3)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise ClusterError("only root can start the daemons")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise ClusterError(f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)")
    present = [name for name in FILES if os.path.lexists(SYSTEM_FOLDER / name)]
    if present:
        raise ClusterError(f"{SYSTEM_FOLDER / present[0]} exists: this machine belongs to another Slurm")


def _slurm_conf(folder: Path, cpus: int) -> str:
    control, node = _free_port(), _free_port()
    host = _host()
    cgroups = MEMORY_CONTROLLER.exists()
    # Without cgroups memory is only sampled, and processes of a node that went down live on.
    memory = "TaskPlugin=task/cgroup" if cgroups else "TaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill"
    return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/run/munge.socket
SlurmctldPort={control}
SlurmdPort={node}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/{"cgroup" if cgroups else "linuxproc"}
{memory}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=0
KillWait=3
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} Default=NO MaxTime=INFINITE State=UP
"""


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)  # noqa: S603 - our own
    if done.returncode != 0:
        raise ClusterError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()}")


def _stop_daemon(pid_file: Path) -> None:
    if not pid_file.exists() or not (text := pid_file.read_text().strip()):
        return
    process = Path("/proc") / text
    try:
        os.kill(int(text), 15)
        wait_for(lambda: not process.exists(), 15, f"{pid_file.stem} does not stop")
    except ProcessLookupError:
        return
