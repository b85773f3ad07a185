"""The main job, end to end, on the flights data: see scripts/demo --help. Every step checks what it claims."""

import argparse
import datetime
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import registry
from freshet_daemon import Daemon, is_alive, wait_for
from repository import Repository, with_epochs, with_features, with_learning_rate
from run_story import MILESTONES, PARTS, Latency, RunStory, attempts_of, metric, milestones
from timeline import DemoFailed, Timeline, grouped, table

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIGS = ROOT / "configs/flights"
PIPELINE = MODEL = "flights"
INPUT = "days"
DAYS, REPOSITORY = "flights-days", "flights-code"
HELD_OUT = 7
FEATURES = ("{column: date, derive: HOUR_OF_DAY, kind: CATEGORICAL}", "{column: date, derive: DAY_OF_WEEK, kind: CATEGORICAL}")

# Days of each batch, one after the other from the first of January.
FULL = {"first": 52, "more": 14, "poisoned": 7, "last": 7}
QUICK = {"first": 28, "more": 7, "poisoned": 3, "last": 7}
# A machine of which others use more than this is not idle.
BUSY_SHARE_MAX = 0.15


def busy_share(seconds=0.3):
    """The share of all cores that is in use over a short while, in which the demo itself has nothing to do."""
    def read():
        with open("/proc/stat") as file:
            numbers = [int(text) for text in file.readline().split()[1:]]
        return sum(numbers[:8]), numbers[3] + numbers[4]
    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


class Demo:
    def __init__(self, options):
        self.options = options
        self.timeline = Timeline()
        self.batches = QUICK if options.quick else FULL
        if options.dir:
            self.dir = pathlib.Path(options.dir).absolute()
            if self.dir.exists() and any(self.dir.iterdir()):
                raise RuntimeError(f"{self.dir} is not empty; give --dir a directory of its own")
            self.dir.mkdir(parents=True, exist_ok=True)
        else:
            self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-demo."))
        self.landing = self.dir / "landing"
        self.daemon = Daemon(options.binaries, self.dir / "data")
        self.latencies = []
        self.landed = []
        self.views = {}
        self.busy = {}  # by batch: the share of the machine that others used when it landed

    @property
    def api(self):
        return self.daemon.api

    def check(self, holds, claim, otherwise=""):
        self.timeline.check(holds, claim, otherwise)

    def freshet(self, *arguments, shown=None, quiet=False):
        """A command as a person would type it, and its output."""
        self.timeline.command("freshet " + " ".join(shown or arguments))
        output = self.daemon.cli(*arguments).stdout
        if not quiet:
            self.timeline.detail(output)

    # The data: all partitions are cut beforehand, on the same file system, and land by rename.
    def prepare(self):
        self.landing.mkdir()
        self._partitions(0, sum(self.batches.values()), "clean")
        start = self.batches["first"] + self.batches["more"]
        self._partitions(start, self.batches["poisoned"], "poisoned", "--shuffle-labels", "7")
        clean = sorted((self.dir / "clean").iterdir())
        self.staged, at = {}, 0
        for name, count in self.batches.items():
            self.staged[name] = clean[at:at + count]
            at += count
        self.staged["poisoned"] = sorted((self.dir / "poisoned").iterdir())

    def _partitions(self, first, count, folder, *more):
        day = datetime.date(2001, 1, 1) + datetime.timedelta(days=first)
        last = day + datetime.timedelta(days=count - 1)
        subprocess.run([sys.executable, str(ROOT / "scripts/flights_partitions"), "--from", str(day), "--to", str(last),
                        "--out", str(self.dir / folder), *more], check=True, stdout=subprocess.DEVNULL)

    def land(self, batch):
        """Renames the batch's files into the watched directory, in the order of their names; the time of the last one."""
        files = self.staged[batch]
        self.busy[batch] = busy_share()
        renamed_us = 0
        for file in files:
            os.rename(file, self.landing / file.name)
            renamed_us = time.time_ns() // 1000
        self.timeline.event(f"{len(files)} days land by rename: {files[0].name} to {files[-1].name}", renamed_us)
        return renamed_us, [file.name for file in files]

    def next_run(self, known, what):
        """The story of the run that was not there before."""
        def look():
            fresh = [run for run in self.api.runs() if run["id"] not in known]
            return fresh[0]["id"] if fresh else None
        run_id = wait_for(look, what, 60, self._why_nothing_runs)
        return RunStory(self.api, self.timeline, run_id)

    def _why_nothing_runs(self):
        triggers = self.api.all("/api/v1/triggers", "triggers")
        return "triggers: " + "; ".join(
            f"{view['trigger']['metadata']['name']}: {view.get('state', {}).get('last_decision', 'not evaluated')}"
            for view in triggers) + f"\n  {self.daemon.last_log_lines()}"

    def known_runs(self):
        return {run["id"] for run in self.api.runs()}

    def champion(self):
        return self.api.versions(MODEL)[1].get("champion", 0)

    def land_and_run(self, batch):
        """Lands a batch, follows its run to the end and checks what holds for every run that data started."""
        known = self.known_runs()
        renamed_us, names = self.land(batch)
        story = self.next_run(known, "a run of the new data")
        view = story.until_end()
        self.landed += names
        self.check_data_run(batch, view, renamed_us)
        return view

    def check_data_run(self, batch, view, renamed_us):
        run = view["run"]
        self.views[batch] = view
        self.check(run.get("trigger") == "flights-new-data", f"run {run['id'][:12]} was started by the data")
        item = run["inputs"][0]
        dataset = self.api.get(f"/api/v1/datasets/{item['dataset_digest']}")
        uris = [entry["uri"] for entry in dataset["entries"]]
        self.check(sorted(uris) == sorted(self.landed),
                   f"its DatasetVersion {item['dataset_digest'][:12]} holds exactly the {len(uris)} accepted days, "
                   f"{grouped(dataset['rows'])} rows", f"landed: {len(self.landed)}, in it: {len(uris)}")
        self.check(item["holdout"] == sorted(self.landed)[-HELD_OUT:],
                   f"the newest {HELD_OUT} days are held out: {item['holdout'][0]} to {item['holdout'][-1]}")
        attempts = attempts_of(view, "train")
        self.check(len(attempts) == 1 and attempts[0].get("ranks") == 2, "one attempt of a gang of 2 MPI ranks trained it")
        self.check_arrival(milestones(run), renamed_us)
        latency = Latency(f"{run['model_version']} ({batch})", renamed_us, view)
        latency.busy = self.busy[batch]
        self.latencies.append(latency)
        self.check(latency.total > 0, f"{latency.total:.2f} s from the rename to the end of the first optimizer step")

    def check_arrival(self, times, renamed_us):
        difference_ms = (times["arrived"] - renamed_us) / 1000
        self.check(abs(difference_ms) < 100, "the arrival that the run records is the rename "
                   f"({abs(difference_ms):.1f} ms apart)")

    def check_verdict(self, view):
        """Whatever the numbers say decides: the alias follows the verdict."""
        run, version = view["run"], int(view["run"]["model_version"].split("/")[1])
        passed = run["verdict"].get("passed", False)
        is_champion = self.champion() == version
        self.check(passed == is_champion, f"the verdict {'passed, and' if passed else 'did not pass, and'} "
                   f"{run['model_version']} {'is' if is_champion else 'is not'} the champion")
        return passed

    # The steps.
    def apply(self):
        self.timeline.heading("1  An operator applies the pipeline, its sources and its triggers")
        self.repository = Repository(self.dir / "repository", CONFIGS / "repository")
        self.daemon.start()
        self.timeline.event(f"freshetd serves {self.api.url}, pid {self.daemon.process.pid}")
        self.daemon.wait_for_node()
        agent = self.daemon.agent_process()
        self.timeline.event(f"its agent is connected, pid {agent[0] if agent else '?'}, 2 slots")
        variables = [f"DATA_DIR={self.landing}", f"REPOSITORY={self.repository.path}"]
        arguments = ["apply", "-f", str(CONFIGS)]
        for variable in variables:
            arguments += ["--var", variable]
        self.freshet(*arguments, shown=["apply", "-f", "configs/flights", "--var", "DATA_DIR=...", "--var", "REPOSITORY=..."])
        head = self.repository._git("rev-parse", "HEAD")
        wait_for(lambda: self.api.source(REPOSITORY).get("status", {}).get("head_commit") == head,
                 "the repository's head to be seen", 30, self.daemon.last_log_lines)
        wait_for(lambda: "status" in self.api.source(DAYS), "the directory to be seen", 30)
        degraded = [view["source"]["metadata"]["name"] for view in self.api.all("/api/v1/sources", "sources")
                    if view["status"].get("degraded")]
        self.check(not degraded, f"the directory and the repository are watched, its head is {head[:12]}", str(degraded))
        kinds = {key for view in self.api.all("/api/v1/triggers", "triggers") for key in view["trigger"]["spec"]}
        self.check({"new_data", "new_commit", "cron"} <= kinds, "triggers wait for new data, new commits and the clock")

    def first_weeks(self):
        self.timeline.heading("2  The first weeks land: the first version")
        view = self.land_and_run("first")
        self.check(view["run"]["model_version"] == f"{MODEL}/1" and not view["run"].get("warm_start_version"),
                   f"the candidate is {MODEL}/1, started from its seed")
        self.check(self.check_verdict(view), f"it passed the absolute gates and is the champion, "
                   f"AUC {self.auc(view):.4f}")

    def auc(self, view):
        number = int(view["run"]["model_version"].split("/")[1])
        return metric(self.api.get(f"/api/v1/models/{MODEL}/versions/{number}")["metrics"], "auc")

    def more_weeks(self):
        self.timeline.heading("3  More weeks land: candidate against champion, on the same held-out days")
        view = self.land_and_run("more")
        run = view["run"]
        self.check(run.get("warm_start_version") == f"{MODEL}/1", f"it was warm-started from {MODEL}/1")
        kinds = {kind for gate in run["verdict"]["gates"] for kind in ("absolute", "relative", "slices")
                 if kind in gate["gate"]}
        self.check(kinds == {"absolute", "relative", "slices"} and all(gate.get("numbers") for gate in run["verdict"]["gates"]),
                   f"absolute, relative and slice gates judged it against {run['verdict'].get('champion_version')}, "
                   "and their numbers are stored")
        self.check_verdict(view)

    def poisoned_week(self):
        self.timeline.heading("4  A poisoned week lands: labels shuffled")
        before, known = self.champion(), self.known_runs()
        self.land("poisoned")
        count = len(self.staged["poisoned"])

        def quarantined():
            entries = self.api.entries(PIPELINE, INPUT, "QUARANTINED")
            return entries if len(entries) == count else None
        entries = wait_for(quarantined, f"{count} quarantined days", 60, self._entry_states)
        self.timeline.event(f"{count} days are quarantined", max(entry["decided_us"] for entry in entries))
        for entry in entries:
            self.timeline.detail(f"{entry['entry']['uri']}: {entry['reason']}")
        poisoned = [metric(entry["profile"].get("champion_metrics"), "auc") for entry in entries]
        clean = [metric(entry["profile"].get("champion_metrics"), "auc")
                 for entry in self.api.entries(PIPELINE, INPUT, "ACCEPTED")]
        clean = [value for value in clean if value is not None]
        self.check(max(poisoned) < min(clean), f"the champion scores AUC {min(poisoned):.3f} to {max(poisoned):.3f} on them; "
                   f"on the clean days that it scored {min(clean):.3f} to {max(clean):.3f}")
        uris = [entry["entry"]["uri"] for entry in entries]
        self.freshet("data", "discard", PIPELINE, INPUT, "--all", "--reason", "labels shuffled upstream", quiet=True,
                     shown=["data", "discard", PIPELINE, INPUT, "--all", "--reason", "'labels shuffled upstream'"])
        discarded = [entry["entry"]["uri"] for entry in self.api.entries(PIPELINE, INPUT, "DISCARDED")]
        self.check(sorted(discarded) == sorted(uris), f"the {count} days are discarded, with the reason kept")
        self.check(self.known_runs() == known, "no run was started by them")
        self.check(self.champion() == before, f"the champion is still {MODEL}/{before}")

    def _entry_states(self):
        states = {}
        for entry in self.api.entries(PIPELINE, INPUT):
            states[entry["state"]] = states.get(entry["state"], 0) + 1
        return f"entries: {states}; {self.daemon.last_log_lines()}"

    def commit(self, subject, recipe):
        """The story of the run that the commit starts, and the commit."""
        known, before_us = self.known_runs(), time.time_ns() // 1000
        commit = self.repository.commit(subject, recipe)
        self.timeline.event(f"commit {commit[:12]}: {subject}", before_us)
        return self.next_run(known, f"a run of commit {commit[:12]}"), commit

    def check_commit_run(self, view, commit):
        run = view["run"]
        self.check(run["code"].get("commit") == commit and run.get("trigger") == "flights-new-commit",
                   f"run {run['id'][:12]} trained revision {commit[:12]}")
        version = self.api.get(f"/api/v1/models/{MODEL}/versions/{run['model_version'].split('/')[1]}")
        self.check(version["code"].get("commit") == commit, f"{run['model_version']} records that revision")

    def commit_and_run(self, subject, recipe):
        story, commit = self.commit(subject, recipe)
        view = story.until_end()
        self.check_commit_run(view, commit)
        return view

    def bad_commit(self):
        self.timeline.heading("   A commit sets the learning rate 100 times too high")
        before = self.champion()
        recipe, slow, fast = with_learning_rate(self.repository.recipe, 100)
        view = self.commit_and_run(f"Learning rate {slow:g} -> {fast:g}", recipe)
        refusals = [gate for gate in view["run"]["verdict"]["gates"] if not gate.get("passed")]
        self.check(bool(refusals), f"the gates refused it on its numbers: AUC {self.auc(view):.4f}")
        self.check(self.champion() == before, f"the champion is still {MODEL}/{before}")

    def forbidden_commit(self):
        self.timeline.heading("   A commit tries to loosen its own gates")
        known, recipe = self.known_runs(), self.repository.recipe
        commit = self.repository.commit("No gates, please", recipe.rstrip() + "\n  gates: []\n")
        self.timeline.event(f"commit {commit[:12]}: No gates, please")

        def refused():
            for record in self.api.all("/api/v1/audit", "records"):
                if record.get("action") == f"refuse recipe of {PIPELINE}":
                    return record
            return None
        record = wait_for(refused, "the revision to be refused", 30, self.daemon.last_log_lines)
        self.timeline.event(f"the daemon refuses it: {record['reason']}", record["commit_us"])
        self.check("gates" in record["reason"], "the message names what a commit may not set")
        self.check(self.known_runs() == known, "no run was started by it")

    def better_commit(self):
        self.timeline.heading("5  A commit takes that back, and adds the hour and the weekday")
        before, compared = self.auc(self.views["more"]), self.views["more"]["run"]["model_version"]
        good = (CONFIGS / "repository/recipe.yaml").read_text()
        view = self.commit_and_run("Learning rate back; hour and weekday", with_features(good, FEATURES))
        features = [feature.get("derive") for step in view["run"]["recipe"]["steps"] if "train" in step
                    for feature in step["train"]["tabular"]["features"]]
        self.check("HOUR_OF_DAY" in features and "DAY_OF_WEEK" in features, "it trains on the hour and the weekday")
        self.check_verdict(view)
        self.check(self.auc(view) > before + 0.02, f"AUC {self.auc(view):.4f}, where {compared} has {before:.4f} on the same days")

    def kill_and_restart(self):
        self.timeline.heading("6  The daemon is killed in the middle of a training")
        story, commit = self.commit("Six passes over the data", with_epochs(self.repository.recipe, 6))
        view = story.until(lambda view: "first_step" in milestones(view["run"])
                           and len(attempts_of(view, "train")[0].get("processes", [])) > 2, "the first optimizer step")
        before = attempts_of(view, "train")
        processes = {int(process["pid"]): int(process["start_ticks"]) for process in before[0]["processes"]}
        term = int(self.api.get("/api/v1/version")["term"])
        self.daemon.kill()
        self.timeline.event(f"SIGKILL of freshetd {self.daemon.process.pid}")
        self.check_untouched(processes, "mpirun and the ranks go on")
        self.daemon.start()
        self.timeline.event(f"freshetd is back at {self.api.url}, pid {self.daemon.process.pid}")
        self.check_untouched(processes, "the same processes still train")
        story.api = self.api
        view = story.until_end()
        after = attempts_of(view, "train")
        self.check(len(after) == 1 and after[0]["gang_id"] == before[0]["gang_id"] and int(after[0]["epoch"]) == 1
                   and {int(item["pid"]): int(item["start_ticks"]) for item in after[0]["processes"]} == processes,
                   "the run finished with its one attempt and the same processes; nothing was launched twice")
        self.check(int(self.api.get("/api/v1/version")["term"]) == term + 1, f"the daemon is in term {term + 1}")
        self.check_commit_run(view, commit)
        self.check_verdict(view)
        self.timeline.heading("   The daemon that came back goes on watching")
        self.check_verdict(self.land_and_run("last"))

    def check_untouched(self, processes, claim):
        alive = sorted(pid for pid, ticks in processes.items() if is_alive(pid, ticks))
        self.check(len(alive) == len(processes), f"{claim}: {', '.join(map(str, alive))}", f"of {sorted(processes)}")

    def summary(self):
        self.timeline.heading("7  The registry")
        self.freshet("models", MODEL)
        self.freshet("lineage", MODEL)
        versions, _ = self.api.versions(MODEL)
        used = set()
        for version in versions:
            for item in version["inputs"]:
                dataset = self.api.get(f"/api/v1/datasets/{item['dataset_digest']}")
                used |= {(entry["uri"], entry["sha256"]) for entry in dataset["entries"]}
        discarded = {(entry["entry"]["uri"], entry["entry"]["sha256"])
                     for entry in self.api.entries(PIPELINE, INPUT, "DISCARDED")}
        self.check(not used & discarded, "no training set and no holdout of any version contains a poisoned day")
        self.show_latencies()
        text = registry.canonical(self.api, PIPELINE, INPUT, MODEL)
        if self.options.registry:
            pathlib.Path(self.options.registry).write_text(text)
        self.timeline.line()
        self.timeline.line(f"registry digest {registry.digest(text)}")

    def show_latencies(self):
        self.timeline.event("from the rename of a batch's last file to the end of the first optimizer step, seconds")
        rows = [["rename recorded", *(f"{latency.parts['arrived']:.3f}" for latency in self.latencies)]]
        rows += [[PARTS[name], *(f"{latency.parts[name]:.3f}" for latency in self.latencies)] for name in MILESTONES[1:]]
        rows.append(["total", *(f"{latency.total:.3f}" for latency in self.latencies)])
        rows.append(["machine in use by others", *(f"{100 * latency.busy:.0f} %" for latency in self.latencies)])
        self.timeline.detail(table(rows, ["", *(latency.name for latency in self.latencies)]))
        limit = self.options.latency_limit
        if not limit:
            return
        idle = [latency.total for latency in self.latencies if latency.busy < BUSY_SHARE_MAX]
        if idle:
            self.check(max(idle) < limit, f"where the machine was idle, less than the required {limit:g} s",
                       f"the slowest took {max(idle):.2f} s")
        else:
            self.timeline.detail(f"others used the machine all the time, so the required {limit:g} s are not judged")

    def run(self):
        self.timeline.line(f"Freshet's main job on {'fewer days of ' if self.options.quick else ''}flights; "
                           f"everything lies in {self.dir}")
        self.prepare()
        self.timeline.event(f"{sum(self.batches.values()) + self.batches['poisoned']} days are cut from the data set")
        for step in (self.apply, self.first_weeks, self.more_weeks, self.poisoned_week, self.bad_commit,
                     self.forbidden_commit, self.better_commit, self.kill_and_restart, self.summary):
            step()
        self.timeline.line(f"{self.timeline.claims} claims checked in {self.timeline.seconds():.0f} s")

    def show_kept(self):
        agent = self.daemon.agent_process()
        pids = " ".join(str(pid) for pid in [self.daemon.process.pid, *([agent[0]] if agent else [])])
        url = self.api.url
        self.timeline.heading("The daemon goes on")
        self.timeline.line(f"API         {url}/api/v1/runs, /api/v1/models/{MODEL}/versions ... (docs/API.md)")
        self.timeline.line(f"metrics     {url}/metrics")
        self.timeline.line(f"token       {self.daemon.token_path}")
        self.timeline.line(f"command     FRESHET_DATA_DIR={self.daemon.data_dir} {self.options.binaries}/freshet runs")
        self.timeline.line(f"land more   mv FILE.parquet {self.landing}/")
        self.timeline.line(f"stop it     kill {pids}")
        self.timeline.line(f"remove it   rm -r {self.dir}")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--binaries", required=True, type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--dir")
    parser.add_argument("--registry", metavar="FILE")
    parser.add_argument("--latency-limit", type=float, metavar="SECONDS")
    return parser.parse_args()


def main():
    options = parse_arguments()
    # Both end the demo through the same clean-up as an error does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    demo, is_done = None, False
    try:
        demo = Demo(options)
        demo.run()
        is_done = True
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
    except DemoFailed as failure:
        print(f"\ndemo: this does not hold: {failure}", file=sys.stderr)
    except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
    except Exception:  # a mistake in the demo itself: say where
        traceback.print_exc()
    finally:
        if demo is not None:
            kept = options.keep and is_done
            if kept:
                demo.show_kept()
            else:
                if not is_done and demo.daemon.process is not None:
                    print(f"demo: {demo.daemon.last_log_lines(20)}", file=sys.stderr)
                demo.daemon.stop()
                if not options.keep and not options.dir:
                    shutil.rmtree(demo.dir, ignore_errors=True)
    return 0 if is_done else 1


if __name__ == "__main__":
    sys.exit(main())
