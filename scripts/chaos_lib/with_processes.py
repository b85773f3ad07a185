"""What /proc says of the processes of a gang, and what is left of one that is over."""

import os
import pathlib

CGROUP_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids")


class Process:
    def __init__(self, pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text()
        self.pid = pid
        self.name = fields[fields.index("(") + 1:fields.rindex(")")]
        fields = fields.rpartition(")")[2].split()
        self.state, self.parent, self.session, self.ticks = fields[0], int(fields[1]), int(fields[3]), int(fields[19])

    @property
    def identity(self):
        return self.pid, self.ticks

    def __repr__(self):
        return f"{self.name} {self.pid} ({self.state}, started {self.ticks})"


def processes():
    """All of the machine, by pid, zombies too."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = Process(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def has_marker(pid, gang):
    try:
        return f"FRESHET_GANG={gang}".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def of_gang(gang):
    """Everything that carries the gang's marker."""
    return [process for process in processes().values() if has_marker(process.pid, gang)]


def skeleton(supervisor):
    """{role: identity} of the supervisor (pid, ticks), its mpirun and the ranks, as far as they live."""
    alive = {pid: process for pid, process in processes().items() if process.state not in "ZX"}
    roles = {}
    if supervisor and supervisor[0] in alive and alive[supervisor[0]].identity == supervisor:
        roles["supervisor"] = supervisor
    for process in alive.values():
        if "supervisor" in roles and process.parent == supervisor[0] and process.name == "mpirun":
            roles["mpirun"] = process.identity
    if "mpirun" in roles:
        ranks = sorted(process.identity for process in alive.values() if process.parent == roles["mpirun"][0])
        roles |= {f"rank {number}": identity for number, identity in enumerate(ranks)}
    return roles


def left_of_gang(gang, agent_dir, seen, parents):
    """What a gang that is over has left, in words. `seen`: identities that were ever its; `parents`: pids whose zombies are
    nobody's else."""
    left, sessions = [], {pid for pid, _ in seen}
    for process in processes().values():
        if has_marker(process.pid, gang) or process.identity in seen or process.session in sessions:
            left.append(f"process {process}")
        elif process.state == "Z" and process.parent in parents:
            left.append(f"zombie {process}")
    paths = [pathlib.Path(mount, "freshet", gang) for mount in CGROUP_MOUNTS]
    paths += [agent_dir / "gangs" / gang, agent_dir / "gangs" / f".gone-{gang}", pathlib.Path("/dev/shm", f"freshet-{gang}")]
    paths += [path for pid, _ in seen for path in pathlib.Path("/tmp").glob(f"ompi.*/pid.{pid}")]
    return left + [str(path) for path in paths if path.exists()]
