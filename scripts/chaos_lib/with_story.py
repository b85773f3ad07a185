"""A story that passes every flow of the daemon, its agent, supervisors and ranks, told by a client who asks again when
nobody answers, and what must be the same at its end whatever died on the way."""

import contextlib
import hashlib
import json
import os
import signal

import with_table
from freshet_daemon import ApiError, is_alive
from repository import Repository

NO_ANSWER = 5  # the CLI's exit code
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")

# The price follows from the area; `broken` learns from a column that no file has, `weak` learns next to nothing.
RECIPE = """
api_version: freshet/v1
kind: Recipe
spec:
  steps:
    - name: fit
      train:
        tabular:
          features: [{column: area, kind: NUMERIC}, {column: rooms, kind: NUMERIC}]
          label: {column: price, task: REGRESSION}
          hidden_layers: [8]
        optimizer: {learning_rate: 0.05}
        batch: {micro_batch_rows: 25, micro_batches: 4}
        epochs: 10
        checkpoint_every_steps: 10
    - {name: score, needs: [fit], evaluate: {}}
    - {name: publish, needs: [score], promote: {}}
"""
BROKEN = RECIPE.replace("column: price", "column: cost")
WEAK = RECIPE.replace("0.05", "0.0000001")

DOCUMENTS = """
api_version: freshet/v1
kind: Source
metadata: {name: sales}
spec: {directory: {uri: "file://${DIR}/landing"}}
---
api_version: freshet/v1
kind: Source
metadata: {name: code}
spec: {git: {uri: "file://${DIR}/repository", branch: main, poll_interval_ms: 200}}
---
api_version: freshet/v1
kind: Pipeline
metadata: {name: prices}
spec:
  model: prices
  seed: 11
  inputs:
    - {name: sales, source: sales, holdout_newest_entries: 1}
  recipe_from: {source: code, path: recipe.yaml}
  resources:
    - {step: fit, ranks: 2, max_attempts: 1}
  gates:
    - {name: fits, absolute: {metric: r2, min: 0.3}}
---
api_version: freshet/v1
kind: Pipeline
metadata: {name: chores}
spec:
  model: chores
  inputs:
    - {name: sales, source: sales, holdout_newest_entries: 1}
  recipe:
    steps:
      - name: wait
        command:
          argv:
            - sh
            - -c
            - >-
              echo "$FRESHET_RUN_ID $FRESHET_EPOCH $OMPI_COMM_WORLD_RANK" >> ${DIR}/launches;
              while [ ! -e ${DIR}/go ]; do sleep 0.02; done;
              mkdir -p $FRESHET_OUTPUT_DIR/note; echo done > $FRESHET_OUTPUT_DIR/note/$OMPI_COMM_WORLD_RANK.txt; echo ready
          outputs: [{name: note, type: files}]
      - name: fit
        needs: [wait]
        train:
          tabular:
            features: [{column: area, kind: NUMERIC}]
            label: {column: price, task: REGRESSION}
            hidden_layers: [2]
          batch: {micro_batch_rows: 100, micro_batches: 1}
          epochs: 1
  resources:
    - {step: wait, ranks: 2}
---
api_version: freshet/v1
kind: Trigger
metadata: {name: new-sales}
spec:
  pipeline: prices
  new_data: {input: sales, min_entries: 2, debounce_ms: 50}
---
api_version: freshet/v1
kind: Trigger
metadata: {name: new-recipe}
spec:
  pipeline: prices
  new_commit: {source: code, paths: [recipe.yaml]}
---
api_version: freshet/v1
kind: Webhook
metadata: {name: nobody}
spec: {url: "http://127.0.0.1:1/", events: [alias.moved], max_attempts: 1}
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Commits(Repository):
    def head(self):
        return self._git("rev-parse", "HEAD")

    @contextlib.contextmanager
    def at_once(self):
        """The branch moves when the block ends, over all its commits in one step."""
        self._git("checkout", "--quiet", "--detach")
        yield
        self._git("update-ref", "refs/heads/main", "HEAD")
        self._git("checkout", "--quiet", "main")


class Story:
    """`crashed` says whether somebody has died by now: one step looks at the world less closely then."""

    def __init__(self, site, crashed):
        self.site = site
        self.crashed = crashed
        self.runs = {}  # ids by what the story calls them
        self.recorded_attempts = []

    def tell(self):
        self.site.start_daemon()
        self.apply()
        self.first_champion()
        self.refused_candidate()
        self.second_champion()
        self.rollback_and_promote()
        self.pause_and_resume()
        self.tell_nobody()
        self.node_that_cannot_fetch()
        self.restarts_under_a_live_gang()
        self.lost_supervisor()
        self.stop_before_the_start()
        self.follow()
        self.replay()
        self.collect_garbage()
        facts = self.facts()
        self.recorded_attempts = self.attempts()
        self.end()
        return facts

    # ---- steps
    def apply(self):
        template = self.site.dir / "template"
        template.mkdir()
        (template / "recipe.yaml").write_text(RECIPE)
        self.repository = Commits(self.site.dir / "repository", template)
        self.first_commit = self.repository.head()
        (self.site.dir / "launches").touch()
        path = self.site.dir / "documents.yaml"
        path.write_text(DOCUMENTS)

        def apply(api):
            done = self.site.daemon.cli("apply", "-f", str(path), "--var", f"DIR={self.site.dir}", check=False)
            if done.returncode not in (0, NO_ANSWER):
                raise AssertionError(done.stderr)
            return done.returncode == 0
        self.site.wait(apply, "the documents to be applied")

    def land(self, name, seed):
        staged = self.site.dir / f"staged-{name}"
        with_table.write_csv(staged, seed)
        os.rename(staged, self.site.landing / name)

    def first_champion(self):
        self.land("week-0.csv", 0)
        self.land("week-1.csv", 1)
        self.wait_for_runs(1)
        self.wait_for_champion(1)

    def refused_candidate(self):
        with self.repository.at_once():
            self.broken_commit = self.repository.commit("A label that no file has", BROKEN)
            self.repository.commit("A step too small", WEAK)
        self.wait_for_runs(2)

    def second_champion(self):
        """And at the same time a run that fails."""
        broken = self.submit("broken", "prices", self.broken_commit)
        again = self.submit("again", "prices", self.first_commit)
        if self.submit("again", "prices", self.first_commit) != again:
            raise AssertionError("the same idempotency key made another run")
        self.wait_for_end(broken)
        self.wait_for_end(again)
        self.wait_for_champion(3)

    def rollback_and_promote(self):
        self.move_to(1, "rollback", {"reason": "the old one was better"})
        self.move_to(3, "promote", {"version": 3, "expected_current_version": 1, "reason": "it was not"})

    def pause_and_resume(self):
        self.site.post("/api/v1/triggers/new-sales/pause", {})
        self.site.post("/api/v1/triggers/new-sales/resume", {})

    def tell_nobody(self):
        """Nobody has allowed the webhook's address: what it should be told becomes a dead letter, also the second time."""
        self.site.post("/api/v1/webhooks/nobody/test", {})

        def attempts(api):
            return sum(letter["attempts"] for letter in api.all("/api/v1/dead_letters", "dead_letters"))
        self.site.wait(attempts, "a dead letter")
        before = self.site.ask(attempts)
        self.site.post("/api/v1/dead_letters/redeliver", {"all": True})
        self.site.wait(lambda api: attempts(api) > before, "another attempt")

    def node_that_cannot_fetch(self):
        """The champion's bytes are away for a while, so nothing that needs them can be launched."""
        version = self.site.get("/api/v1/models/prices/versions/3")
        digest = version["artifact_digest"]
        sealed = self.site.daemon.data_dir / "artifacts/sealed" / digest
        away = self.site.dir / "away"
        cached = self.site.daemon.data_dir / "agent/artifacts" / digest
        if cached.exists():
            os.rename(cached, self.site.dir / "away-too")
        os.rename(sealed, away)
        self.land("week-2.csv", 2)

        def entry(api):
            found = [item for item in api.entries("prices", "sales") if item["entry"]["uri"] == "week-2.csv"]
            return found[0]["state"] if found else None
        self.site.wait(lambda api: entry(api) == "QUARANTINED", "an inspection to be given up")
        os.rename(away, sealed)

        def discard(api):
            if entry(api) == "QUARANTINED":
                api.post("/api/v1/data/prices/sales/decide",
                         {"uris": ["week-2.csv"], "decision": "DISCARD", "reason": "nobody could look at it"})
            return entry(api) == "DISCARDED"
        self.site.wait(discard, "the file to be discarded")

    def restarts_under_a_live_gang(self):
        run = self.submit("chore", "chores")
        before = self.wait_for_ranks(run)
        self.site.daemon.kill()
        self.site.start_daemon()
        process = self.site.daemon.agent_process()
        if process:
            os.kill(process[0], signal.SIGTERM)
            self.site.wait(lambda api: not is_alive(*process), "the agent to end")
            self.site.start_agent()
        after = self.wait_for_ranks(run)
        if before != after and not self.crashed():
            raise AssertionError(f"the gang's processes were {before} and are {after}")
        (self.site.dir / "go").touch()
        self.wait_for_end(run)
        (self.site.dir / "go").unlink()

    def lost_supervisor(self):
        run = self.submit("lost", "chores")
        self.wait_for_ranks(run)
        attempt = self.newest_attempt(run)
        process = self.site.daemon.recorded_process(
            self.site.daemon.data_dir / f"agent/gangs/{attempt['gang_id']}/supervisor.pid.json")
        if process and is_alive(*process):
            os.kill(process[0], signal.SIGKILL)
        self.site.wait(lambda api: int(self.newest_attempt(run)["epoch"]) > int(attempt["epoch"]), "another attempt")
        self.wait_for_ranks(run)
        self.cancel(run)

    def stop_before_the_start(self):
        """The agent does not answer, so the attempt stays placed until it is withdrawn."""
        process = self.site.daemon.agent_process()
        if process and is_alive(*process):
            os.kill(process[0], signal.SIGSTOP)
        try:
            run = self.submit("withdrawn", "chores")
            # A daemon that died meanwhile does not place on a node that has not connected again.
            self.site.wait(lambda api: self.newest_attempt(run) or self.crashed(), "the run to be placed")
            self.site.post(f"/api/v1/runs/{run}/cancel", {"reason": "too late"})
            self.site.wait(lambda api: self.crashed() or self.newest_attempt(run)["state"] == "STOPPED", "the withdrawal")
        finally:
            if process and is_alive(*process):
                os.kill(process[0], signal.SIGCONT)
        self.wait_for_no_gang()

    def follow(self):
        run = self.runs["again"]
        self.site.ask(lambda api: api.raw("GET", f"/api/v1/runs/{run}/events"))

    def replay(self):
        self.runs["replay"] = self.site.post("/api/v1/models/prices/versions/3/replay", {}, key="replay")["id"]
        self.wait_for_end(self.runs["replay"])

    def collect_garbage(self):
        """Of all that was made long ago: what no version needs goes, and so does an artifact whose upload never ended."""
        self.site.daemon.stop_daemon()
        artifacts = self.site.daemon.data_dir / "artifacts"
        content = b"nobody knows of this"
        manifest = json.dumps({"files": [{"name": "note.txt", "sha256": sha256(content), "size": str(len(content))}],
                               "type": "files"}, separators=(",", ":")).encode()
        for data in (content, manifest):
            blob = artifacts / "blobs" / sha256(data)[:2] / sha256(data)
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(data)
        unknown = artifacts / "sealed" / sha256(manifest)
        unknown.touch()
        self.site.daemon.options += ["--gc-grace-s", "1"]
        self.site.start_daemon()

        def collected(api):
            api.post("/api/v1/gc", {"reason": "the end of the story"})
            left = api.get("/api/v1/gc", all="true").get("items", [])
            return not unknown.exists() and not any(item.get("goes") or "grace period" in item["reason"] for item in left)
        self.site.wait(collected, "the garbage to be collected")

    def end(self):
        """A last start after which nothing may be left but what is wanted, and a last stop."""
        self.site.stop()
        self.site.start_daemon()
        self.site.wait(lambda api: self.site.agent_is_alive(), "the agent")
        self.wait_for_no_gang()
        self.site.stop()

    # ---- what the steps share
    def submit(self, key, pipeline, commit=""):
        request = {"pipeline": pipeline, "idempotency_key": key, "commit": commit}
        self.runs[key] = self.site.post("/api/v1/runs", request)["id"]
        return self.runs[key]

    def cancel(self, run):
        self.site.post(f"/api/v1/runs/{run}/cancel", {"reason": "no longer wanted"})
        self.wait_for_no_gang()

    def move_to(self, version, verb, request):
        """Neither may be done twice: what was not answered is looked up."""
        def move(api):
            if api.versions("prices")[1]["champion"] != version:
                api.post(f"/api/v1/models/prices/{verb}", request)
            return api.versions("prices")[1]["champion"] == version
        self.site.wait(move, f"{verb} to version {version}")

    def newest_attempt(self, run):
        attempts = self.site.get(f"/api/v1/runs/{run}").get("attempts", [])
        return attempts[-1] if attempts else None

    def wait_for_ranks(self, run):
        """The processes of a gang that the daemon and its agent both know to run."""
        def ranks(api):
            attempt = self.newest_attempt(run)
            if not attempt or attempt["state"] != "RUNNING" or attempt.get("finished_us"):
                return None
            connected = [view for view in api.get("/api/v1/nodes")["nodes"] if view["node"].get("liveness") == "ALIVE"]
            alive = [process for process in attempt["processes"] if is_alive(int(process["pid"]), int(process["start_ticks"]))]
            launches = (self.site.dir / "launches").read_text().splitlines()
            told = [line for line in launches if line.startswith(f"{run} {attempt['epoch']} ")]
            return [process["pid"] for process in alive] if connected and alive and len(told) == 2 else None
        return self.site.wait(ranks, f"the ranks of run {run}")

    def wait_for_end(self, run):
        return self.site.wait(lambda api: api.run(run)["run"]["state"] in FINAL, f"the end of run {run}")

    def wait_for_runs(self, count):
        def ended(api):
            runs = api.runs()
            return len(runs) == count and all(run["state"] in FINAL for run in runs)
        self.site.wait(ended, f"{count} ended runs")

    def wait_for_champion(self, version):
        self.site.wait(lambda api: api.versions("prices")[1].get("champion") == version, f"champion {version}")

    def wait_for_no_gang(self):
        gangs = self.site.daemon.data_dir / "agent/gangs"

        def none(api):
            nodes = api.get("/api/v1/nodes").get("nodes", [])
            return nodes and not any(view.get("gangs") for view in nodes) and not list(gangs.glob("*"))
        self.site.wait(none, "the gangs to be gone")

    # ---- what must be the same
    def facts(self):
        return self.site.ask(self._facts)

    def _facts(self, api):
        runs = api.runs()[::-1]
        place = {run["id"]: f"run {number}" for number, run in enumerate(runs)}

        def nameless(text):
            for run_id, name in place.items():
                text = text.replace(run_id, name)
            return text
        versions, aliases = api.versions("prices")
        moves = api.get("/api/v1/models/prices/moves")["moves"][::-1]
        return {
            "runs": [{"pipeline": run["pipeline"], "cause": run["cause"], "key": run.get("idempotency_key"),
                      "state": run["state"], "commit": run["code"].get("commit"), "version": run.get("model_version"),
                      "inputs": run.get("inputs"), "steps": [self._step(step) for step in run["steps"]]} for run in runs],
            "versions": [{"version": version["version"], "run": place[version["run_id"]],
                          "weights": version["weights_digest"], "artifact": version["artifact_digest"],
                          "verdict": [gate.get("passed", False) for gate in version["verdict"]["gates"]],
                          "metrics": version["metrics"], "champion": version["verdict"].get("champion_version")}
                         for version in versions],
            "aliases": aliases,
            "moves": [(move["alias"]["version"], move["alias"].get("previous_version"), move["alias"]["actor"],
                       nameless(move["alias"]["reason"])) for move in moves],
            "entries": sorted((entry["entry"]["uri"], entry["entry"]["sha256"], entry["state"])
                              for entry in api.entries("prices", "sales")),
            "triggers": [(view["trigger"]["metadata"]["name"], view["trigger"]["spec"].get("paused"),
                          view["state"].get("entries_consumed"), view["state"].get("last_commit"),
                          place.get(view["state"].get("last_run_id")))
                         for view in api.all("/api/v1/triggers", "triggers")],
            "artifacts": sorted(path.name for path in (self.site.daemon.data_dir / "artifacts/sealed").iterdir()),
            "curves": {place[run["id"]]: self._curve(api, run) for run in runs if run["pipeline"] == "prices"},
        }

    @staticmethod
    def _step(step):
        return step["name"], step["state"], sorted((output["name"], output["digest"]) for output in step.get("outputs", []))

    @staticmethod
    def _curve(api, run):
        """The losses at both ends, to the bit; which points lie between depends on the time they took."""
        losses = {(int(sample.get("step", 0)), sample["value"])
                  for sample in api.all(f"/api/v1/runs/{run['id']}/metrics", "samples") if sample["name"] == "loss"}
        return sorted(losses)[:1] + sorted(losses)[-1:]

    def attempts(self):
        """Of all runs and steps: [(key, epoch, state, gang)]. But for the run that was cancelled before it started: a daemon
        that died may not have placed it."""
        found = []
        for run in self.site.ask(lambda api: api.runs()):
            if run.get("idempotency_key") == "withdrawn":
                continue
            for attempt in self.site.get(f"/api/v1/runs/{run['id']}").get("attempts", []):
                found.append(((run["id"], attempt["work"]["step"]), int(attempt["epoch"]), attempt["state"], attempt["gang_id"]))
        return found
