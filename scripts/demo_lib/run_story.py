"""Follows one run through the API and tells it: placed, launched, first step, trained, judged."""

from freshet_daemon import wait_for
MILESTONES = ("arrived", "observed", "accepted", "triggered", "placed", "launched", "decoded", "first_step")
# What lies between two milestones, by the later one.
PARTS = {
    "observed": "seen and digested",
    "accepted": "validated, scored by the champion",
    "triggered": "rest of the debounce",
    "placed": "queued, planned, placed",
    "launched": "gang started",
    "decoded": "mpirun, data decoded",
    "first_step": "first optimizer step",
}
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


def milestones(run):
    return {item["name"]: int(item["time_us"]) for item in run.get("timeline", [])}


def attempts_of(view, step):
    return [attempt for attempt in view.get("attempts", []) if attempt["work"].get("step") == step]


def metric(metrics, name):
    for item in metrics or []:
        if item["name"] == name:
            return item.get("value", 0.0)
    return None


class RunStory:
    """Prints what is new of a run each time it looks."""

    def __init__(self, api, timeline, run_id):
        self.api = api
        self.timeline = timeline
        self.run_id = run_id
        self.told = set()

    def until(self, condition, what, seconds=240):
        """Looks and tells until condition(view) holds; a run that ended otherwise fails at once."""
        def look():
            view = self.api.run(self.run_id)
            self.tell(view)
            if condition(view):
                return view
            if view["run"]["state"] in FINAL:
                raise RuntimeError(f"run {self.run_id[:12]} ended as {view['run']['state']} before {what}: "
                                   f"{view['run'].get('message', 'no message')}")
            return None
        return wait_for(look, f"{what} of run {self.run_id[:12]}", seconds)

    def until_first_step(self):
        return self.until(lambda view: "first_step" in milestones(view["run"]), "the first optimizer step")

    def until_end(self):
        view = self.until(lambda view: view["run"]["state"] in FINAL, "the end")
        if view["run"]["state"] != "SUCCEEDED":
            raise RuntimeError(f"run {self.run_id[:12]} {view['run']['state']}: {view['run'].get('message')}")
        return view

    def _once(self, key):
        if key in self.told:
            return False
        self.told.add(key)
        return True

    def tell(self, view):
        run, line = view["run"], self.timeline.event
        times = milestones(run)
        if self._once("triggered"):
            line(f"run {run['id'][:12]}: {run.get('cause')}", times.get("triggered", run["created_us"]))
            if run.get("warm_start_version"):
                self.timeline.detail(f"starts from {run['warm_start_version']}")
        for attempt in view.get("attempts", []):
            step, epoch = attempt["work"].get("step"), attempt.get("epoch")
            ranks = attempt.get("ranks", 1)
            # The launcher is first, with rank 0; the ranks follow as they report.
            if step == "train" and len(attempt.get("processes", [])) > ranks and self._once((step, epoch)):
                pids = [process["pid"] for process in attempt["processes"]]
                line(f"attempt {epoch} trains with {ranks} MPI ranks on {attempt['node']}: mpirun {pids[0]}, "
                     f"ranks {', '.join(pids[1:])}", attempt.get("started_us"))
        if "first_step" in times and self._once("first_step"):
            line("first optimizer step done", times["first_step"])
        for step in run.get("steps", []):
            if step["state"] == "SUCCEEDED" and step["name"] == "train" and self._once("trained"):
                seconds = (times["trained"] - times["first_step"]) / 1e6
                loss = metric(view.get("latest"), "loss")
                line(f"trained: {view.get('total_steps', '?')} steps, the last {seconds:.1f} s after the first, loss "
                     f"{loss:.4f}", step.get("finished_us"))
            if step["state"] == "SUCCEEDED" and step["name"] == "evaluate" and self._once("evaluated"):
                line("evaluated on the newest days", step.get("finished_us"))
        if run["state"] == "SUCCEEDED" and run.get("verdict") and self._once("verdict"):
            for gate in run["verdict"].get("gates", []):
                passed = "passed" if gate.get("passed") else "REFUSED"
                self.timeline.detail(f"gate {gate['gate']['name']}: {passed}: {gate.get('explanation')}")
            line(run.get("message", ""), run.get("finished_us"))


class Latency:
    """From the rename of a batch's last file to the end of the first optimizer step, with its parts."""

    def __init__(self, name, renamed_us, view):
        run = view["run"]
        self.name = name
        self.times = milestones(run)
        self.total = (self.times["first_step"] - renamed_us) / 1e6
        self.parts = {"arrived": (self.times["arrived"] - renamed_us) / 1e6}
        for before, after in zip(MILESTONES, MILESTONES[1:]):
            self.parts[after] = (self.times[after] - self.times[before]) / 1e6
