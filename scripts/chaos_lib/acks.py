"""Submits in flight over several connections, and the daemon killed among them: what it has acknowledged must be there."""

import pathlib
import shutil
import tempfile
import threading
import time

import with_table
from freshet_daemon import Api, Daemon, Gone

SUMMARY = "kills the daemon while runs are submitted: none acknowledged is lost, none is made twice"

PATIENCE_SECONDS = 60


def add_arguments(parser):
    parser.add_argument("--submits", type=int, default=100, help="for each kill (default 100)")
    parser.add_argument("--connections", type=int, default=4, help="that submit at the same time (default 4)")
    parser.add_argument("--kills-per-directory", type=int, default=20,
                        help="then a data directory of its own begins (default 20)")
    parser.add_argument("--late", type=float, default=0.15,
                        help="share of kills drawn from the 5 s after the last submit; all others fall among the submits, "
                             "right after a drawn acknowledgement (default 0.15)")


class Directory:
    """A data directory with its daemon, and every key that was ever submitted to it with the id that was acknowledged."""

    def __init__(self, template, options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-acks."))
        template.copy_to(self.dir / "data")
        self.daemon = Daemon(options.binaries, self.dir / "data", options=["--no-local-agent", "--log-level", "warning"])
        self.ids = {}  # by key
        self.kills = 0

    def remove(self):
        self.daemon.stop_daemon()
        shutil.rmtree(self.dir)


class Burst:
    """Submits of `keys` over some connections. A client whose connection breaks submits the same key again, to whichever
    daemon then serves the directory, until it is acknowledged."""

    def __init__(self, daemon, keys, connections):
        self._daemon = daemon
        self._changed = threading.Condition()
        self._restarts = 0
        self.acknowledged = {}  # id by key
        self.unanswered = []    # keys that had to be submitted again
        self.errors = []
        self._threads = [threading.Thread(target=self._submit_all, args=(keys[first::connections],))
                         for first in range(connections)]
        for thread in self._threads:
            thread.start()

    def _submit_all(self, keys):
        api = Api(self._daemon.api.url, self._daemon.api.token)
        try:
            for key in keys:
                while not self._submit(api, key):
                    pass
        except Exception as error:  # an exception in a thread reaches nobody: wait() raises it
            with self._changed:
                self.errors.append(error)
                self._changed.notify_all()
        finally:
            api.close()

    def _submit(self, api, key):
        restarts = self._restarts
        try:
            run = api.post("/api/v1/runs", {"pipeline": "prices", "idempotency_key": key})
        except Gone:
            with self._changed:
                self.unanswered.append(key)
                if not self._changed.wait_for(lambda: self._restarts > restarts, PATIENCE_SECONDS):
                    raise TimeoutError(f"no answer to {key} from a daemon that runs") from None
            return False
        with self._changed:
            self.acknowledged[key] = run["id"]
            self._changed.notify_all()
        return True

    def wait_for_acknowledged(self, count):
        with self._changed:
            self._changed.wait_for(lambda: len(self.acknowledged) >= count or self.errors, PATIENCE_SECONDS)

    def seen(self):
        with self._changed:
            return dict(self.acknowledged)

    def daemon_is_back(self):
        with self._changed:
            self._restarts += 1
            self._changed.notify_all()

    def wait(self):
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


_template = None
_directory = None


def run(case, options):
    global _template, _directory
    if _template is None:
        _template = with_table.QueueTemplate(options.binaries, "freshet-acks.")
    try:
        if _directory is None:
            _directory = Directory(_template, options)
            _directory.daemon.start()
        _kill_once(case, options, _directory)
    except BaseException:
        _leave_directory()  # what a broken directory would say of the next time means nothing
        raise
    if _directory.kills == options.kills_per_directory:
        _leave_directory()


def _leave_directory():
    global _directory
    if _directory is not None:
        _directory.remove()
        _directory = None


def finish(_totals, _options):
    _leave_directory()
    if _template is not None:
        _template.remove()


def _kill_once(case, options, directory):
    daemon = directory.daemon
    directory.kills += 1
    keys = [f"{case.seed}-{directory.kills}-{number}" for number in range(options.submits)]
    is_late = case.random.random() < options.late
    burst = Burst(daemon, keys, options.connections)
    burst.wait_for_acknowledged(options.submits if is_late else case.random.randrange(options.submits))
    delay = case.random.uniform(0, 5) if is_late else case.random.uniform(0, 0.003)
    time.sleep(delay)
    before = burst.seen()
    daemon.kill()
    started = time.monotonic()
    daemon.start()
    restart = time.monotonic() - started
    burst.daemon_is_back()
    burst.wait()
    _check(daemon.api, directory, burst, keys, case.random)
    case.add("kills")
    case.add("submits", len(keys))
    case.add("acknowledged before the kill", len(before))
    case.add("submitted again after the kill", len(burst.unanswered))
    case.add("kills with submits in flight", 1 if burst.unanswered else 0)
    case.add("kills after the last submit", 1 if is_late else 0)
    case.worst("slowest restart, s", restart)
    case.say(f"killed with {len(before)} of {len(keys)} acknowledged and {len(burst.unanswered)} in flight"
             f"{f', {delay:.2f} s after the last' if is_late else ''}; ready again after {restart:.2f} s; "
             f"{len(directory.ids)} runs are there, each once")


def _check(api, directory, burst, keys, random):
    for key, run_id in burst.acknowledged.items():
        if run_id in directory.ids.values():
            raise AssertionError(f"id {run_id}, given to {key}, had been given before")
    directory.ids |= burst.acknowledged
    runs = api.runs(page_size=1000)
    there = {run["idempotency_key"]: run["id"] for run in runs}
    if len(runs) != len(there):
        raise AssertionError(f"{len(runs) - len(there)} of {len(runs)} runs are there twice")
    if there != directory.ids:
        lost = sorted(key for key, run_id in directory.ids.items() if there.get(key) != run_id)
        raise AssertionError(f"{len(lost)} acknowledged runs are lost or have another id, such as {lost[:5]}; "
                             f"{len(there.keys() - directory.ids.keys())} runs were never submitted")
    for key in random.sample(keys, min(5, len(keys))) + burst.unanswered:
        again = api.post("/api/v1/runs", {"pipeline": "prices", "idempotency_key": key})["id"]
        if again != directory.ids[key]:
            raise AssertionError(f"{key} is run {directory.ids[key]}, and submitted again it is {again}")
    for key in random.sample(sorted(directory.ids), min(5, len(directory.ids))):
        run = api.run(directory.ids[key])["run"]
        if run["idempotency_key"] != key or run["state"] != "QUEUED":
            raise AssertionError(f"run {run['id']} of {key} says it is {run['idempotency_key']}, {run['state']}")
