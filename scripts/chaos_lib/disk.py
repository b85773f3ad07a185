"""A data directory on a small file system of its own that fills up while runs are submitted, cancelled and read: with the
daemon killed and started on the full disk now and then. The file system is a tmpfs in a mount namespace of this process
alone, so nothing of it is left behind however this ends."""

import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import with_table
from freshet_daemon import Api, ApiError, Daemon, Gone, wait_for

SUMMARY = "fills the daemon's disk: nothing acknowledged is lost, reads go on, and it recovers by itself"

DISK_MB = 384  # room for the ballast of 64, which is made where it takes at most a quarter
RESERVE_MB = 64
RECOVERY_SECONDS = 10
SUBMITS_BEFORE = 80
REASON_BYTES = 200_000  # stored three times; the log has room for 17 MiB that the file system counts as taken
SKIPPED = 77
CLONE_NEWNS = 0x00020000
MS_REC_PRIVATE = 0x4000 | 0x40000


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _own_mounts():
    """From here on what this process and its children mount is seen by nobody else."""
    try:
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None)
    except OSError as error:
        print(f"skipped: a file system of its own can't be mounted here ({error}); run it as root")
        sys.exit(SKIPPED)


class SmallDisk:
    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="freshet-disk."))
        _call("mount", b"freshet-chaos", str(self.path).encode(), b"tmpfs", ctypes.c_ulong(0),
              f"size={DISK_MB}m".encode())

    def free(self):
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def fill(self, leave):
        """Until `leave` bytes are free; 0: to the last byte."""
        with open(self.path / "filler", "ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while self.free() >= leave + size:
                        filler.write(b"f" * size)
                except OSError:
                    pass  # somebody else took what was left

    def make_room(self):
        (self.path / "filler").unlink(missing_ok=True)

    def remove(self):
        _call("umount2", str(self.path).encode(), 2)
        self.path.rmdir()


class Clients:
    """Two submit, one cancels on the full disk with long reasons (which the reserve must take), one reads; until stop().
    What was acknowledged is in `ids` (by key) and `cancelled`."""

    def __init__(self, daemon):
        self._daemon = daemon
        self._stop = threading.Event()
        self._up = threading.Event()
        self._up.set()
        self.lock = threading.Lock()
        self.ids, self.cancelled = {}, set()
        self.submits_refused = self.cancels_refused = self.reads = self.read_again = 0
        self.newest_submit = 0.0
        self.slowest_read = 0.0
        self.errors = []
        works = [lambda api, state: self._submit(api, state, "a"), lambda api, state: self._submit(api, state, "b"),
                 self._cancel, self._read]
        self._threads = [threading.Thread(target=self._go_on, args=(work,)) for work in works]
        for thread in self._threads:
            thread.start()

    def daemon_is_down(self):
        self._up.clear()

    def daemon_is_back(self):
        self._up.set()

    def stop(self):
        self._stop.set()
        self._up.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _go_on(self, work):
        api, state = Api(self._daemon.api.url, self._daemon.api.token), {}
        try:
            while not self._stop.is_set():
                self._up.wait()
                try:
                    work(api, state)
                except Gone:
                    time.sleep(0.02)  # the daemon is being killed, or about to answer again
        except Exception as error:  # an exception in a thread reaches nobody: stop() raises it
            self.errors.append(error)
        finally:
            api.close()

    def _submit(self, api, state, name):
        key = f"{name}-{state.get('next', 0)}"
        try:
            run = api.post("/api/v1/runs", {"pipeline": "prices", "idempotency_key": key})
        except ApiError as error:
            self._expect_full(error)
            self.submits_refused += 1
            time.sleep(0.02)
            return
        with self.lock:
            self.ids[key] = run["id"]
            self.newest_submit = time.monotonic()
        state["next"] = state.get("next", 0) + 1

    def _cancel(self, api, _state):
        with self.lock:
            waiting = [run for run in self.ids.values() if run not in self.cancelled]
        if not self.submits_refused or not waiting:
            time.sleep(0.01)  # what is cancelled on the full disk fills the log to its end
            return
        try:
            api.post(f"/api/v1/runs/{waiting[0]}/cancel", {"reason": "x" * REASON_BYTES})
        except ApiError as error:
            if error.status != 409:  # it was cancelled before, and the answer was lost with the daemon
                self._expect_full(error)
                self.cancels_refused += 1
                time.sleep(0.02)
                return
        with self.lock:
            self.cancelled.add(waiting[0])

    def _read(self, api, _state):
        started = time.monotonic()
        try:
            api.get("/api/v1/runs", page_size=2)
        except ApiError as error:
            if error.status != 503:
                raise
            self.read_again += 1  # the store was reopened under this reader, who is told so
            api.get("/api/v1/runs", page_size=2)
        self.reads += 1
        self.slowest_read = max(self.slowest_read, time.monotonic() - started)
        time.sleep(0.01)

    def _expect_full(self, error):
        if error.status not in (507, 503):
            raise error


_template = None


def run(case, options):
    global _template
    if _template is None:
        _own_mounts()
        _template = with_table.QueueTemplate(options.binaries, "freshet-disk.")
    disk = SmallDisk()
    daemon = Daemon(options.binaries, disk.path / "data",
                    options=["--no-local-agent", "--log-level", "warning", "--disk-reserve-mb", str(RESERVE_MB)])
    logs = tempfile.TemporaryDirectory(prefix="freshet-disk.")
    daemon.log_path = pathlib.Path(logs.name) / "log"
    try:
        _template.copy_to(disk.path / "data")
        daemon.start()
        _fill_once(case, disk, daemon)
    except BaseException:
        print(daemon.last_log_lines(20), file=sys.stderr)
        raise
    finally:
        daemon.stop_daemon()
        disk.remove()
        logs.cleanup()


def finish(_totals, _options):
    if _template is not None:
        _template.remove()


def _start_on_full_disk(daemon):
    """As Daemon.start(), but /readyz says 507."""
    (daemon.data_dir / "address").unlink(missing_ok=True)
    daemon.process = _popen(daemon)

    def answers():
        if daemon.process.poll() is not None:
            raise RuntimeError(f"freshetd ended with {daemon.process.returncode}: {daemon.last_log_lines()}")
        if not (daemon.data_dir / "address").exists():
            return None
        try:
            return daemon.api.raw("GET", "/healthz", token=False)[0] == 200
        except Gone:
            return None

    wait_for(answers, "freshetd to answer on the full disk", 20, daemon.last_log_lines)


def _popen(daemon):
    with open(daemon.log_path, "ab") as log:
        return subprocess.Popen(daemon.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=daemon.environment, start_new_session=True)


def _fill_once(case, disk, daemon):
    to_the_last_byte = case.random.random() < 0.7
    kill = case.random.random() < 0.5
    clients = Clients(daemon)
    try:
        wait_for(lambda: len(clients.ids) >= SUBMITS_BEFORE or clients.errors, "runs to be submitted", 30)
        time.sleep(case.random.uniform(0, 0.5))
        disk.fill(0 if to_the_last_byte else case.random.randrange(8, RESERVE_MB - 8) << 20)
        wait_for(lambda: clients.submits_refused or clients.errors, "a submit to be refused", 20)
        if to_the_last_byte:
            wait_for(lambda: clients.cancels_refused or clients.errors, "the store to be full", 20)
        _expect_says_full(daemon.api)
        time.sleep(case.random.uniform(0, 0.5))
        if kill:
            clients.daemon_is_down()
            daemon.process.kill()
            daemon.process.wait()
            _start_on_full_disk(daemon)
            clients.daemon_is_back()
            case.add("kills and starts on a full disk")
            time.sleep(case.random.uniform(0, 0.5))
        reads = clients.reads
        wait_for(lambda: clients.reads > reads + 5 or clients.errors, "reads on the full disk", 10)
        disk.make_room()
        room = time.monotonic()
        wait_for(lambda: clients.newest_submit > room or clients.errors, "submits to be taken again", 30,
                 daemon.last_log_lines)
        recovery = clients.newest_submit - room
    finally:
        clients.stop()
    if recovery > RECOVERY_SECONDS:
        raise AssertionError(f"it took {recovery:.1f} s to take work again")
    _check(daemon, clients)
    daemon.kill()
    daemon.start()
    _check(daemon, clients)
    _backup(daemon, disk.path / "backup")
    case.add("submits acknowledged", len(clients.ids))
    case.add("cancels acknowledged", len(clients.cancelled))
    case.add("submits refused with 507", clients.submits_refused)
    case.add("cancels refused with 507", clients.cancels_refused)
    case.add("reads answered", clients.reads)
    case.add("reads told to read again", clients.read_again)
    case.add("disks full to the last byte", 1 if to_the_last_byte else 0)
    case.worst("slowest recovery, s", recovery)
    case.worst("slowest read, s", clients.slowest_read)
    case.say(f"{'full' if to_the_last_byte else 'almost full'}{', killed and started so' if kill else ''}: "
             f"{len(clients.ids)} submits and {len(clients.cancelled)} cancels acknowledged, none lost; took work again "
             f"after {recovery:.2f} s")


def _backup(daemon, directory):
    """Which reads every record and verifies the audit log."""
    daemon.api.post("/api/v1/backup", {"directory": str(directory)})

    def ended():
        status = daemon.api.get("/api/v1/backup")
        return status if status["state"] != "RUNNING" else None

    status = wait_for(ended, "a backup", 30, daemon.last_log_lines)
    if status["state"] != "DONE":
        raise AssertionError(f"no backup could be made: {status['message']}")


def _expect_says_full(api):
    status, _, body = api.raw("GET", "/readyz", token=False)
    if status != 507 or b"disk" not in body:
        raise AssertionError(f"/readyz says {status} {body} on a full disk")
    metrics = api.raw("GET", "/metrics", token=False)[2]
    if b"\nfreshet_disk_full 1\n" not in metrics:
        raise AssertionError("freshet_disk_full is not 1 on a full disk")


def _check(daemon, clients):
    there = {run["idempotency_key"]: run for run in daemon.api.runs(page_size=1000)}
    for key, run_id in clients.ids.items():
        if key not in there or there[key]["id"] != run_id:
            raise AssertionError(f"the acknowledged run {run_id} of {key} is lost")
        if run_id in clients.cancelled and there[key]["state"] != "CANCELLED":
            raise AssertionError(f"run {run_id} was cancelled with an acknowledgement and is {there[key]['state']}")
