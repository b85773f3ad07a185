"""What the sections of bench/gpu/run share: where results go, the programs they start, and --safe: where our fastest kernels fail, or
did in the tests, all goes on without them, and the table says so."""

import json
import os
import pathlib
import subprocess
import sys
import types

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from trainee import Trainee  # noqa: E402

FAILURES = (RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError)


class Section:
    def __init__(self, settings):
        self.options = types.SimpleNamespace(**settings["options"])
        self.work, self.raw = pathlib.Path(settings["work"]), settings["raw"]
        self.limit, self.has_torch = settings["limit"], self.options.python != "none"
        self.rounds = 1 if self.options.rehearse else 5
        self.threads = 1 if self.options.rehearse else len(os.sched_getaffinity(0))

    def write(self, **line):
        with open(self.raw, "a") as raw:
            raw.write(json.dumps(line) + "\n")

    def row(self, goal, value, **more):
        self.write(goal=goal, value=value, **more)
        print(f"  {goal}: {value} {more}", flush=True)

    def program(self, name):
        path = pathlib.Path(self.options.binaries) / name
        if not path.exists():
            raise RuntimeError(f"{path.name} is not in {path.parent}: run bench/gpu/pack")
        return path

    def run(self, command, seconds_max=90):
        """What a program prints that is over when it returns."""
        command = [str(part) for part in command]
        name = pathlib.Path(command[1] if command[0] == self.options.python else command[0]).name
        done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                              timeout=600 if self.options.rehearse else seconds_max)
        print(done.stderr[-4000:], end="", flush=True)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [""])[-1][:200]
            raise RuntimeError(f"{name} ended with status {done.returncode}: {said}")
        return done.stdout

    def ours(self, command, seconds_max=60):
        """Of a program that hangs, only what it was to answer is lost."""
        self.program(pathlib.Path(command[0]).name)
        name = "Freshet --safe" if "--safe" in command else "Freshet"
        return Trainee(name, command, self.threads, 600 if self.options.rehearse else seconds_max)

    def torch(self, name, command):
        return Trainee(name, command, self.threads)

    def safely(self, action):
        """action(flags), which are ["--safe"] where our fastest kernels have failed; without them first where they have not."""
        if self.is_safe():
            return action(["--safe"])
        try:
            return action([])
        except FAILURES as error:
            found, reason = action(["--safe"]), error
        self.make_safe(str(reason))
        return found

    def is_safe(self):
        return (self.work / "safe").exists()

    def make_safe(self, reason):
        (self.work / "safe").touch()
        self.write(safe=reason)

    def warmed(self, way):
        path = self.work / "warm"
        return path.exists() and way in path.read_text().splitlines()

    def save_ceilings(self, ceilings):
        (self.work / "ceilings").write_text(json.dumps(ceilings))

    def ceilings(self):
        """The "copy" in GB/s and "product" in TFLOP/s of this run; None where they were not measured."""
        path = self.work / "ceilings"
        return dict(dict(copy=None, product=None), **(json.loads(path.read_text()) if path.exists() else {}))

    def raised(self, goal, action):
        """What action() returns; None, and a row that says why, when it fails."""
        try:
            return action()
        except FAILURES as error:
            self.row(goal, "failed", note=str(error).replace("|", "¦")[:300])
            return None


def in_turns(trainees, rounds, steps):
    """A/B/A/B: `steps` of each, `rounds` times; seconds of a step are those of Trainee.seconds(), the first round not counted."""
    for _ in range(rounds + 1):
        for trainee in trainees:
            trainee.steps(steps)


def close(trainees):
    for trainee in trainees:
        trainee.stop()
