"""A daemon with its agent that are kept up: whichever died is started again, and a client that asks again until it is
answered. What the kinds use that let a process die at any place."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from freshet_daemon import Daemon, Gone, end_process, is_alive, start_ticks, wait_for

PATIENCE_SECONDS = 60
AGENT_SECONDS = 0.7  # a started agent has written its process by then; a second one would find the first one's lock
SLOTS = 8


class Site:
    """Everything lies in a directory of its own. `environment` is for the daemon and all that comes of it."""

    def __init__(self, binaries, environment):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-site."))
        self.landing = self.dir / "landing"
        self.landing.mkdir()
        self.environment = dict(os.environ) | environment
        self.daemon = Daemon(binaries, self.dir / "data", slots=SLOTS, environment=self.environment,
                             options=["--heartbeat-ms", "200", "--log-level", "warning"])
        self.daemon_starts = 0
        self.agent_starts = 0
        self._agents = []  # that were started here, to be waited for
        self._agent_due = 0.0

    # ---- keeping it up
    def start_daemon(self):
        """As often as it takes: a start may die, too."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.daemon_starts += 1
            self._agent_due = time.monotonic() + AGENT_SECONDS
            try:
                self.daemon.start()
                return
            except RuntimeError:
                if self.daemon.process.returncode != -signal.SIGKILL or time.monotonic() > deadline:
                    raise

    def start_agent(self):
        """As the daemon's provider does at the daemon's start."""
        daemon = self.daemon
        command = [str(daemon.binaries / "freshet-agent"), "run", "--daemon-file", str(daemon.data_dir / "address"),
                   "--token-file", str(daemon.token_path), "--dir", str(daemon.data_dir / "agent"),
                   "--name", os.uname().nodename, "--slots", str(SLOTS),
                   "--worker", str(daemon.binaries / "freshet-worker"), "--mpirun", shutil.which("mpirun")]
        self.agent_starts += 1
        self._agent_due = time.monotonic() + AGENT_SECONDS
        with open(daemon.data_dir / "agent/agent.log", "ab") as log:
            self._agents.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                 env=self.environment, start_new_session=True))

    def agent_is_alive(self):
        process = self.daemon.agent_process()
        return process is not None and is_alive(*process)

    def keep_up(self):
        for agent in self._agents:
            agent.poll()
        if self.daemon.process.poll() is not None:
            self.start_daemon()
        if time.monotonic() > self._agent_due and not self.agent_is_alive():
            self.start_agent()

    # ---- the careful client
    def ask(self, call, *arguments, **named):
        """call(api, ...), again while nobody answers; for what may be asked twice."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return call(self.daemon.api, *arguments, **named)
            except Gone:
                if time.monotonic() > deadline:
                    raise
                self.keep_up()

    def get(self, path, **query):
        return self.ask(lambda api: api.get(path, **query))

    def post(self, path, message, key=None):
        return self.ask(lambda api: api.post(path, message, key))

    def wait(self, condition, what):
        """The first true value of condition(api)."""
        def look():
            self.keep_up()
            return self.ask(condition)
        return wait_for(look, what, PATIENCE_SECONDS, lambda: self.last_words())

    def last_words(self):
        words = [self.daemon.last_log_lines(12)]
        log = self.daemon.data_dir / "agent/agent.log"
        if log.exists():
            words.append("the agent's:\n  " + "\n  ".join(log.read_text(errors="replace").splitlines()[-12:]))
        return "\n".join(words)

    # ---- the end
    def stop(self):
        """Daemon and agent by SIGTERM; gangs go on, if there are any."""
        self.daemon.stop_daemon()
        process = self.daemon.agent_process()
        if process:
            end_process(*process)
        for agent in self._agents:
            agent.wait(10)
        self._agents.clear()

    def remove(self):
        self.daemon.stop()
        for agent in self._agents:
            end_process(agent.pid, start_ticks(agent.pid))
            agent.wait(10)
        shutil.rmtree(self.dir)
