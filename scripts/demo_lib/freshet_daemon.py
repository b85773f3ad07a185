"""Starts and stops a freshetd of one's own and speaks its API; the demo and the integration tests share it.

Nothing here waits by sleeping for a guessed time: wait_for() looks until a condition holds, and fails with what it last saw
when its deadline has passed. Only processes that this daemon or its agent started are ever ended, each by its id and start
time.
"""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.parse
import uuid

POLL_SECONDS = 0.02


class ApiError(Exception):
    """An answer that is not 200; `status` is HTTP's, `code` and `message` are Freshet's."""

    def __init__(self, status, code, message):
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Gone(Exception):
    """The daemon does not answer (any more)."""


def wait_for(condition, what, seconds=30.0, last_words=None):
    """The first true value of condition(); TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            more = f"; {last_words()}" if last_words else ""
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}{more}")
        time.sleep(POLL_SECONDS)


def start_ticks(pid):
    """When the process started, in ticks since boot; None when there is none or only its zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid, ticks):
    return start_ticks(pid) == ticks


def end_process(pid, ticks, seconds=10.0):
    """Asks the process to end, and kills it when it does not; nothing when the id now belongs to another."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, ticks):
            return
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return
        try:
            wait_for(lambda: not is_alive(pid, ticks), f"process {pid} to end", seconds)
            return
        except TimeoutError:
            pass


class Api:
    """JSON over one kept-alive connection. int64 values arrive as strings, as proto JSON has them."""

    def __init__(self, url, token):
        self.url = url
        self.token = token
        self._connection = None

    def raw(self, method, path, body=None, headers=None, token=True):
        """(status, headers, bytes); one more try on a fresh connection when a kept one had been closed."""
        headers = dict(headers or {})
        if token and self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if method == "POST":
            headers.setdefault("Idempotency-Key", uuid.uuid4().hex)  # so that the second try acts once
        for is_last in (self._connection is None, True):
            if self._connection is None:
                address = urllib.parse.urlparse(self.url)
                self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if is_last:
                    raise Gone(f"{method} {path}: {error}") from error
        raise AssertionError("not reached")

    def call(self, method, path, message=None, key=None, **query):
        query = {name: value for name, value in query.items() if value not in (None, "")}
        if query:
            path += "?" + urllib.parse.urlencode(query)
        body = None if message is None else json.dumps(message)
        key = key or (message or {}).get("idempotency_key")
        status, _, text = self.raw(method, path, body, {"Idempotency-Key": key} if key else None)
        answer = json.loads(text) if text else {}
        if status != 200:
            raise ApiError(status, answer.get("code", ""), answer.get("message", text.decode(errors="replace")))
        return answer

    def get(self, path, **query):
        return self.call("GET", path, **query)

    def post(self, path, message, key=None, **query):
        """`key` for a call that another process may have to repeat; the message may have it, too."""
        return self.call("POST", path, message, key, **query)

    def all(self, path, field, **query):
        """Every item of a listing, page by page."""
        items, token = [], ""
        while True:
            page = self.get(path, page_token=token, **query)
            items += page.get(field, [])
            token = page.get("next_page_token", "")
            if not token:
                return items

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # What the demo and the tests ask again and again.
    def runs(self, **query):
        """Newest first."""
        return self.all("/api/v1/runs", "runs", **query)

    def run(self, run_id):
        return self.get(f"/api/v1/runs/{run_id}")

    def entries(self, pipeline, input_name, state=""):
        return self.all(f"/api/v1/data/{pipeline}/{input_name}", "entries", state=state)

    def source(self, name):
        for view in self.all("/api/v1/sources", "sources"):
            if view["source"]["metadata"]["name"] == name:
                return view
        raise KeyError(name)

    def trigger(self, name):
        for view in self.all("/api/v1/triggers", "triggers"):
            if view["trigger"]["metadata"]["name"] == name:
                return view
        raise KeyError(name)

    def versions(self, model):
        """Versions oldest first, and {alias: version}. Empty before the first candidate."""
        try:
            versions = self.all(f"/api/v1/models/{model}/versions", "versions")
            page = self.get(f"/api/v1/models/{model}/versions", page_size=1)
        except ApiError as error:
            if error.status == 404:
                return [], {}
            raise
        aliases = {alias["alias"]: int(alias["version"]) for alias in page.get("aliases", [])}
        return sorted(versions, key=lambda version: int(version["version"])), aliases


class Daemon:
    """One freshetd with a data directory of its own. start() may be called again after kill() or stop()."""

    def __init__(self, binaries, data_dir, slots=2, options=(), environment=None):
        self.binaries = pathlib.Path(binaries)
        self.data_dir = pathlib.Path(data_dir)
        self.listen = "127.0.0.1:0"
        self.slots = slots
        self.options = list(options)
        self.environment = dict(os.environ if environment is None else environment)
        self.log_path = self.data_dir.parent / f"{self.data_dir.name}.log"
        self.process = None
        self.api = None

    @property
    def token_path(self):
        return self.data_dir / "admin.token"

    def command(self):
        return [str(self.binaries / "freshetd"), "--data-dir", str(self.data_dir), "--listen", self.listen,
                "--local-slots", str(self.slots), *self.options]

    def start(self, seconds=20.0):
        """Returns when it is ready. A second start takes the port of the first, where its agent looks for it."""
        address = self.data_dir / "address"
        address.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"freshetd ended with {self.process.returncode}: {self.last_log_lines()}")
            if not address.exists():
                return None
            api = Api(address.read_text().strip(), self.token_path.read_text().strip())
            try:
                status, _, _ = api.raw("GET", "/readyz", token=False)
            except Gone:
                return None
            return api if status == 200 else None

        self.api = wait_for(ready, "freshetd to be ready", seconds, self.last_log_lines)
        self.listen = urllib.parse.urlparse(self.api.url).netloc
        return self

    def wait_for_node(self, seconds=20.0):
        """Returns when its local agent has connected."""
        return wait_for(lambda: [view for view in self.api.get("/api/v1/nodes").get("nodes", [])
                                 if view["node"].get("liveness") == "ALIVE"],
                        "the local agent to connect", seconds, self.last_log_lines)

    def last_log_lines(self, count=6):
        if not self.log_path.exists():
            return "there is no log"
        lines = self.log_path.read_text(errors="replace").strip().splitlines()[-count:]
        return "its last log lines:\n  " + "\n  ".join(lines)

    def kill(self):
        """SIGKILL, as if the machine had run out of memory: nothing of the daemon gets to say goodbye."""
        self.process.kill()
        self.process.wait()
        self.api.close()

    def stop_daemon(self):
        """The daemon alone; agent and gangs go on."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def recorded_process(self, path):
        """(pid, start ticks) of a pid file that the agent wrote; None when there is none."""
        try:
            record = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return int(record["pid"]), int(record["start_ticks"])

    def agent_process(self):
        return self.recorded_process(self.data_dir / "agent/agent.pid.json")

    def stop(self):
        """Everything: runs, daemon, agent, and what supervisors are left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self._cancel_runs()
        self.stop_daemon()
        processes = [self.agent_process()]
        processes += [self.recorded_process(path)
                      for path in sorted((self.data_dir / "agent/gangs").glob("*/supervisor.pid.json"))]
        for process in processes:
            if process:
                end_process(*process)
        if self.api:
            self.api.close()

    def _cancel_runs(self):
        try:
            for state in ("QUEUED", "RUNNING"):
                for run in self.api.runs(state=state):
                    self.api.post(f"/api/v1/runs/{run['id']}/cancel", {"reason": "the daemon is being stopped"})
            wait_for(lambda: not any(view.get("gangs") for view in self.api.get("/api/v1/nodes").get("nodes", [])),
                     "the gangs to end", 15)
        except (ApiError, Gone, TimeoutError, KeyError):
            pass  # what is left is ended by its process id

    def cli(self, *arguments, check=True):
        """Runs `freshet` against this daemon."""
        environment = self.environment | {"FRESHET_DATA_DIR": str(self.data_dir), "FRESHET_SERVER": ""}
        done = subprocess.run([str(self.binaries / "freshet"), *arguments], env=environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        if check and done.returncode != 0:
            raise RuntimeError(f"`freshet {' '.join(arguments)}` exited with {done.returncode}: "
                               f"{(done.stderr or done.stdout).strip()}")
        return done
