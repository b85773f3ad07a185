"""A gang with live ranks under mpirun, and the daemon, its agent or both killed: the same processes go on, how they end is
known in the end, and nothing of them is left, whatever they did."""

import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import with_processes
import with_table
from freshet_daemon import Daemon, end_process, is_alive, wait_for

SUMMARY = "kills daemon and agent while ranks run under mpirun: the same processes go on, and nothing is left of them"

JOB_KINDS = ("training", "setsid-helpers", "double-fork", "ignored-sigterm", "fork-storm", "stopped-rank", "killed-mpirun")
VICTIMS = (("daemon",), ("agent",), ("daemon", "agent"), ("agent", "daemon"))
SCRIPT = pathlib.Path(__file__).with_name("adopt_job.sh")
PROMISED_SECONDS = 2.0
TRAINING_EPOCHS = 8000  # some seconds, so that it outlives the pause before the kill


def add_arguments(parser):
    parser.add_argument("--no-cgroup", action="store_true", help="gangs are held by their session, as without cgroups")
    parser.add_argument("--job", choices=JOB_KINDS, help="only this kind of job (default: each in turn)")


class Node:
    """A daemon and its agent, which the harness starts itself when it is to run without cgroups."""

    def __init__(self, options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-adopt."))
        self._own_agent = options.no_cgroup
        self.daemon = Daemon(options.binaries, self.dir / "data", slots=2,
                             options=["--no-local-agent"] if self._own_agent else [])
        self.adoptions = []
        self._killed_us = 0

    @property
    def agent_dir(self):
        return self.daemon.data_dir / "agent"

    def start(self):
        self.start_daemon()
        if self._own_agent:
            self._start_agent()
        self.daemon.wait_for_node()
        with_table.fill(self.daemon, with_table.documents())

    def start_daemon(self):
        self.daemon.start()

    def _start_agent(self):
        self.agent_dir.mkdir(exist_ok=True)
        with open(self.agent_dir / "agent.log", "ab") as log:
            agent = subprocess.Popen(
                [self.daemon.binaries / "freshet-agent", "run", "--daemon-file", self.daemon.data_dir / "address",
                 "--token-file", self.daemon.token_path, "--dir", self.agent_dir, "--name", "node", "--slots", "2",
                 "--worker", self.daemon.binaries / "freshet-worker", "--mpirun", shutil.which("mpirun"), "--no-cgroup"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._agents = [process for process in getattr(self, "_agents", []) if process.poll() is None] + [agent]

    def kill(self, victims):
        for victim in victims:
            self._killed_us = time.time() * 1e6
            if victim == "daemon":
                self.daemon.kill()
            else:
                pid, ticks = self.daemon.agent_process()
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid, ticks=ticks: not is_alive(pid, ticks), "the agent to be dead")

    def restart(self, victims):
        """What was killed runs again; returns the seconds until the node was connected and so its gangs adopted. A daemon
        that lives starts its agent again by itself, maybe before this is called: then they count from the kill."""
        begin_us = time.time() * 1e6 if "daemon" in victims or self._own_agent else self._killed_us
        if "daemon" in victims:
            self.start_daemon()
        if "agent" in victims and self._own_agent:
            self._start_agent()

        def connected():
            nodes = [view["node"] for view in self.daemon.api.get("/api/v1/nodes").get("nodes", [])]
            return [node for node in nodes if node["liveness"] == "ALIVE" and int(node["changed_us"]) > self._killed_us]
        node = wait_for(connected, "the agent to be back", 30, self.daemon.last_log_lines)[0]
        self.adoptions.append((int(node["changed_us"]) - begin_us) / 1e6)
        return self.adoptions[-1]

    def apply(self, text):
        path = self.dir / "job.yaml"
        path.write_text(text)
        self.daemon.cli("apply", "-f", str(path), "--var", f"DIR={self.daemon.data_dir}.landing")

    def remove(self):
        self.daemon.stop()
        agent = self.daemon.agent_process()
        if agent:
            end_process(*agent)
        shutil.rmtree(self.dir)


class Job:
    """One run with one gang of two ranks. The job's side of it is adopt_job.sh, or a training."""

    def __init__(self, node, kind, code):
        self.node = node
        self.kind = kind
        self.code = code
        self.seen = set()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="job.", dir=node.dir))
        documents = with_table.documents(ranks=2, slots=2, epochs=TRAINING_EPOCHS)
        if kind != "training":
            for rank in range(2):
                os.mkfifo(self.dir / f"go.{rank}")
            head, _, rest = documents.partition("    steps:\n")
            step = f"      - {{name: fit, command: {{argv: [{SCRIPT}, {kind}, {self.dir}, '{code}']}}}}\n"
            documents = head + "    steps:\n" + step + rest[rest.index("  resources:"):rest.index("  gates:")]
        documents = documents.replace("slots: 2}", "slots: 2, max_attempts: 1}")
        node.apply(documents)
        self.run_id = node.daemon.api.post("/api/v1/runs", {"pipeline": "prices"})["id"]

    def attempts(self):
        return [attempt for attempt in self.node.daemon.api.run(self.run_id).get("attempts", [])
                if attempt["work"]["step"] == "fit"]

    def what_is(self):
        state = [f"{attempt['state']} {attempt.get('exit', '')}" for attempt in self.attempts()]
        return f"the attempts are {state}; {self.node.daemon.last_log_lines(12)}"

    def wait_until_up(self):
        attempt = wait_for(lambda: next(iter(self.attempts()), None), "the job to be placed", 30, self.what_is)
        self.gang = attempt["gang_id"]
        if self.kind == "training":
            wait_for(lambda: len(self.attempts()[0].get("processes", [])) == 3, "the ranks to report", 30, self.what_is)
        else:
            wait_for(lambda: all((self.dir / f"up.{rank}").exists() for rank in range(2)), "the ranks to be up", 30,
                     self.what_is)

    def skeleton(self):
        supervisor = self.node.daemon.recorded_process(self.node.agent_dir / "gangs" / self.gang / "supervisor.pid.json")
        roles = with_processes.skeleton(supervisor)
        self.seen |= set(roles.values()) | {process.identity for process in with_processes.of_gang(self.gang)}
        return roles

    def can_end_alone(self):
        return self.kind not in ("ignored-sigterm", "stopped-rank")

    def end(self, roles):
        """Makes the job end, in the way of its kind; a training ends by itself."""
        if self.kind == "killed-mpirun":
            os.kill(roles["mpirun"][0], signal.SIGKILL)
        elif self.kind in ("ignored-sigterm", "stopped-rank"):
            self.node.daemon.api.post(f"/api/v1/runs/{self.run_id}/cancel", {"reason": "enough"})
        elif self.kind != "training":
            for rank in range(2):
                (self.dir / f"go.{rank}").write_text("go\n")

    def check_end(self):
        """The record says how the gang ended."""
        def ended():
            attempts = self.attempts()
            return attempts if attempts[0].get("exit") else None
        attempts = wait_for(ended, f"the end of {self.kind}", 60, self.node.daemon.last_log_lines)
        expected = {"cause": "EXITED"}
        if self.kind == "killed-mpirun":
            expected = {"cause": "SIGNALLED", "signal": 9}
        elif not self.can_end_alone():
            expected = {"cause": "STOPPED"}
        elif self.kind != "training" and self.code:
            expected["code"] = self.code
        end = {name: value for name, value in attempts[0]["exit"].items() if name in ("cause", "code", "signal")}
        if not self.can_end_alone():
            end = {"cause": end["cause"]}
        # A signal from nobody knows where is no fault of the job, so there the next attempt may have begun.
        if (len(attempts) != 1 and self.kind != "killed-mpirun") or end != expected:
            raise AssertionError(f"expected one attempt that ended as {expected}; there are {attempts}")
        if self.kind == "killed-mpirun":
            self.node.daemon.api.post(f"/api/v1/runs/{self.run_id}/cancel", {"reason": "enough"})
        return attempts[0]

    def check_nothing_left(self):
        agent_dir = self.node.agent_dir
        wait_for(lambda: not list((agent_dir / "gangs").iterdir()) or self.kind == "training",
                 "the directories of gangs to go", 30)
        parents = {self.node.daemon.process.pid, self.node.daemon.agent_process()[0]}

        def left():
            return with_processes.left_of_gang(self.gang, agent_dir, self.seen, parents)
        # The supervisor's zombie is the init process's to reap, which may take it a moment.
        wait_for(lambda: not left(), f"nothing to be left of gang {self.gang}", 10, lambda: f"left: {left()}")


_node = None


def run(case, options):
    global _node
    try:
        if _node is None:
            _node = Node(options)
            _node.start()
        _once(case, options, _node)
    except BaseException:
        _leave_node()
        raise


def finish(totals, _options):
    if _node is not None and _node.adoptions:
        totals["adopted after, median s"] = statistics.median(_node.adoptions)
    _leave_node()


def _leave_node():
    global _node
    if _node is not None:
        _node.remove()
        _node = None


def _once(case, options, node):
    # Every seed of seven in a row has another job, so that a short run has them all.
    kind = options.job or JOB_KINDS[case.seed % len(JOB_KINDS)]
    victims = case.random.choice(VICTIMS)
    unwatched = set(victims) == {"daemon", "agent"} and case.random.random() < 0.6
    job = Job(node, kind, case.random.choice((0, case.random.randint(2, 99))))
    job.wait_until_up()
    time.sleep(case.random.uniform(0, 0.3))
    before = job.skeleton()
    if set(before) != {"supervisor", "mpirun", "rank 0", "rank 1"}:
        raise AssertionError(f"the gang that should run has only {before}")
    node.kill(victims)
    if unwatched and job.can_end_alone():
        job.end(before)
        wait_for(lambda: not is_alive(*before["supervisor"]), "the gang to end while nobody looks", 60)
        seconds = node.restart(victims)
    else:
        unwatched = False
        time.sleep(case.random.uniform(0, 0.3))
        seconds = node.restart(victims)
        after = job.skeleton()
        # A training may be over by now, or its ranks and not yet mpirun; then its record tells.
        if after != before and (kind != "training" or not after.items() <= before.items()):
            raise AssertionError(f"{kind}: before the kill there were {before}, after it {after}")
        job.end(before)
    attempt = job.check_end()
    job.check_nothing_left()
    case.add(f"adopted later than {PROMISED_SECONDS:g} s", 1 if seconds > PROMISED_SECONDS else 0)
    case.add(f"job {kind}")
    case.add(f"killed {' and '.join(sorted(victims))}")
    case.add(f"held by {attempt['containment']}")
    case.add("ended while nobody looked", 1 if unwatched else 0)
    case.worst("adopted after, worst s", seconds)
    case.say(f"{kind}, held by {attempt['containment']}: {' and '.join(victims)} killed; adopted after {seconds:.2f} s"
             f"{'; ended unwatched' if unwatched else ', the same four processes'}; {attempt['exit']['cause']} "
             f"{attempt['exit'].get('code', attempt['exit'].get('signal', ''))}; nothing left")
