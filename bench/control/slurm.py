"""A Slurm controller of one's own: slurmctld and munged in a temporary directory, on loopback, ended by process id. There is
no slurmd: jobs are accepted and wait, as runs do in a daemon without agents."""

import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys

from freshet_daemon import wait_for

PACKAGES = ["slurmctld", "slurm-client", "munge", "libslurm-dev"]
PROGRAMS = ["slurmctld", "sbatch", "squeue", "scontrol", "munged"]

# As Slurm's own guide for high throughput has it: scheduling is deferred, so that submits are not held up by it.
CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={dir}/munge/socket
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmctldPidFile={dir}/slurmctld.pid
SlurmctldLogFile={dir}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=defer,batch_sched_delay=20,sched_min_interval=2000000
MaxJobCount=200000
SlurmctldDebug=error
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_installed():
    return all(shutil.which(program) for program in PROGRAMS) and pathlib.Path("/usr/include/slurm/slurm.h").exists()


def install():
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], check=True, stdout=sys.stderr,
                   env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Slurm:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        for name in ("munge", "state"):
            (self.dir / name).mkdir(parents=True, mode=0o700)
        key = self.dir / "munge/key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self.config = self.dir / "slurm.conf"
        self.config.write_text(CONFIG.format(dir=self.dir, host=socket.gethostname().split(".")[0], port=free_port(),
                                             user="root" if os.getuid() == 0 else os.environ["USER"]))
        self.environment = os.environ | {"SLURM_CONF": str(self.config)}
        self.load = self.dir / "slurm_load"
        subprocess.run(["cc", "-O2", "-o", str(self.load), str(pathlib.Path(__file__).with_name("slurm_load.c")), "-lslurm"],
                       check=True)
        self._log = open(self.dir / "out.log", "ab")
        munge = self.dir / "munge"
        self.munged = subprocess.Popen(
            ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
             f"--log-file={munge}/log", f"--seed-file={munge}/seed"], stdout=self._log, stderr=self._log)
        wait_for((munge / "socket").exists, "munged", 20)
        self.controller = None

    def run(self, *command, check=True):
        return subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=check, timeout=120)

    def start(self, seconds=60.0):
        """Returns when it answers."""
        self.controller = subprocess.Popen(["slurmctld", "-D"], env=self.environment, stdin=subprocess.DEVNULL,
                                           stdout=self._log, stderr=self._log)

        def answers():
            if self.controller.poll() is not None:
                raise RuntimeError(f"slurmctld ended with {self.controller.returncode}; see {self.dir}/slurmctld.log")
            return self.run("scontrol", "ping", check=False).stdout.find("is UP") >= 0

        wait_for(answers, "slurmctld to answer", seconds)

    def stop(self, signal_number=signal.SIGTERM):
        if self.controller is not None and self.controller.poll() is None:
            self.controller.send_signal(signal_number)
            self.controller.wait(60)

    def remove(self):
        self.stop()
        self.munged.terminate()
        self.munged.wait(10)
        self._log.close()
        shutil.rmtree(self.dir)

    SBATCH = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=true"]

    def submit(self):
        return self.run(*self.SBATCH).stdout.strip()

    def job_ids(self):
        return set(self.run("squeue", "--noheader", "--format=%i").stdout.split())
