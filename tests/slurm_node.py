"""A SLURM of one node, this machine, with a GPU that is none: for tests of profiles/slurm.

Needs root and the Debian packages slurm-wlm and munge; installs nothing. Everything lies in one folder, but for
``/etc/slurm/slurm.conf`` and ``gres.conf``, which are links to it while the node runs: job steps drop ``SLURM_CONF``.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ETC = Path("/etc/slurm")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun")
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
MinJobAge=300
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=10000,bf_interval=5
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why no node can be started here, None if one can."""
    lacking = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"no {', '.join(lacking)}: `make test-slurm` installs them (Debian, as root)"
    if os.geteuid() != 0:
        return "starting a SLURM takes root"
    if (_ETC / "slurm.conf").exists() or Path("/run/munge/munge.socket.2").exists():
        return "a SLURM or a munge is set up on this machine: not touched"
    return None


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """A node that takes jobs while the block runs; daemons and links are gone after it."""
    started: list[subprocess.Popen] = []
    links = [_ETC / name for name in ("slurm.conf", "gres.conf")]
    try:
        _write(folder)
        for link in links:
            link.unlink(missing_ok=True)  # of a node that was killed: nobody's, see missing()
            link.symlink_to(folder / link.name)
        _start(started, folder, "munged", "--foreground", "--force")
        _wait(lambda: subprocess.run(["munge", "-n"], capture_output=True).returncode == 0, "munged", folder)
        _start(started, folder, "slurmctld", "-D", "-c")
        _start(started, folder, "slurmd", "-D")
        _wait(lambda: "idle" in ask("sinfo", "-h", "-o", "%t").split(), "the node", folder)
        yield
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], capture_output=True)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for link in links:
            link.unlink(missing_ok=True)


def ask(*command: str) -> str:
    """What a SLURM command prints, empty if it failed."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def _write(folder: Path) -> None:
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(host=host, folder=folder))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")  # a GPU without a file makes the node invalid
    _ETC.mkdir(exist_ok=True)
    runtime = Path("/run/munge")
    runtime.mkdir(exist_ok=True)
    shutil.chown(runtime, "munge", "munge")


def _start(started: list[subprocess.Popen], folder: Path, program: str, *options: str) -> None:
    with open(folder / f"{program}.out", "wb") as output:
        started.append(
            subprocess.Popen(
                [shutil.which(program, path=_path()), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user="munge" if program == "munged" else None,
            )
        )


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _wait(ready, what: str, folder: Path) -> None:
    for _ in range(120):
        if ready():
            return
        time.sleep(0.5)
    logs = {path.name: path.read_text(errors="replace")[-2000:] for path in folder.glob("*.[lo][ou][gt]")}
    raise RuntimeError(f"{what} did not come up: {logs}")
